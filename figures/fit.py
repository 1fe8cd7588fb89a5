"""``python -m figures.fit RUNS.csv``: your own runs fitted and drawn, as :mod:`paper.fit` prints them.

Takes the arguments of ``python -m paper.fit``; ``--out`` (by default ``build/fit``) gets ``fit.pdf``, ``fit.svg`` and
``fit.png`` beside the tables.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation, LogLocator, MaxNLocator, NullFormatter

from figures import style
from figures.scaling_law import INDISTINGUISHABLE
from figures.writing import FORMATS
from nfnet.errors import UserError
from nfnet.plot import literally
from paper import fit
from paper.commands import require_writable, run
from paper.files import write_files
from paper.fits.analysis import Analysis
from paper.fits.laws import frontier_mask

if TYPE_CHECKING:
    from paper.fits.own import Own

__all__ = ["draw", "main"]


@style.companion_style()
def draw(own: Own) -> Figure:
    """Draws the frontier of the first quantity with its laws and, where there are sizes, what the routes say.

    Args:
        own: Analysed runs.
    """
    quantity, analysis = next(iter(own.analyses.items()))
    with_routes = analysis.has_optimum
    figure = Figure(figsize=(6.5, 6.0 if with_routes else 4.4))
    _frontier(style.axes_at(figure, 0.75, 2.4 if with_routes else 0.6, 5.55, 2.8), analysis, quantity)
    if with_routes:
        _routes(style.axes_at(figure, 1.75, 0.5, 4.55, 1.2), analysis)
    style.headline(figure, *_message(quantity, analysis))
    return figure


def _message(quantity: str, analysis: Analysis) -> tuple[str, str]:
    on = int(frontier_mask(analysis.runs.compute, analysis.runs.value).sum())
    if not analysis.has_law:
        return (
            f"{on} of {len(analysis.runs)} configurations lie on the frontier",
            f"A law of the {quantity} needs five.",
        )
    a, e = analysis.law.exponent, analysis.saturating.irreducible
    text = (
        f"95% interval of the exponent {a.low:.3f} to {a.high:.3f} over {on} frontier runs of {len(analysis.runs)}. "
        f"A law with an irreducible term has {e.value:.3g} [{e.low:.3g}, {e.high:.3g}] {literally(e.unit)}; Akaike's "
        f"criterion changes by {analysis.saturating.criterion - analysis.law.criterion:+.1f} (below zero favours it)."
    )
    if analysis.saturating.criterion < analysis.law.criterion - INDISTINGUISHABLE:
        return f"The {quantity} levels off: no single power of compute fits the frontier", text
    return f"The {quantity} goes as compute to the power of {-a.value:.3f}".replace("-", "−"), text


def _frontier(axes: Axes, analysis: Analysis, quantity: str) -> None:
    """Every run, and the laws with their bands."""
    runs = analysis.runs
    on = frontier_mask(runs.compute, runs.value)
    span = (runs.compute.max() / runs.compute.min()) ** 0.06
    grid = np.geomspace(runs.compute.min() / span, runs.compute.max() * span, 120)
    if analysis.has_law:
        law, saturating = analysis.law, analysis.saturating
        axes.fill_between(
            grid, *law.prediction_band(grid), color="#ececec", linewidth=0, label="95% of further frontier runs"
        )
        axes.fill_between(grid, *law.band(grid), color=style.BAND, linewidth=0, label="95% confidence")
        axes.plot(grid, law.predict(grid), color=style.INK, linewidth=1.1, label="power law")
        axes.plot(
            grid,
            saturating.predict(grid),
            color=style.HIGHLIGHT,
            linewidth=1.1,
            linestyle="--",
            label="with an irreducible term",
        )
    kind: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 3.5, "markeredgewidth": 0.8}
    kind["color"] = style.INK
    axes.plot(runs.compute[~on], runs.value[~on], markerfacecolor="white", **kind, label="run off the frontier")
    axes.plot(runs.compute[on], runs.value[on], **kind, label="run on the frontier")
    axes.set(xscale="log", yscale="log", xlim=(grid[0], grid[-1]))
    low, high = runs.value.min(), runs.value.max()
    ticks = _round_between(low, high)
    style.number_axis(axes, "y", ticks, [f"{tick:g}" for tick in ticks])
    axes.set_ylim(low / (high / low) ** 0.08, high * (high / low) ** 0.08)
    compute, value = literally(runs.compute_unit), literally(runs.value_unit)  # such as US$, no formula
    axes.set(xlabel=f"Compute ({compute})", ylabel=f"{quantity.capitalize()} ({value})")
    if grid[-1] < 100 * grid[0]:  # else powers of ten are enough
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(LogFormatterSciNotation(minor_thresholds=(10, 10)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.legend(loc="lower left", ncols=2)  # where a falling loss leaves room


def _round_between(low: float, high: float) -> list[float]:
    """About six round numbers between ``low`` and ``high``."""
    ticks = MaxNLocator(nbins=6, steps=[1, 2, 5, 10]).tick_values(low, high)
    return [float(tick) for tick in ticks if low <= tick <= high]


def _routes(axes: Axes, analysis: Analysis) -> None:
    """Each route's difference of exponents; hollow where simulation finds the route biased on these runs."""
    routes = list(analysis.allocation.routes.values())
    for row, route in enumerate(routes):
        at, colour = route.difference, style.INK if route.unbiased else style.MUTED
        axes.plot([at.low, at.high], [row, row], color=colour, linewidth=1.1)
        face = colour if route.unbiased else "white"
        axes.plot(at.value, row, marker="o", markersize=4.5, color=colour, markerfacecolor=face)
    axes.axvline(0, color=style.HIGHLIGHT, linewidth=0.9, zorder=0)
    axes.annotate(
        "equal rates", (0, 1.02), xycoords=("data", "axes fraction"), ha="center", color=style.HIGHLIGHT, fontsize=7
    )
    axes.set_yticks(range(len(routes)), [style.ROUTES[route.method].label for route in routes])
    axes.set_ylim(len(routes) - 0.5, -0.5)
    # Where loss falls with both, neither exponent is below zero: what an interval says beyond, it does not know.
    low, high = axes.get_xlim()
    axes.set_xlim(max(low, -1.3), min(high, 1 / analysis.cost.slope + 0.3))
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    length = "examples" if np.isnan(analysis.runs.epoch) else "epochs"
    axes.set_xlabel(f"Exponent of size less that of {length} (hollow: biased on these runs)")
    axes.xaxis.set_label_coords(0.5, -0.22)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns 0, or 2 with one sentence on standard error."""
    made = fit.parser("python -m figures.fit", "Fit your own runs like the paper's, and draw them.")
    made.set_defaults(out=Path("build/fit"))
    try:
        arguments = fit.arguments_of(made, argv)
        require_writable(arguments.out)
        own = fit.own_of(arguments)
        files = fit.contents(own, arguments.out)
        figure = draw(own)
        files |= {arguments.out / f"fit.{kind}": style.render(figure, kind) for kind in FORMATS}
        text = fit.as_json(own) if arguments.json else fit.report(own)
        write_files(files)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(text)
    for path in files if not arguments.json else ():
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
