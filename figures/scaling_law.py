"""The scaling law of held-out loss: a line in log-log coordinates through the compute frontier.

Data: ``paper/data/smith2023_figure2.csv``; fits: ``paper.fits.scaling``. Claim: there is "a clear linear trend" of
held-out loss against compute in log-log coordinates. Beside it the law with an irreducible loss, and the residuals of
every run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D

from figures import style
from paper.fits.laws import PowerLaw, SaturatingLaw, frontier_mask

if TYPE_CHECKING:
    from paper.study import Study

__all__ = ["INDISTINGUISHABLE", "draw", "from_study"]

INDISTINGUISHABLE = 2.0
"""Differences of Akaike's criterion below this leave both laws standing (Burnham and Anderson 2004)."""


@style.companion_style()
def draw(pretraining: pd.DataFrame, law: PowerLaw, saturating: SaturatingLaw) -> Figure:
    """Draws the law over its residuals.

    Args:
        pretraining: ``model``, ``tpu_v4_core_hours`` and ``jft4b_val_loss`` (nats) of each run.
        law: Power law of the loss on the frontier.
        saturating: The same with an irreducible loss.
    """
    figure = Figure(figsize=(6.5, 5.65))
    upper = style.axes_at(figure, 0.7, 2.0, 5.6, 2.9)
    lower = style.axes_at(figure, 0.7, 0.5, 5.6, 1.25)
    hours = pretraining.tpu_v4_core_hours.to_numpy(float)
    loss = pretraining.jft4b_val_loss.to_numpy(float)
    frontier = frontier_mask(hours, loss)
    low, high = hours.min() / 1.35, hours.max() * 1.35
    grid = np.geomspace(low, high, 120)

    _laws(upper, grid, law, saturating, relative=False)
    _runs(upper, pretraining, loss, frontier)
    _laws(lower, grid, law, saturating, relative=True)
    _runs(lower, pretraining, 100 * np.log(loss / law.predict(hours)), frontier)

    bottom, top = loss.min() / 1.02, loss.max() * 1.025
    ticks = np.arange(np.ceil(bottom * 10), np.floor(top * 10) + 1) / 10
    style.number_axis(upper, "y", ticks.tolist(), [f"{tick:.1f}" for tick in ticks])
    upper.set(ylabel="Held-out loss on JFT-4B (nats)", ylim=(bottom, top))
    style.hours_axis(upper, low, high, label=False)
    upper.tick_params(labelbottom=False)
    style.hours_axis(lower, low, high)
    lower.set_ylabel("Above the\npower law (%)")
    figure.align_ylabels([upper, lower])
    _legends(upper)

    exponent = law.exponent
    apart = law.criterion - saturating.criterion
    verdict = (
        "cannot be told from"
        if abs(apart) < INDISTINGUISHABLE
        else ("fits worse than" if apart > 0 else "fits better than")
    )
    irreducible = saturating.irreducible
    style.headline(
        figure,
        f"Held-out loss falls as compute to the power of −{exponent.value:.3f}",
        f"95% interval of the exponent {exponent.low:.3f} to {exponent.high:.3f} over the {frontier.sum()} frontier "
        f"runs of {len(hours)}. The law {verdict} one with an irreducible loss of {irreducible.value:.2f} "
        f"[{irreducible.low:.2f}, {irreducible.high:.2f}] nats: Akaike's criteria differ by {abs(apart):.1f}.",
    )
    return figure


def _laws(axes: Axes, grid: np.ndarray, law: PowerLaw, saturating: SaturatingLaw, *, relative: bool) -> None:
    """Both laws and the band, in nats or in percent above the power law."""

    def shown(value: np.ndarray) -> np.ndarray:
        return np.asarray(100 * np.log(value / law.predict(grid)) if relative else value)

    low, high = law.band(grid)
    axes.fill_between(grid, shown(low), shown(high), color=style.BAND, linewidth=0, zorder=1)
    axes.plot(grid, shown(law.predict(grid)), color=style.INK, linewidth=1.1, zorder=2)
    axes.plot(grid, shown(saturating.predict(grid)), color=style.HIGHLIGHT, linewidth=1.1, linestyle="--", zorder=2.1)


def _runs(axes: Axes, runs: pd.DataFrame, value: np.ndarray, frontier: np.ndarray) -> None:
    """Every run; those off the frontier hollow."""
    for model, look in style.COMPANION.items():
        for on, face in ((False, "white"), (True, look.colour)):
            rows = (runs.model == model).to_numpy() & (frontier == on)
            axes.plot(
                runs.tpu_v4_core_hours[rows],
                value[rows],
                linestyle="",
                marker=look.marker,
                markersize=5,
                color=look.colour,
                markerfacecolor=face,
                markeredgewidth=0.9,
                zorder=3 + on,
            )


def _legends(axes: Axes) -> None:
    models = [
        Line2D([], [], linestyle="", marker=look.marker, color=look.colour, markersize=5, label=look.label)
        for look in style.COMPANION.values()
    ]
    filled, hollow = (
        Line2D([], [], linestyle="", marker="o", color=style.INK, markerfacecolor=face, markersize=4.5)
        for face in (style.INK, "white")
    )
    band = Line2D([], [], color=style.BAND, linewidth=7)
    line = Line2D([], [], color=style.INK, linewidth=1.1)
    dashed = Line2D([], [], color=style.HIGHLIGHT, linewidth=1.1, linestyle="--")
    axes.add_artist(axes.legend(handles=models, loc="upper right", ncols=2, columnspacing=1.2))
    axes.legend(
        [(band, line), dashed, filled, hollow],
        ["power law, 95% band", "with an irreducible loss", "run on the frontier", "run off the frontier"],
        loc="lower left",
        handler_map={tuple: HandlerTuple(ndivide=1)},
    )


def from_study(study: Study) -> Figure:
    """The scaling law from the logged results and their fits."""
    return draw(study.results.pretraining, study.fits.loss_law, study.fits.loss_law_saturating)
