"""Compute-optimal model size and epoch budget, by routes that look at runs and by routes that fit a surface.

The routes that look at runs, with Hoffmann et al. 2022, section 3, for their kind:

- ``frontier``: the runs on the compute frontier (a staircase), their size and epochs regressed on compute;
- ``envelope``: at every budget the model whose smooth curve is lowest (approach 1);
- ``profiles``: at every budget the minimum of a parabola in log size through the models' curves (approach 2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from paper.fits.curves import curve_rows, smoothing
from paper.fits.fitting import Estimate, estimate, weighted_line
from paper.fits.laws import frontier_weights
from paper.fits.runs import Runs

__all__ = [
    "LINES",
    "CostLine",
    "Lines",
    "Optimum",
    "budgets_of",
    "envelope_lines",
    "frontier_lines",
    "isocompute_optima",
    "optimum_from_lines",
    "profile_lines",
    "smooth_residuals",
]

Lines = tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""``(intercept, slope)`` of log size and of log epochs against log compute, each an array with a number a lane."""


@dataclass(frozen=True)
class Optimum:
    """Compute-optimal model size and epoch budget: ``N ~ C^a`` and ``epochs ~ C^b``.

    Attributes:
        method: ``frontier``, ``envelope``, ``profiles``, ``surface`` (additive) or ``general``.
        size_exponent: ``a``.
        epochs_exponent: ``b``.
        difference: ``a - b``; zero when size and epochs grow at the same rate.
        one_epoch: Compute at which the optimal epoch budget passes 1.
        size_line: ``(log N at C = 1, a)``.
        epochs_line: ``(log epochs at C = 1, b)``.
        points: What the lines were fitted to: ``compute``, ``parameters``, ``epochs``; empty for surfaces.
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
    method: str, point: Lines, samples: Lines, points: pd.DataFrame | None = None, unit: str = "TPU-v4 core hours"
) -> Optimum:
    """Assembles an :class:`Optimum` from the lines of the data (the first lane of ``point``) and of resamples."""
    size, epochs = ((float(line[0][0]), float(line[1][0])) for line in point)
    a, b = samples[0][1], samples[1][1]
    # A resample in which epochs do not grow never passes 1 upwards; its crossing is left out.
    with np.errstate(over="ignore", invalid="ignore"):
        passing = np.where(b > 0, np.exp(-samples[1][0] / np.where(b > 0, b, 1)), np.nan)
        crossing = np.exp(-epochs[0] / epochs[1]) if epochs[1] else np.nan
    return Optimum(
        method=method,
        size_exponent=estimate(size[1], a),
        epochs_exponent=estimate(epochs[1], b),
        difference=estimate(size[1] - epochs[1], a - b),
        one_epoch=estimate(float(crossing), passing, unit),
        size_line=size,
        epochs_line=epochs,
        points=pd.DataFrame(columns=["compute", "parameters", "epochs"], dtype=float) if points is None else points,
    )


@dataclass(frozen=True)
class CostLine:
    """Cost of an epoch against model size, ``compute per epoch = exp(intercept) N^slope``.

    Attributes:
        intercept: Log cost of an epoch at one parameter.
        slope: How it grows with size.
        rms_percent: Root mean square of the log residuals, in percent.
    """

    intercept: float
    slope: float
    rms_percent: float = 0.0

    @classmethod
    def fit(cls, runs: Runs) -> CostLine:
        """Least squares on logarithms over ``runs`` with parameters and examples."""
        size, cost = np.log(runs.parameters), np.log(runs.compute / runs.epochs)
        slope, intercept = np.polyfit(size, cost, 1)
        residual = cost - intercept - slope * size
        return cls(float(intercept), float(slope), float(100 * np.sqrt(np.mean(residual**2))))


def budgets_of(runs: Runs) -> Float[np.ndarray, " b"]:
    """Compute budgets: a factor of the square root of 2 apart, over the runs' range."""
    steps = int(np.floor(2 * np.log2(runs.compute.max() / runs.compute.min()) + 1e-9))
    return np.asarray(runs.compute.min() * 2 ** (np.arange(steps + 1) / 2))


def frontier_lines(
    runs: Runs,
    log_values: Float[np.ndarray, "r n"],
    weights: Float[np.ndarray, "r n"],
    log_compute: Float[np.ndarray, "#r n"] | None = None,
) -> Lines:
    """Size and epochs of the runs on each lane's frontier, regressed on compute."""
    x = np.log(runs.compute)[None] if log_compute is None else log_compute
    on = frontier_weights(x, log_values, weights)
    lines = [weighted_line(x, np.log(y)[None], on) for y in (runs.parameters, runs.epochs)]
    return (lines[0].intercept, lines[0].slope), (lines[1].intercept, lines[1].slope)


def envelope_lines(runs: Runs, cost: CostLine, log_values: Float[np.ndarray, "r n"]) -> Lines:
    """Size of the model with the lowest smooth curve at each budget, regressed on compute; epochs from the cost.

    A model's curve is a parabola in log compute through its runs, and counts at the budgets that it reaches.
    """
    budgets = budgets_of(runs)
    sizes, curves = [], []
    for rows in curve_rows(runs.model).values():
        x = np.log(runs.compute[rows])
        reached = (budgets >= runs.compute[rows].min() * (1 - 1e-9)) & (
            budgets <= runs.compute[rows].max() * (1 + 1e-9)
        )
        degree = 2 + (len(rows) > 3)
        at = np.vander(np.log(budgets) - x.mean(), degree) @ np.linalg.pinv(np.vander(x - x.mean(), degree))
        curves.append(np.where(reached, log_values[:, rows] @ at.T, np.inf))
        sizes.append(np.log(runs.parameters[rows[0]]))
    values = np.stack(curves)
    size = np.where(np.isfinite(values.min(0)), np.array(sizes)[values.argmin(0)], np.nan)
    return _from_sizes(size, budgets, cost)


def profile_lines(runs: Runs, cost: CostLine, log_values: Float[np.ndarray, "r n"]) -> Lines:
    """Minima of iso-compute profiles, regressed on compute; epochs from the cost. NaN with fewer than three minima."""
    budgets = budgets_of(runs)
    return _from_sizes(isocompute_optima(runs, budgets, log_values), budgets, cost)


def _from_sizes(size: Float[np.ndarray, "r b"], budgets: np.ndarray, cost: CostLine) -> Lines:
    usable = np.isfinite(size)
    weights = np.where(usable.sum(1, keepdims=True) >= 3, usable, False).astype(float)
    line = weighted_line(np.log(budgets)[None], np.where(usable, size, 0.0), weights)
    epochs = -cost.intercept - cost.slope * line.intercept, 1 - cost.slope * line.slope
    return (line.intercept, line.slope), epochs


LINES: Mapping[str, Callable[[Runs, CostLine, np.ndarray], Lines]] = {
    "envelope": envelope_lines,
    "profiles": profile_lines,
}
"""Routes by the models' curves, which a residual bootstrap leaves whole."""


def isocompute_optima(
    runs: Runs, budgets: Float[np.ndarray, " b"], log_values: Float[np.ndarray, "r n"]
) -> Float[np.ndarray, "r b"]:
    """Size with the lowest value at each compute budget, from interpolated iso-compute profiles.

    At a budget, each model's curve is interpolated linearly in log-log coordinates (never extrapolated); a parabola in
    log size through the models' values gives the optimum. NaN where it is no minimum, or lies outside the models that
    reach the budget, or where fewer than four do.

    Args:
        runs: Runs with model, parameters and compute.
        budgets: In the runs' unit of compute.
        log_values: Logarithm of the value of each run, in each lane.

    Returns:
        Logarithm of the optimal parameters, a row a lane, a column a budget.
    """
    result = np.full((len(log_values), len(budgets)), np.nan)
    curves = [rows[np.unique(runs.compute[rows], return_index=True)[1]] for rows in curve_rows(runs.model).values()]
    for position, budget in enumerate(budgets):
        columns, parts, sizes = [], [], []
        for curve in curves:
            hours = runs.compute[curve]
            if len(curve) < 2 or not hours[0] <= budget <= hours[-1]:
                continue
            right = int(np.clip(np.searchsorted(hours, budget), 1, len(hours) - 1))
            columns.append((curve[right - 1], curve[right]))
            parts.append(np.log(budget / hours[right - 1]) / np.log(hours[right] / hours[right - 1]))
            sizes.append(np.log(runs.parameters[curve[0]]))
        if len(sizes) < 4:
            continue
        (left, right_), part = np.array(columns).T, np.array(parts)
        profile = log_values[:, left] * (1 - part) + log_values[:, right_] * part
        centre = float(np.mean(sizes))
        bend, tilt, _ = np.linalg.pinv(np.vander(np.array(sizes) - centre, 3)) @ profile.T
        with np.errstate(divide="ignore", invalid="ignore"):
            lowest = centre - tilt / (2 * bend)
        inside = (bend > 0) & (lowest >= min(sizes)) & (lowest <= max(sizes))
        result[:, position] = np.where(inside, lowest, np.nan)
    return result


def smooth_residuals(runs: Runs, log_values: Float[np.ndarray, "r n"]) -> tuple[np.ndarray, np.ndarray]:
    """Each lane's smooth curves over log epochs, and residuals about them widened for the curves' parameters."""
    hat = smoothing(runs.model, np.log(runs.epochs))
    fitted = log_values @ hat.T
    residual = log_values - fitted
    residual -= residual.mean(1, keepdims=True)
    spare = len(runs) - float(np.trace(hat))
    return fitted, residual * np.sqrt(len(runs) / max(1.0, spare))
