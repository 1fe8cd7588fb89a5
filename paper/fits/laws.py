"""Laws of one quantity against compute: a power law, and a power law above an irreducible term."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from paper.fits.fitting import Estimate, aicc, band, estimate, least_squares, resample_weights, weighted_line
from paper.fits.runs import Runs
from paper.keeping.memory import remembered

__all__ = ["Points", "PowerLaw", "Resampled", "SaturatingLaw", "frontier_mask", "frontier_weights"]

Resampled = Literal["runs", "models", "fixed"]
"""What a resample of a frontier draws: runs, whole models (both find it anew), or points of the frontier as logged."""


def frontier_mask(compute: Float[np.ndarray, " n"], value: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Marks the compute frontier: runs with a lower ``value`` than every run that cost the same or less."""
    order = np.lexsort((value, compute))
    best_before = np.minimum.accumulate(np.concatenate([[np.inf], value[order][:-1]]))
    mask = np.zeros(len(compute), dtype=bool)
    mask[order] = value[order] < best_before
    return mask


def frontier_weights(
    compute: Float[np.ndarray, "#r n"], value: Float[np.ndarray, "#r n"], weights: Float[np.ndarray, "r n"]
) -> Float[np.ndarray, "r n"]:
    """Weights of the runs on the frontier of each lane, 0 for those off it; runs of weight 0 count as absent."""
    drawn = np.where(weights > 0, value, np.inf)
    order = np.lexsort((drawn, np.broadcast_to(compute, weights.shape)), axis=1)
    drawn = np.take_along_axis(drawn, order, axis=1)
    before = np.minimum.accumulate(np.pad(drawn, ((0, 0), (1, 0)), constant_values=np.inf)[:, :-1], axis=1)
    on = np.empty(weights.shape, dtype=bool)
    np.put_along_axis(on, order, drawn < before, axis=1)
    return np.where(on, weights, 0.0)


@dataclass(frozen=True)
class Points:
    """Readings of one quantity against compute, with their half-widths and the bootstrap's draws of both.

    Attributes:
        compute: Compute of the ``n`` points that are fitted.
        value: Loss in nats or error in percent.
        log_compute: Logarithm of the compute of all ``m`` runs in each resample, moved inside its uncertainty.
        log_value: Logarithm of the value in each resample, likewise.
        weights: How often each resample drew each run; 0 for runs off its frontier.
    """

    compute: Float[np.ndarray, " n"]
    value: Float[np.ndarray, " n"]
    log_compute: Float[np.ndarray, "r m"]
    log_value: Float[np.ndarray, "r m"]
    weights: Float[np.ndarray, "r m"]

    @classmethod
    def draw(
        cls,
        compute: Float[np.ndarray, " n"],
        value: Float[np.ndarray, " n"],
        widths: tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]],
        resamples: int,
        rng: np.random.Generator,
    ) -> Points:
        """Draws resamples of all points; ``widths`` are the half-widths of compute and value."""
        shape = (resamples, len(compute))
        log_compute = np.log(compute + widths[0] * rng.uniform(-1, 1, shape))
        log_value = np.log(value + widths[1] * rng.uniform(-1, 1, shape))
        return cls(compute, value, log_compute, log_value, resample_weights(rng, len(compute), resamples))

    @classmethod
    def on_frontier(cls, runs: Runs, resamples: int, rng: np.random.Generator, resampled: Resampled = "runs") -> Points:
        """The frontier of ``runs``; resamples of runs or of whole models find it anew, each after moving readings."""
        on = frontier_mask(runs.compute, runs.value)
        if resampled == "fixed":
            widths = runs.compute_width[on], runs.value_width[on]
            return cls.draw(runs.compute[on], runs.value[on], widths, resamples, rng)
        drawn = cls.draw(runs.compute, runs.value, (runs.compute_width, runs.value_width), resamples, rng)
        weights = drawn.weights
        if resampled == "models":
            cluster = runs.cluster
            weights = resample_weights(rng, int(cluster.max()) + 1, resamples)[:, cluster]
        weights = frontier_weights(drawn.log_compute, drawn.log_value, weights)
        return cls(runs.compute[on], runs.value[on], drawn.log_compute, drawn.log_value, weights)


@dataclass(frozen=True)
class PowerLaw:
    """``y = A C^-a``, a straight line in log-log coordinates.

    Attributes:
        exponent: ``a``.
        coefficient: ``A``, the value at one unit of compute.
        compute: Points that were fitted.
        value: Their values.
        r_squared: Explained share of the variance of ``log y``.
        criterion: Corrected Akaike criterion.
        samples: ``(log A, -a)`` of each resample; NaN where its frontier is a single point.
    """

    exponent: Estimate
    coefficient: Estimate
    compute: Float[np.ndarray, " n"]
    value: Float[np.ndarray, " n"]
    r_squared: float
    criterion: float
    samples: Float[np.ndarray, "r 2"]

    @classmethod
    def fit(cls, points: Points, unit: str) -> PowerLaw:
        """Least squares on logarithms; ``unit`` is that of ``y``."""
        x, y = np.log(points.compute), np.log(points.value)
        line = weighted_line(x[None], y[None], np.ones((1, len(x))))
        slope, intercept = float(line.slope[0]), float(line.intercept[0])
        squares = float(np.sum((y - intercept - slope * x) ** 2))
        lanes = weighted_line(points.log_compute, points.log_value, points.weights)
        several = (points.weights > 0).sum(1) > 1
        samples = np.where(several[:, None], np.stack([lanes.intercept, lanes.slope], axis=1), np.nan)
        return cls(
            exponent=estimate(-slope, -samples[:, 1]),
            coefficient=estimate(np.exp(intercept), np.exp(samples[:, 0]), unit),
            compute=points.compute,
            value=points.value,
            r_squared=1 - squares / float(np.sum((y - y.mean()) ** 2)),
            criterion=aicc(squares, len(x), 2),
            samples=samples,
        )

    def predict(self, compute: np.ndarray) -> np.ndarray:
        """The law's value at ``compute``."""
        return np.asarray(self.coefficient.value * compute**-self.exponent.value)

    def band(self, compute: Float[np.ndarray, " m"]) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
        """Pointwise 95% confidence interval of the law at ``compute``."""
        return band(self._log_curves(compute))

    def prediction_band(
        self, compute: Float[np.ndarray, " m"]
    ) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
        """Pointwise 95% interval of a further run on the frontier: the law's uncertainty and the runs' scatter."""
        return band(self._log_curves(compute), self.scatter)

    def _log_curves(self, compute: np.ndarray) -> np.ndarray:
        return np.asarray(self.samples[:, :1] + self.samples[:, 1:] * np.log(compute))

    @property
    def residuals(self) -> Float[np.ndarray, " n"]:
        """``log y`` less the law's, for each fitted point."""
        return np.asarray(np.log(self.value) - np.log(self.predict(self.compute)))

    @property
    def scatter(self) -> float:
        """Standard deviation of ``log y`` about the law."""
        return float(np.sqrt(np.sum(self.residuals**2) / max(1, len(self.compute) - 2)))


@dataclass(frozen=True)
class SaturatingLaw:
    """``y = E + A C^-a``: a power law above an irreducible term.

    Attributes:
        irreducible: ``E``.
        coefficient: ``A``.
        exponent: ``a``.
        compute: Points that were fitted.
        value: Their values.
        criterion: Corrected Akaike criterion.
        samples: ``(log E, log A, a)`` of each resample; NaN where its frontier has fewer than four points.
    """

    irreducible: Estimate
    coefficient: Estimate
    exponent: Estimate
    compute: Float[np.ndarray, " n"]
    value: Float[np.ndarray, " n"]
    criterion: float
    samples: Float[np.ndarray, "r 3"]

    @classmethod
    def fit(cls, points: Points, unit: str) -> SaturatingLaw:
        """Least squares on logarithms, ``E >= 0``; ``unit`` is that of ``y``."""
        x, y = np.log(points.compute), np.log(points.value)
        centre = x.mean()
        theta, loss = _fit_saturating(x[None] - centre, y[None], np.ones((1, len(x))))
        lanes = np.full((len(points.weights), 3), np.nan)
        enough = (points.weights > 0).sum(1) > 3
        lanes[enough] = _fit_saturating(
            points.log_compute[enough] - centre, points.log_value[enough], points.weights[enough]
        )[0]

        def coefficient(t: np.ndarray) -> np.ndarray:
            with np.errstate(over="ignore"):  # one unit of compute may lie decades below the runs
                return np.asarray(np.exp(t[:, 1] + t[:, 2] * centre))

        return cls(
            irreducible=estimate(np.exp(theta[0, 0]), np.exp(lanes[:, 0]), unit),
            coefficient=estimate(coefficient(theta)[0], coefficient(lanes), unit),
            exponent=estimate(theta[0, 2], lanes[:, 2]),
            compute=points.compute,
            value=points.value,
            criterion=aicc(2 * float(loss[0]), len(x), 3),
            samples=np.stack([lanes[:, 0], lanes[:, 1] + lanes[:, 2] * centre, lanes[:, 2]], axis=1),
        )

    def predict(self, compute: np.ndarray) -> np.ndarray:
        """The law's value at ``compute``."""
        return np.asarray(self.irreducible.value + self.coefficient.value * compute**-self.exponent.value)

    def curves(self, log_compute: Float[np.ndarray, "#r m"]) -> Float[np.ndarray, "r m"]:
        """Each resample's law at ``log_compute``: the same for all resamples, or a row each."""
        log_e, log_a, a = self.samples.T[:, :, None]
        return np.asarray(np.exp(log_e) + np.exp(log_a - a * log_compute))

    def band(self, compute: Float[np.ndarray, " m"]) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
        """Pointwise 95% confidence interval of the law at ``compute``."""
        return band(np.log(self.curves(np.log(compute)[None])))

    def prediction_band(
        self, compute: Float[np.ndarray, " m"]
    ) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
        """Pointwise 95% interval of a further run on the frontier: the law's uncertainty and the runs' scatter."""
        return band(np.log(self.curves(np.log(compute)[None])), self.scatter)

    @property
    def scatter(self) -> float:
        """Standard deviation of ``log y`` about the law."""
        residuals = np.log(self.value) - np.log(self.predict(self.compute))
        return float(np.sqrt(np.sum(residuals**2) / max(1, len(self.compute) - 3)))


@remembered
def _fit_saturating(
    x: Float[np.ndarray, "r n"], y: Float[np.ndarray, "r n"], weights: Float[np.ndarray, "r n"]
) -> tuple[Float[np.ndarray, "r 3"], Float[np.ndarray, " r"]]:
    """Fits ``(log E, log A at x = 0, a)`` and returns it with the loss, half the weighted sum of squares.

    Where a small ``E`` would not lower the loss of the straight line, the line is the fit and ``log E`` minus infinity.
    """
    most = int((weights > 0).sum(1).max(initial=1))
    order = np.argsort(weights == 0, axis=1, kind="stable")[:, :most]  # what is off the frontier costs no time
    x, y, weights = (np.take_along_axis(part, order, axis=1) for part in (x, y, weights))
    line = weighted_line(x, y, weights)
    log = line.intercept[:, None] + line.slope[:, None] * x
    residual = y - log
    theta = np.stack([np.full(len(x), -np.inf), line.intercept, -line.slope], axis=1)
    loss = (weights * residual**2).sum(1) / 2
    rising = np.flatnonzero((weights * residual * np.exp(-log)).sum(1) > 0)
    x, y, weights = x[rising], y[rising], weights[rising]

    def model(
        theta: Float[np.ndarray, "k 3"], lanes: Int[np.ndarray, " k"]
    ) -> tuple[Float[np.ndarray, "k n"], Float[np.ndarray, "k n 3"]]:
        at = x if len(lanes) == len(x) else x[lanes]
        falling = theta[:, 1:2] - theta[:, 2:] * at
        prediction = np.logaddexp(theta[:, :1], falling)
        jacobian = np.empty((*prediction.shape, 3))
        share = np.exp(falling - prediction)
        jacobian[..., 0], jacobian[..., 1], jacobian[..., 2] = 1 - share, share, -share * at
        return prediction, jacobian

    intercept, slope = line.intercept[rising], line.slope[rising]
    part = 0.3  # share of the irreducible term at x = 0
    start = np.stack([intercept + np.log(part), intercept + np.log1p(-part), -slope / (1 - part)], 1)
    found, of_found = least_squares(model, start, y, weights)
    better = of_found < loss[rising]
    theta[rising[better]], loss[rising[better]] = found[better], of_found[better]
    return theta, loss
