"""The paper's Figure 3: optimal base learning rate against the epoch budget.

Data: ``paper/data/smith2023_figure3.csv``. Claim: all models share one optimum at small budgets, and it falls slowly
with epochs and with model size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from figures import style

if TYPE_CHECKING:
    from paper.study import Study

__all__ = ["X_LIMITS", "Y_LIMITS", "draw", "from_study"]

X_LIMITS = (0.227, 8.80)
Y_LIMITS = (0.364, 1.753)
"""The frame as the paper draws it."""


@style.paper_style()
def draw(learning_rates: pd.DataFrame) -> Figure:
    """Draws Figure 3 from ``model``, ``epochs`` and ``optimal_learning_rate``."""
    figure, axes = style.paper_axes()
    for model, look in style.FIGURE3.items():
        curve = learning_rates[learning_rates.model == model].sort_values("epochs")
        axes.plot(curve.epochs, curve.optimal_learning_rate, **look.line)
    epochs = sorted(learning_rates.epochs.unique())
    style.number_axis(axes, "x", epochs, [f"{tick:g}" for tick in epochs], base=2)
    rates = sorted(learning_rates.optimal_learning_rate.unique())
    style.number_axis(axes, "y", rates, [f"{tick:g}" for tick in rates])
    axes.set(xlim=X_LIMITS, ylim=Y_LIMITS, xlabel="Training epochs", ylabel="Optimal learning rate")
    axes.legend(loc="lower left")
    return figure


def from_study(study: Study) -> Figure:
    """Figure 3 from the logged results."""
    return draw(study.results.learning_rates)
