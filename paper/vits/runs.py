"""Runs of both families on the same axes: error on ImageNet, TPU-v4 core hours, operations."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from paper.family import nfnet_family
from paper.results import Results
from paper.vits.conversion import (
    FORWARD_PASSES,
    HOURS_A_DAY,
    Route,
    anchors,
    finetuning_flops,
    hours_ratio,
    sweep,
)

__all__ = ["nfnet_runs", "vit_runs"]

SAM_GRADIENTS = 2  # sharpness-aware minimisation takes a gradient to ascend and one to descend


def nfnet_runs(results: Results) -> pd.DataFrame:
    """NFNets of Figure 1.

    Returns:
        ``model``, ``epochs``, ``repeated_augmentation``, ``hours`` (TPU-v4 core hours), ``flops`` of pre-training,
        ``total_flops`` with fine-tuning and ``error`` in percent. FLOPs are those of the dearer, published reading
        of the '+' variants; every fine-tuning step is taken to need two gradients, the dearest reading of
        sharpness-aware minimisation.
    """
    runs = results.finetuning

    def gradient_flops(resolution: float) -> pd.Series:
        """Of one image."""
        macs = runs.model.map(nfnet_family("published", round(resolution)).macs)
        return 2 * FORWARD_PASSES * macs.astype(float)

    imagenet = results.datasets.set_index(["dataset", "split"]).images["ImageNet-1k", "train"]
    images = runs.epochs * results.stated("pretrain.images").value
    tuned_images = results.stated("finetune.epochs").value * float(imagenet) * SAM_GRADIENTS
    flops = gradient_flops(results.stated("pretrain.train_resolution").value) * images
    tuning = gradient_flops(results.stated("finetune.train_resolution").value) * tuned_images
    return runs.assign(
        hours=runs.tpu_v4_core_hours.astype(float),
        flops=flops,
        total_flops=flops + tuning,
        error=runs.imagenet_top1_error_percent,
    )[["model", "epochs", "repeated_augmentation", "hours", "flops", "total_flops", "error"]]


def vit_runs(results: Results, route: Route = "hours") -> pd.DataFrame:
    """Zhai et al.'s runs, and the later results in each accounting that has their hours.

    Args:
        results: The logged results.
        route: Of the sweep's conversion; see :func:`paper.vits.conversion.sweep`.

    Returns:
        ``model``, ``pretrain_dataset``, ``resolution``, ``later`` (whether it is one of the later, better tuned
        results), ``accounting``, ``low``, ``mid``, ``high`` (TPU-v4 core hours), ``lower_bound`` (whether the hours are
        one), ``flops`` of pre-training and ``total_flops`` with fine-tuning, ``error`` (percent) and ``source``.

        The sweep is in the accounting ``figure 2``. A later result has a row for each of ``figure 2`` (those of Zhai et
        al.'s models), ``reported`` (its reported TPU-v3 hours by the factor of the reported anchors) and ``stated``
        (the TPU-v4 hours of Smith et al.'s text, within their rounding).
    """
    table = sweep(results, route)
    runs = pd.DataFrame(
        {
            "model": table.model,
            "pretrain_dataset": table.pretrain_dataset,
            "resolution": table.finetune_resolution,
            "later": False,
            "accounting": "figure 2",
            "low": table.low,
            "mid": table.mid,
            "high": table.high,
            "lower_bound": False,
            "flops": table.flops,
            "total_flops": table.total_flops,
            "error": table.imagenet_top1_error_percent,
            "source": table.source,
        }
    )
    return pd.concat([runs, _later(results)], ignore_index=True)


def _later(results: Results) -> pd.DataFrame:
    """The Vision Transformers of Figure 1, and the same models at other resolutions, by accounting."""
    flops = anchors(results).drop_duplicates("model").set_index("model").flops
    rows = []
    for vit in results.vits.to_dict("records"):
        table = results.sovit_table[results.sovit_table.model == vit["model"]]
        largest = int(table.finetune_resolution.max())
        error = round(100 - vit["imagenet_top1_accuracy_percent_text"], 6)
        scores = [(largest, error, "smith2023-figure1-vit")]
        scores += [
            (
                int(other.finetune_resolution),
                round(100 - float(other.imagenet_top1_percent), 6),
                "alabdulmohsin2023-table1",
            )
            for other in table[table.finetune_resolution < largest].itertuples()
        ]
        shared = {
            "model": vit["model"],
            "pretrain_dataset": vit["pretraining_dataset"],
            "later": True,
            "flops": float(flops[vit["model"]]),
        }
        rows += [
            {**shared, **hours, "resolution": resolution, "error": error, "source": source}
            for hours in _hours(results, vit)
            for resolution, error, source in scores
        ]
    points = pd.DataFrame(rows)
    return points.assign(total_flops=points.flops + finetuning_flops(results, points.model, points.resolution))


def _hours(results: Results, vit: Mapping[Hashable, Any]) -> list[dict[str, object]]:
    """TPU-v4 core hours of one of the Vision Transformers of Figure 1 in each accounting that has them."""
    model, bound = str(vit["model"]), bool(vit["tpu_v3_is_lower_bound"])
    v3, v4 = (float(vit[f"tpu_{generation}_core_hours_text"]) for generation in ("v3", "v4"))
    rounding = float(results.half_width("smith2023-figure1-vit", "tpu_v4_core_hours_text", np.array([v4]))[0])
    reported, figure2 = hours_ratio(results, "reported"), hours_ratio(results, "figure 2")
    found: list[dict[str, object]] = [
        {
            "accounting": "reported",
            "low": v3 * reported.low,
            "mid": v3 * reported.mid,
            "high": v3 * reported.high,
            "lower_bound": bound,
        },
        {"accounting": "stated", "low": v4 - rounding, "mid": v4, "high": v4 + rounding, "lower_bound": False},
    ]
    rates = results.vit_rates.set_index("model")
    if model in rates.index:
        days = float(rates.tpu_v3_core_days_per_million_steps[model] * rates.final_million_steps[model])
        hours = days * HOURS_A_DAY
        found.append(
            {
                "accounting": "figure 2",
                "low": hours * figure2.low,
                "mid": hours * figure2.mid,
                "high": hours * figure2.high,
                "lower_bound": False,
            }
        )
    return found
