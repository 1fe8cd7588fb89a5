"""What a network is made of and what it costs: `nfnet describe F7+ --resolution 224`.

The network is an NFNet (F0 to F7+) or a Vision Transformer (S/16, g/14 and so on). Prints the stages with their
parameters, multiply-adds and activations for one image, counted from abstract
shapes by `nfnet.cost`; `--json` prints the same for programs.
"""

import argparse
import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from nfnet.errors import exit_on_user_error
from nfnet.garbage import leave_garbage
from nfnet.interpreter import check_docstrings
from nfnet.ranges import CLASSES, Range, check_value

if TYPE_CHECKING:
    from nfnet.cost.cost import Cost, StageCost
    from nfnet.models.families import Family

_SIDE = Range(1, 2**14)
MEMORIES = (80, 140)
"""Gigabytes of accelerators' memory (H100, H200) for which the largest training batch is printed."""


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(prog="nfnet describe", description=__doc__)
    parser.add_argument("variant", help="name of a network, such as F0, F7+ or S/16")
    parser.add_argument(
        "--resolution", type=int, default=224, help=f"side of the image in pixels, {_SIDE} (default 224)"
    )
    parser.add_argument(
        "--plus-width",
        choices=("published", "released"),
        default="published",
        help="first bottleneck of the '+' variants: 192 channels as in the paper's counts, or rounded down "
        "to 128 as in the released code",
    )
    parser.add_argument(
        "--head",
        choices=("cls", "gap", "map"),
        default="gap",
        help="what a Vision Transformer's classifier sees: a class token, the mean of all tokens, or attention pooling",
    )
    parser.add_argument("--num-classes", type=int, default=1000, help=f"number of logits, {CLASSES} (default 1000)")
    parser.add_argument(
        "--dtype",
        choices=("bfloat16", "float32"),
        default="bfloat16",
        help="type of the activations (default bfloat16)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args(argv)

    # JAX starts only once the arguments are known to be sound.
    with exit_on_user_error():
        check_docstrings()
        check_value("resolution", args.resolution, Annotated[int, _SIDE])
        from nfnet.cost.cost import network_cost
        from nfnet.models.families import find_family

        family = find_family(args.variant)
        settings = {key: getattr(args, key) for key in ("variant", "resolution", "num_classes", "dtype")}
        own = family.settings(args, parser.parse_args([args.variant]))
        cost = network_cost(**settings, **own)
    if args.json:
        print(json.dumps({**settings, **own, **dataclasses.asdict(cost)}))
    else:
        print(report(cost, family, own, **settings))


def report(
    cost: "Cost",
    family: "Family",
    own: Mapping[str, Any],
    *,
    variant: str,
    resolution: int,
    num_classes: int,
    dtype: str,
) -> str:
    """Returns the table of stages and a summary as text; `own` are the settings of the family."""
    import tabulate

    header = ("part", "blocks", "output", "channels", "parameters", "MACs", "activations")
    rows = [
        (
            part.name,
            str(part.blocks or ""),
            f"{part.resolution} x {part.resolution}",
            str(part.channels),
            *_counts(part),
        )
        for part in cost.stages
    ]
    rows.append(("total", str(sum(part.blocks for part in cost.stages)), "", "", *_counts(cost)))
    align = ("left", *("right" for _ in header[1:]))
    table = tabulate.tabulate(rows, header, disable_numparse=True, colalign=align)
    caption = family.caption(variant, **own)
    lines = (
        f"{family.title}-{variant}, one image of {resolution} x {resolution} px, {num_classes} classes{caption}",
        "",
        table,
        "",
        f"parameters         {cost.parameters / 1e6:.2f} M",
        f"forward pass       {cost.macs / 1e9:.2f} GMACs",
        f"activations        {cost.activation_bytes / 2**20:.1f} MiB in {dtype} for the backward pass",
        f"  rematerialized   {cost.remat_bytes / 2**20:.1f} MiB if each block is recomputed",
    )
    return "\n".join((*lines, *_batches(cost)) if family.memory_measured else lines)


def _counts(part: "Cost | StageCost") -> tuple[str, str, str]:
    return f"{part.parameters:,}", f"{part.macs:,}", f"{part.activations:,}"


def _batches(cost: "Cost") -> list[str]:
    """The largest training batches in the memory that accelerators come with."""
    from nfnet.cost.cost import largest_batch

    return [
        f"batch in {gigabytes} GB    {largest_batch(cost, gigabytes * 1e9):,} in training, "
        f"{largest_batch(cost, gigabytes * 1e9, remat=True):,} rematerialized"
        for gigabytes in MEMORIES
    ]


if __name__ == "__main__":
    leave_garbage()
    main()
