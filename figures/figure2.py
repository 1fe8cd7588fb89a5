"""The paper's Figure 2: held-out loss on JFT-4B against pre-training compute.

Data: ``paper/data/smith2023_figure2.csv``. Claim: the loss follows a log-log scaling law of compute, and larger models
trained for more epochs are optimal at larger budgets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from figures import style

if TYPE_CHECKING:
    from paper.study import Study

__all__ = ["X_LIMITS", "Y_LIMITS", "draw", "from_study"]

X_LIMITS = (322, 120_000)
Y_LIMITS = (2.32, 3.01)
"""The frame as the paper draws it."""


@style.paper_style()
def draw(pretraining: pd.DataFrame) -> Figure:
    """Draws Figure 2 from ``model``, ``tpu_v4_core_hours`` and ``jft4b_val_loss`` of each run."""
    figure, axes = style.paper_axes()
    for model, look in style.FIGURE2.items():
        curve = pretraining[pretraining.model == model].sort_values("tpu_v4_core_hours")
        axes.plot(curve.tpu_v4_core_hours, curve.jft4b_val_loss, **look.line)
    axes.set_xscale("log")
    ticks = [tenths / 10 for tenths in range(24, 31)]
    style.number_axis(axes, "y", ticks, [f"{tick:.1f}" for tick in ticks])
    axes.set(xlim=X_LIMITS, ylim=Y_LIMITS, xlabel="TPU-v4 core hours", ylabel="JFT-4B validation loss (nats)")
    axes.legend(loc="lower left")
    return figure


def from_study(study: Study) -> Figure:
    """Figure 2 from the logged results."""
    return draw(study.results.pretraining)
