"""Signal propagation at initialisation: variance, squared mean and variance of the residual branch along the blocks.

Data: none; ``paper.experiments.propagation`` measures a real network. Claim: the variance stays below what beta
expects, the more the less smooth the inputs are in space, since average pooling in transition blocks takes what is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures import style
from paper.experiments.propagation import propagation, transitions

if TYPE_CHECKING:
    from paper.study import Study

__all__ = ["draw", "from_study"]

_PANELS = {
    "variance": ("Variance", 2.2),
    "square_mean": ("Mean²", 0.7),
    "branch_variance": ("Branch variance", 1.2),
}
"""Label and height in inches of each panel; all three are pure numbers."""


@style.companion_style()
def draw(signal: pd.DataFrame, kept: pd.DataFrame) -> Figure:
    """Draws the three measures along the blocks, one panel each.

    Args:
        signal: The table of :func:`paper.experiments.propagation.propagation`.
        kept: The table of :func:`paper.experiments.propagation.transitions`.
    """
    width, height = 7.2, 6.3
    figure = Figure(figsize=(width, height))
    bottom = 5.0
    one = signal[signal.inputs == signal.inputs.iloc[0]]
    for measure, (label, tall) in _PANELS.items():
        bottom -= tall + 0.15
        axes = style.axes_at(figure, 0.65, bottom, width - 0.75, tall)
        for block in one.block[one.transition]:
            axes.axvspan(block - 0.5, block + 0.5, color=style.BAND, alpha=0.45, linewidth=0, zorder=0)
        expected = one.expected if measure == "variance" else pd.Series(float(measure != "square_mean"), one.index)
        _expectation(axes, one.block, expected)
        for inputs, look in style.INPUTS.items():
            rows = signal[(signal.inputs == inputs) & signal[measure].notna()]
            line = {**look.line, "markersize": 4, "markeredgewidth": 0.9, "linewidth": 1.1}
            axes.plot(rows.block, rows[measure], **line, zorder=3)
        axes.set(ylabel=label, xlim=(-0.5, one.block.max() + 0.5))
        top = max(axes.get_ylim()[1], 0.2)  # a squared mean is small or not beside a variance of 1
        axes.set_ylim(-0.06 * top, top)
        axes.set_xticks(one.block)
        axes.tick_params(axis="x", labelbottom=False, length=2)
    axes.tick_params(axis="x", labelbottom=True)
    axes.set_xticklabels(["in", *(str(block) for block in one.block[1:])])
    axes.set_xlabel("Block (transition blocks are shaded)")

    first = figure.axes[0]
    for stage, rows in one[one.stage > 0].groupby("stage"):
        first.annotate(
            f"stage {stage}",
            (rows.block.min() - 0.4, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 2),
            textcoords="offset points",
            fontsize=7,
            color=style.MUTED,
        )
    handles = [Line2D([], [], **look.line, markersize=4, markeredgewidth=0.9) for look in style.INPUTS.values()]
    handles.append(Line2D([], [], color=style.HIGHLIGHT, linewidth=1.1, linestyle="--", label="expected by beta"))
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0.65 / width, 5.08 / height),
        ncols=len(handles),
        borderaxespad=0,
        columnspacing=1.6,
        handlelength=2.2,
    )
    halving = {inputs: rows.kept for inputs, rows in kept[kept.halves].groupby("inputs")}
    of_blocks = signal[signal.stage > 0]
    ratio = {inputs: rows.variance / rows.expected for inputs, rows in of_blocks.groupby("inputs")}
    last = {inputs: 100 * float(rows.iloc[-1]) for inputs, rows in ratio.items()}
    style.headline(
        figure,
        f"Variance ends at {last['uniform']:.0f}% of what beta expects on uniform inputs, at {last['noise']:.0f}% on "
        "noise",
        "Averages over channels at initialisation, with skip gains of 1, on random inputs that differ in smoothness. "
        f"On those uniform in space the variance is {ratio['uniform'].min():.2f} to {ratio['uniform'].max():.2f} times "
        f"the expected one after each block, and ends at {last['photograph']:.0f}% on the spectrum of photographs. A "
        f"transition block that halves the resolution keeps {_range(halving['uniform'])} of it on uniform inputs and "
        f"{_range(halving['noise'])} on white noise, most of which its average pooling removes.",
    )
    return figure


def _range(values: pd.Series) -> str:
    return f"{100 * values.min():.0f} to {100 * values.max():.0f}%"


def _expectation(axes: Axes, blocks: pd.Series, expected: pd.Series) -> None:
    """A step a block, since the expectation belongs to a block's output and not to what lies between."""
    edges = np.append(blocks.to_numpy() - 0.5, blocks.max() + 0.5)
    axes.stairs(expected, edges, baseline=None, color=style.HIGHLIGHT, linewidth=1.1, linestyle="--", zorder=2)


def from_study(study: Study) -> Figure:
    """The signal of the small F0 of :mod:`paper.experiments.propagation`; logged results play no part."""
    signal = propagation()
    return draw(signal, transitions(signal))
