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
from paper.experiments.clipping import CLIPPING, EPS, LEARNING_RATE, Clipping, clipping

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
def draw(units: pd.DataFrame, losses: pd.DataFrame, threshold: float, eps: float, learning_rate: float) -> Figure:
    """Draws units at the first and the last step, and the loss with and without clipping.

    Units without a gradient stand in a strip at the bottom.

    Args:
        units: ``step``, ``module``, ``parameter``, ``norm``, ``gradient``, ``exempt`` and ``clipped`` of each unit.
        losses: ``step``, and the loss (nats) ``with_clipping`` and ``without``, nan once it is not finite.
        threshold: Largest ratio of a gradient's norm to its weights'.
        eps: Floor of the weights' norm.
        learning_rate: Learning rate of both trainings.
    """
    width, height = 7.2, 4.35
    figure = Figure(figsize=(width, height))
    units = units[~units.exempt]
    seen = units[units.gradient > GRADIENT_FLOOR]
    xlim = (eps / 2, float(units.norm.max()) * 2)
    least = 10 ** np.floor(np.log10(float(seen.gradient.min())))
    strip = least / 30
    ylim = (strip / 10, max(float(seen.gradient.max()), threshold * xlim[1]) * 3)
    shown = units.assign(gradient=units.gradient.where(units.gradient > GRADIENT_FLOOR, strip), part=part_of(units))
    steps = sorted(units.step.unique())
    for left, step in zip((0.65, 2.7), steps, strict=True):
        axes = style.axes_at(figure, left, 0.5, 1.95, 2.35)
        _line(axes, xlim, threshold, eps)
        for part, look in style.UNITS.items():
            rows = shown[(shown.step == step) & (shown.part == part)]
            axes.plot(
                np.maximum(rows.norm, eps),
                rows.gradient,
                **{**look.line, "linestyle": ""},
                markersize=2.8,
                markeredgewidth=0.5,
                zorder=3,
            )
        mine = units[units.step == step]
        axes.set(xscale="log", yscale="log", xlim=xlim, ylim=ylim, xlabel="Norm of weights, at least ε")
        axes.axhspan(ylim[0], least / 4, color=style.BAND, alpha=0.45, linewidth=0, zorder=0)
        ticks = 10.0 ** np.arange(np.log10(least), np.log10(ylim[1]), 2)
        labels = [f"$10^{{{np.log10(tick):.0f}}}$" for tick in ticks]
        style.number_axis(axes, "y", [strip, *ticks], ["none", *labels])
        axes.set_title(
            f"Step {step}: {100 * mine.clipped.mean():.0f}% of units clipped", fontsize=8, loc="left", color=style.INK
        )
        silent = (mine.gradient <= GRADIENT_FLOOR).mean()
        if silent > 0.005:
            axes.annotate(
                f"{100 * silent:.0f}% of units\nhave no gradient",
                (eps, least / 4),
                xytext=(0, 3),
                textcoords="offset points",
                fontsize=7,
                color=style.MUTED,
            )
    first, second = figure.axes
    first.set_ylabel("Norm of gradient")
    second.tick_params(axis="y", labelleft=False)
    loss_axes = style.axes_at(figure, 5.3, 0.5, 1.8, 2.35)
    leaves = _losses(loss_axes, losses)

    handles = [
        Line2D([], [], **{**look.line, "linestyle": ""}, markersize=4, markeredgewidth=0.7)
        for look in style.UNITS.values()
    ]
    handles.append(Line2D([], [], color=style.INK, linewidth=0.9, label="clipped above"))
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0.65 / width, 3.15 / height),
        ncols=len(handles),
        borderaxespad=0,
        columnspacing=1.3,
    )
    gains = units[(units.step == steps[0]) & (units.parameter == "skip_gain")]
    rate = f"At a learning rate of {learning_rate:g} training"
    style.headline(
        figure,
        f"{rate} is stable with clipping and without"
        if leaves is None
        else f"{rate} diverges from step {leaves} without clipping, not with it",
        "One small network, trained twice from the same weights on the same batches. Units are output channels, or "
        f"whole vectors and scalars, clipped above {threshold:g} times the larger of the norm of their weights and "
        f"ε = {eps:g}; the classifier's weight is exempt. Skip gains start at 0, so that residual branches have no "
        f"gradient at step {steps[0]}, when {gains.clipped.sum()} of the {len(gains)} gains are clipped.",
    )
    return figure


def _line(axes: Axes, xlim: tuple[float, float], threshold: float, eps: float) -> None:
    x = np.array([xlim[0], eps, xlim[1]])
    axes.plot(x, threshold * np.maximum(x, eps), color=style.INK, linewidth=0.9, zorder=2)


def _losses(axes: Axes, losses: pd.DataFrame) -> int | None:
    """Draws both losses up to what the axes hold; returns the step at which only the one without clipping leaves."""
    top = 2 * float(losses.with_clipping.iloc[0])
    axes.plot(losses.step, losses.with_clipping, color=style.INK, label="with clipping")
    above = (losses.without.isna() | (losses.without > top)).to_numpy()
    shown = losses.iloc[: int(above.argmax()) + 1 if above.any() else None]
    axes.plot(
        shown.step, shown.without.clip(upper=top), color=style.HIGHLIGHT, linestyle="--", label="without", clip_on=True
    )
    axes.set(xlabel="Step", ylabel="Training loss (nats)", ylim=(0, top), xlim=(0, losses.step.max() + 1))
    axes.legend(loc="upper right", handlelength=1.6)
    axes.set_title("Loss, above twice its start cut off", fontsize=8, loc="left", color=style.INK)
    diverges = losses.without.isna().any() and (losses.with_clipping <= top).all()
    return int(losses.step[above.argmax()]) if diverges else None


def from_study(study: Study) -> Figure:
    """The small network of :mod:`paper.experiments.clipping`; logged results play no part."""
    result: Clipping = clipping()
    return draw(result.units, result.losses, CLIPPING, EPS, LEARNING_RATE)
