"""What the interactive pages compute from, and the same computations in Python, against which the browser is tested."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from paper.noise import INTERVAL, difference_z
from paper.vits.advantage import best_within

if TYPE_CHECKING:
    from paper.fits.laws import PowerLaw, SaturatingLaw
    from paper.study import Study

__all__ = ["Choice", "budget_at", "curves_data", "hours_at", "led", "matched_data", "optimum_at", "optimum_data"]

STEPS = 1000
"""Steps of the sliders of compute."""


def curves_data(study: Study) -> dict[str, Any]:
    """Runs of Figures 1 and 2 with their uncertainty and source, and the laws of their frontiers."""
    results, fits = study.results, study.fits
    return {
        "loss": {
            "title": "JFT-4B validation loss (nats)",
            "runs": _runs(study, results.pretraining, "jft4b_val_loss", "smith2023-figure2", "Figure 2"),
            "laws": _laws(fits.loss_law, fits.loss_law_saturating),
        },
        "error": {
            "title": "ImageNet top-1 error (%)",
            "runs": _runs(study, results.finetuning, "imagenet_top1_error_percent", "smith2023-figure1", "Figure 1"),
            "laws": _laws(fits.error_law, fits.error_law_saturating),
        },
    }


def _runs(study: Study, table: pd.DataFrame, column: str, resource: str, source: str) -> list[dict[str, Any]]:
    half_width = study.results.half_width
    hours_width = half_width(resource, "tpu_v4_core_hours", table.tpu_v4_core_hours)
    value_width = half_width(resource, column, table[column])
    repeated = table.get("repeated_augmentation", pd.Series(False, index=table.index))
    columns = (table.model, table.epochs, table.tpu_v4_core_hours, hours_width, table[column], value_width, repeated)
    return [
        {
            "model": str(model),
            "epochs": float(epochs),
            "hours": float(hours),
            "hours_width": float(width),
            "value": float(value),
            "value_width": float(value_half),
            "repeated": bool(again),
            "source": f"{source} of Smith et al. 2023",
        }
        for model, epochs, hours, width, value, value_half, again in zip(*columns, strict=True)
    ]


def _laws(power: PowerLaw, saturating: SaturatingLaw) -> dict[str, dict[str, float]]:
    return {
        "power law": {
            "irreducible": 0.0,
            "coefficient": power.coefficient.value,
            "exponent": power.exponent.value,
        },
        "with an irreducible term": {
            "irreducible": saturating.irreducible.value,
            "coefficient": saturating.coefficient.value,
            "exponent": saturating.exponent.value,
        },
    }


def matched_data(study: Study) -> dict[str, Any]:
    """Runs of both families, the budgets, and the range of the conversion."""
    matched = study.matched
    nfnets, vits = matched.nfnet_runs, matched.vit_runs()
    return {
        "budgets": matched.budgets.tolist(),
        "images": matched.images,
        "interval": INTERVAL,
        "ratio": {"low": matched.ratio.low, "mid": matched.ratio.mid, "high": matched.ratio.high},
        "nfnets": nfnets[["model", "epochs", "repeated_augmentation", "hours", "error"]].to_dict("records"),
        "vits": vits[
            ["model", "pretrain_dataset", "resolution", "later", "accounting", "low", "mid", "high", "error", "source"]
        ].to_dict("records"),
    }


@dataclass(frozen=True)
class Choice:
    """Which runs the page of matched compute compares.

    Attributes:
        position: Of the conversion in its interval: -1 at its low end, 0 in the middle, 1 at its high end.
        repeated: Whether NFNets may have been fine-tuned with repeated augmentation.
        jft3b: Whether only Vision Transformers pre-trained on JFT-3B take part.
        pixels384: Whether only those fine-tuned at 384 px do.
        largest: Whether ViT-G/14 does.
        later: Accounting of the later results that do; empty for none.
    """

    position: float = 0.0
    repeated: bool = False
    jft3b: bool = False
    pixels384: bool = False
    largest: bool = True
    later: str = ""


def hours_at(vits: pd.DataFrame, position: float) -> Float[np.ndarray, " n"]:
    """TPU-v4 core hours at a position of the conversion, between ``low``, ``mid`` and ``high`` in their logarithm."""
    end = np.log(vits.low if position < 0 else vits.high)
    middle = np.log(vits.mid)
    return np.asarray(np.exp(middle + abs(position) * (end - middle)), float)


def led(study: Study, choice: Choice) -> dict[str, float]:
    """Shares of the budgets at which either family leads, and the ends of the NFNets' lead, as the page says them."""
    matched = study.matched
    nfnets, vits = matched.nfnet_runs, matched.vit_runs()
    nfnets = nfnets[choice.repeated | ~nfnets.repeated_augmentation]
    keep = ~vits.later | (vits.accounting == choice.later)
    keep &= (vits.pretrain_dataset == "JFT-3B") | (not choice.jft3b)
    keep &= (vits.resolution == 384) | (not choice.pixels384)
    keep &= (vits.model != "ViT-G/14") | choice.largest
    vits = vits[keep]
    mine = best_within(matched.budgets, nfnets.hours.to_numpy(float), nfnets.error.to_numpy(float))
    theirs = best_within(matched.budgets, hours_at(vits, choice.position), vits.error.to_numpy(float))
    points, z = theirs - mine, difference_z(theirs, mine, matched.images)
    both = np.isfinite(points)
    return {
        "led": float((points[both] > 0).mean()),
        "beyond": float((z[both] > INTERVAL).mean()),
        "behind": float((z[both] < -INTERVAL).mean()),
        "least": float(points[both].min()),
        "most": float(points[both].max()),
        "last": float(points[both][-1]),
    }


def optimum_data(study: Study) -> dict[str, Any]:
    """The fitted surfaces, the cost of an epoch and the range of compute."""
    loss = study.fits.loss
    return {
        "least": float(loss.runs.compute.min()),
        "most": float(loss.runs.compute.max()),
        "anchor": loss.anchor,
        "epoch": loss.runs.epoch,
        "steps": STEPS,
        "cost": {"intercept": loss.cost.intercept, "slope": loss.cost.slope},
        "surfaces": {
            form: {"theta": loss.forms[form].surface.theta.tolist(), "centres": list(loss.forms[form].surface.centres)}
            for form in loss.regret
        },
    }


def budget_at(study: Study, step: int) -> float:
    """TPU-v4 core hours at a step of the slider of compute."""
    compute = study.fits.loss.runs.compute
    return float(compute.min() * (compute.max() / compute.min()) ** (step / STEPS))


def optimum_at(study: Study, form: str, step: int) -> dict[str, float]:
    """Optimal parameters and epochs, and the regret of equal rates in percent, at a step of the slider."""
    from paper.fits.regret import allotted, regret

    loss = study.fits.loss
    surface, compute = loss.forms[form].surface, np.array([budget_at(study, step)])
    size, epochs = allotted(
        surface.theta[None],
        loss.cost,
        surface.centres,
        loss.runs.epoch,
        compute,
        np.asarray(loss.anchor),
        equal_rates=False,
    )
    found = regret(surface, loss.cost, loss.runs.epoch, compute, loss.anchor)
    return {
        "hours": float(compute[0]),
        "parameters": float(np.exp(size[0, 0])),
        "epochs": float(np.exp(epochs[0, 0])),
        "regret": float(found.percent[0]),
    }
