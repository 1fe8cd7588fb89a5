"""Compute-optimal model size and epoch budget."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from paper.fits.fitting import Estimate, estimate

__all__ = ["CostLine", "Optimum", "isocompute_optima", "optimum_from_lines"]


@dataclass(frozen=True)
class Optimum:
    """Compute-optimal model size and epoch budget: ``N ~ C^a`` and ``epochs ~ C^b``.

    Attributes:
        method: ``frontier``, ``profiles`` or ``surface``.
        size_exponent: ``a``.
        epochs_exponent: ``b``.
        difference: ``a - b``; zero when size and epochs grow at the same rate.
        one_epoch: Compute at which the optimal epoch budget passes 1, in TPU-v4 core hours.
        size_line: ``(log N at C = 1, a)``.
        epochs_line: ``(log epochs at C = 1, b)``.
        points: What the lines were fitted to: ``tpu_v4_core_hours``, ``parameters``, ``epochs``; empty for the surface.
    """

    method: str
    size_exponent: Estimate
    epochs_exponent: Estimate
    difference: Estimate
    one_epoch: Estimate
    size_line: tuple[float, float]
    epochs_line: tuple[float, float]
    points: pd.DataFrame

    @property
    def same_rate(self) -> bool:
        """Whether "scale model size and epochs at the same rate" lies inside the interval."""
        return self.difference.contains(0)


def optimum_from_lines(
    method: str,
    size: tuple[float, float],
    epochs: tuple[float, float],
    size_samples: tuple[np.ndarray, np.ndarray],
    epochs_samples: tuple[np.ndarray, np.ndarray],
    points: pd.DataFrame,
) -> Optimum:
    """Assembles an :class:`Optimum` from lines ``(intercept, slope)`` and their resamples."""
    a, b = size_samples[1], epochs_samples[1]
    # A resample in which epochs do not grow never passes 1 upwards; its crossing is left out.
    passing = np.where(b > 0, np.exp(-epochs_samples[0] / np.where(b > 0, b, 1)), np.nan)
    return Optimum(
        method=method,
        size_exponent=estimate(size[1], a),
        epochs_exponent=estimate(epochs[1], b),
        difference=estimate(size[1] - epochs[1], a - b),
        one_epoch=estimate(np.exp(-epochs[0] / epochs[1]), passing, "TPU-v4 core hours"),
        size_line=size,
        epochs_line=epochs,
        points=points,
    )


@dataclass(frozen=True)
class CostLine:
    """Cost of an epoch against model size, ``hours per epoch = exp(intercept) N^slope``."""

    intercept: float
    slope: float

    @classmethod
    def fit(cls, runs: pd.DataFrame) -> CostLine:
        """Least squares on logarithms over ``runs`` with ``parameters``, ``epochs`` and ``tpu_v4_core_hours``."""
        slope, intercept = np.polyfit(np.log(runs.parameters), np.log(runs.tpu_v4_core_hours / runs.epochs), 1)
        return cls(float(intercept), float(slope))


def isocompute_optima(
    runs: pd.DataFrame,
    column: str,
    budgets: Float[np.ndarray, " b"],
    log_values: Float[np.ndarray, "r n"],
) -> Float[np.ndarray, "r b"]:
    """Size with the lowest value at each compute budget, from interpolated iso-compute profiles.

    At a budget, each model's curve is interpolated linearly in log-log coordinates (never extrapolated); a parabola in
    log size through the models' values gives the optimum. NaN where it is no minimum, or lies outside the models that
    reach the budget, or where fewer than four do.

    Args:
        runs: One row a run, with ``model``, ``parameters``, ``tpu_v4_core_hours``.
        column: Name of the value, to order runs by; only ``log_values`` enters the optimum.
        budgets: TPU-v4 core hours.
        log_values: Logarithm of the value of each run, in each lane.

    Returns:
        Logarithm of the optimal parameters, a row a lane, a column a budget.
    """
    if column not in runs:
        raise KeyError(column)
    result = np.full((len(log_values), len(budgets)), np.nan)
    curves = [group.sort_values("tpu_v4_core_hours") for _, group in runs.groupby("model", sort=False)]
    for position, budget in enumerate(budgets):
        rows, sizes = [], []
        for curve in curves:
            hours = curve.tpu_v4_core_hours.to_numpy(float)
            if not hours[0] <= budget <= hours[-1]:
                continue
            right = int(np.clip(np.searchsorted(hours, budget), 1, len(hours) - 1))
            part = np.log(budget / hours[right - 1]) / np.log(hours[right] / hours[right - 1])
            row = np.zeros(len(runs))
            row[curve.index[right - 1]], row[curve.index[right]] = 1 - part, part
            rows.append(row)
            sizes.append(np.log(curve.parameters.iloc[0]))
        if len(rows) < 4:
            continue
        centre = float(np.mean(sizes))
        bend, tilt, _ = np.linalg.pinv(np.vander(np.array(sizes) - centre, 3)) @ (np.array(rows) @ log_values.T)
        with np.errstate(divide="ignore", invalid="ignore"):
            lowest = centre - tilt / (2 * bend)
        inside = (bend > 0) & (lowest >= min(sizes)) & (lowest <= max(sizes))
        result[:, position] = np.where(inside, lowest, np.nan)
    return result
