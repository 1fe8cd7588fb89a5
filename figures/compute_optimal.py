"""Compute-optimal model size and epoch budget against compute, and what the rule of equal rates costs.

Data: ``paper/data/smith2023_figure2.csv``; fits: ``paper.fits.scaling``. Claims: the optimal size and the optimal epoch
budget both grow with compute, at the same rate; the optimal epoch budget passes 1 near 5k TPU-v4 core hours. Every
route to the optimum stands beside what it returns, on simulated runs of the same grid, where the rates are equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from figures import style
from paper.fits.allocation import TRUTHS, Allocation
from paper.fits.fitting import Estimate
from paper.fits.optimum import Optimum
from paper.fits.regret import Regret
from paper.results import Quantity

if TYPE_CHECKING:
    from paper.study import Study

__all__ = ["SHOWN", "draw", "from_study"]

SHOWN = ("profiles", "general")
"""Routes whose lines are drawn; all stand in the panels below."""

_WIDTHS = {"profiles": 4.0, "general": 1.2}
"""Where lines coincide, the lower one stays visible."""
_RULE: dict[str, Any] = {"color": style.HIGHLIGHT, "linewidth": 1.1, "linestyle": (0, (4, 2))}
_REGRETS: Mapping[str, dict[str, Any]] = {
    "general": {"color": style.INK, "linewidth": 1.2, "linestyle": "-"},
    "additive": {"color": style.HIGHLIGHT, "linewidth": 1.2, "linestyle": "--"},
}


@style.companion_style()
def draw(
    runs: pd.DataFrame,
    optima: Mapping[str, Optimum],
    allocation: Allocation,
    regrets: Mapping[str, Regret],
    worst: Mapping[str, float],
    stated: Quantity,
    loss_exponent: float,
) -> Figure:
    """Draws size and epochs against compute, the difference of their exponents, one epoch, and the regret.

    Args:
        runs: ``model``, ``tpu_v4_core_hours``, ``parameters`` and ``epochs`` of each run.
        optima: Routes by name, each with its lines and intervals.
        allocation: What each route says of equal rates, and what it returns where they hold.
        regrets: Loss above the optimum where both grow at equal rates, by form of the surface.
        worst: Largest regret in percent from the worst anchor inside the range, by form.
        stated: The paper's compute at which the optimal epoch budget passes 1, in TPU-v4 core hours.
        loss_exponent: Exponent of the law of the loss, which turns a regret into compute.
    """
    width, height = 7.2, 8.55
    figure = Figure(figsize=(width, height))
    size_axes = style.axes_at(figure, 0.75, 4.95, 2.55, 2.1)
    epochs_axes = style.axes_at(figure, 4.5, 4.95, 2.55, 2.1)
    difference_axes = style.axes_at(figure, 1.55, 2.6, 3.1, 1.45)
    passing_axes = style.axes_at(figure, 4.95, 2.6, 2.1, 1.45)
    regret_axes = style.axes_at(figure, 0.75, 0.5, 6.3, 1.25)

    low, high = runs.tpu_v4_core_hours.min() / 1.5, runs.tpu_v4_core_hours.max() * 1.5
    hours = np.array([runs.tpu_v4_core_hours.min(), runs.tpu_v4_core_hours.max()], float)
    anchor = regrets["general"].anchor
    for axes, column in ((size_axes, "parameters"), (epochs_axes, "epochs")):
        for method in SHOWN:
            _route(axes, optima[method], column, hours)
        _rule(axes, optima, column, hours, anchor)
        style.hours_axis(axes, low, high)
    _size_axis(size_axes, runs)
    budgets = sorted(runs.epochs.unique())
    style.number_axis(epochs_axes, "y", budgets, [f"{tick:g}" for tick in budgets], base=2)
    epochs_axes.set(ylabel="Optimal budget (epochs)", ylim=(budgets[0] / 1.6, budgets[-1] * 1.6))
    for budget in budgets:
        epochs_axes.axhline(budget, color=style.BAND, linewidth=0.5, zorder=0)

    names = [name for name in style.ROUTES if name in allocation.routes and name in optima]
    _differences(difference_axes, [allocation.routes[name] for name in names])
    _passing(passing_axes, [optima[name].one_epoch for name in names], stated)
    for axes in (difference_axes, passing_axes):
        axes.set_ylim(len(names) - 0.45, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
    difference_axes.set_yticks(range(len(names)), [style.ROUTES[name].label for name in names])
    passing_axes.set_yticks([])
    _regret(regret_axes, regrets, anchor)
    style.hours_axis(regret_axes, low, high)

    handles = [_handle(method) for method in SHOWN]
    handles.append(Line2D([], [], **_RULE, label="equal rates from the optimum at the anchor"))
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0.75 / width, 7.1 / height),
        ncols=len(handles),
        handlelength=2.6,
        borderaxespad=0,
        columnspacing=1.6,
    )
    style.headline(figure, *_words(optima, allocation, regrets, worst, loss_exponent))
    return figure


def _words(
    optima: Mapping[str, Optimum],
    allocation: Allocation,
    regrets: Mapping[str, Regret],
    worst: Mapping[str, float],
    loss_exponent: float,
) -> tuple[str, str]:
    most = {form: float(regret.percent.max()) for form, regret in regrets.items()}
    deciding = allocation.deciding
    size_faster = deciding.difference.value > 0
    lead = {
        True: "Runs allow equal rates of size and epochs, which",
        None: "Routes disagree on equal rates of size and epochs, which",
        False: f"Optimal {'size outgrows epochs' if size_faster else 'epochs outgrow size'}; equal rates",
    }[allocation.equal_rates]
    title = f"{lead} from mid-range cost at most {max(most.values()):.1f}% of loss"
    gap, chosen = deciding.difference, optima[deciding.method]
    bias = "without bias in simulation" if deciding.unbiased else "of all, none being without bias in simulation"
    anchor = style.thousands(regrets["general"].anchor)
    compute = [100 * ((1 + value / 100) ** (1 / loss_exponent) - 1) for value in most.values()]
    each = " or ".join(f"{value:.2f}% ({form} surface)" for form, value in most.items())
    text = (
        f"Optimal size grows as compute to the power of {chosen.size_exponent.value:.2f}, epochs "
        f"{chosen.epochs_exponent.value:.2f} (difference {_signed(gap.value)} [{_signed(gap.low)}, "
        f"{_signed(gap.high)}]), by the {style.ROUTES[deciding.method].label}, the most precise route {bias}; "
        f"of data simulated with equal rates, {100 * allocation.p_value:.1f}% speak as much against them. "
        f"From the optimum at {anchor} core hours, equal rates raise the loss by at most {each}, what "
        f"{compute[0]:.0f} or {compute[-1]:.0f}% more compute would make up; from the worst start, by "
        f"{' or '.join(f'{worst[form]:.1f}%' for form in most)}."
    )
    return title, text


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _handle(method: str) -> Line2D:
    look = style.ROUTES[method]
    marker = look.marker if method == "profiles" else ""
    return Line2D(
        [],
        [],
        color=look.colour,
        linewidth=_WIDTHS[method],
        label=look.label,
        marker=marker,
        markersize=3.5,
        markerfacecolor="white",
        markeredgecolor=style.INK,
        markeredgewidth=0.8,
    )


def _route(axes: Axes, optimum: Optimum, column: str, span: np.ndarray) -> None:
    """The route's line over the range of its points, or over ``span``, and its points."""
    look, points = style.ROUTES[optimum.method], optimum.points
    intercept, slope = optimum.size_line if column == "parameters" else optimum.epochs_line
    hours = np.array([points.compute.min(), points.compute.max()], float) if len(points) else span
    axes.plot(
        hours,
        np.exp(intercept + slope * np.log(hours)),
        color=look.colour,
        linewidth=_WIDTHS[optimum.method],
        solid_capstyle="butt",
        zorder=2 if len(points) else 3,
        gid=optimum.method,
    )
    axes.plot(
        points.compute,
        points[column],
        linestyle="",
        marker=look.marker,
        markersize=3.2,
        color=style.INK,
        markerfacecolor="white",
        markeredgewidth=0.8,
        zorder=4,
    )


def _rule(axes: Axes, optima: Mapping[str, Optimum], column: str, hours: np.ndarray, anchor: float) -> None:
    """Equal rates from the general surface's optimum at ``anchor``."""
    general = optima["general"]
    # Both exponents sum to 1 but for the cost of an epoch, which grows as size to the power of `cost`.
    cost = (1 - general.epochs_exponent.value) / general.size_exponent.value
    intercept, slope = general.size_line if column == "parameters" else general.epochs_line
    start = intercept + slope * np.log(anchor)
    axes.plot(hours, np.exp(start + np.log(hours / anchor) / (1 + cost)), **_RULE, zorder=2.5, gid="rule")
    axes.plot([anchor], [np.exp(start)], marker="o", color=style.HIGHLIGHT, markersize=3.5, linestyle="", zorder=5)


def _size_axis(axes: Axes, runs: pd.DataFrame) -> None:
    """A logarithmic axis of parameters with a line at every model."""
    sizes = runs.groupby("model", sort=False).parameters.first().sort_values()
    doublings = np.arange(np.ceil(np.log2(sizes.min() / 1e8)), np.log2(sizes.max() / 1e8) + 1)
    ticks = [float(1e8 * 2**step) for step in doublings]
    style.number_axis(axes, "y", ticks, [style.parameters_text(tick) for tick in ticks])
    drawn = np.concatenate([sizes, *(line.get_ydata() for line in axes.lines)])
    axes.set(ylabel="Optimal model size (parameters)", ylim=(drawn.min() / 1.2, drawn.max() * 1.2))
    steps = np.diff(np.log(sizes), prepend=-np.inf, append=np.inf) < 0.25
    for (model, size), below, above in zip(sizes.items(), steps[:-1], steps[1:], strict=True):
        axes.axhline(size, color=style.BAND, linewidth=0.5, zorder=0)
        axes.annotate(
            str(model),
            (1, size),
            xytext=(3, 2.5 * (int(below) - int(above))),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            fontsize=7,
            color=style.MUTED,
        )


def _interval(axes: Axes, at: Estimate, y: float, **look: Any) -> None:
    """An estimate with its interval at height ``y``."""
    axes.errorbar(
        at.value,
        y,
        xerr=[[at.value - at.low], [at.high - at.value]],
        color=style.INK,
        elinewidth=1.1,
        capsize=2,
        zorder=4,
        **look,
    )


def _differences(axes: Axes, routes: Sequence[Any]) -> None:
    """Difference of the exponents by each route, and what it returns where the truth is 0."""
    for row, route in enumerate(routes):
        face = style.INK if route.unbiased else "white"
        _interval(axes, route.difference, row - 0.12, marker="o", markersize=4.5, markerfacecolor=face)
        bias, spread = route.bias[TRUTHS[0]], route.spread[TRUTHS[0]]
        axes.plot([bias - 2 * spread, bias + 2 * spread], [row + 0.2] * 2, color=_SIMULATED, linewidth=3, zorder=2)
        axes.plot([bias], [row + 0.2], "|", color=style.INK, markersize=5, zorder=3)
    axes.axvline(0, color=style.HIGHLIGHT, linewidth=0.9, zorder=1)
    axes.annotate(
        "equal rates",
        (0, 1.02),
        xycoords=("data", "axes fraction"),
        ha="center",
        color=style.HIGHLIGHT,
    )
    axes.set_xlabel("Exponent of size less that of epochs")
    kind: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 4.5, "color": style.INK}
    handles = [
        Line2D([], [], **kind, label="left: unbiased in simulation"),
        Line2D([], [], **kind, markerfacecolor="white", label="left: biased, under equal rates or the fit"),
        Patch(color=_SIMULATED, label="simulated with equal rates, ± 2 s.d."),
    ]
    axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(-0.48, 1.14),
        ncols=3,
        borderaxespad=0,
        handlelength=1.2,
        handleheight=0.4,
        columnspacing=1.2,
    )


_SIMULATED = "#c4c4c4"


def _passing(axes: Axes, crossings: Sequence[Estimate], stated: Quantity) -> None:
    """Where the optimal epoch budget passes 1 by each route, and where the paper says that it does."""
    for row, crossing in enumerate(crossings):
        _interval(axes, crossing, row, marker="o", markersize=4.5)
    axes.axvline(stated.value, color=style.HIGHLIGHT, linewidth=0.9, zorder=1)
    axes.annotate(
        f"the paper: roughly {style.thousands(stated.value)}",
        (stated.value, 1.02),
        xycoords=("data", "axes fraction"),
        ha="center",
        color=style.HIGHLIGHT,
    )
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: style.thousands(value)))
    axes.set_xlabel("One epoch is optimal at\n(TPU-v4 core hours)")


def _regret(axes: Axes, regrets: Mapping[str, Regret], anchor: float) -> None:
    """Regret of equal rates with the interval of either form."""
    for form, regret in regrets.items():
        look = _REGRETS[form]
        if form == "general":
            axes.fill_between(regret.compute, regret.low, regret.high, color=style.BAND, linewidth=0, zorder=1)
        else:
            for end in (regret.low, regret.high):
                axes.plot(regret.compute, end, **{**look, "linewidth": 0.6, "linestyle": ":"}, zorder=2)
        axes.plot(regret.compute, regret.percent, **look, label=f"{form} surface, 95%", zorder=3)
    axes.plot([anchor], [0], marker="o", color=style.HIGHLIGHT, markersize=3.5, linestyle="", zorder=5)
    axes.annotate(
        f"anchor, {style.thousands(anchor)}",
        (anchor, 0),
        xytext=(0, 8),
        textcoords="offset points",
        ha="center",
        color=style.MUTED,
    )
    axes.set(
        ylabel="Regret of equal\nrates (% of loss)", ylim=(-0.04, 1.1 * max(r.high.max() for r in regrets.values()))
    )
    axes.legend(loc="upper right")


def from_study(study: Study) -> Figure:
    """Compute-optimal size and epochs from the logged results and their fits."""
    stated = study.results.stated("pretrain.compute_where_optimal_epochs_exceed_one")
    loss = study.fits.loss
    worst = {form: float(loss.worst_regret(form)[1].max()) for form in loss.regret}
    exponent = loss.law.exponent.value
    return draw(study.fits.pretraining, loss.optima, loss.allocation, loss.regret, worst, stated, exponent)
