"""Each model's own curve over its epoch budgets or its compute, and how far it is from smooth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

__all__ = ["curve_rows", "roughness", "smoothing"]


def curve_rows(model: Sequence[str]) -> dict[str, np.ndarray]:
    """Numbers of the runs of each model, in order of appearance."""
    names = np.array(model)
    return {name: np.flatnonzero(names == name) for name in dict.fromkeys(model)}


def smoothing(model: Sequence[str], x: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n n"]:
    """The matrix that takes values to each model's parabola in ``x`` through them (a line through three points)."""
    hat = np.zeros((len(x), len(x)))
    for rows in curve_rows(model).values():
        basis = np.vander(x[rows] - x[rows].mean(), 2 + (len(rows) > 3))
        hat[np.ix_(rows, rows)] = basis @ np.linalg.pinv(basis)
    return hat


def roughness(runs: pd.DataFrame, column: str) -> pd.Series:
    """How far each model's curve is from smooth: RMS residual of a parabola in log epochs, in percent of the value.

    Degrees of freedom are counted (points less three), so that curves of different length compare. Models with fewer
    than five runs are left out.
    """
    y = np.log(runs[column].to_numpy(float))
    residual = y - smoothing(runs.model.tolist(), np.log(runs.epochs.to_numpy(float))) @ y
    result = {
        name: 100 * np.sqrt(float(np.sum(residual[rows] ** 2)) / (len(rows) - 3))
        for name, rows in curve_rows(runs.model.tolist()).items()
        if len(rows) >= 5
    }
    return pd.Series(result, name="roughness_percent", dtype=float)
