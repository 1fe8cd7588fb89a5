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
from jaxtyping import Float

from paper.family import nfnet_family
from paper.fits.curves import roughness, smooth_curves
from paper.fits.fitting import Estimate, estimate, resample_weights, weighted_line
from paper.fits.forms import Form, fit_forms
from paper.fits.laws import Points, PowerLaw, SaturatingLaw, frontier_mask
from paper.fits.optimum import CostLine, Optimum, isocompute_optima, optimum_from_lines
from paper.fits.surface import Surface, fit_surface
from paper.keeping.memory import remembered
from paper.results import MODELS, Results

__all__ = ["ScalingFits"]


@remembered
def _surface(
    parameters: Float[np.ndarray, " n"],
    images: Float[np.ndarray, " n"],
    value: Float[np.ndarray, " n"],
    width: Float[np.ndarray, " n"],
    resamples: int,
    seed: tuple[int, int],
) -> Surface:
    return fit_surface(parameters, images, value, width, resamples, np.random.default_rng(seed))


@remembered
def _forms(
    parameters: Float[np.ndarray, " n"], images: Float[np.ndarray, " n"], value: Float[np.ndarray, " n"]
) -> dict[str, Form]:
    return fit_forms(parameters, images, value)


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
        before = np.minimum.accumulate(np.pad(drawn, ((0, 0), (1, 0)), constant_values=np.inf)[:, :-1], axis=1)
        lanes = weighted_line(x[None], y[None], np.where(drawn < before, weights, 0))
        return estimate(self.loss_law.exponent.value, -lanes.slope)

    @cached_property
    def surface(self) -> Surface:
        """``L(N, D)`` over all runs of Figure 2."""
        runs = self.pretraining
        width = self.results.half_width("smith2023-figure2", "jft4b_val_loss", runs.jft4b_val_loss)
        parameters, images, loss = (runs[name].to_numpy(float) for name in ("parameters", "images", "jft4b_val_loss"))
        return _surface(parameters, images, loss, width, self.resamples, (self.seed, 4))

    @cached_property
    def surface_forms(self) -> dict[str, Form]:
        """Forms of ``L(N, D)`` over the same runs, compared."""
        runs = self.pretraining
        return _forms(*(runs[name].to_numpy(float) for name in ("parameters", "images", "jft4b_val_loss")))

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
        lines = [weighted_line(x, np.log(on[name].to_numpy(float))[None], weights) for name in ("parameters", "epochs")]
        size, epochs = ((float(line.intercept[0]), float(line.slope[0])) for line in lines)
        samples = [(line.intercept[1:], line.slope[1:]) for line in lines]
        points = on[["tpu_v4_core_hours", "parameters", "epochs"]].sort_values("tpu_v4_core_hours")
        return optimum_from_lines("frontier", size, epochs, samples[0], samples[1], points.reset_index(drop=True))

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
            lines = [weighted_line(np.log(budgets)[None], np.where(usable, y, 0.0), weights) for y in (size, epochs)]
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
        return optimum_from_lines("profiles", point_size, point_epochs, samples[0], samples[1], points)

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
        return optimum_from_lines(
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
