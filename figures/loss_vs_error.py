"""Held-out loss against top-1 error after fine-tuning, for the same checkpoints.

Data: ``paper/data/smith2023_figure1.csv`` joined with ``smith2023_figure2.csv``. Claim: the checkpoint with the lowest
held-out loss is not always the best after fine-tuning; at equal compute, fine-tuning favours slightly larger models and
slightly smaller epoch budgets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import seaborn as sns
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from figures import style
from paper.noise import INTERVAL, difference_z, validation_images
from paper.results import run_name

if TYPE_CHECKING:
    from paper.study import Study

__all__ = ["draw", "from_study"]

X, Y = "jft4b_val_loss", "imagenet_top1_error_percent"

_ARROWS: dict[bool, dict[str, Any]] = {
    True: {"color": style.INK, "linewidth": 1.8},
    False: {"color": style.HIGHLIGHT, "linewidth": 1.1},
}
"""Arrows by whether the errors that they join differ by more than the noise of the test set."""

_DISTANCE, _CHARACTER = 6.0, 2.0
"""Points between a checkpoint and its label, and half the width of one of the label's characters."""


@style.companion_style()
def draw(checkpoints: pd.DataFrame, swaps: pd.DataFrame, images: int) -> Figure:
    """Draws the checkpoints, and joins the pairs of equal compute whose order swaps.

    Args:
        checkpoints: ``model``, ``epochs``, ``jft4b_val_loss`` (nats) and ``imagenet_top1_error_percent``.
        swaps: ``better_loss`` and ``better_error`` (names of :func:`paper.results.run_name`), ``size_ratio``
            and ``epochs_ratio`` of each pair.
        images: Images of the test set that errors are counted on.
    """
    figure = Figure(figsize=(7.2, 6.7))
    axes = style.axes_at(figure, 0.65, 0.55, 6.35, 5.15)
    models = [model for model in style.COMPANION if model in set(checkpoints.model)]
    looks: dict[str, Any] = {
        "data": checkpoints,
        "x": X,
        "y": Y,
        "hue": "model",
        "hue_order": models,
        "palette": {model: style.COMPANION[model].colour for model in models},
        "legend": False,
        "ax": axes,
    }
    sns.lineplot(**looks, estimator=None, linewidth=0.8, alpha=0.8, zorder=1)
    sns.scatterplot(
        **looks,
        style="model",
        style_order=models,
        markers={model: style.COMPANION[model].marker for model in models},
        s=30,
        linewidth=0.4,
        zorder=3,
    )
    _scales(axes, checkpoints)  # last: on logarithmic axes seaborn would round its points
    axes.set(
        xlabel="Held-out loss on JFT-4B after pre-training (nats)", ylabel="ImageNet top-1 error after fine-tuning (%)"
    )

    runs = zip(checkpoints.model, checkpoints.epochs, strict=True)
    points = zip(checkpoints[X], checkpoints[Y], strict=True)
    places = {run_name(*run): point for run, point in zip(runs, points, strict=True)}
    arrows = [(places[loss], places[error]) for loss, error in zip(swaps.better_loss, swaps.better_error, strict=True)]
    beyond = [bool(difference_z(start[1], end[1], images) > INTERVAL) for start, end in arrows]
    for (start, end), clear in zip(arrows, beyond, strict=True):
        _arrow(axes, start, end, _ARROWS[clear])
    _labels(axes, checkpoints, arrows)

    handles = [Line2D([], [], **{**style.COMPANION[model].line, "linewidth": 0.8}, markersize=5) for model in models]
    for clear, text in ((True, "beyond"), (False, "within")):
        label = f"swap from the lower loss to the lower error, {text} noise"
        handles.append(Line2D([0, 1], [0, 0], **_ARROWS[clear], marker=">", markevery=[1], label=label))
    axes.legend(handles=handles, loc="upper left")

    rank = checkpoints[X].corr(checkpoints[Y], method="spearman")
    agreeing = int(((swaps.size_ratio > 1) & (swaps.epochs_ratio < 1)).sum())
    style.headline(
        figure,
        f"{len(swaps)} pairs of nearly equal compute swap order after fine-tuning, {sum(beyond)} beyond noise",
        f"In {agreeing} of the {len(swaps)} fine-tuning favours the larger model trained for fewer epochs. In "
        f"{sum(beyond)} the errors differ by more than the noise of {images:,} test images (95%, both errors taken as "
        f"independent). Over all {len(checkpoints)} checkpoints the rank correlation of loss and error is {rank:.3f} "
        "(Spearman). Small numbers are epochs.",
    )
    return figure


def _scales(axes: Axes, checkpoints: pd.DataFrame) -> None:
    """Logarithmic axes with room for labels."""
    for which, column, step, margin in (("x", X, 0.1, 1.013), ("y", Y, 1.0, 1.025)):
        low, high = checkpoints[column].min() / margin, checkpoints[column].max() * margin
        ticks = step * np.arange(np.ceil(low / step), np.floor(high / step) + 1)
        style.number_axis(axes, "x" if which == "x" else "y", ticks.tolist(), [f"{tick:.3g}" for tick in ticks])
        axes.set(**{f"{which}lim": (low, high)})


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], look: dict[str, Any]) -> None:
    """An arrow between two markers, with a white edge that lifts it off the curves."""
    axes.annotate(
        "",
        end,
        xytext=start,
        arrowprops={
            "arrowstyle": "-|>",
            **look,
            "mutation_scale": 9,
            "shrinkA": 3,
            "shrinkB": 3,
            "path_effects": [withStroke(linewidth=3.4, foreground="white")],
        },
        zorder=2,
    )


def _labels(axes: Axes, checkpoints: pd.DataFrame, arrows: Sequence[Any]) -> None:
    """Epochs of each checkpoint, on the side of its marker that is farthest from all other marks."""

    def at(points: Any) -> Float[np.ndarray, "n 2"]:
        found = np.asarray(points, float).reshape(-1, 2)
        return np.asarray(axes.transData.transform(found)) * 72 / axes.figure.dpi

    ordered = checkpoints.sort_values("epochs")
    curves = {str(model): at(curve[[X, Y]]) for model, curve in ordered.groupby("model")}
    lines = {model: np.stack([curve[:-1], curve[1:]], axis=1) for model, curve in curves.items()}
    crossing = at(arrows).reshape(-1, 2, 2)
    angles = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    marks = at(checkpoints[[X, Y]])
    for model, curve in curves.items():
        colour = tuple(0.6 * np.array(to_rgb(style.COMPANION[model].colour)) + 0.4 * np.array(to_rgb(style.INK)))
        others = np.concatenate([crossing, *(part for name, part in lines.items() if name != model)])
        for point, epochs in zip(curve, ordered.epochs[ordered.model == model], strict=True):
            around = directions * [_DISTANCE + _CHARACTER * len(f"{epochs:g}"), _DISTANCE + 1]
            spots = point + around
            away = marks[np.hypot(*(marks - point).T) > 0]
            free = np.minimum(_distances(spots, others), np.hypot(*np.moveaxis(spots[:, None] - away, -1, 0)).min(1))
            # Its own curve may come nearer than others', but must not strike the label through.
            best = int(np.argmax(np.minimum(free, 1.4 * _distances(spots, lines[model]))))
            marks = np.concatenate([marks, spots[best : best + 1]])
            axes.annotate(
                f"{epochs:g}",
                tuple(axes.transData.inverted().transform(point * axes.figure.dpi / 72)),
                xytext=tuple(around[best]),
                textcoords="offset points",
                ha="center",
                va="center",
                fontsize=6.5,
                color=colour,
            )


def _distances(points: Float[np.ndarray, "p 2"], segments: Float[np.ndarray, "s 2 2"]) -> Float[np.ndarray, " p"]:
    """Distance of each point to the nearest of the segments."""
    start, along = segments[:, 0], segments[:, 1] - segments[:, 0]
    offset = points[:, None] - start
    share = np.clip((offset * along).sum(-1) / (along**2).sum(-1), 0, 1)
    return np.asarray(np.hypot(*np.moveaxis(offset - share[..., None] * along, -1, 0)).min(axis=1))


def from_study(study: Study) -> Figure:
    """Loss against error from the logged results."""
    return draw(study.checkpoints, study.swaps, validation_images(study.results.datasets))
