"""One bundle of logged results and everything computed from them, shared by claims, tables and figures."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from paper.family import PLUS_WIDTHS, PlusWidth, nfnet_family, utilisation
from paper.fits.scaling import ScalingFits
from paper.noise import difference_z, validation_images
from paper.provenance import DATA
from paper.results import Results, load, run_name
from paper.vits.advantage import Matched

if TYPE_CHECKING:
    from paper.replication.logs import Replication

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
    def replication(self) -> Replication:
        """Our own runs, as far as their logs are committed."""
        from paper.replication.logs import Replication

        return Replication.load()

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
    def checkpoints(self) -> pd.DataFrame:
        """Checkpoints of both Figures 1 and 2: held-out loss beside top-1 error after fine-tuning.

        Columns: ``model``, ``epochs``, ``tpu_v4_core_hours``, ``jft4b_val_loss``, ``imagenet_top1_error_percent``.
        """
        tuned = self.results.finetuning
        plain = tuned[~tuned.repeated_augmentation].drop(columns=["repeated_augmentation", "tpu_v4_core_hours"])
        return self.results.pretraining.merge(plain, on=["model", "epochs"], how="inner")

    @cached_property
    def near_pairs(self) -> pd.DataFrame:
        """Pairs of checkpoints of different models and nearly equal compute: within a quarter of each other.

        Columns: ``larger`` and ``longer``, the checkpoint of the larger model and the one trained for longer;
        ``loss_gap`` and ``error_gap``, the larger's value less the longer's in nats and points, zero within the reading
        uncertainty; ``error_z``, the latter in standard errors of the test set, at least; ``size_ratio`` and
        ``epochs_ratio``, the larger's over the longer's.
        """
        table = self.checkpoints.reset_index(drop=True)
        size = table.model.map(nfnet_family().parameters).to_numpy(float)
        hours = np.log(table.tpu_v4_core_hours.to_numpy(float))
        first, second = np.triu_indices(len(table), 1)
        near = (np.abs(hours[first] - hours[second]) <= np.log(1.25)) & (size[first] != size[second])
        first, second = first[near], second[near]
        swap = size[first] < size[second]
        larger, longer = np.where(swap, second, first), np.where(swap, first, second)
        gaps = {}
        for resource, column in (
            ("smith2023-figure2", "jft4b_val_loss"),
            ("smith2023-figure1", "imagenet_top1_error_percent"),
        ):
            width = self.results.half_width(resource, column, table[column])
            gap = table[column].to_numpy()[larger] - table[column].to_numpy()[longer]
            gaps[column] = np.where(np.abs(gap) > width[larger] + width[longer], gap, 0)
        error = table.imagenet_top1_error_percent.to_numpy()
        names = np.array([run_name(model, epochs) for model, epochs in zip(table.model, table.epochs, strict=True)])
        return pd.DataFrame(
            {
                "larger": names[larger],
                "longer": names[longer],
                "loss_gap": gaps["jft4b_val_loss"],
                "error_gap": gaps["imagenet_top1_error_percent"],
                "error_z": difference_z(error[larger], error[longer], validation_images(self.results.datasets)),
                "size_ratio": size[larger] / size[longer],
                "epochs_ratio": table.epochs.to_numpy()[larger] / table.epochs.to_numpy()[longer],
            }
        )

    @cached_property
    def swaps(self) -> pd.DataFrame:
        """Pairs of checkpoints of nearly equal compute whose order differs between loss and error.

        ``better_loss`` has the lower held-out loss and ``better_error`` the lower top-1 error after fine-tuning, each
        by more than the reading uncertainty; ``loss_gap``, ``error_gap`` and ``error_z`` are by how much, and the
        ratios those of ``better_error`` over ``better_loss``.
        """
        pairs = self.near_pairs
        pairs = pairs[pairs.loss_gap * pairs.error_gap < 0].reset_index(drop=True)
        by_size = (pairs.error_gap < 0).to_numpy()  # the larger is the better fine-tuner
        way = np.where(by_size, 1.0, -1.0)
        return pd.DataFrame(
            {
                "better_loss": np.where(by_size, pairs.longer, pairs.larger),
                "better_error": np.where(by_size, pairs.larger, pairs.longer),
                "loss_gap": pairs.loss_gap.abs(),
                "error_gap": pairs.error_gap.abs(),
                "error_z": pairs.error_z.abs(),
                "size_ratio": pairs.size_ratio**way,
                "epochs_ratio": pairs.epochs_ratio**way,
            }
        )
