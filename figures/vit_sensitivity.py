"""What the comparison of fitted frontiers hangs on: every choice of runs, accounting, cut-off and resampling.

Data: ``paper/data/smith2023_figure1.csv``, ``smith2023_figure1_vit.csv``, ``zhai2022_finetune.csv`` and
``alabdulmohsin2023_table1.csv``. Claim: the frontiers differ by more than their uncertainty at most budgets under every
choice; at the dearest NFNet's compute they do so under some choices only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures import style
from figures.style import Look

if TYPE_CHECKING:
    from paper.study import Study

__all__ = ["draw", "from_study"]

KINDS = {
    "fixed": Look("points of the frontier as logged", "#8c8c8c", "o", "", filled=False),
    "runs": Look("runs, frontier found anew", style.INK, "s", ""),
    "models": Look("models, frontier found anew", style.HIGHLIGHT, "D", ""),
}
"""What a resample draws."""


def _rows(tree: pd.DataFrame) -> list[tuple[float, str, pd.DataFrame]]:
    """Each group of branches that differ in resampling alone: its height, its label and its branches."""
    rows, place = [], 0.0
    for (_, largest, cut_off), branches in tree.groupby(["runs", "largest", "cut_off"], sort=False):
        if branches.index[0] in set(tree.groupby("runs", sort=False).head(1).index):
            place += 2.0  # a heading and a gap
        label = f"{'with' if largest else 'without'} G/14, from {cut_off:g}x the cheapest"
        rows.append((place, label, branches))
        place += 3.6
    return rows


@style.companion_style()
def draw(tree: pd.DataFrame) -> Figure:
    """Draws share and difference of every branch.

    Args:
        tree: Of :func:`paper.vits.frontiers.sensitivity`.
    """
    figure = Figure(figsize=(7.2, 7.6))
    share = style.axes_at(figure, 2.25, 0.55, 1.75, 5.75)
    dearest = style.axes_at(figure, 4.25, 0.55, 2.75, 5.75)
    rows = _rows(tree)
    places = {}
    for place, _, branches in rows:
        for step, kind in enumerate(KINDS):
            (index,) = branches.index[branches.resampled == kind]
            places[index] = place + step
    at = tree.index.map(places).to_series(index=tree.index).astype(float)
    for kind, look in KINDS.items():
        mine = tree.resampled == kind
        marks: dict[str, Any] = {
            "marker": look.marker,
            "color": look.colour,
            "markerfacecolor": look.colour if look.filled else "white",
            "markersize": 3.2,
            "markeredgewidth": 0.8,
            "linestyle": "",
            "zorder": 3,
            "clip_on": False,
        }
        share.plot(100 * tree.share_apart[mine], at[mine], **marks)
        bars = [tree.points[mine] - tree.low[mine], tree.high[mine] - tree.points[mine]]
        dearest.errorbar(tree.points[mine], at[mine], xerr=bars, elinewidth=0.9, **marks)
    for axes in (share, dearest):
        _rule(axes, rows, at.max())
    share.set(xlim=(0, 100), xlabel="Budgets (%)", yticks=[place + 1 for place, _, _ in rows])
    share.set_yticklabels([label for _, label, _ in rows], fontsize=7)
    first = {str(branches.runs.iloc[0]): place for place, _, branches in reversed(rows)}
    for name, place in first.items():
        share.annotate(
            name,
            (0, place - 1.5),
            xytext=(-2.1 * 72, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            fontweight="bold",
            annotation_clip=False,
        )
    dearest.tick_params(labelleft=False)
    dearest.axvline(0, color=style.INK, linewidth=0.8, zorder=1)
    dearest.set_xlabel("Difference at the dearest (% points)")
    _key(figure)
    low, high = 100 * tree.share_apart.min(), 100 * tree.share_apart.max()
    apart = int((tree.low > 0).sum())
    style.headline(
        figure,
        f"Fitted frontiers differ at {low:.0f} to {high:.0f}% of budgets, at the dearest in {apart} of "
        f"{len(tree)} choices",
        "Left: budgets at which the whole 95% interval of the difference is on the NFNets' side. Right: the fitted "
        "error of ViTs less that of NFNets at the dearest NFNet. A row: whether ViT-G/14 is in, and the least compute "
        "fitted, as a share of the cheapest NFNet's; its marks: what the bootstrap draws.",
    )
    return figure


def _rule(axes: Axes, rows: list[tuple[float, str, pd.DataFrame]], last: float) -> None:
    """Shades every other row, from the top."""
    for number, (place, _, _) in enumerate(rows):
        if number % 2 == 0:
            axes.axhspan(place - 0.8, place + 2.8, color="#f3f3f3", linewidth=0, zorder=0)
    axes.set_ylim(last + 1, -0.2)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _key(figure: Figure) -> None:
    width, height = figure.get_size_inches()
    handles = [
        Line2D(
            [],
            [],
            linestyle="",
            marker=look.marker,
            color=look.colour,
            markerfacecolor=look.colour if look.filled else "white",
            markersize=4,
            label=look.label,
        )
        for look in KINDS.values()
    ]
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0.12 / width, 6.42 / height),
        ncols=3,
        borderaxespad=0,
        borderpad=0,
    )


def from_study(study: Study) -> Figure:
    """Every branch from the logged results."""
    return draw(study.matched.sensitivity)
