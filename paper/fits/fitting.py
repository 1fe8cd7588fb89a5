"""Batched least squares and the bootstrap: every resample of a fit is one lane of an array, never a loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

__all__ = [
    "Estimate",
    "LineFit",
    "aicc",
    "band",
    "estimate",
    "least_squares",
    "likelihood_ratio",
    "resample_weights",
    "weighted_line",
]

Model = Callable[
    [Float[np.ndarray, "r p"], Int[np.ndarray, " r"]],
    tuple[Float[np.ndarray, "r n"], Float[np.ndarray, "r n p"]],
]
"""Maps the parameters of ``r`` lanes, and the lanes' numbers, to predictions and their Jacobian at ``n`` points."""


@dataclass(frozen=True)
class Estimate:
    """A fitted number with its bootstrap interval.

    Attributes:
        value: The estimate on the data as logged.
        low: Lower end of the 95% interval.
        high: Upper end of the 95% interval.
        unit: Unit; ``1`` where there is none.
    """

    value: float
    low: float
    high: float
    unit: str = "1"

    def contains(self, value: float) -> bool:
        """Whether ``value`` lies inside the interval, ends included."""
        return self.low <= value <= self.high

    def __format__(self, spec: str) -> str:
        """Formats as ``value [low, high]`` with ``spec`` (``.3g`` where empty) for each number."""
        spec = spec or ".3g"
        return f"{self.value:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"


@dataclass(frozen=True)
class LineFit:
    """Weighted straight lines ``y = intercept + slope x``, one a lane."""

    slope: Float[np.ndarray, " r"]
    intercept: Float[np.ndarray, " r"]


def estimate(value: float, samples: Float[np.ndarray, " r"], unit: str = "1") -> Estimate:
    """``value`` with the 95% percentile interval of bootstrap ``samples``.

    Lanes without a value (NaN) are left out; where none is left the interval is NaN.
    """
    usable = samples[np.isfinite(samples)]
    low, high = np.percentile(usable, [2.5, 97.5]) if len(usable) else (np.nan, np.nan)
    return Estimate(float(value), float(low), float(high), unit)


def band(
    log_curves: Float[np.ndarray, "r m"], scatter: float = 0.0
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Pointwise 95% interval of curves given by their logarithms, each moved up or down by normal ``scatter``.

    The moves are the quantiles of the normal distribution, one a curve in an order drawn once, so that a band is
    smooth and the same every time.
    """
    from scipy.special import ndtri

    curves = log_curves[np.isfinite(log_curves).all(1)]
    if not len(curves):
        return np.full(log_curves.shape[1], np.nan), np.full(log_curves.shape[1], np.nan)
    quantiles = ndtri((np.arange(len(curves)) + 0.5) / len(curves))
    moves = scatter * np.random.default_rng(0).permutation(quantiles)
    low, high = np.exp(np.percentile(curves + moves[:, None], [2.5, 97.5], axis=0))
    return low, high


def resample_weights(rng: np.random.Generator, points: int, resamples: int) -> Float[np.ndarray, "r n"]:
    """How often each of ``points`` is drawn in each of ``resamples`` draws with replacement."""
    return rng.multinomial(points, np.full(points, 1 / points), size=resamples).astype(float)


def weighted_line(
    x: Float[np.ndarray, "#r n"], y: Float[np.ndarray, "#r n"], weights: Float[np.ndarray, "r n"]
) -> LineFit:
    """Weighted least-squares line of each lane, in closed form; NaN where a lane has no points.

    Points of weight 0 may hold any finite value.
    """
    with np.errstate(invalid="ignore", divide="ignore"):  # a lane without two points has no line
        total = weights.sum(-1)
        mean_x = (weights * x).sum(-1) / total
        mean_y = (weights * y).sum(-1) / total
        dx = x - mean_x[:, None]
        slope = (weights * dx * (y - mean_y[:, None])).sum(-1) / (weights * dx**2).sum(-1)
    return LineFit(slope, mean_y - slope * mean_x)


def least_squares(
    model: Model,
    start: Float[np.ndarray, "r p"],
    target: Float[np.ndarray, "#r n"],
    weights: Float[np.ndarray, "r n"],
    *,
    delta: float = np.inf,
    iterations: int = 200,
    tolerance: float = 1e-10,
) -> tuple[Float[np.ndarray, "r p"], Float[np.ndarray, " r"]]:
    """Minimises the weighted Huber loss of ``target - model`` in every lane by Levenberg-Marquardt.

    Args:
        model: Predictions and Jacobian for given lanes' parameters.
        start: Initial parameters.
        target: Observations; one row, or one a lane.
        weights: Weight of each observation in each lane.
        delta: Where Huber's loss turns linear; infinite for least squares.
        iterations: Upper bound on steps.
        tolerance: A lane rests once a step lowers its loss by less than this share.

    Returns:
        Parameters and loss of each lane.
    """
    from scipy.special import huber

    def cost(residual: np.ndarray) -> np.ndarray:
        return np.asarray(huber(delta, residual) if delta < np.inf else 0.5 * residual**2)

    theta = start.copy()
    y = np.broadcast_to(target, weights.shape)
    prediction, jacobian = model(theta, np.arange(len(theta)))
    loss = (weights * cost(y - prediction)).sum(-1)
    damping = np.full(len(theta), 1e-3)
    lanes = np.arange(len(theta))  # lanes still moving
    diagonal = np.arange(theta.shape[1])
    for _ in range(iterations):
        if not len(lanes):
            break
        residual = y - prediction
        # Iteratively reweighted squares: the same gradient as Huber's loss, a positive curvature.
        scale = weights * np.minimum(1, delta / np.maximum(np.abs(residual), 1e-300)) if delta < np.inf else weights
        weighted = jacobian * scale[:, :, None]
        normal = np.swapaxes(weighted, 1, 2) @ jacobian
        gradient = (np.swapaxes(weighted, 1, 2) @ residual[:, :, None])[:, :, 0]
        curvature = normal[:, diagonal, diagonal]
        # A floor keeps directions that the resample does not see solvable; where the model is flat, a lane stays.
        most = curvature.max(-1, keepdims=True)
        floor = np.where(most > np.finfo(float).tiny, 1e-12 * most, 1)
        normal[:, diagonal, diagonal] += damping[lanes, None] * curvature + floor
        trial = theta[lanes] + np.linalg.solve(normal, gradient[:, :, None])[:, :, 0]
        trial_prediction, trial_jacobian = model(trial, lanes)
        trial_loss = (weights * cost(y - trial_prediction)).sum(-1)
        better = trial_loss < loss[lanes]
        gain = np.where(better, (loss[lanes] - trial_loss) / np.maximum(loss[lanes], 1e-300), 0)
        theta[lanes[better]] = trial[better]
        loss[lanes[better]] = trial_loss[better]
        np.copyto(trial_prediction, prediction, where=~better[:, None])
        np.copyto(trial_jacobian, jacobian, where=~better[:, None, None])
        prediction, jacobian = trial_prediction, trial_jacobian
        damping[lanes] = np.where(better, damping[lanes] / 5, damping[lanes] * 4)
        resting = (better & (gain < tolerance)) | (damping[lanes] > 1e10)
        if resting.any():
            moving = ~resting
            lanes, y, weights, prediction, jacobian = (
                part[moving] for part in (lanes, y, weights, prediction, jacobian)
            )
    return theta, loss


def likelihood_ratio(
    restricted: Float[np.ndarray, "*m"] | float, full: Float[np.ndarray, "*m"] | float, points: int
) -> Float[np.ndarray, "*m"]:
    """Likelihood-ratio statistic of nested forms with Gaussian residuals, by their sums of squares; never below 0.

    Residuals of less than 1e-8 of the values are a fit's rounding: two forms that are both exact have a ratio of 0.
    """
    rounding = points * 1e-16
    return np.asarray(points * np.log(np.maximum(restricted, rounding) / np.maximum(full, rounding))).clip(min=0)


def aicc(squares: float, points: int, parameters: int) -> float:
    """Akaike's criterion for Gaussian residuals, corrected for small samples (Hurvich and Tsai 1989).

    Args:
        squares: Sum of squared residuals.
        points: Number of observations.
        parameters: Number of fitted parameters without the noise level, which is counted here.

    Returns:
        The criterion; infinite where there are too few observations to correct it, finite where the fit is exact.
    """
    k = parameters + 1
    if points <= k + 1:
        return float("inf")
    deviance = points * float(np.log(max(squares, np.finfo(float).tiny) / points))
    return deviance + 2 * k + 2 * k * (k + 1) / (points - k - 1)
