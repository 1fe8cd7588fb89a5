"""Converts weights to one .safetensors file, with our names or with timm's, for users of PyTorch.

    nfnet convert F0_haiku.npz f0.safetensors
    nfnet convert runs/mine mine.safetensors --to timm

Arrays are renamed, transposed and joined, never rounded: types stay, and back and forth is the same bit for bit. The
file says which network its weights belong to, whose they are, and of which file they were made; `nfnet.load` and
`--weights` read that. `--to timm` gives the names that timm's models load:
`model.load_state_dict(safetensors.torch.load_file("mine.safetensors"))`.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nfnet.training import command_line

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from nfnet.weights.pretrained import Weights

_TIMM_VIT_NAMES = {"Ti": "tiny", "S": "small", "B": "base", "L": "large"}


def convert(weights: str, out: Path, *, to: str = "ours", **options: Any) -> list[str]:
    """Writes weights to a .safetensors file.

    Args:
        weights: A name of the zoo, a file or the folder of a run.
        out: The file, which is replaced if it exists.
        to: Whose names the arrays get, "ours" or "timm".
        **options: Of `nfnet.weights.pretrained.read_pretrained`.

    Returns:
        What the user has to know, a sentence each.

    Raises:
        UserError: The weights cannot be read, or timm cannot express their network; nothing is written then.
    """
    from nfnet.errors import UserError, printable
    from nfnet.files import require_replaceable
    from nfnet.weights.files import read_metadata, write_safetensors
    from nfnet.weights.metadata import Told, metadata_of
    from nfnet.weights.pretrained import read_pretrained

    if out.suffix != ".safetensors":
        raise UserError(f"{printable(out)} does not end in .safetensors, which is what is written: name it so.")
    require_replaceable(out)
    given = read_pretrained(weights, **options)
    state, said = _for_timm(given) if to == "timm" else (_by_name(given.arrays), [])
    told = Told(
        given.family, given.config, given.options, given.origin, given.variant, given.preprocessing, given.class_names
    )
    entry = given.found.entry
    earlier = {} if given.found.path.is_dir() else read_metadata(given.found.path)
    others = {
        "format": "pt" if to == "timm" else "nfnet-companion",
        "licence": entry.licence if entry else printable(earlier.get("licence", "")),
        "source": entry.name if entry else printable(given.found.path.name),
        "source_sha256": _sha256(given.found.path),
    }
    write_safetensors(out, state, metadata_of(told, **{key: text for key, text in others.items() if text}))
    return said


def _by_name(arrays: Mapping[str, Mapping[str, Any]]) -> dict[str, np.ndarray]:
    import numpy as np

    return {f"{module}/{name}": np.asarray(value) for module, group in arrays.items() for name, value in group.items()}


def _sha256(path: Path) -> str:
    import hashlib

    if path.is_dir():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _for_timm(given: Weights) -> tuple[dict[str, np.ndarray], list[str]]:
    """Returns arrays by timm's names, and in what timm's network differs from the one they were trained in.

    Raises:
        UserError: timm has no network of this kind.
    """
    from nfnet.errors import UserError
    from nfnet.models.nfnet import NFNetConfig
    from nfnet.weights.origins import TIMM_NFNET, TIMM_VIT, settings
    from nfnet.weights.timm_nfnet import to_timm
    from nfnet.weights.timm_vit import to_timm_vit

    config = given.config
    if isinstance(config, NFNetConfig):
        state, theirs = to_timm(given.arrays, config.depths, given.description), TIMM_NFNET
        if other := _other_than_timm(config):
            raise UserError(f"{given.description} has {settings(other)}, which timm's dm_nfnet networks cannot have.")
        named = given.variant is not None and given.variant in tuple(f"F{n}" for n in range(7))
        model = f"dm_nfnet_{given.variant.lower()}" if named and given.variant else None
    else:
        head, posemb = given.options["head"], given.options["posemb"]
        if head == "gap" or posemb == "sincos2d":
            raise UserError(
                f"{given.description} has the head {head!r} and position embedding {posemb!r}: timm's "
                "VisionTransformer takes the mean before its last norm, and learns its positions, so that it has no "
                "such network."
            )
        state, theirs = to_timm_vit(given.arrays, given.description), TIMM_VIT
        letters, _, patch = (given.variant or "").partition("/")
        size = _TIMM_VIT_NAMES.get(letters)
        model = f"vit_{size}_patch{patch}_{config.resolution}" if size and head == "cls" else None
    said = [
        f"timm.create_model({model!r}, num_classes={given.classes or 0}) has these names and shapes."
        if model
        else "timm has no model of this shape under a name: build one from its configuration classes."
    ]
    if other := theirs.differing(config):
        ours = settings({key: getattr(config, key) for key in other})
        said.append(
            f"Its outputs differ a little from those here: timm computes {settings(other)}, but these weights were "
            f"trained with {ours}. Converting back restores that."
        )
    return state, said


def _other_than_timm(config: Any) -> dict[str, Any]:
    """Returns those fields of an NFNet that timm's are fixed in and that it has otherwise."""
    from nfnet.models.nfnet import VARIANTS

    fixed = VARIANTS["F0"]
    keys = ("alpha", "final_ratio", "strides", "stem_strides")
    known = {one.name for one in dataclasses.fields(fixed)}
    return {key: getattr(config, key) for key in keys if key in known and getattr(config, key) != getattr(fixed, key)}


def _convert(arguments: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(
        prog="nfnet convert", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("weights", metavar="IN", help="name of published weights, a file of weights, or a run's folder")
    parser.add_argument("out", metavar="OUT.safetensors", help="the file to write")
    parser.add_argument("--to", choices=("ours", "timm"), default="ours", help="whose names arrays get (default ours)")
    parser.add_argument("--raw", action="store_true", help="take a run's parameters rather than their moving average")
    parser.add_argument("--best", action="store_true", help="take a run's best checkpoint rather than its last")
    parser.add_argument("--allow-non-finite", action="store_true", help="also take weights that are NaN or infinite")
    parser.add_argument("--offline", action="store_true", help="download nothing")
    options = parser.parse_args(arguments)

    from nfnet.files import local_path

    out = local_path(options.out, "OUT.safetensors")
    said = convert(
        options.weights,
        out,
        to=options.to,
        average=not options.raw,
        best=options.best,
        allow_non_finite=options.allow_non_finite,
        offline=options.offline,
    )
    print(*said, f"wrote {out}", sep="\n", file=sys.stderr)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code: 0, or 2 at bad input."""
    return command_line.run(lambda: _convert(arguments))


if __name__ == "__main__":
    sys.exit(main())
