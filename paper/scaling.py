"""Scaling laws of the logged runs, each number with a 95% interval from seeded bootstrap resamples.

Compute ``C`` is in TPU-v4 core hours, model size ``N`` in parameters, ``D`` in images seen (epochs times the size of
JFT-4B). A bootstrap resample draws points with replacement and moves every reading inside its stated uncertainty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from paper.family import nfnet_family
from paper.fitting import Estimate, aicc, estimate, huber, least_squares, resample_weights, weighted_line
from paper.results import MODELS, Results

__all__ = [
    "HUBER_DELTA",
    "Optimum",
    "PowerLaw",
    "SaturatingLaw",
    "ScalingFits",
    "Surface",
    "frontier_mask",
    "isocompute_optima",
    "roughness",
]

HUBER_DELTA = 1e-3
"""Where Huber's loss on log residuals turns linear; the value of Hoffmann et al. 2022, section D.2."""


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
        moved = [
            np.log(x + w * rng.uniform(-1, 1, shape)) for x, w in zip((compute, value), widths, strict=True)
        ]
        return cls(compute, value, *moved, resample_weights(rng, len(compute), resamples))


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

    def band(
        self, compute: Float[np.ndarray, " m"]
    ) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
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
        criterion: Corrected Akaike criterion.
    """

    irreducible: Estimate
    coefficient: Estimate
    exponent: Estimate
    criterion: float

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
            criterion=aicc(2 * float(loss[0]), len(x), 3),
        )

    def predict(self, compute: np.ndarray) -> np.ndarray:
        """The law's value at ``compute`` core hours."""
        return np.asarray(self.irreducible.value + self.coefficient.value * compute**-self.exponent.value)


def _fit_saturating(
    x: Float[np.ndarray, "r n"], y: Float[np.ndarray, "r n"], weights: Float[np.ndarray, "r n"]
) -> tuple[Float[np.ndarray, "r 3"], Float[np.ndarray, " r"]]:
    """Fits ``(log E, log A at x = 0, a)`` from a small and a large irreducible term and keeps the better."""

    def model(
        theta: Float[np.ndarray, "k 3"], lanes: Int[np.ndarray, " k"]
    ) -> tuple[Float[np.ndarray, "k n"], Float[np.ndarray, "k n 3"]]:
        falling = theta[:, 1:2] - theta[:, 2:] * x[lanes]
        prediction = np.logaddexp(theta[:, :1], falling)
        share = np.exp(falling - prediction)
        return prediction, np.stack([1 - share, share, -share * x[lanes]], axis=2)

    line = weighted_line(x, y, weights)
    best: tuple[np.ndarray, np.ndarray] | None = None
    for part in (0.02, 0.6):  # share of the irreducible term at x = 0
        start = np.stack(
            [line.intercept + np.log(part), line.intercept + np.log1p(-part), -line.slope / (1 - part)], 1
        )
        theta, loss = least_squares(model, start, y, weights)
        if best is not None:
            keep = best[1] <= loss
            theta, loss = np.where(keep[:, None], best[0], theta), np.where(keep, best[1], loss)
        best = theta, loss
    assert best is not None
    return best


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


def _fit_surface(
    parameters: Float[np.ndarray, " n"],
    images: Float[np.ndarray, " n"],
    value: Float[np.ndarray, " n"],
    width: Float[np.ndarray, " n"],
    resamples: int,
    rng: np.random.Generator,
) -> Surface:
    from scipy.optimize import minimize

    size, data = np.log(parameters), np.log(images)
    centre_size, centre_data = size.mean(), data.mean()
    size, data = size - centre_size, data - centre_data
    target = np.log(value)

    def model(
        theta: Float[np.ndarray, "k 5"], lanes: Int[np.ndarray, " k"]
    ) -> tuple[Float[np.ndarray, "k n"], Float[np.ndarray, "k n 5"]]:
        terms = np.stack(
            np.broadcast_arrays(
                theta[:, :1], theta[:, 1:2] - theta[:, 2:3] * size, theta[:, 3:4] - theta[:, 4:] * data
            )
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
        return float(huber(residual, HUBER_DELTA).sum() / unit), -(slope @ jacobian[0]) / unit

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
    found = [
        minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 2000}) for start in starts
    ]
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
        objective=float(huber(residual, HUBER_DELTA).sum()),
        rms_percent=float(100 * np.sqrt(np.mean(residual**2))),
        starts_at_optimum=near,
        samples=samples,
    )


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


def _optimum(
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
        slope, intercept = np.polyfit(
            np.log(runs.parameters), np.log(runs.tpu_v4_core_hours / runs.epochs), 1
        )
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
        bend, tilt, _ = np.linalg.pinv(np.vander(np.array(sizes) - centre, 3)) @ (
            np.array(rows) @ log_values.T
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            lowest = centre - tilt / (2 * bend)
        inside = (bend > 0) & (lowest >= min(sizes)) & (lowest <= max(sizes))
        result[:, position] = np.where(inside, lowest, np.nan)
    return result


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


@dataclass(frozen=True)
class ScalingFits:
    """All fits of the logged results, computed when first asked for.

    Attributes:
        results: The logged results.
        resamples: Bootstrap resamples of each fit.
        seed: Seed of the bootstrap; each fit has a stream of its own.
    """

    results: Results
    resamples: int = 4000
    seed: int = 0

    def _rng(self, stream: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, stream])

    @cached_property
    def pretraining(self) -> pd.DataFrame:
        """Runs of Figure 2 with ``parameters`` and ``images`` seen."""
        return self._with_size(self.results.pretraining)

    @cached_property
    def finetuning(self) -> pd.DataFrame:
        """Runs of Figure 1 without repeated augmentation, with ``parameters`` and ``images`` seen."""
        runs = self.results.finetuning
        return self._with_size(runs[~runs.repeated_augmentation].reset_index(drop=True))

    def _with_size(self, runs: pd.DataFrame) -> pd.DataFrame:
        images = self.results.stated("pretrain.images").value
        return runs.assign(
            parameters=runs.model.map(nfnet_family().parameters).astype(float), images=runs.epochs * images
        )

    def _frontier_points(self, runs: pd.DataFrame, column: str, resource: str, stream: int) -> Points:
        on = runs[frontier_mask(runs.tpu_v4_core_hours.to_numpy(float), runs[column].to_numpy(float))]
        widths = [self.results.half_width(resource, name, on[name]) for name in ("tpu_v4_core_hours", column)]
        compute, value = on.tpu_v4_core_hours.to_numpy(float), on[column].to_numpy(float)
        return Points.draw(compute, value, (widths[0], widths[1]), self.resamples, self._rng(stream))

    @cached_property
    def _loss_points(self) -> Points:
        return self._frontier_points(self.pretraining, "jft4b_val_loss", "smith2023-figure2", 1)

    @cached_property
    def _error_points(self) -> Points:
        return self._frontier_points(self.finetuning, "imagenet_top1_error_percent", "smith2023-figure1", 2)

    @cached_property
    def loss_law(self) -> PowerLaw:
        """Held-out loss on the compute frontier of Figure 2."""
        return PowerLaw.fit(self._loss_points, "nats")

    @cached_property
    def loss_law_saturating(self) -> SaturatingLaw:
        """The same with an irreducible loss."""
        return SaturatingLaw.fit(self._loss_points, "nats")

    @cached_property
    def error_law(self) -> PowerLaw:
        """Top-1 error on the compute frontier of Figure 1, without repeated augmentation."""
        return PowerLaw.fit(self._error_points, "percent")

    @cached_property
    def error_law_saturating(self) -> SaturatingLaw:
        """The same with an irreducible error."""
        return SaturatingLaw.fit(self._error_points, "percent")

    @cached_property
    def loss_law_all_resampled(self) -> Estimate:
        """Exponent of the loss when whole runs are resampled and the frontier is found anew in each resample."""
        runs = self.pretraining
        order = np.lexsort((runs.jft4b_val_loss, runs.tpu_v4_core_hours))
        x, y = (np.log(runs[name].to_numpy(float)[order]) for name in ("tpu_v4_core_hours", "jft4b_val_loss"))
        weights = resample_weights(self._rng(3), len(x), self.resamples)
        drawn = np.where(weights > 0, y, np.inf)
        before = np.minimum.accumulate(
            np.pad(drawn, ((0, 0), (1, 0)), constant_values=np.inf)[:, :-1], axis=1
        )
        lanes = weighted_line(x[None], y[None], np.where(drawn < before, weights, 0))
        return estimate(self.loss_law.exponent.value, -lanes.slope)

    @cached_property
    def surface(self) -> Surface:
        """``L(N, D)`` over all runs of Figure 2."""
        runs = self.pretraining
        width = self.results.half_width("smith2023-figure2", "jft4b_val_loss", runs.jft4b_val_loss)
        columns = (runs[name].to_numpy(float) for name in ("parameters", "images", "jft4b_val_loss"))
        return _fit_surface(*columns, width, self.resamples, self._rng(4))

    @cached_property
    def cost(self) -> CostLine:
        """Cost of an epoch against model size."""
        return CostLine.fit(self.pretraining)

    @cached_property
    def optimum_by_frontier(self) -> Optimum:
        """Size and epochs of the runs on the frontier of Figure 2, regressed on compute."""
        runs = self.pretraining
        on = runs[frontier_mask(runs.tpu_v4_core_hours.to_numpy(float), runs.jft4b_val_loss.to_numpy(float))]
        x = np.log(on.tpu_v4_core_hours.to_numpy(float))[None]
        weights = np.vstack([np.ones(len(on)), resample_weights(self._rng(5), len(on), self.resamples)])
        lines = [
            weighted_line(x, np.log(on[name].to_numpy(float))[None], weights)
            for name in ("parameters", "epochs")
        ]
        size, epochs = ((float(line.intercept[0]), float(line.slope[0])) for line in lines)
        samples = [(line.intercept[1:], line.slope[1:]) for line in lines]
        points = on[["tpu_v4_core_hours", "parameters", "epochs"]].sort_values("tpu_v4_core_hours")
        return _optimum("frontier", size, epochs, samples[0], samples[1], points.reset_index(drop=True))

    @cached_property
    def optimum_by_profiles(self) -> Optimum:
        """Minima of iso-compute profiles of Figure 2, regressed on compute."""
        return self._profiles(self.pretraining, "jft4b_val_loss", 6)

    @cached_property
    def error_optimum_by_profiles(self) -> Optimum:
        """Minima of iso-compute profiles of Figure 1: the best size after fine-tuning."""
        return self._profiles(self.finetuning, "imagenet_top1_error_percent", 7)

    def budgets(self, runs: pd.DataFrame) -> Float[np.ndarray, " b"]:
        """Compute budgets of the iso-compute profiles: a factor of the square root of 2 apart, over the runs' range."""
        hours = runs.tpu_v4_core_hours.to_numpy(float)
        steps = int(np.floor(2 * np.log2(hours.max() / hours.min())))
        return np.asarray(hours.min() * 2 ** (np.arange(steps + 1) / 2))

    def _profiles(self, runs: pd.DataFrame, column: str, stream: int) -> Optimum:
        fitted, residual = smooth_curves(runs, column)
        # Residual bootstrap: every model keeps its whole curve. Residuals are widened for the parabolas' parameters.
        parameters = 3 * runs.model.nunique()
        pool = (residual - residual.mean()) * np.sqrt(len(runs) / (len(runs) - parameters))
        drawn = fitted + self._rng(stream).choice(pool, (self.resamples, len(runs)))
        budgets = self.budgets(runs)
        values = np.vstack([np.log(runs[column].to_numpy(float)), drawn])
        size = isocompute_optima(runs, column, budgets, values)
        epochs = np.log(budgets) - self.cost.intercept - self.cost.slope * size
        usable = np.isfinite(size)
        enough = usable.sum(1) >= 3
        weights = (usable & enough[:, None]).astype(float)
        with np.errstate(invalid="ignore", divide="ignore"):
            lines = [
                weighted_line(np.log(budgets)[None], np.where(usable, y, 0.0), weights)
                for y in (size, epochs)
            ]
        point_size, point_epochs = ((float(line.intercept[0]), float(line.slope[0])) for line in lines)
        samples = [(line.intercept[1:], line.slope[1:]) for line in lines]
        seen = usable[0]
        points = pd.DataFrame(
            {
                "tpu_v4_core_hours": budgets[seen],
                "parameters": np.exp(size[0, seen]),
                "epochs": np.exp(epochs[0, seen]),
            }
        )
        return _optimum("profiles", point_size, point_epochs, samples[0], samples[1], points)

    @cached_property
    def optimum_by_surface(self) -> Optimum:
        """Minimum of the fitted surface along lines of equal cost.

        With hours = k N^g epochs, setting the derivative along the line to zero gives
        ``N ~ C^(beta / (alpha + g beta))``.
        """
        surface, cost = self.surface, self.cost
        images = self.results.stated("pretrain.images").value

        def lines(
            log_a: np.ndarray, alpha: np.ndarray, log_b: np.ndarray, beta: np.ndarray
        ) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
            total = alpha + cost.slope * beta
            # alpha A N^-alpha = g beta B D^-beta with log D = log C - intercept - g log N + log images
            ratio = np.log(alpha) + log_a - np.log(cost.slope * beta) - log_b
            intercept = (ratio + beta * (np.log(images) - cost.intercept)) / total
            slope = beta / total
            epochs = (-cost.intercept - cost.slope * intercept, 1 - cost.slope * slope)
            return (intercept, slope), epochs

        point = [np.array([value]) for value in self._surface_point]
        size, epochs = lines(*point)
        size_samples, epochs_samples = lines(*surface.samples[:, 1:].T)
        return _optimum(
            "surface",
            (float(size[0][0]), float(size[1][0])),
            (float(epochs[0][0]), float(epochs[1][0])),
            size_samples,
            epochs_samples,
            pd.DataFrame(columns=["tpu_v4_core_hours", "parameters", "epochs"], dtype=float),
        )

    @cached_property
    def _surface_point(self) -> tuple[float, float, float, float]:
        s = self.surface
        return (
            float(np.log(s.size_coefficient.value)),
            s.size_exponent.value,
            float(np.log(s.data_coefficient.value)),
            s.data_exponent.value,
        )

    @property
    def optima(self) -> Sequence[Optimum]:
        """The three routes to compute-optimal size and epochs."""
        return self.optimum_by_frontier, self.optimum_by_profiles, self.optimum_by_surface

    @cached_property
    def loss_roughness(self) -> pd.Series:
        """Roughness of each model's curve in Figure 2, in percent; index in the paper's order."""
        return roughness(self.pretraining, "jft4b_val_loss").reindex(MODELS)
