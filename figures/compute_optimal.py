"""Compute-optimal model size and epoch budget against compute, by three routes.

Data: ``paper/data/smith2023_figure2.csv``; fits: ``paper.fits.scaling``. Claims: the optimal size and the optimal epoch
budget both grow with compute, at the same rate; the optimal epoch budget passes 1 near 5k TPU-v4 core hours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from figures import style
from paper.fits.fitting import Estimate
from paper.fits.optimum import Optimum
from paper.results import Quantity

if TYPE_CHECKING:
    from paper.study import Study

__all__ = ["diagonal", "draw", "from_study"]

_GRID: dict[str, Any] = {"color": style.MUTED, "linewidth": 0.8, "linestyle": ":"}


def diagonal(runs: pd.DataFrame) -> dict[str, float]:
    """Slopes of the sweep's own grid, from its cheapest run to its dearest, in log-log coordinates.

    Args:
        runs: ``tpu_v4_core_hours``, ``parameters`` and ``epochs`` of each run.

    Returns:
        Slopes of ``parameters`` and ``epochs`` against compute: what the corners of the sweep impose on any
        frontier that runs from one to the other.
    """
    order = runs.sort_values("tpu_v4_core_hours")
    first, last = order.iloc[0], order.iloc[-1]
    span = np.log(last.tpu_v4_core_hours / first.tpu_v4_core_hours)
    return {name: float(np.log(last[name] / first[name]) / span) for name in ("parameters", "epochs")}


@style.companion_style()
def draw(runs: pd.DataFrame, optima: Sequence[Optimum], stated: Quantity) -> Figure:
    """Draws size and epochs against compute, over the exponents and the compute at one epoch with their intervals.

    Args:
        runs: ``model``, ``tpu_v4_core_hours``, ``parameters`` and ``epochs`` of each run.
        optima: The routes, each with its lines, points and intervals.
        stated: The paper's compute at which the optimal epoch budget passes 1, in TPU-v4 core hours.
    """
    figure = Figure(figsize=(7.2, 5.7))
    size_axes = style.axes_at(figure, 0.75, 2.4, 2.55, 2.25)
    epochs_axes = style.axes_at(figure, 4.5, 2.4, 2.55, 2.25)
    exponent_axes = style.axes_at(figure, 1.45, 0.5, 3.05, 1.1)
    passing_axes = style.axes_at(figure, 4.8, 0.5, 2.25, 1.1)

    low, high = runs.tpu_v4_core_hours.min() / 1.5, runs.tpu_v4_core_hours.max() * 1.5
    corners = runs.sort_values("tpu_v4_core_hours").iloc[[0, -1]]
    for axes, column in ((size_axes, "parameters"), (epochs_axes, "epochs")):
        axes.plot(corners.tpu_v4_core_hours, corners[column], **_GRID, zorder=1)
        for optimum in optima:
            _route(axes, optimum, column, corners.tpu_v4_core_hours)
        style.hours_axis(axes, low, high)

    sizes = runs.groupby("model", sort=False).parameters.first().sort_values()
    doublings = np.arange(np.ceil(np.log2(sizes.min() / 1e8)), np.log2(sizes.max() / 1e8) + 1)
    ticks = [float(1e8 * 2**step) for step in doublings]
    style.number_axis(size_axes, "y", ticks, [style.parameters_text(tick) for tick in ticks])
    size_axes.set(ylabel="Optimal model size (parameters)", ylim=(sizes.min() / 1.3, sizes.max() * 1.3))
    for model, size in sizes.items():
        size_axes.axhline(size, color=style.BAND, linewidth=0.5, zorder=0)
        where = (1.015, size)
        size_axes.annotate(
            str(model), where, xycoords=("axes fraction", "data"), va="center", fontsize=7, color=style.MUTED
        )

    budgets = sorted(runs.epochs.unique())
    style.number_axis(epochs_axes, "y", budgets, [f"{tick:g}" for tick in budgets], base=2)
    epochs_axes.set(ylabel="Optimal budget (epochs)", ylim=(budgets[0] / 1.6, budgets[-1] * 1.4))
    epochs_axes.axhline(1, color=style.BAND, linewidth=0.5, zorder=0)
    for optimum, size in zip(optima, (5.5, 7.5, 4), strict=True):  # where routes agree, each remains visible
        kind: dict[str, Any] = {"marker": "o", "markersize": size, "color": style.ROUTES[optimum.method].colour}
        epochs_axes.plot(optimum.one_epoch.value, 1, linestyle="", zorder=5, **kind)

    slopes = diagonal(runs)
    _exponents(exponent_axes, optima, slopes)
    _passing(passing_axes, optima, stated)
    handles = [
        Line2D([], [], **style.ROUTES[optimum.method].line, markersize=3.5, markeredgewidth=0.8) for optimum in optima
    ]
    handles.append(Line2D([], [], **_GRID, label="sweep, corner to corner"))
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0.75 / 7.2, 4.7 / 5.7),
        ncols=len(handles),
        handlelength=2.6,
        borderaxespad=0,
        columnspacing=1.6,
    )

    faster = sum(optimum.epochs_exponent.value > optimum.size_exponent.value for optimum in optima)
    same = sum(optimum.same_rate for optimum in optima)
    own = sum(
        optimum.size_exponent.contains(slopes["parameters"]) and optimum.epochs_exponent.contains(slopes["epochs"])
        for optimum in optima
    )
    if faster == len(optima):
        title = "The optimal epoch budget grows faster with compute than the optimal size"
    elif not faster:
        title = "The optimal size grows faster with compute than the optimal epoch budget"
    else:
        title = "The routes disagree on whether optimal size or epochs grow faster"
    style.headline(
        figure,
        title,
        f"Equal rates lie inside the 95% interval of {same} of the {len(optima)} routes. The slopes of the sweep's own "
        f"grid from corner to corner, {slopes['parameters']:.2f} for size and {slopes['epochs']:.2f} for epochs, lie "
        f"inside those of {own}.",
    )
    return figure


def _route(axes: Axes, optimum: Optimum, column: str, span: pd.Series) -> None:
    """The route's points, and its line over their range; over the whole ``span`` where it has no points."""
    look = style.ROUTES[optimum.method]
    intercept, slope = optimum.size_line if column == "parameters" else optimum.epochs_line
    points = optimum.points
    covered = points.tpu_v4_core_hours if len(points) else span
    hours = np.array([covered.min(), covered.max()], dtype=float)
    axes.plot(hours, np.exp(intercept + slope * np.log(hours)), color=look.colour, linestyle=look.linestyle, zorder=3)
    if len(points):
        kind: dict[str, Any] = look.line | {"label": None, "linestyle": ""}
        axes.plot(points.tpu_v4_core_hours, points[column], **kind, markersize=3.2, markeredgewidth=0.8, zorder=2)


def _interval(axes: Axes, at: Estimate, y: float, colour: str, *, marker: str, face: str) -> None:
    """An estimate with its interval at height ``y``."""
    axes.errorbar(
        at.value,
        y,
        xerr=[[at.value - at.low], [at.high - at.value]],
        color=colour,
        marker=marker,
        markersize=4.5,
        markerfacecolor=face,
        elinewidth=1.1,
        capsize=2,
        zorder=4,
    )


def _exponents(axes: Axes, optima: Sequence[Optimum], slopes: dict[str, float]) -> None:
    """Both exponents of each route with their intervals, and the slopes of the sweep's grid."""
    for row, optimum in enumerate(optima):
        colour = style.ROUTES[optimum.method].colour
        _interval(axes, optimum.size_exponent, row - 0.16, colour, marker="o", face=colour)
        _interval(axes, optimum.epochs_exponent, row + 0.16, colour, marker="D", face="white")
    for slope in slopes.values():
        axes.axvline(slope, **_GRID, zorder=1)
    axes.set_yticks(range(len(optima)), [style.ROUTES[optimum.method].label for optimum in optima])
    axes.set_xlabel("Exponent of compute (dimensionless)")
    _rows(axes, len(optima))
    handles = [
        Line2D([], [], linestyle="", color=style.INK, marker=marker, markerfacecolor=face, label=label)
        for marker, face, label in (("o", style.INK, "of model size"), ("D", "white", "of epoch budget"))
    ]
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0, handlelength=1)


def _passing(axes: Axes, optima: Sequence[Optimum], stated: Quantity) -> None:
    """Where the optimal epoch budget passes 1 by each route, and where the paper says that it does."""
    for row, optimum in enumerate(optima):
        colour = style.ROUTES[optimum.method].colour
        _interval(axes, optimum.one_epoch, row, colour, marker="o", face=colour)
    axes.axvline(stated.value, color=style.HIGHLIGHT, linewidth=0.9, zorder=1)
    axes.annotate(
        f"the paper: roughly {style.thousands(stated.value)}",
        (stated.value, 1.02),
        xycoords=("data", "axes fraction"),
        ha="center",
        color=style.HIGHLIGHT,
    )
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: style.thousands(value)))
    axes.set(xlabel="Passes 1 epoch at (TPU-v4 core hours)", yticks=[])
    _rows(axes, len(optima))


def _rows(axes: Axes, count: int) -> None:
    """A row a route, from the top."""
    axes.set_ylim(count - 0.5, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def from_study(study: Study) -> Figure:
    """Compute-optimal size and epochs from the logged results and their fits."""
    stated = study.results.stated("pretrain.compute_where_optimal_epochs_exceed_one")
    return draw(study.fits.pretraining, study.fits.optima, stated)
