"""The scaling law of held-out loss: a line in log-log coordinates through the compute frontier.

Data: ``paper/data/smith2023_figure2.csv``; fits: ``paper.fits.scaling``. Claim: there is "a clear linear trend" of
held-out loss against compute in log-log coordinates. Beside it the law with an irreducible loss, the frontier as the
staircase that it is, and the residuals of every run: a run is on the frontier if no cheaper one is as good, which one
that lies above the line may well be.
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

_PALE, _DARK = "#e9e9e9", "#bdbdbd"

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
    figure = Figure(figsize=(7.2, 6.3))
    upper = style.axes_at(figure, 0.7, 2.0, 6.35, 3.25)
    lower = style.axes_at(figure, 0.7, 0.5, 6.35, 1.25)
    hours = pretraining.tpu_v4_core_hours.to_numpy(float)
    loss = pretraining.jft4b_val_loss.to_numpy(float)
    frontier = frontier_mask(hours, loss)
    low, high = hours.min() / 1.35, hours.max() * 1.35
    grid = np.geomspace(low, high, 120)

    _laws(upper, grid, law, saturating, relative=False)
    order = np.argsort(hours[frontier])
    steps = hours[frontier][order], loss[frontier][order]
    upper.step(*steps, where="post", color=style.MUTED, linewidth=0.7, zorder=2.2, gid="frontier")
    _runs(upper, pretraining, loss, frontier)
    _laws(lower, grid, law, saturating, relative=True)
    _runs(lower, pretraining, 100 * np.log(loss / law.predict(hours)), frontier)

    bottom, top = float(law.prediction_band(grid)[0].min()) / 1.002, loss.max() * 1.025
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
    above = int((law.residuals > 0).sum())
    style.headline(
        figure,
        f"Held-out loss falls as compute to the power of −{exponent.value:.3f}",
        f"95% interval of the exponent {exponent.low:.3f} to {exponent.high:.3f} over the {frontier.sum()} frontier "
        f"runs of {len(hours)}. The law {verdict} one with an irreducible loss of {irreducible.value:.2f} "
        f"[{irreducible.low:.2f}, {irreducible.high:.2f}] nats: Akaike's criteria differ by {abs(apart):.1f}. "
        f"A run is on the frontier if it beats every cheaper one; the line is their mean trend, so that {above} of "
        f"them lie above it.",
    )
    return figure


def _laws(axes: Axes, grid: np.ndarray, law: PowerLaw, saturating: SaturatingLaw, *, relative: bool) -> None:
    """Both laws and the bands, in nats or in percent above the power law."""

    def shown(value: np.ndarray) -> np.ndarray:
        return np.asarray(100 * np.log(value / law.predict(grid)) if relative else value)

    for (low, high), colour, order in ((law.prediction_band(grid), _PALE, 0.9), (law.band(grid), _DARK, 1)):
        axes.fill_between(grid, shown(low), shown(high), color=colour, linewidth=0, zorder=order)
    axes.plot(grid, shown(law.predict(grid)), color=style.INK, linewidth=1.1, zorder=2)
    axes.plot(grid, shown(saturating.predict(grid)), color=style.HIGHLIGHT, linewidth=1.1, linestyle="--", zorder=2.1)


def _runs(axes: Axes, runs: pd.DataFrame, value: np.ndarray, frontier: np.ndarray) -> None:
    """Every run; those off the frontier hollow, the others with an edge that sets pale ones off the bands."""
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
                markeredgecolor=style.INK if on else look.colour,
                markeredgewidth=0.4 if on else 0.9,
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
    confidence, prediction = (Line2D([], [], color=colour, linewidth=7) for colour in (_DARK, _PALE))
    stairs = Line2D([], [], color=style.MUTED, linewidth=0.7, drawstyle="steps-post")
    line = Line2D([], [], color=style.INK, linewidth=1.1)
    dashed = Line2D([], [], color=style.HIGHLIGHT, linewidth=1.1, linestyle="--")
    axes.add_artist(axes.legend(handles=models, loc="upper right", ncols=2, columnspacing=1.2))
    axes.legend(
        [(confidence, line), prediction, dashed, filled, hollow, stairs],
        [
            "power law, 95% confidence",
            "95% of further frontier runs",
            "with an irreducible loss",
            "run on the frontier",
            "run off the frontier",
            "lowest loss so far",
        ],
        loc="lower left",
        handler_map={tuple: HandlerTuple(ndivide=1)},
    )


def from_study(study: Study) -> Figure:
    """The scaling law from the logged results and their fits."""
    return draw(study.results.pretraining, study.fits.loss_law, study.fits.loss_law_saturating)
