"""Laws of one quantity against compute: a power law, and a power law above an irreducible term."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from paper.fits.fitting import Estimate, aicc, estimate, least_squares, resample_weights, weighted_line
from paper.keeping.memory import remembered

__all__ = ["Points", "PowerLaw", "SaturatingLaw", "frontier_mask"]


def frontier_mask(compute: Float[np.ndarray, " n"], value: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Marks the compute frontier: runs with a lower ``value`` than every run that cost the same or less."""
    order = np.lexsort((value, compute))
    best_before = np.minimum.accumulate(np.concatenate([[np.inf], value[order][:-1]]))
    mask = np.zeros(len(compute), dtype=bool)
    mask[order] = value[order] < best_before
    return mask


@dataclass(frozen=True)
class Points:
    """Readings of one quantity against compute, with their half-widths and the bootstrap's draws of both.

    Attributes:
        compute: TPU-v4 core hours.
        value: Loss in nats or error in percent.
        log_compute: Logarithm of ``compute`` in each resample, moved inside its uncertainty.
        log_value: Logarithm of ``value`` in each resample, likewise.
        weights: How often each resample drew each point.
    """

    compute: Float[np.ndarray, " n"]
    value: Float[np.ndarray, " n"]
    log_compute: Float[np.ndarray, "r n"]
    log_value: Float[np.ndarray, "r n"]
    weights: Float[np.ndarray, "r n"]

    @classmethod
    def draw(
        cls,
        compute: Float[np.ndarray, " n"],
        value: Float[np.ndarray, " n"],
        widths: tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]],
        resamples: int,
        rng: np.random.Generator,
    ) -> Points:
        """Draws the resamples; ``widths`` are the half-widths of compute and value."""
        shape = (resamples, len(compute))
        log_compute = np.log(compute + widths[0] * rng.uniform(-1, 1, shape))
        log_value = np.log(value + widths[1] * rng.uniform(-1, 1, shape))
        return cls(compute, value, log_compute, log_value, resample_weights(rng, len(compute), resamples))


@dataclass(frozen=True)
class PowerLaw:
    """``y = A C^-a``, a straight line in log-log coordinates.

    Attributes:
        exponent: ``a``.
        coefficient: ``A``, the value at one core hour.
        compute: Points that were fitted, in core hours.
        value: Their values.
        r_squared: Explained share of the variance of ``log y``.
        criterion: Corrected Akaike criterion.
        samples: ``(log A, -a)`` of each resample.
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
        return cls(
            exponent=estimate(-slope, -lanes.slope),
            coefficient=estimate(np.exp(intercept), np.exp(lanes.intercept), unit),
            compute=points.compute,
            value=points.value,
            r_squared=1 - squares / float(np.sum((y - y.mean()) ** 2)),
            criterion=aicc(squares, len(x), 2),
            samples=np.stack([lanes.intercept, lanes.slope], axis=1),
        )

    def predict(self, compute: np.ndarray) -> np.ndarray:
        """The law's value at ``compute`` core hours."""
        return np.asarray(self.coefficient.value * compute**-self.exponent.value)

    def band(self, compute: Float[np.ndarray, " m"]) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
        """Pointwise 95% interval of the law at ``compute`` core hours."""
        curves = self.samples[:, :1] + self.samples[:, 1:] * np.log(compute)
        low, high = np.exp(np.percentile(curves, [2.5, 97.5], axis=0))
        return low, high

    @property
    def residuals(self) -> Float[np.ndarray, " n"]:
        """``log y`` less the law's, for each fitted point."""
        return np.asarray(np.log(self.value) - np.log(self.predict(self.compute)))


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
        samples: ``(log E, log A, a)`` of each resample.
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
        lanes, _ = _fit_saturating(points.log_compute - centre, points.log_value, points.weights)

        def coefficient(t: np.ndarray) -> np.ndarray:
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
        """Pointwise 95% interval of the law at ``compute``."""
        low, high = np.percentile(self.curves(np.log(compute)[None]), [2.5, 97.5], axis=0)
        return low, high


@remembered
def _fit_saturating(
    x: Float[np.ndarray, "r n"], y: Float[np.ndarray, "r n"], weights: Float[np.ndarray, "r n"]
) -> tuple[Float[np.ndarray, "r 3"], Float[np.ndarray, " r"]]:
    """Fits ``(log E, log A at x = 0, a)`` from a small and a large irreducible term and keeps the better."""

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

    line = weighted_line(x, y, weights)
    best: tuple[np.ndarray, np.ndarray] | None = None
    for part in (0.02, 0.6):  # share of the irreducible term at x = 0
        start = np.stack([line.intercept + np.log(part), line.intercept + np.log1p(-part), -line.slope / (1 - part)], 1)
        theta, loss = least_squares(model, start, y, weights)
        if best is not None:
            keep = best[1] <= loss
            theta, loss = np.where(keep[:, None], best[0], theta), np.where(keep, best[1], loss)
        best = theta, loss
    assert best is not None
    return best
