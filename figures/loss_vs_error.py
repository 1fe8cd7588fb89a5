"""Held-out loss against top-1 error after fine-tuning, for the same checkpoints.

Data: ``paper/data/smith2023_figure1.csv`` joined with ``smith2023_figure2.csv``. Claim: the checkpoint with the lowest
held-out loss is not always the best after fine-tuning; at equal compute, fine-tuning favours slightly larger models and
slightly smaller epoch budgets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures import style
from paper.results import run_name

if TYPE_CHECKING:
    from paper.study import Study

__all__ = ["draw", "from_study"]


@style.companion_style()
def draw(checkpoints: pd.DataFrame, swaps: pd.DataFrame) -> Figure:
    """Draws the checkpoints, and joins the pairs of equal compute whose order swaps.

    Args:
        checkpoints: ``model``, ``epochs``, ``jft4b_val_loss`` (nats) and ``imagenet_top1_error_percent``.
        swaps: ``better_loss`` and ``better_error`` (names of :func:`paper.results.run_name`), ``size_ratio``
            and ``epochs_ratio`` of each pair.
    """
    figure = Figure(figsize=(6.5, 5.2))
    axes = style.axes_at(figure, 0.65, 0.55, 5.65, 3.9)
    models = [model for model in style.COMPANION if model in set(checkpoints.model)]
    x, y = "jft4b_val_loss", "imagenet_top1_error_percent"
    looks = {
        "data": checkpoints,
        "x": x,
        "y": y,
        "hue": "model",
        "hue_order": models,
        "palette": {model: style.COMPANION[model].colour for model in models},
        "legend": False,
        "ax": axes,
    }
    sns.lineplot(**looks, estimator=None, linewidth=0.8, alpha=0.55, zorder=1)
    sns.scatterplot(
        **looks,
        style="model",
        style_order=models,
        markers={model: style.COMPANION[model].marker for model in models},
        s=34,
        linewidth=0.4,
        zorder=3,
    )

    runs = zip(checkpoints.model, checkpoints.epochs, strict=True)
    points = zip(checkpoints[x], checkpoints[y], strict=True)
    places = {run_name(*run): point for run, point in zip(runs, points, strict=True)}
    for better_loss, better_error in zip(swaps.better_loss, swaps.better_error, strict=True):
        axes.annotate(
            "",
            places[better_error],
            xytext=places[better_loss],
            arrowprops={
                "arrowstyle": "-|>",
                "color": style.HIGHLIGHT,
                "linewidth": 1.1,
                "mutation_scale": 8,
                "shrinkA": 3.5,
                "shrinkB": 3.5,
            },
            zorder=2,
        )
    for place, model in enumerate(models):
        curve = checkpoints[checkpoints.model == model].sort_values("epochs")
        for order, (epochs, loss, error) in enumerate(zip(curve.epochs, curve[x], curve[y], strict=True)):
            # Smaller models lie above the others, so their labels do too; but for the cheapest run, which lies apart.
            above = place == 0 or (place < len(models) / 2 and order > 0)
            axes.annotate(
                f"{epochs:g}",
                (loss, error),
                xytext=(-5, 2) if above else (5, -7),
                textcoords="offset points",
                ha="right" if above else "left",
                fontsize=6.5,
                color=style.MUTED,
            )

    handles = [Line2D([], [], **{**style.COMPANION[model].line, "linewidth": 0.8}, markersize=5) for model in models]
    handles.append(
        Line2D(
            [0, 1],
            [0, 0],
            color=style.HIGHLIGHT,
            linewidth=1.1,
            marker=">",
            markevery=[1],
            label="from the lower loss to the lower error of a pair",
        )
    )
    axes.legend(handles=handles, loc="upper left")
    axes.set(
        xlabel="Held-out loss on JFT-4B after pre-training (nats)", ylabel="ImageNet top-1 error after fine-tuning (%)"
    )

    rank = checkpoints[x].corr(checkpoints[y], method="spearman")
    agreeing = int(((swaps.size_ratio > 1) & (swaps.epochs_ratio < 1)).sum())
    style.headline(
        figure,
        f"{len(swaps)} pairs of nearly equal compute swap order after fine-tuning",
        f"In {agreeing} of these fine-tuning favours the larger model trained for fewer epochs. Over all "
        f"{len(checkpoints)} checkpoints the rank correlation of loss and error is {rank:.3f} (Spearman). "
        "Small numbers are epochs.",
    )
    return figure


def from_study(study: Study) -> Figure:
    """Loss against error from the logged results."""
    return draw(study.checkpoints, study.swaps)
