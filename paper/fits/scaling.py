"""Scaling laws of the logged runs, each number with a 95% interval from seeded bootstrap resamples.

Compute ``C`` is in TPU-v4 core hours, model size ``N`` in parameters, ``D`` in images seen (epochs times the size of
JFT-4B). :class:`ScalingFits` is :class:`paper.fits.analysis.Analysis` of the runs of Figures 1 and 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from paper.family import nfnet_family
from paper.fits.analysis import Analysis
from paper.fits.curves import roughness
from paper.fits.forms import Form
from paper.fits.laws import PowerLaw, SaturatingLaw
from paper.fits.optimum import CostLine, Optimum
from paper.fits.runs import Runs
from paper.fits.surface import Surface
from paper.results import MODELS, Results

__all__ = ["HELD_OUT_BEYOND", "ScalingFits"]

HELD_OUT_BEYOND = 20_000.0
"""TPU-v4 core hours up to which runs are fitted where the dearer ones are predicted: a fifth of the dearest run."""


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

    def _analysis(self, table: pd.DataFrame, column: str, resource: str, unit: str, stream: int) -> Analysis:
        hours, value = (table[name].to_numpy(float) for name in ("tpu_v4_core_hours", column))
        runs = Runs(
            compute=hours,
            value=value,
            compute_width=np.asarray(self.results.half_width(resource, "tpu_v4_core_hours", hours), float),
            value_width=np.asarray(self.results.half_width(resource, column, value), float),
            model=tuple(table.model),
            parameters=table.parameters.to_numpy(float),
            examples=table.images.to_numpy(float),
            epoch=float(self.results.stated("pretrain.images").value),
            value_unit=unit,
            compute_unit="TPU-v4 core hours",
        )
        return Analysis(runs, self.resamples, self.seed, stream, HELD_OUT_BEYOND)

    @cached_property
    def loss(self) -> Analysis:
        """Held-out loss of the runs of Figure 2."""
        return self._analysis(self.pretraining, "jft4b_val_loss", "smith2023-figure2", "nats", 0)

    @cached_property
    def error(self) -> Analysis:
        """Top-1 error of the runs of Figure 1, without repeated augmentation."""
        return self._analysis(self.finetuning, "imagenet_top1_error_percent", "smith2023-figure1", "percent", 1)

    @property
    def loss_law(self) -> PowerLaw:
        """Held-out loss on the compute frontier of Figure 2."""
        return self.loss.law

    @property
    def loss_law_saturating(self) -> SaturatingLaw:
        """The same with an irreducible loss."""
        return self.loss.saturating

    @property
    def error_law(self) -> PowerLaw:
        """Top-1 error on the compute frontier of Figure 1, without repeated augmentation."""
        return self.error.law

    @property
    def error_law_saturating(self) -> SaturatingLaw:
        """The same with an irreducible error."""
        return self.error.saturating

    @property
    def surface(self) -> Surface:
        """The additive ``L(N, D)`` over all runs of Figure 2, by Huber's loss."""
        return self.loss.surface

    @property
    def surface_forms(self) -> dict[str, Form]:
        """Forms of ``L(N, D)`` over the same runs by least squares, compared."""
        return self.loss.forms

    @property
    def cost(self) -> CostLine:
        """Cost of an epoch against model size."""
        return self.loss.cost

    @property
    def optimum_by_profiles(self) -> Optimum:
        """Minima of iso-compute profiles of Figure 2, regressed on compute."""
        return self.loss.run_optima["profiles"]

    @property
    def error_optimum_by_profiles(self) -> Optimum:
        """Minima of iso-compute profiles of Figure 1: the best size after fine-tuning."""
        return self.error.run_optima["profiles"]

    @property
    def optima(self) -> Sequence[Optimum]:
        """Three routes to compute-optimal size and epochs; ``loss.optima`` has all."""
        return tuple(self.loss.optima[method] for method in ("frontier", "profiles", "surface"))

    @cached_property
    def loss_roughness(self) -> pd.Series:
        """Roughness of each model's curve in Figure 2, in percent; index in the paper's order."""
        return roughness(self.pretraining, "jft4b_val_loss").reindex(MODELS)
