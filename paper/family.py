"""Size and cost of NFNets, computed from the models themselves."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import pandas as pd

from nfnet import VARIANTS
from nfnet.cost.cost import network_cost
from paper.keeping.memory import remembered
from paper.results import MODELS

__all__ = [
    "PLUS_WIDTHS",
    "PlusWidth",
    "family_parts",
    "imagenet_variants",
    "nfnet_family",
    "utilisation",
    "variant_cost",
]

PlusWidth = Literal["published", "released"]
PLUS_WIDTHS: tuple[PlusWidth, ...] = ("published", "released")
"""The two readings of the '+' variants' first stage; which of them was trained is unknown."""

variant_cost = remembered(network_cost)


@lru_cache(maxsize=8)
def nfnet_family(plus_width: PlusWidth = "published", resolution: int = 224) -> pd.DataFrame:
    """Parameters (1000 classes) and forward multiply-adds per image at ``resolution`` px.

    Returns:
        Columns ``parameters`` and ``macs``, indexed by model in the paper's order.
    """
    costs = [variant_cost(model, resolution, plus_width=plus_width) for model in MODELS]
    table = {"parameters": [cost.parameters for cost in costs], "macs": [cost.macs for cost in costs]}
    return pd.DataFrame(table, index=pd.Index(MODELS, name="model"))


@lru_cache(maxsize=8)
def family_parts(resolution: int = 224) -> pd.DataFrame:
    """Where parameters (1000 classes) and forward multiply-adds per image at ``resolution`` px go.

    Returns:
        One row for each part of each variant: ``variant``, ``plus_width`` (F0 to F7 have no second reading), ``part``
        (the stem, each stage, the head), ``parameters`` and ``macs``.
    """
    rows = [
        (variant, plus_width, stage.name, stage.parameters, stage.macs)
        for plus_width in PLUS_WIDTHS
        for variant in VARIANTS
        if plus_width == "published" or variant.endswith("+")
        for stage in variant_cost(variant, resolution, plus_width=plus_width).stages
    ]
    return pd.DataFrame(rows, columns=["variant", "plus_width", "part", "parameters", "macs"])


def imagenet_variants(table3: pd.DataFrame) -> pd.DataFrame:
    """Table 3 of Brock et al. 2021 with the ``variant`` of each row and whether ``sam`` trained it."""
    names = table3.model.str.removeprefix("NFNet-").str.partition(" + ")
    return table3.assign(variant=names[0], sam=names[2] == "SAM")


def utilisation(
    runs: pd.DataFrame, *, images_per_epoch: float, resolution: int, peak_flops: float, plus_width: PlusWidth
) -> pd.Series:
    """Share of the theoretical peak that each run implies (derived).

    A training step costs three forward passes, and a multiply-add is two operations, hence six times the
    multiply-adds of the forward pass per image.

    Args:
        runs: ``model``, ``epochs`` and ``tpu_v4_core_hours`` of each run.
        images_per_epoch: Size of the training set.
        resolution: Training resolution in pixels.
        peak_flops: Theoretical peak of one core, FLOP/s.
        plus_width: Reading of the '+' variants.
    """
    macs = runs.model.map(nfnet_family(plus_width, resolution).macs).astype(float)
    done = runs.epochs * images_per_epoch * 6 * macs
    return pd.Series(done / (runs.tpu_v4_core_hours * 3600 * peak_flops), name="utilisation")
