"""The surface of loss against model size and data, in its general form and its restrictions.

The general form is ``L(N, D) = E + (A / N^alpha + B / D^beta)^gamma``. With gamma = 1 it is the additive surface of
Hoffmann et al. 2022, equation 10; with alpha = beta the optimal size and epochs grow with compute at equal rates,
whatever an epoch costs.

Inside, a surface is ``theta = (log E, log A', a, log B', b, log gamma)`` with ``A' = A^gamma``, ``a = gamma alpha``,
``b = gamma beta`` and sizes and examples in units of their geometric means: the two terms then keep their scale
whatever gamma is, which least squares needs to find its way.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from paper.fits.fitting import Estimate, Model, band, estimate, least_squares, resample_weights
from paper.fits.optimum import CostLine
from paper.fits.runs import Runs
from paper.keeping.memory import remembered

__all__ = [
    "FORMS",
    "HUBER_DELTA",
    "NAMES",
    "Surface",
    "basis",
    "best_lanes",
    "fit_lanes",
    "fit_surface",
    "growth",
    "log_surface",
    "surface_and_slopes",
]

_FLAT = 1e-6  # a rate below it is none
HUBER_DELTA = 1e-3
"""Where Huber's loss on log residuals turns linear; the value of Hoffmann et al. 2022, section D.2."""

NAMES = ("E", "A", "alpha", "B", "beta", "gamma")
FORMS: Mapping[str, tuple[str, ...]] = {
    "general": (),
    "general, E = 0": ("E",),
    "general, equal rates": ("rates",),
    "additive": ("gamma",),
    "additive, E = 0": ("gamma", "E"),
    "additive, equal rates": ("gamma", "rates"),
}
"""What each form restricts: ``E`` to 0, ``gamma`` to 1, or the two ``rates`` to one."""


def basis(restrictions: tuple[str, ...]) -> tuple[Float[np.ndarray, " 6"], Float[np.ndarray, "6 p"]]:
    """What is fixed of ``theta``, and what each free parameter adds to it."""
    spread = np.eye(6)
    if "rates" in restrictions:
        spread[4, 2] = 1
    fixed = np.zeros(6)
    if "E" in restrictions:
        fixed[0] = -np.inf
    return fixed, np.delete(spread, [{"E": 0, "rates": 4, "gamma": 5}[one] for one in restrictions], axis=1)


def surface_and_slopes(
    theta: Float[np.ndarray, "k 6"], size: Float[np.ndarray, "#k n"], data: Float[np.ndarray, "#k n"]
) -> tuple[Float[np.ndarray, "k n"], Float[np.ndarray, "k n 6"]]:
    """Logarithm of each lane's surface and its derivatives by ``theta``."""
    log_e, log_a, a, log_b, b, log_gamma = theta.T[:, :, None]
    gamma = np.exp(log_gamma)
    by_size, by_data = (log_a - a * size) / gamma, (log_b - b * data) / gamma
    with np.errstate(invalid="ignore"):  # both far beyond any number, in lanes that have gone astray
        inner = np.logaddexp(by_size, by_data)
        log = np.logaddexp(log_e, gamma * inner)
    reducible = np.exp(gamma * inner - log)
    share = np.exp(by_size - inner)
    of_size, of_data = reducible * share, reducible * (1 - share)
    bend = reducible * gamma * (inner - share * by_size - (1 - share) * by_data)
    return log, np.stack([1 - reducible, of_size, -of_size * size, of_data, -of_data * data, bend], axis=2)


def log_surface(theta: np.ndarray, size: np.ndarray, data: np.ndarray) -> Float[np.ndarray, "k n"]:
    """Logarithm of each lane's surface at centred log sizes and log examples."""
    log_e, log_a, a, log_b, b, log_gamma = theta.T[:, :, None]
    gamma = np.exp(log_gamma)
    with np.errstate(invalid="ignore"):
        inner = np.logaddexp((log_a - a * size) / gamma, (log_b - b * data) / gamma)
        return np.asarray(np.logaddexp(log_e, gamma * inner))


def fit_lanes(
    size: Float[np.ndarray, "#r n"],
    data: Float[np.ndarray, "#r n"],
    target: Float[np.ndarray, "#r n"],
    weights: Float[np.ndarray, "r n"],
    start: Float[np.ndarray, "r 6"],
    restrictions: tuple[str, ...],
    *,
    delta: float = np.inf,
    iterations: int = 200,
    tolerance: float = 1e-10,
) -> tuple[Float[np.ndarray, "r 6"], Float[np.ndarray, " r"]]:
    """Fits a surface to every lane; returns its ``theta`` and loss.

    Args:
        size: Log size of each run, centred; one row for all lanes, or one a lane.
        data: Log examples, likewise.
        target: Log value, likewise.
        weights: Weight of each run in each lane.
        start: Where each lane starts. What is restricted there stays: a lane's own gamma with ``gamma``.
        restrictions: A value of :data:`FORMS`.
        delta: Where Huber's loss turns linear; infinite for least squares.
        iterations: Upper bound on steps.
        tolerance: A lane rests once a step lowers its loss by less than this share.
    """
    fixed, spread = basis(restrictions)
    held = np.tile(fixed, (len(start), 1))
    if "gamma" in restrictions:
        held[:, 5] = start[:, 5]
    finite = np.where(np.isinf(held), 0, held)
    free = (np.where(np.isinf(start), 0, start) - finite) @ np.linalg.pinv(spread).T

    def of(array: np.ndarray, lanes: np.ndarray) -> np.ndarray:
        return array if len(array) == 1 else array[lanes]

    def model(free: np.ndarray, lanes: Int[np.ndarray, " k"]) -> tuple[np.ndarray, np.ndarray]:
        # A step too far is turned down for its loss, not for an overflow.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            log, jacobian = surface_and_slopes(held[lanes] + free @ spread.T, of(size, lanes), of(data, lanes))
            return np.nan_to_num(log, nan=1e9, posinf=1e9, neginf=-1e9), np.nan_to_num(jacobian @ spread)

    checked: Model = model
    with np.errstate(over="ignore"):
        free, loss = least_squares(
            checked, free, target, weights, delta=delta, iterations=iterations, tolerance=tolerance
        )
    return held + free @ spread.T, loss


def best_lanes(
    size: Float[np.ndarray, "#r n"],
    data: Float[np.ndarray, "#r n"],
    target: Float[np.ndarray, "#r n"],
    restrictions: tuple[str, ...],
    *,
    delta: float = np.inf,
    log_gamma: Float[np.ndarray, " r"] | None = None,
    iterations: int = 500,
    tolerance: float = 1e-10,
) -> tuple[Float[np.ndarray, "r 6"], Float[np.ndarray, " r"], Float[np.ndarray, "r s"]]:
    """Fits each lane from many starts; returns ``theta`` and loss of the best, and the losses from all starts.

    Args:
        size: Log size of each run, centred.
        data: Log examples, likewise.
        target: Log value.
        restrictions: A value of :data:`FORMS`.
        delta: Where Huber's loss turns linear.
        log_gamma: Of each lane, where ``restrictions`` hold it; 0 unless given.
        iterations: Upper bound on steps.
        tolerance: As :func:`fit_lanes` takes it.
    """
    lanes = max(len(size), len(data), len(target), 1 if log_gamma is None else len(log_gamma))
    mean = float(target.mean())
    free_gamma = (0.0,) if "gamma" in restrictions else (0.0, -1.0)
    starts = np.array(
        [
            [mean + np.log(e), mean + np.log((1 - e) * split), a, mean + np.log((1 - e) * (1 - split)), b, bend]
            for e, split, a, b, bend in itertools.product((0.2, 0.6), (0.3, 0.7), (0.1, 0.4), (0.1, 0.4), free_gamma)
        ]
    )
    each = np.repeat(np.arange(lanes), len(starts))
    start = np.tile(starts, (lanes, 1))
    if log_gamma is not None:
        start[:, 5] = log_gamma[each]

    def of(array: np.ndarray) -> np.ndarray:
        return array if len(array) == 1 else array[each]

    weights = np.ones((len(each), target.shape[1]))
    theta, loss = fit_lanes(
        of(size),
        of(data),
        of(target),
        weights,
        start,
        restrictions,
        delta=delta,
        iterations=iterations,
        tolerance=tolerance,
    )
    losses = np.nan_to_num(loss.reshape(lanes, -1), nan=np.inf)
    chosen = losses.argmin(1)
    row = np.arange(lanes)
    return theta.reshape(lanes, -1, 6)[row, chosen], losses[row, chosen], losses


def growth(
    theta: Float[np.ndarray, "r 6"], cost: CostLine, centres: tuple[float, float], epoch: float
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Lines ``(intercept, slope)`` of log optimal size and log optimal epochs against log compute, one a lane.

    With ``C = k N^g epochs`` and the surface's derivative along the line of equal cost set to zero,
    ``N ~ C^(b / (a + g b))`` and ``epochs ~ C^(a / (a + g b))``.
    """
    _, log_a, a, log_b, b, log_gamma = theta.T
    with np.errstate(invalid="ignore", divide="ignore"):  # a resample may have a rate below zero, thus no optimum
        total = a + cost.slope * b
        balance = np.exp(log_gamma) * np.log(a / (cost.slope * b)) + log_a - log_b
        intercept = (balance + a * centres[0] - b * (cost.intercept - np.log(epoch) + centres[1])) / total
        slope = b / total
    return (intercept, slope), (-cost.intercept - cost.slope * intercept, 1 - cost.slope * slope)


@dataclass(frozen=True)
class Surface:
    """A fitted form of ``L(N, D) = E + (A / N^alpha + B / D^beta)^gamma``.

    Attributes:
        form: A key of :data:`FORMS`.
        free: Number of fitted parameters.
        delta: Where the loss on log residuals turned linear; infinite for least squares.
        irreducible: ``E``.
        size_coefficient: ``A``.
        size_exponent: ``alpha``.
        data_coefficient: ``B``.
        data_exponent: ``beta``.
        outer_exponent: ``gamma``.
        objective: Huber loss of the log residuals at the optimum; half their sum of squares for least squares.
        squares: Sum of squared log residuals.
        points: Number of runs.
        beyond: Share of the log residuals larger than :data:`HUBER_DELTA`.
        starts_at_optimum: Share of the starts that ended within 1% of the best objective.
        centres: Mean log size and log examples.
        theta: The surface as the module writes it.
        covariance: Of ``theta``, from the residuals' curvature and variance; 0 for what is restricted.
        samples: ``theta`` of each resample.
    """

    form: str
    free: int
    delta: float
    irreducible: Estimate
    size_coefficient: Estimate
    size_exponent: Estimate
    data_coefficient: Estimate
    data_exponent: Estimate
    outer_exponent: Estimate
    objective: float
    squares: float
    points: int
    beyond: float
    starts_at_optimum: float
    centres: tuple[float, float]
    theta: Float[np.ndarray, " 6"]
    covariance: Float[np.ndarray, "6 6"]
    samples: Float[np.ndarray, "r 6"]

    @property
    def rms_percent(self) -> float:
        """Root mean square of the log residuals, in percent."""
        return float(100 * np.sqrt(self.squares / self.points))

    @property
    def scatter(self) -> float:
        """Standard deviation of ``log L`` about the surface."""
        return float(np.sqrt(self.squares / max(1, self.points - self.free)))

    @property
    def irreducible_error(self) -> float:
        """Standard error of ``E`` from the covariance, in its unit; NaN where the runs do not determine it."""
        variance = float(self.covariance[0, 0])
        return self.irreducible.value * math.sqrt(variance) if variance >= 0 else math.nan

    def predict(self, parameters: np.ndarray, images: np.ndarray) -> np.ndarray:
        """Loss of a model of ``parameters`` that has seen ``images`` examples."""
        parameters, images = np.broadcast_arrays(parameters, images)
        log = self._log(self.theta[None], parameters.ravel(), images.ravel())[0]
        return np.asarray(np.exp(log).reshape(parameters.shape))

    def prediction_interval(
        self, parameters: Float[np.ndarray, " m"], images: Float[np.ndarray, " m"]
    ) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
        """95% interval of a further run: the surface's uncertainty and the runs' scatter about it."""
        return band(self._log(self.samples, parameters, images), self.scatter)

    def _log(self, theta: np.ndarray, parameters: np.ndarray, images: np.ndarray) -> np.ndarray:
        size, data = (np.log(np.asarray(x, float)) - c for x, c in zip((parameters, images), self.centres, strict=True))
        return log_surface(theta, size[None], data[None])

    @property
    def has_optimum(self) -> bool:
        """Whether the loss falls with size and with examples; else no split of compute is better than its ends."""
        return bool(min(self.theta[2], self.theta[4]) > _FLAT)

    def exponents(self, cost_slope: float) -> tuple[float, float]:
        """How optimal size and epochs grow with compute, where an epoch costs ``N^cost_slope``."""
        a, b = float(self.theta[2]), float(self.theta[4])
        total = a + cost_slope * b
        return b / total, a / total


@remembered
def fit_surface(runs: Runs, form: str, delta: float, resamples: int, seed: tuple[int, int]) -> Surface:
    """Fits a form from many starts; the resamples start from its optimum.

    Args:
        runs: Runs with parameters and examples.
        form: A key of :data:`FORMS`.
        delta: Where Huber's loss on log residuals turns linear; infinite for least squares.
        resamples: Number of bootstrap resamples, each of whole runs, with every reading moved inside its uncertainty.
        seed: Of the resamples.
    """
    restrictions = FORMS[form]
    rng = np.random.default_rng(seed)
    size, data, target = np.log(runs.parameters), np.log(runs.examples), np.log(runs.value)
    centres = float(size.mean()), float(data.mean())
    size, data = size[None] - centres[0], data[None] - centres[1]
    best, loss, losses = best_lanes(size, data, target[None], restrictions, delta=delta)
    shape = (resamples, len(target))
    moved = np.log(runs.value + runs.value_width * rng.uniform(-1, 1, shape))
    weights = resample_weights(rng, len(target), resamples)
    samples, _ = fit_lanes(
        size, data, moved, weights, np.tile(best, (resamples, 1)), restrictions, delta=delta, tolerance=1e-7
    )
    theta = best[0]
    log, jacobian = surface_and_slopes(best, size, data)
    residual = target - log[0]
    squares = float(np.sum(residual**2))
    _, spread = basis(restrictions)
    of_free = jacobian[0] @ spread
    noise = squares / max(1, len(target) - spread.shape[1])
    natural, drawn = _natural(best, centres), _natural(samples, centres)
    units = (runs.value_unit, runs.value_unit, "1", runs.value_unit, "1", "1")
    found = [estimate(natural[0, i], drawn[:, i], unit) for i, unit in enumerate(units)]
    return Surface(
        form=form,
        free=spread.shape[1],
        delta=delta,
        irreducible=found[0],
        size_coefficient=found[1],
        size_exponent=found[2],
        data_coefficient=found[3],
        data_exponent=found[4],
        outer_exponent=found[5],
        objective=float(loss[0]),
        squares=squares,
        points=len(target),
        beyond=float(np.mean(np.abs(residual) > HUBER_DELTA)),
        starts_at_optimum=float(np.mean(losses[0] <= loss[0] * 1.01)),
        centres=centres,
        theta=theta,
        covariance=spread @ (noise * np.linalg.pinv(of_free.T @ of_free)) @ spread.T,
        samples=samples,
    )


def _natural(theta: Float[np.ndarray, "r 6"], centres: tuple[float, float]) -> Float[np.ndarray, "r 6"]:
    """``E``, ``A``, ``alpha``, ``B``, ``beta`` and ``gamma`` at sizes and examples in units of one."""
    log_e, log_a, a, log_b, b, log_gamma = theta.T
    gamma = np.exp(log_gamma)
    with np.errstate(over="ignore"):
        parts = [np.exp(log_e), np.exp((log_a + a * centres[0]) / gamma), a / gamma]
        parts += [np.exp((log_b + b * centres[1]) / gamma), b / gamma, gamma]
    return np.stack(parts, axis=1)
