"""Each model's own curve over its epoch budgets, and how far it is from smooth."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float

__all__ = ["roughness", "smooth_curves"]


def smooth_curves(runs: pd.DataFrame, column: str) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Each model's curve as a parabola in log epochs; returns fitted ``log value`` and residuals, in row order."""
    fitted = np.empty(len(runs))
    for _, curve in runs.groupby("model", sort=False):
        x, y = np.log(curve.epochs.to_numpy(float)), np.log(curve[column].to_numpy(float))
        fitted[curve.index] = np.polyval(np.polyfit(x, y, 2), x)
    return fitted, np.log(runs[column].to_numpy(float)) - fitted


def roughness(runs: pd.DataFrame, column: str) -> pd.Series:
    """How far each model's curve is from smooth: RMS residual of a parabola in log epochs, in percent of the value.

    Degrees of freedom are counted (points less three), so that curves of different length compare. Models with fewer
    than five runs are left out.
    """
    _, residual = smooth_curves(runs, column)
    result = {}
    for model, curve in runs.groupby("model", sort=False):
        if len(curve) >= 5:
            squares = float(np.sum(residual[curve.index] ** 2))
            result[str(model)] = 100 * np.sqrt(squares / (len(curve) - 3))
    return pd.Series(result, name="roughness_percent")
