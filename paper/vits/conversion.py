"""From the Vision Transformers' TPU-v3 compute to the NFNets' TPU-v4 core hours, with the uncertainty of the step.

There is no published factor. There are anchors: models whose compute is known on both, since Smith et al. estimated
their TPU-v4 core hours with the original authors' code. TPU-v3 hours were counted in two ways, which differ for one and
the same model (ViT-g/14): those of Zhai et al.'s **Figure 2**, and those **reported** in later texts. Each accounting
has its own anchors and its own factor, and no factor is applied to hours of the other. An interval is the range over
the anchors of its accounting, each widened by the rounding of the printed numbers.

Two routes follow for the sweep, whose hours are Figure 2's. By **hours**: TPU-v3 hours times the ratio, for every
model. By **FLOPs**: three forward passes per image (forward and backward) over the operations per TPU-v4 hour of all
anchors, which need no TPU-v3 hours, for models that used a TPU-v3 core about as well as the anchors did; small models
used it less well, and for them only hours are right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from paper.results import Results

__all__ = [
    "ACCOUNTINGS",
    "COMPARABLE_RATE",
    "Accounting",
    "Conversion",
    "Route",
    "anchors",
    "finetuning_flops",
    "flops_rate",
    "gflops_per_image",
    "hours_ratio",
    "relative_rates",
    "sweep",
]

Accounting = Literal["figure 2", "reported"]
ACCOUNTINGS: tuple[Accounting, ...] = ("figure 2", "reported")
"""Where TPU-v3 hours come from: Zhai et al.'s Figure 2, or a later text that states them."""

Route = Literal["hours", "flops"]

COMPARABLE_RATE = 0.85
"""Least operations per TPU-v3 hour, as a share of ViT-g/14's, at which a model may be converted by FLOPs."""

HOURS_A_DAY = 24
FORWARD_PASSES = 3  # a backward pass costs two forward passes
FINETUNING_IMAGES = 20_000 * 512
"""Images that a Vision Transformer is fine-tuned on: steps times batch size of Zhai et al.'s recipe for ImageNet."""


@dataclass(frozen=True)
class Conversion:
    """A factor known within an interval.

    Attributes:
        low: Least value that the anchors allow.
        mid: Central value of the same anchors.
        high: Largest value that the anchors allow.
        unit: Unit of all three.
    """

    low: float
    mid: float
    high: float
    unit: str


def anchors(results: Results) -> pd.DataFrame:
    """Models whose compute is known on both generations of TPU.

    Returns:
        One row an anchor: ``model``; ``accounting``, ``figure 2`` where TPU-v3 hours follow from Zhai et al.'s Figure 2
        (as those of their whole sweep do) and ``reported`` where a later text states them; ``tpu_v3_core_hours`` with
        ``v3_half_width``; ``tpu_v4_core_hours`` with ``v4_half_width`` (Smith et al.); ``flops``, operations of the
        whole training; and derived ``ratio`` (v4 per v3 hour) and ``rate`` (FLOP/s per v4 core), each with ``_low``
        and ``_high``.
    """
    gflops = results.vit_models.set_index("model").gflops_224
    rates = results.vit_rates.set_index("model")
    stated = {name: results.stated(f"vit.{name}.tpu_v4") for name in ("g14", "G14", "SoViT-400m")}
    reported = results.sovit_compute.set_index("model")
    table = results.sovit_table
    sovit = table[(table.model == "SoViT-400m/14") & (table.finetune_resolution == 224)].iloc[0]
    batch = float(results.vit_finetuning.pretrain_batch_normalised.iloc[0])

    def images(model: str) -> float:
        return float(rates.final_million_steps[model]) * 1e6 * batch

    def of_figure_2(model: str) -> float:
        days = rates.tpu_v3_core_days_per_million_steps[model] * rates.final_million_steps[model]
        return float(days) * HOURS_A_DAY

    rows = [
        ("ViT-g/14", "figure 2", of_figure_2("ViT-g/14"), 0.0, "g14", gflops["ViT-g/14"] * images("ViT-g/14")),
        ("ViT-G/14", "figure 2", of_figure_2("ViT-G/14"), 0.0, "G14", gflops["ViT-G/14"] * images("ViT-G/14")),
    ]
    for model, short, total in (
        ("ViT-g/14", "g14", gflops["ViT-g/14"] * images("ViT-g/14")),
        (
            "SoViT-400m/14",
            "SoViT-400m",
            sovit.gflops_per_image_at_resolution * reported.pretraining_images["SoViT-400m/14"],
        ),
    ):
        hours = float(reported.tpu_v3_core_hours[model])
        width = results.half_width("alabdulmohsin2023-compute", "tpu_v3_core_hours", np.array([hours]))
        rows.append((model, "reported", hours, float(width[0]), short, total))
    frame = pd.DataFrame(
        [
            {
                "model": model,
                "accounting": accounting,
                "tpu_v3_core_hours": v3,
                "v3_half_width": v3_width,
                "tpu_v4_core_hours": stated[short].value,
                "v4_half_width": stated[short].uncertainty,
                "flops": FORWARD_PASSES * 1e9 * float(forward),
            }
            for model, accounting, v3, v3_width, short, forward in rows
        ]
    )
    v3, v4 = frame.tpu_v3_core_hours, frame.tpu_v4_core_hours
    v4_low, v4_high = v4 - frame.v4_half_width, v4 + frame.v4_half_width
    return frame.assign(
        ratio=v4 / v3,
        ratio_low=v4_low / (v3 + frame.v3_half_width),
        ratio_high=v4_high / (v3 - frame.v3_half_width),
        rate=frame.flops / (v4 * 3600),
        rate_low=frame.flops / (v4_high * 3600),
        rate_high=frame.flops / (v4_low * 3600),
    )


def hours_ratio(results: Results, accounting: Accounting = "figure 2") -> Conversion:
    """TPU-v4 core hours per TPU-v3 core hour of one accounting: geometric mean and range of its own anchors."""
    table = anchors(results)
    own = table[table.accounting == accounting]
    mid = float(np.exp(np.log(own.ratio).mean()))
    return Conversion(float(own.ratio_low.min()), mid, float(own.ratio_high.max()), "TPU-v4 hours per TPU-v3 hour")


def flops_rate(results: Results) -> Conversion:
    """Operations per second that a TPU-v4 core did when it trained the anchors; no TPU-v3 hours enter."""
    table = anchors(results).drop_duplicates("model")
    mid = float(np.exp(np.log(table.rate).mean()))
    return Conversion(float(table.rate_low.min()), mid, float(table.rate_high.max()), "FLOP/s per core")


def relative_rates(results: Results) -> pd.Series:
    """Operations per TPU-v3 hour of each model of Zhai et al., as a share of ViT-g/14's (derived)."""
    gflops = results.vit_models.set_index("model").gflops_224
    days = results.vit_rates.set_index("model").tpu_v3_core_days_per_million_steps
    rate = gflops / days
    return (rate / rate["ViT-g/14"]).rename("relative_rate")


def gflops_per_image(results: Results, models: pd.Series, resolutions: pd.Series) -> pd.Series:
    """Operations of a forward pass of each of ``models`` at its resolution, in 1e9.

    From Zhai et al.'s Table 2 at 384 px, else from Alabdulmohsin et al.'s Table 1; both print twice the multiply-adds.

    Raises:
        DataError: If neither table has a model at its resolution.
    """
    from paper.provenance.description import DataError

    later, sizes = results.sovit_table, results.vit_models
    columns = (later.model, later.finetune_resolution, later.gflops_per_image_at_resolution)
    per_image = {(str(model), int(pixels)): float(gflops) for model, pixels, gflops in zip(*columns, strict=True)}
    per_image |= {(str(m), 384): float(gflops) for m, gflops in zip(sizes.model, sizes.gflops_384, strict=True)}
    wanted = [(str(model), int(resolution)) for model, resolution in zip(models, resolutions, strict=True)]
    for model, resolution in wanted:
        if (model, resolution) not in per_image:
            raise DataError(
                f"zhai2022_models.csv and alabdulmohsin2023_table1.csv: no operations of {model} at {resolution} px; "
                "add the row."
            )
    return pd.Series([per_image[pair] for pair in wanted], index=models.index, dtype=float)


def finetuning_flops(results: Results, models: pd.Series, resolutions: pd.Series) -> pd.Series:
    """Operations of fine-tuning each of ``models`` on ImageNet at its resolution by Zhai et al.'s recipe (derived).

    Raises:
        DataError: If no table has a model's operations at its resolution.
    """
    return FORWARD_PASSES * 1e9 * gflops_per_image(results, models, resolutions) * FINETUNING_IMAGES


def sweep(results: Results, route: Route = "hours") -> pd.DataFrame:
    """Every fine-tuned run of Zhai et al. whose compute is known, on the NFNets' axes.

    Args:
        results: The logged results.
        route: ``hours`` for all models, or ``flops`` for those whose rate is comparable to the anchors' and hours for
            the others.

    Returns:
        One row a run: ``model``, ``pretrain_dataset``, ``pretrain_steps``, ``finetune_resolution``,
        ``imagenet_top1_error_percent`` (from the tables; g/14 from Figure 2), ``tpu_v3_core_hours`` (of Figure 2),
        ``low``, ``mid`` and ``high`` (TPU-v4 core hours), ``flops`` (of the whole pre-training, forward and backward),
        ``total_flops`` (with fine-tuning) and ``source``. Rows keep the order, and the index, of
        ``zhai2022_finetune.csv``; ViT-G/14, of Table 1 of the same paper, is the last.
    """
    runs = results.vit_finetuning
    runs = runs[runs.tpu_v3_core_days_figure2.notna()]
    error = (100 - runs.imagenet_top1_percent).round(6).fillna(runs.imagenet_top1_error_percent_figure2)
    v3 = runs.tpu_v3_core_days_figure2 * HOURS_A_DAY
    gflops = runs.model.map(results.vit_models.set_index("model").gflops_224).astype(float)
    flops = FORWARD_PASSES * 1e9 * gflops * runs.pretrain_steps * runs.pretrain_batch_normalised
    ratio, rate = hours_ratio(results), flops_rate(results)
    table = pd.DataFrame(
        {
            "model": runs.model,
            "pretrain_dataset": runs.pretrain_dataset,
            "pretrain_steps": runs.pretrain_steps,
            "finetune_resolution": runs.finetune_resolution,
            "imagenet_top1_error_percent": error,
            "tpu_v3_core_hours": v3,
            "low": v3 * ratio.low,
            "mid": v3 * ratio.mid,
            "high": v3 * ratio.high,
            "flops": flops,
            "total_flops": flops + finetuning_flops(results, runs.model, runs.finetune_resolution),
            "source": runs.source,
        }
    )
    if route == "flops":
        large = runs.model.map(relative_rates(results)) >= COMPARABLE_RATE
        # A higher rate means fewer hours.
        for column, value in (("low", rate.high), ("mid", rate.mid), ("high", rate.low)):
            table.loc[large, column] = flops[large] / (value * 3600)
    return table
