"""Adaptive gradient clipping at work: norms of units' gradients against those of their weights, and the training loss.

Data: none; ``paper.experiments.clipping`` trains a small network. Claim: at a learning rate at which training diverges
without it, clipping keeps it stable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures import style
from paper.experiments.clipping import CLIPPING, EPS, Clipping, clipping

if TYPE_CHECKING:
    from paper.study import Study

__all__ = ["GRADIENT_FLOOR", "draw", "from_study", "part_of"]

GRADIENT_FLOOR = 1e-13
"""Norm up to which a gradient is none: units that cannot act on the loss get rounding errors at most."""


def part_of(units: pd.DataFrame) -> pd.Series:
    """Which part of the network each unit belongs to: a key of ``style.UNITS``."""
    module = units.module.str
    part = np.select(
        [
            units.parameter == "skip_gain",
            module.contains("stem"),
            module.contains("conv_shortcut"),
            module.contains("nf_block"),
        ],
        ["skip", "stem", "shortcut", "branch"],
        default="head",
    )
    return pd.Series(part, units.index)


@style.companion_style()
def draw(units: pd.DataFrame, losses: pd.DataFrame, threshold: float, eps: float) -> Figure:
    """Draws units at the first and the last step, and the loss with and without clipping.

    Args:
        units: ``step``, ``module``, ``parameter``, ``norm``, ``gradient``, ``exempt`` and ``clipped`` of each unit.
        losses: ``step``, and the loss (nats) ``with_clipping`` and ``without``, nan once it is not finite.
        threshold: Largest ratio of a gradient's norm to its weights'.
        eps: Floor of the weights' norm.
    """
    width, height = 7.2, 3.95
    figure = Figure(figsize=(width, height))
    units = units[~units.exempt]
    seen = units[units.gradient > GRADIENT_FLOOR]
    x = np.maximum(seen.norm, eps)
    xlim = (eps / 2, float(x.max()) * 2)
    ylim = (float(seen.gradient.min()) / 3, max(float(seen.gradient.max()), threshold * xlim[1]) * 3)
    steps = sorted(units.step.unique())
    for left, step in zip((0.65, 2.7), steps, strict=True):
        axes = style.axes_at(figure, left, 0.5, 1.95, 1.95)
        _line(axes, xlim, threshold, eps)
        for part, look in style.UNITS.items():
            rows = seen[(seen.step == step) & (part_of(seen) == part)]
            axes.plot(
                np.maximum(rows.norm, eps),
                rows.gradient,
                **{**look.line, "linestyle": ""},
                markersize=2.8,
                markeredgewidth=0.5,
                zorder=3,
            )
        mine = units[units.step == step]
        axes.set(xscale="log", yscale="log", xlim=xlim, ylim=ylim, xlabel="Norm of weights, at least ε (1)")
        axes.set_title(
            f"Step {step}: {100 * mine.clipped.mean():.0f}% of units clipped", fontsize=8, loc="left", color=style.INK
        )
        silent = (mine.gradient <= GRADIENT_FLOOR).mean()
        if silent > 0.005:
            axes.annotate(
                f"{100 * silent:.0f}% have no gradient",
                (0.97, 0.03),
                xycoords="axes fraction",
                ha="right",
                fontsize=7,
                color=style.MUTED,
            )
    first, second = figure.axes
    first.set_ylabel("Norm of gradient (1)")
    second.tick_params(axis="y", labelleft=False)
    loss_axes = style.axes_at(figure, 5.3, 0.5, 1.8, 1.95)
    diverges = _losses(loss_axes, losses)

    handles = [
        Line2D([], [], **{**look.line, "linestyle": ""}, markersize=4, markeredgewidth=0.7)
        for look in style.UNITS.values()
    ]
    handles.append(Line2D([], [], color=style.INK, linewidth=0.9, label="clipped above"))
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0.65 / width, 2.75 / height),
        ncols=len(handles),
        borderaxespad=0,
        columnspacing=1.3,
    )
    shares = [f"{100 * units.clipped[units.step == step].mean():.0f}%" for step in steps]
    style.headline(
        figure,
        "Clipping keeps training stable at a learning rate at which it diverges without"
        if diverges
        else "Training is stable with clipping and without",
        "Units are output channels, or whole vectors and scalars; the classifier's weight is not clipped. What starts "
        "at zero, as skip gains do, has the smallest threshold and is clipped from the start, which keeps residual "
        f"branches small at first. Of all units {shares[0]} are clipped at step {steps[0]} and {shares[-1]} at step "
        f"{steps[-1]}.",
    )
    return figure


def _line(axes: Axes, xlim: tuple[float, float], threshold: float, eps: float) -> None:
    x = np.array([xlim[0], eps, xlim[1]])
    axes.plot(x, threshold * np.maximum(x, eps), color=style.INK, linewidth=0.9, zorder=2)


def _losses(axes: Axes, losses: pd.DataFrame) -> bool:
    """Draws both losses up to what the axes hold; returns whether the one without clipping leaves it for good."""
    top = 2 * float(losses.with_clipping.iloc[0])
    axes.plot(losses.step, losses.with_clipping, color=style.INK, label="with clipping")
    above = (losses.without.isna() | (losses.without > top)).to_numpy()
    shown = losses.iloc[: int(above.argmax()) + 1 if above.any() else None]
    axes.plot(
        shown.step, shown.without.clip(upper=top), color=style.HIGHLIGHT, linestyle="--", label="without", clip_on=True
    )
    axes.set(xlabel="Step (1)", ylabel="Training loss (nats)", ylim=(0, top), xlim=(0, losses.step.max() + 1))
    axes.legend(loc="upper right", handlelength=1.6)
    return bool(losses.without.isna().any() and losses.with_clipping.notna().all())


def from_study(study: Study) -> Figure:
    """The small network of :mod:`paper.experiments.clipping`; logged results play no part."""
    result: Clipping = clipping()
    return draw(result.units, result.losses, CLIPPING, EPS)
