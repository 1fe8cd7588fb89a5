"""Exports a network, folded, for other programs.

nfnet export --weights dm_nfnet_f0.dm_in1k f0.onnx
nfnet export --weights dm_nfnet_f0.dm_in1k f0.stablehlo
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from nfnet.errors import printable
from nfnet.inference import arguments as shared
from nfnet.training import command_line

_SUFFIXES = (".stablehlo", ".onnx")


def _export(arguments: Sequence[str] | None) -> int:
    parser = shared.parser(
        "export",
        "Exports a network with its weights, folded into plain convolutions, for batches of any size of float32 images "
        "that are normalised. OUT.onnx (NFNets) takes them as [batch, 3, height, width] and holds its metadata; "
        "OUT.stablehlo, read by jax.export.deserialize, takes [batch, height, width, 3], with its metadata beside it "
        "in OUT.stablehlo.json.",
    )
    parser.add_argument("out", metavar="OUT", help="file to write: .stablehlo or .onnx")
    parser.add_argument("--classes", metavar="FILE", help="a text with the name of one class a line, in logits' order")
    parser.add_argument(
        "--platforms", default="cpu,cuda,tpu", help="of .stablehlo, what it can run on (default %(default)s)"
    )
    shared.add_preprocessing(parser)
    options = parser.parse_args(arguments)
    out = shared.output(options.out, "OUT", _SUFFIXES)
    from nfnet.inference.export import check_installed

    check_installed(out.suffix)
    pretrained = shared.load(options)

    from nfnet.inference import export
    from nfnet.inference.class_names import class_names

    names = class_names(pretrained, shared.file(options.classes, "--classes"))
    settings = shared.preprocessing(options, pretrained)
    if out.suffix == ".onnx":
        export.write_onnx(out, pretrained, settings, names)
    else:
        export.write_stablehlo(out, pretrained, settings, names, tuple(options.platforms.split(",")))
    print(f"{printable(out)}: {pretrained.description}, {settings.size} px", file=sys.stderr)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code: 0, or 2 at bad input."""
    return command_line.run(lambda: _export(arguments))


if __name__ == "__main__":
    sys.exit(main())
