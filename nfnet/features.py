"""Writes the features of images to a file, a row for each.

nfnet features holiday/ --weights dm_nfnet_f0.dm_in1k --out features.npz
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nfnet.errors import UserError, printable
from nfnet.inference import arguments as shared
from nfnet.training import command_line

_SOME_FAILED = 1
_SUFFIXES = (".npz", ".safetensors")


def _features(arguments: Sequence[str] | None) -> int:
    parser = shared.parser(
        "features",
        "Writes the features of images: the array `features`, a row for each image that could be read, and their "
        "`files` (an array of .npz; JSON in the metadata of .safetensors).",
    )
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="files, folders (at any depth), or patterns")
    parser.add_argument("--out", required=True, metavar="FILE", help=f"file to write: {' or '.join(_SUFFIXES)}")
    parser.add_argument(
        "--stage",
        default="pooled",
        metavar="N|pooled",
        help="what the classifier sees, or the output of stage N (block N of a ViT) averaged over pixels "
        "(default %(default)s)",
    )
    parser.add_argument("--maps", action="store_true", help="of a stage, all pixels rather than their average")
    shared.add_preprocessing(parser)
    shared.add_computing(parser)
    options = parser.parse_args(arguments)
    out = shared.output(options.out, "--out", _SUFFIXES)

    import numpy as np

    from nfnet.inference.preprocess import batches, find_images

    paths = find_images(options.images)
    command_line.use_cache(options)
    pretrained = shared.load(options)

    from nfnet.inference.classify import make_forward, select_features

    settings = shared.preprocessing(options, pretrained)
    select = select_features(options.stage, pretrained.config, maps=options.maps)
    batch = min(options.batch, len(paths))
    stages = options.stage != "pooled"
    forward = make_forward(pretrained, settings, batch, dtype=options.dtype, select=select, stages=stages)
    rows: list[Any] = []
    files: list[str] = []
    for images in batches(paths, settings, batch):
        for error in images.errors.values():
            print(f"warning: {error}", file=sys.stderr)
        if images.places:
            rows.append(forward(images.pixels)["features"])
            files += [str(paths[place]) for place in images.places]
    if not files:
        raise UserError(f"none of the {len(paths)} images could be read, so {printable(out)} was not written.")
    features = np.concatenate(rows)
    _write(out, features, files, {"weights": pretrained.description, "stage": options.stage})
    failed = len(paths) - len(files)
    print(f"{printable(out)}: {features.shape[0]} images, features {tuple(features.shape[1:])}", file=sys.stderr)
    return _SOME_FAILED if failed else 0


def _write(out: Path, features: Any, files: Sequence[str], said: dict[str, str]) -> None:
    import numpy as np

    from nfnet.files import replacing
    from nfnet.weights.files import write_safetensors

    if out.suffix == ".safetensors":
        write_safetensors(out, {"features": features}, {"files": json.dumps(list(files)), **said})
        return
    texts: dict[str, Any] = {key: np.array(text) for key, text in said.items()}
    with replacing(out, "choose another --out") as file:
        np.savez(file, features=features, files=np.array(files), **texts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0, 1 if some images could not be read, or 2 at bad input or if none could."""
    return command_line.run(lambda: _features(arguments))


if __name__ == "__main__":
    sys.exit(main())
