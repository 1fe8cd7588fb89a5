"""What the figures of both families share: runs by model, frontiers, laws and the keys to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from figures import style
from paper.vits.advantage import best_within

__all__ = ["Curve", "draw_frontiers", "draw_nfnets", "draw_vits", "error_axis", "keys", "mark_inset", "model_handles"]


LABELLED = 3.0
"""Size of markers, in points, from which labels are written beside them."""


@dataclass(frozen=True)
class Curve:
    """A fitted or printed law as it is drawn.

    Attributes:
        label: Its name in the legend.
        compute: Compute at which it is drawn.
        error: Its error there, in percent.
        colour: Its colour.
        linestyle: Its line.
    """

    label: str
    compute: Float[np.ndarray, " m"]
    error: Float[np.ndarray, " m"]
    colour: str
    linestyle: Any

    def draw(self, axes: Axes) -> None:
        """Draws the law."""
        axes.plot(self.compute, self.error, color=self.colour, linestyle=self.linestyle, linewidth=1.1, zorder=2.5)

    @property
    def handle(self) -> Line2D:
        """The law's key."""
        return Line2D([], [], color=self.colour, linestyle=self.linestyle, linewidth=1.1, label=self.label)


def _inside(axes: Axes, x: pd.Series, y: pd.Series) -> pd.Series:
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    return x.between(left, right) & y.between(bottom, top)


def draw_vits(axes: Axes, runs: pd.DataFrame, column: str, *, size: float = 3.6) -> None:
    """Draws Vision Transformers against ``column``; later points larger, with the interval of their hours.

    Where one of the later models was fine-tuned at several resolutions, each is labelled.

    Args:
        axes: With limits set; runs outside are left out.
        runs: Rows of :meth:`paper.vits.advantage.Matched.vit_runs`.
        column: ``mid`` or ``flops``.
        size: Size of the markers, in points.
    """
    for later in (False, True):
        shown = runs[(runs.later == later) & _inside(axes, runs[column], runs.error)]
        for model, look in style.VITS.items():
            rows = shown[shown.model == model]
            if rows.empty:
                continue
            kind: dict[str, Any] = {"linestyle": "", "color": look.colour, "marker": look.marker}
            if later:
                bars = [rows[column] - rows.low, rows.high - rows[column]] if column == "mid" else None
                axes.errorbar(
                    rows[column],
                    rows.error,
                    xerr=bars,
                    markersize=(2.2 if look.marker == "*" else 1.7) * size,
                    markeredgewidth=0.8,
                    markerfacecolor=style.VIT_BAND,
                    elinewidth=0.9,
                    capsize=2,
                    zorder=5,
                    **kind,
                )
                if size >= LABELLED:
                    _resolutions(axes, rows, column)
            else:
                star = 1.5 if look.marker == "*" else 1
                axes.plot(
                    rows[column],
                    rows.error,
                    markersize=size * star,
                    markerfacecolor="white",
                    markeredgewidth=0.7,
                    zorder=3,
                    **kind,
                )


def _resolutions(axes: Axes, rows: pd.DataFrame, column: str) -> None:
    if len(rows) > 1:
        right = rows.high if column == "mid" else rows[column]
        for x, y, pixels in zip(right, rows.error, rows.resolution, strict=True):
            axes.annotate(
                f"{pixels} px",
                (x, y),
                xytext=(4 if column == "mid" else 7, 0),
                textcoords="offset points",
                va="center",
                fontsize=6.5,
                color=style.MUTED,
            )


def draw_nfnets(axes: Axes, runs: pd.DataFrame, column: str, *, size: float = 4.5) -> None:
    """Draws NFNets against ``column`` (``hours`` or ``flops``); those with repeated augmentation hollow."""
    for model, look in style.COMPANION.items():
        for repeated in (False, True):
            rows = runs[(runs.model == model) & (runs.repeated_augmentation == repeated)]
            if rows.empty:
                continue
            axes.plot(
                rows[column],
                rows.error,
                linestyle="",
                marker=look.marker,
                color=look.colour,
                markersize=size,
                markerfacecolor="white" if repeated else look.colour,
                markeredgewidth=0.8,
                zorder=6,
            )


def draw_frontiers(
    axes: Axes,
    budgets: Float[np.ndarray, " b"],
    nfnets: tuple[pd.Series, pd.Series],
    vits: tuple[pd.Series, pd.Series],
    ends: tuple[pd.Series, pd.Series] | None = None,
) -> None:
    """Draws the best error within each budget of both families, each up to its dearest run.

    Args:
        axes: To draw on.
        budgets: Compute at which the steps are evaluated.
        nfnets: Compute and error of the NFNets.
        vits: Compute and error of the Vision Transformers.
        ends: Least and largest compute of the Vision Transformers, between whose frontiers a band is drawn.
    """
    compute, error = (column.to_numpy(float) for column in vits)
    if ends is not None:
        low, high = (best_within(budgets, end.to_numpy(float), error) for end in ends)
        shown = budgets <= ends[1].max()
        axes.fill_between(budgets[shown], low[shown], high[shown], color=style.VIT_BAND, linewidth=0, zorder=1)
    mine = tuple(column.to_numpy(float) for column in nfnets)
    for family, (at, values) in (("vit", (compute, error)), ("nfnet", mine)):
        steps = np.union1d(budgets, at)  # runs between two budgets would blunt the steps
        steps = steps[(steps >= budgets[0]) & (steps <= at.max())]
        best = best_within(steps, at, values)
        axes.plot(steps, best, color=style.FAMILIES[family].colour, linewidth=1.3, zorder=2.2, gid=family)


def error_axis(axes: Axes, low: float, high: float, ticks: Sequence[float]) -> None:
    """A logarithmic axis of top-1 error in percent."""
    style.number_axis(axes, "y", ticks, [f"{tick:g}" for tick in ticks])
    axes.set(ylim=(low, high), ylabel="ImageNet top-1 error (%)")


def mark_inset(axes: Axes, zoomed: Axes) -> None:
    """Marks on ``axes`` what ``zoomed`` shows."""
    (left, right), (bottom, top) = zoomed.get_xlim(), zoomed.get_ylim()
    frame = Rectangle((left, bottom), right - left, top - bottom, fill=False, edgecolor=style.MUTED, linewidth=0.7)
    frame.set_linestyle((0, (3, 2)))
    axes.add_patch(frame)


def model_handles(models: Sequence[str], *, hollow: bool = True, size: float = 4.5) -> list[Line2D]:
    """Keys of ``models`` of either family; Vision Transformers hollow or, as the later ones, filled."""
    looks = {**style.COMPANION, **style.VITS}
    return [
        Line2D(
            [],
            [],
            linestyle="",
            marker=looks[model].marker,
            color=looks[model].colour,
            markerfacecolor=looks[model].colour if looks[model].filled else "white" if hollow else style.VIT_BAND,
            markeredgewidth=0.8,
            markersize=size * (1.5 if looks[model].marker == "*" else 1),
            label=model,
        )
        for model in models
    ]


def keys(figure: Figure, nfnets: pd.DataFrame, vits: pd.DataFrame, laws: Sequence[Curve], *, band: bool) -> None:
    """The keys at the right of a figure of 7.2 by 7 inches: models of both families, frontiers and laws."""
    left = 5.5
    mine = [model for model in style.COMPANION if model in set(nfnets.model)]
    swept = [model for model in style.VITS if model in set(vits.model[~vits.later])]
    later = [model for model in style.VITS if model in set(vits.model[vits.later])]
    repeated = [model for model in mine if model in set(nfnets.model[nfnets.repeated_augmentation])]
    hollow = model_handles(repeated)
    for handle in hollow:
        handle.set_markerfacecolor("white")
        handle.set_label(f"{handle.get_label()}, repeated aug.")
    _key(figure, "NFNets (Smith et al.)", [*model_handles(mine), *hollow], (left, 6.22))
    _key(figure, "ViTs (Zhai et al.)", model_handles(swept), (left, 4.84))
    _key(figure, "Later ViTs", model_handles(later, hollow=False, size=5), (left, 2.82))
    lines: list[Any] = [
        Line2D([], [], color=look.colour, linewidth=1.3, label=f"best {name} in budget")
        for look, name in zip(style.FAMILIES.values(), ("NFNet", "ViT"), strict=True)
    ]
    if band:
        lines.append(Patch(color=style.VIT_BAND, linewidth=0, label="range of conversion"))
    _key(figure, "Frontiers and laws", [*lines, *(law.handle for law in laws)], (left, 2.02))


def _key(figure: Figure, title: str, handles: Sequence[Artist], at: tuple[float, float]) -> None:
    """A legend with a ``title`` whose upper left corner lies ``at`` inches from the figure's lower left corner."""
    width, height = figure.get_size_inches()
    legend = figure.legend(
        handles=handles,
        title=title,
        loc="upper left",
        bbox_to_anchor=(at[0] / width, at[1] / height),
        borderaxespad=0,
        borderpad=0,
        alignment="left",
    )
    legend.get_title().set_fontweight("bold")
    legend.get_title().set_fontsize(8)
