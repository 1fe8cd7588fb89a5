"""What an evaluated image costs: operations of a forward pass at the resolution at which each error was counted.

Training is paid once, inference for every image; which family is the better differs between the two. Operations are
no latency: they take different times on different hardware, in either family.
"""

from __future__ import annotations

import pandas as pd

from paper.family import nfnet_family
from paper.results import Results
from paper.vits.conversion import gflops_per_image

__all__ = ["evaluated"]

OPERATIONS = 2  # of a multiply-add, as the Vision Transformers' tables count


def evaluated(results: Results, nfnets: pd.DataFrame, vits: pd.DataFrame) -> pd.DataFrame:
    """The lowest error of each model at each resolution at which it was evaluated.

    Args:
        results: The logged results.
        nfnets: Rows of :func:`paper.vits.runs.nfnet_runs`.
        vits: Rows of :func:`paper.vits.runs.vit_runs`.

    Returns:
        ``family`` (``nfnet`` or ``vit``), ``model``, ``resolution`` of evaluation in pixels, ``later`` (whether a
        Vision Transformer is one of the later results), ``repeated_augmentation``, ``gflops`` (1e9 operations an image,
        a multiply-add being two; '+' variants in the dearer, published reading) and ``error`` in percent. A Vision
        Transformer is evaluated at the resolution of its fine-tuning.
    """
    resolution = round(results.stated("finetune.eval_resolution").value)
    macs = nfnet_family("published", resolution).macs
    mine = nfnets.groupby(["model", "repeated_augmentation"], sort=False, as_index=False).error.min()
    mine = mine.assign(
        family="nfnet", resolution=resolution, later=False, gflops=OPERATIONS * mine.model.map(macs).astype(float) / 1e9
    )
    # Accountings of hours play no part: each later result counts once.
    once = vits[~vits.later | (vits.accounting == "stated")]
    theirs = once.groupby(["model", "resolution", "later"], sort=False, as_index=False).error.min()
    theirs = theirs.assign(
        family="vit",
        repeated_augmentation=False,
        gflops=gflops_per_image(results, theirs.model, theirs.resolution),
    )
    columns = ["family", "model", "resolution", "later", "repeated_augmentation", "gflops", "error"]
    table = pd.concat([mine, theirs], ignore_index=True)[columns]
    return table.sort_values(["family", "gflops", "error"], kind="stable", ignore_index=True)
