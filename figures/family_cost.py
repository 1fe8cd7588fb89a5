"""Where parameters and multiply-adds go: stem, stages and head of F0 to F7 and of the '+' variants in both readings.

Data: none; ``nfnet.cost`` counts the networks from their abstract shapes. Claim: the third stage, half of all
blocks, has most of either. Bars are shares, which the smallest variants show as well as the largest; totals are written
beside them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from figures import style
from paper.family import family_parts

if TYPE_CHECKING:
    from paper.study import Study

__all__ = ["GROUPS", "draw", "from_study", "places"]

GROUPS = {
    ("published", False): "plain",
    ("published", True): "'+', published",
    ("released", True): "'+', released",
}
"""Variants by reading and whether they are '+' variants, from top to bottom, and their heading."""

_QUANTITIES = {
    "parameters": ("Share of parameters (%)", "millions", 1e6),
    "macs": ("Share of multiply-adds (%)", "billions", 1e9),
}
_GAP = 1.1
"""Distance between groups beyond that of rows."""


def places(parts: pd.DataFrame) -> dict[tuple[str, str], float]:
    """Height of the bar of each variant and reading, downwards from 0."""
    variants = parts[["variant", "plus_width"]].drop_duplicates()
    found: dict[tuple[str, str], float] = {}
    height = 0.0
    for plus_width, plus in GROUPS:
        mine = variants[(variants.plus_width == plus_width) & (variants.variant.str.endswith("+") == plus)]
        for variant in mine.variant:
            found[variant, plus_width] = height
            height += 1
        height += _GAP
    return found


@style.companion_style()
def draw(parts: pd.DataFrame, resolution: int) -> Figure:
    """Draws stacked bars of the shares of parameters and multiply-adds, with their totals beside them.

    Args:
        parts: ``variant``, ``plus_width``, ``part``, ``parameters`` and ``macs``, the parts in order.
        resolution: Side in pixels of the images that multiply-adds are counted for.
    """
    figure = Figure(figsize=(7.2, 6.0))
    heights = places(parts)
    for left, quantity in zip((0.95, 4.2), _QUANTITIES, strict=True):
        axes = style.axes_at(figure, left, 0.5, 2.5, 4.35)
        _bars(axes, parts, quantity, heights)
    first, second = figure.axes
    second.set_yticks([])
    first.set_yticks(list(heights.values()), [variant for variant, _ in heights])
    for (plus_width, plus), heading in GROUPS.items():
        mine = [
            height for (name, reading), height in heights.items() if (reading, name[-1] == "+") == (plus_width, plus)
        ]
        first.annotate(
            heading,
            (-0.17, sum(mine) / len(mine)),
            xycoords=("axes fraction", "data"),
            rotation=90,
            va="center",
            ha="right",
            fontsize=8,
            color=style.MUTED,
        )
    handles = [
        Patch(facecolor=colour, edgecolor=style.INK, linewidth=0.3, label=part) for part, colour in style.PARTS.items()
    ]
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0.95 / 7.2, 5.03 / 6.0),
        ncols=len(handles),
        handlelength=1.2,
        handleheight=0.9,
        borderaxespad=0,
        columnspacing=1.4,
    )
    largest = parts.loc[parts.groupby(["variant", "plus_width"], sort=False).macs.idxmax(), "part"]
    most = str(largest.mode()[0])
    totals = parts.groupby(["variant", "plus_width"], sort=False)[["parameters", "macs"]].sum()
    share = 100 * parts[parts.part == most].set_index(["variant", "plus_width"])[["parameters", "macs"]] / totals
    wider = parts[parts.variant.str.endswith("+")]
    both = wider.pivot(index=["variant", "part"], columns="plus_width", values="macs")
    differing = sorted(set(both.index[both.published != both.released].get_level_values("part")))
    sums = wider.groupby(["plus_width", "variant"])[["parameters", "macs"]].sum()
    more = 100 * (sums.loc["published"] / sums.loc["released"] - 1)
    style.headline(
        figure,
        f"{most.capitalize()} takes {share.parameters.min():.0f} to {share.parameters.max():.0f}% of the parameters, "
        f"{share.macs.min():.0f} to {share.macs.max():.0f}% of the multiply-adds",
        f"It has {'more' if (share > 50).all(axis=None) else 'not more'} than half of either in every variant. "
        f"Totals stand beside the bars. The two readings of '+' differ in "
        f"{' and '.join(differing)} alone: as published they have {more.parameters.min():.1f} to "
        f"{more.parameters.max():.1f}% more parameters and {more.macs.min():.0f} to {more.macs.max():.0f}% more "
        f"multiply-adds ({resolution} px, 1000 classes).",
    )
    return figure


def _bars(axes: Axes, parts: pd.DataFrame, quantity: str, heights: dict[tuple[str, str], float]) -> None:
    label, prefix, unit = _QUANTITIES[quantity]
    ends = dict.fromkeys(heights, 0.0)
    totals = parts.groupby(["variant", "plus_width"])[quantity].sum()
    for part, colour in style.PARTS.items():
        rows = parts[parts.part == part]
        keys = list(zip(rows.variant, rows.plus_width, strict=True))
        values = [100 * value / totals[key] for key, value in zip(keys, rows[quantity], strict=True)]
        axes.barh(
            [heights[key] for key in keys],
            values,
            left=[ends[key] for key in keys],
            height=0.78,
            color=colour,
            edgecolor=style.INK,
            linewidth=0.3,
            label=part,
        )
        ends |= {key: ends[key] + value for key, value in zip(keys, values, strict=True)}
    for key, height in heights.items():
        total = totals[key] / unit
        axes.annotate(
            f"{total:.0f}" if quantity == "parameters" else f"{total:.1f}",
            (100, height),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
            color=style.MUTED,
        )
    axes.annotate(prefix, (100, -0.7), xytext=(4, 1), textcoords="offset points", fontsize=7, color=style.MUTED)
    axes.set(xlabel=label, xlim=(0, 100.5), ylim=(max(heights.values()) + 0.7, -0.7))
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def from_study(study: Study) -> Figure:
    """Cost of the whole family at the resolution of pre-training."""
    resolution = round(study.results.stated("pretrain.train_resolution").value)
    return draw(family_parts(resolution), resolution)
