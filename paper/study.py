"""One bundle of logged results and everything computed from them, shared by claims, tables and figures."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from paper.family import PLUS_WIDTHS, PlusWidth, nfnet_family, utilisation
from paper.fits.scaling import ScalingFits
from paper.provenance import DATA
from paper.results import Results, load, run_name
from paper.vits.advantage import Matched

__all__ = ["Study"]


@dataclass(frozen=True)
class Study:
    """Logged results with their fits; each part is computed when first asked for.

    Attributes:
        results: The logged results.
        fits: Scaling-law fits with bootstrap intervals.
    """

    results: Results
    fits: ScalingFits = field(repr=False)

    @classmethod
    def of(cls, results: Results, *, resamples: int = 4000, seed: int = 0) -> Study:
        """Bundles ``results`` with fits of ``resamples`` bootstrap resamples."""
        return cls(results, ScalingFits(results, resamples, seed))

    @classmethod
    def load(cls, directory: Path = DATA, *, resamples: int = 4000, seed: int = 0) -> Study:
        """Loads the data package in ``directory``.

        Raises:
            DataError: If a file is missing, altered or malformed.
        """
        return cls.of(load(directory), resamples=resamples, seed=seed)

    @cached_property
    def utilisation(self) -> pd.DataFrame:
        """Implied hardware utilisation of each run of Figure 2 (derived).

        Columns: ``model``, ``epochs``, ``tpu_v4_core_hours``, and ``published`` and ``released``: the share of the
        theoretical peak under either reading of the '+' variants.
        """
        runs = self.results.pretraining
        table = runs[["model", "epochs", "tpu_v4_core_hours"]].copy()
        for plus_width in PLUS_WIDTHS:
            table[plus_width] = self.utilisation_of(runs, plus_width)
        return table

    def utilisation_of(self, runs: pd.DataFrame, plus_width: PlusWidth = "published") -> pd.Series:
        """Implied utilisation of pre-training ``runs``."""
        stated = self.results.stated
        return utilisation(
            runs,
            images_per_epoch=stated("pretrain.images").value,
            resolution=round(stated("pretrain.train_resolution").value),
            peak_flops=self.peak_flops,
            plus_width=plus_width,
        )

    @property
    def peak_flops(self) -> float:
        """Theoretical bfloat16 peak of a TPU-v4 core in FLOP/s."""
        return self.peak_flops_of("TPU-v4")

    def peak_flops_of(self, accelerator: str) -> float:
        """Theoretical bfloat16 peak of one core of an accelerator of ``hardware.csv`` in FLOP/s."""
        table = self.results.hardware
        chip = table[table.accelerator == accelerator].iloc[0]
        return float(chip.peak_bf16_tflops_per_chip) * 1e12 / float(chip.cores_per_chip)

    @cached_property
    def matched(self) -> Matched:
        """NFNets and the whole sweep of Vision Transformers on the same axes."""
        return Matched(self.results, self.fits)

    @cached_property
    def matched_compute(self) -> pd.DataFrame:
        """Each Vision Transformer of Figure 1 beside the NFNet frontier at the same compute (derived).

        Columns: ``model``, ``tpu_v4_core_hours``, ``error`` (its own), ``power_law`` with ``low`` and ``high``, and
        ``saturating_law``: the NFNets' error by either law of the frontier, without repeated augmentation; all errors
        in percent. ``extrapolated`` is the compute as a multiple of the dearest NFNet's.
        """
        vits = self.results.vits
        hours = vits.tpu_v4_core_hours_plotted.to_numpy(float)
        low, high = self.fits.error_law.band(hours)
        return pd.DataFrame(
            {
                "model": vits.model,
                "tpu_v4_core_hours": vits.tpu_v4_core_hours_plotted,
                "error": vits.imagenet_top1_error_percent_plotted,
                "power_law": self.fits.error_law.predict(hours),
                "low": low,
                "high": high,
                "saturating_law": self.fits.error_law_saturating.predict(hours),
                "extrapolated": hours / self.fits.finetuning.tpu_v4_core_hours.max(),
            }
        )

    @cached_property
    def checkpoints(self) -> pd.DataFrame:
        """Checkpoints of both Figures 1 and 2: held-out loss beside top-1 error after fine-tuning.

        Columns: ``model``, ``epochs``, ``tpu_v4_core_hours``, ``jft4b_val_loss``, ``imagenet_top1_error_percent``.
        """
        tuned = self.results.finetuning
        plain = tuned[~tuned.repeated_augmentation].drop(columns=["repeated_augmentation", "tpu_v4_core_hours"])
        return self.results.pretraining.merge(plain, on=["model", "epochs"], how="inner")

    @cached_property
    def swaps(self) -> pd.DataFrame:
        """Pairs of checkpoints of nearly equal compute whose order differs between loss and error.

        Compute within a quarter of each other; ``better_loss`` has the lower held-out loss and ``better_error`` the
        lower top-1 error after fine-tuning, each by more than the reading uncertainty.
        """
        table = self.checkpoints.reset_index(drop=True)
        widths = {
            "jft4b_val_loss": self.results.half_width("smith2023-figure2", "jft4b_val_loss", table.jft4b_val_loss),
            "imagenet_top1_error_percent": self.results.half_width(
                "smith2023-figure1", "imagenet_top1_error_percent", table.imagenet_top1_error_percent
            ),
        }
        first, second = np.triu_indices(len(table), 1)
        hours = np.log(table.tpu_v4_core_hours.to_numpy(float))
        near = np.abs(hours[first] - hours[second]) <= np.log(1.25)
        gaps = {}
        for column, width in widths.items():
            values = table[column].to_numpy()
            gap = values[first] - values[second]
            gaps[column] = np.where(np.abs(gap) > width[first] + width[second], gap, 0)
        loss_gap, error_gap = gaps["jft4b_val_loss"], gaps["imagenet_top1_error_percent"]
        swapped = near & (loss_gap * error_gap < 0)
        lower_loss = np.where(loss_gap < 0, first, second)[swapped]
        lower_error = np.where(error_gap < 0, first, second)[swapped]
        names = np.array([run_name(model, epochs) for model, epochs in zip(table.model, table.epochs, strict=True)])
        return pd.DataFrame(
            {
                "better_loss": names[lower_loss],
                "better_error": names[lower_error],
                "loss_gap": np.abs(loss_gap[swapped]),
                "error_gap": np.abs(error_gap[swapped]),
                "size_ratio": np.exp(self._log_size(table, lower_error) - self._log_size(table, lower_loss)),
                "epochs_ratio": table.epochs.to_numpy()[lower_error] / table.epochs.to_numpy()[lower_loss],
            }
        )

    @staticmethod
    def _log_size(table: pd.DataFrame, rows: np.ndarray) -> np.ndarray:
        return np.log(table.model.map(nfnet_family().parameters).to_numpy(float))[rows]
