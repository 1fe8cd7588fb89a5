"""The parametric surface of loss against model size and data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from paper.fits.fitting import Estimate, estimate, least_squares, resample_weights

__all__ = ["HUBER_DELTA", "Surface", "fit_surface"]

HUBER_DELTA = 1e-3
"""Where Huber's loss on log residuals turns linear; the value of Hoffmann et al. 2022, section D.2."""


@dataclass(frozen=True)
class Surface:
    """``L(N, D) = E + A / N^alpha + B / D^beta`` (Hoffmann et al. 2022, equation 10).

    Attributes:
        irreducible: ``E`` in nats.
        size_coefficient: ``A``.
        size_exponent: ``alpha``.
        data_coefficient: ``B``.
        data_exponent: ``beta``.
        objective: Huber loss of the log residuals at the optimum.
        rms_percent: Root mean square of the log residuals, in percent.
        starts_at_optimum: Share of the starts that ended within 1% of the best objective.
        samples: ``(log E, log A, alpha, log B, beta)`` of each resample.
    """

    irreducible: Estimate
    size_coefficient: Estimate
    size_exponent: Estimate
    data_coefficient: Estimate
    data_exponent: Estimate
    objective: float
    rms_percent: float
    starts_at_optimum: float
    samples: Float[np.ndarray, "r 5"]

    def predict(self, parameters: np.ndarray, images: np.ndarray) -> np.ndarray:
        """Loss in nats of a model of ``parameters`` that has seen ``images``."""
        size = self.size_coefficient.value * parameters**-self.size_exponent.value
        return np.asarray(
            self.irreducible.value + size + self.data_coefficient.value * images**-self.data_exponent.value
        )


def fit_surface(
    parameters: Float[np.ndarray, " n"],
    images: Float[np.ndarray, " n"],
    value: Float[np.ndarray, " n"],
    width: Float[np.ndarray, " n"],
    resamples: int,
    rng: np.random.Generator,
) -> Surface:
    """Fits the surface by multi-start L-BFGS; the resamples start from its optimum.

    Args:
        parameters: Model size of each run.
        images: Images seen by each run.
        value: Held-out loss of each run in nats.
        width: Half-width of each loss's reading, in nats.
        resamples: Number of bootstrap resamples, each of whole runs.
        rng: Source of the resamples.
    """
    from scipy.optimize import minimize
    from scipy.special import huber

    size, data = np.log(parameters), np.log(images)
    centre_size, centre_data = size.mean(), data.mean()
    size, data = size - centre_size, data - centre_data
    target = np.log(value)

    def model(
        theta: Float[np.ndarray, "k 5"], lanes: Int[np.ndarray, " k"]
    ) -> tuple[Float[np.ndarray, "k n"], Float[np.ndarray, "k n 5"]]:
        terms = np.stack(
            np.broadcast_arrays(theta[:, :1], theta[:, 1:2] - theta[:, 2:3] * size, theta[:, 3:4] - theta[:, 4:] * data)
        )
        top = terms.max(0)
        prediction = top + np.log(np.exp(terms - top).sum(0))
        share = np.exp(terms - prediction)
        jacobian = np.stack([share[0], share[1], -share[1] * size, share[2], -share[2] * data], axis=2)
        return prediction, jacobian

    def objective(theta: Float[np.ndarray, " 5"]) -> tuple[float, np.ndarray]:
        prediction, jacobian = model(theta[None], np.zeros(1, int))
        residual = target - prediction[0]
        slope = np.clip(residual, -HUBER_DELTA, HUBER_DELTA)
        # In units of delta^2 the objective is of order one, as L-BFGS's stopping rule expects.
        unit = HUBER_DELTA**2
        return float(huber(HUBER_DELTA, residual).sum() / unit), -(slope @ jacobian[0]) / unit

    mean = float(target.mean())
    starts = [
        np.array(
            [
                mean + np.log(e),
                mean + np.log((1 - e) * split),
                alpha,
                mean + np.log((1 - e) * (1 - split)),
                beta,
            ]
        )
        for e in (0.2, 0.6)
        for split in (0.3, 0.7)
        for alpha in (0.1, 0.4)
        for beta in (0.1, 0.4)
    ]
    found = [minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 2000}) for start in starts]
    best = min(found, key=lambda result: float(result.fun))
    near = float(np.mean([result.fun <= best.fun * 1.01 for result in found]))

    moved = np.log(value + width * rng.uniform(-1, 1, (resamples, len(value))))
    weights = resample_weights(rng, len(value), resamples)
    lanes, _ = least_squares(model, np.tile(best.x, (resamples, 1)), moved, weights, delta=HUBER_DELTA)

    def natural(theta: np.ndarray) -> np.ndarray:
        """Undoes the centring: coefficients at one parameter and one image."""
        result = theta.copy()
        result[:, 1] += theta[:, 2] * centre_size
        result[:, 3] += theta[:, 4] * centre_data
        return result

    point, samples = natural(best.x[None])[0], natural(lanes)
    residual = target - model(best.x[None], np.zeros(1, int))[0][0]
    return Surface(
        irreducible=estimate(np.exp(point[0]), np.exp(samples[:, 0]), "nats"),
        size_coefficient=estimate(np.exp(point[1]), np.exp(samples[:, 1]), "nats"),
        size_exponent=estimate(point[2], samples[:, 2]),
        data_coefficient=estimate(np.exp(point[3]), np.exp(samples[:, 3]), "nats"),
        data_exponent=estimate(point[4], samples[:, 4]),
        objective=float(huber(HUBER_DELTA, residual).sum()),
        rms_percent=float(100 * np.sqrt(np.mean(residual**2))),
        starts_at_optimum=near,
        samples=samples,
    )
