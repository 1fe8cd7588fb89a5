"""Relations that the logged numbers must obey whatever they mean for the claims.

Each function returns one sentence a violation; an empty list is a pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from paper.family import nfnet_family
from paper.provenance.description import field_of, resource_of
from paper.results import run_name
from paper.study import Study

__all__ = [
    "CHECKS",
    "cross_figure",
    "doubling",
    "quoted_twice",
    "rounded_hours",
    "rounded_readings",
    "smooth_fit",
    "smoothness",
    "utilisation_by_model",
]

FIGURES = {"smith2023-figure1": "finetuning", "smith2023-figure2": "pretraining"}

SMOOTHNESS_LIMIT = 3.5
"""Robust standard deviations beyond which a deleted residual is an outlier (Iglewicz and Hoaglin 1993)."""


def doubling(study: Study) -> list[str]:
    """Compute is proportional to epochs: within the rounding one cost per epoch fits all runs of a model."""
    problems = []
    for resource, table in FIGURES.items():
        runs = getattr(study.results, table)
        width = study.results.half_width(resource, "tpu_v4_core_hours", runs.tpu_v4_core_hours)
        low = (runs.tpu_v4_core_hours - width) / runs.epochs
        high = (runs.tpu_v4_core_hours + width) / runs.epochs
        for model in runs.model.unique():
            mine = runs.model == model
            if low[mine].max() > high[mine].min():
                problems.append(f"{resource}: no cost per epoch fits all runs of {model} within the rounding of hours.")
    return problems


def cross_figure(study: Study) -> list[str]:
    """A run that is in both Figure 1 and Figure 2 cost the same in both, within the rounding."""
    both = study.results.finetuning.merge(
        study.results.pretraining, on=["model", "epochs"], how="left", suffixes=("_1", "_2")
    )
    problems = []
    for row in both.to_dict("records"):
        first, second = row["tpu_v4_core_hours_1"], row["tpu_v4_core_hours_2"]
        if np.isnan(second):
            problems.append(f"Figure 1 has {run_name(row['model'], row['epochs'])}, which Figure 2 has not.")
            continue
        widths = study.results.half_width("smith2023-figure2", "tpu_v4_core_hours", np.array([first, second]))
        if abs(first - second) > widths.sum():
            problems.append(
                f"{run_name(row['model'], row['epochs'])}: {first:g} hours in Figure 1, {second:g} in Figure 2."
            )
    return problems


def rounded_hours(study: Study) -> list[str]:
    """Every value of hours is a multiple of the step that ``datapackage.json`` says they are given in."""
    problems = []
    for resource, table in FIGURES.items():
        runs = getattr(study.results, table)
        step = field_of(resource_of(study.results.package, resource), "tpu_v4_core_hours")["resolution"]
        problems += [
            f"{resource}: {run_name(row.model, row.epochs)} has {row.tpu_v4_core_hours:g} hours, no multiple of {step}."
            for row in runs[runs.tpu_v4_core_hours % step != 0].itertuples()
        ]
    return problems


def utilisation_by_model(study: Study) -> list[str]:
    """Implied utilisation is the same for all runs of a model, within the rounding of its hours and the model's.

    The reference is a model's utilisation over all its runs of Figure 2 together, where rounding matters least.
    """
    problems = []
    runs = study.results.pretraining
    width = study.results.half_width("smith2023-figure2", "tpu_v4_core_hours", runs.tpu_v4_core_hours)
    totals = runs.assign(width=width).groupby("model")[["epochs", "tpu_v4_core_hours", "width"]].sum().reset_index()
    reference = pd.Series(study.utilisation_of(totals).to_numpy(), index=totals.model)
    open_ = pd.Series((totals.width / totals.tpu_v4_core_hours).to_numpy(), index=totals.model)
    for resource, table in FIGURES.items():
        runs = getattr(study.results, table)
        share = study.utilisation_of(runs)
        width = study.results.half_width(resource, "tpu_v4_core_hours", runs.tpu_v4_core_hours) / runs.tpu_v4_core_hours
        off = np.abs(share / runs.model.map(reference) - 1) - width - runs.model.map(open_)
        for index in runs.index[off > 0]:
            row = runs.loc[index]
            problems.append(
                f"{resource}: {run_name(row.model, row.epochs)} implies a utilisation of {share[index]:.3f}, "
                f"{off[index]:.1%} further from its model's than the rounding allows."
            )
    return problems


@dataclass(frozen=True)
class SmoothFit:
    """A smooth surface of log value over log size and log epochs.

    Attributes:
        residuals: Log value less the surface.
        scale: Robust standard deviation of the deleted residuals: of each point against the surface fitted without it.
        deleted: Deleted residuals in units of ``scale``.
    """

    residuals: np.ndarray
    scale: float
    deleted: np.ndarray


def smooth_fit(runs: pd.DataFrame, column: str) -> SmoothFit:
    """Fits a parabola in log epochs per model's own level, with tilt and bend shared linearly across sizes.

    The robust standard deviation is 1.4826 times the median absolute deleted residual.
    """
    size = np.log(runs.model.map(nfnet_family().parameters).to_numpy(float))
    x = np.log(runs.epochs.to_numpy(float))
    z = size - size.mean()
    levels = pd.get_dummies(runs.model).to_numpy(float)
    design = np.column_stack([levels, x, x * z, x**2])
    y = np.log(runs[column].to_numpy(float))
    hat = design @ np.linalg.pinv(design)
    residuals = y - hat @ y
    deleted = residuals / (1 - np.diag(hat))
    scale = float(1.4826 * np.median(np.abs(deleted)))
    return SmoothFit(residuals, scale, deleted / scale)


def smoothness(study: Study) -> list[str]:
    """No loss or error lies far off the smooth surface through the other runs."""
    problems = []
    plain = study.results.finetuning
    plain = plain[~plain.repeated_augmentation].reset_index(drop=True)
    for name, runs, column in (
        ("Figure 2", study.results.pretraining, "jft4b_val_loss"),
        ("Figure 1", plain, "imagenet_top1_error_percent"),
    ):
        fit = smooth_fit(runs, column)
        for index in np.flatnonzero(np.abs(fit.deleted) > SMOOTHNESS_LIMIT):
            row = runs.iloc[index]
            problems.append(
                f"{name}: {run_name(row.model, row.epochs)} is {abs(fit.deleted[index]):.1f} robust standard "
                "deviations off the surface through the other runs."
            )
    return problems


def quoted_twice(study: Study) -> list[str]:
    """What the text says of a Vision Transformer is the same in the table of Figure 1 and in the list of numbers."""
    problems = []
    columns = {
        "top1": "imagenet_top1_accuracy_percent_text",
        "tpu_v3": "tpu_v3_core_hours_text",
        "tpu_v4": "tpu_v4_core_hours_text",
    }
    for row in study.results.vits.to_dict("records"):
        short = row["model"].removeprefix("ViT-").split("/")[0] + ("14" if row["model"].startswith("ViT-") else "")
        for suffix, column in columns.items():
            stated = study.results.stated(f"vit.{short}.{suffix}").value
            if row[column] != stated:
                problems.append(
                    f"{row['model']}: {column} is {row[column]:g}, the list of the text's numbers {stated:g}."
                )
    return problems


def rounded_readings(study: Study) -> list[str]:
    """Rounded values are the raw readings rounded to the printed digit."""
    problems = []
    readings = study.results.readings.assign(
        repeated_augmentation=lambda t: t.model.str.endswith(" with RA"),
        model=lambda t: t.model.str.removesuffix(" with RA"),
    )
    for figure, table, column in (
        ("figure1", study.results.finetuning, "imagenet_top1_error_percent"),
        ("figure2", study.results.pretraining.assign(repeated_augmentation=False), "jft4b_val_loss"),
    ):
        resource = f"smith2023-{figure}"
        key = ["model", "epochs", "repeated_augmentation"]
        both = table.merge(readings[readings.figure == figure], on=key, how="outer", indicator=True)
        problems += [
            f"{resource}: {run_name(row['model'], row['epochs'])} has no reading, or no rounded value."
            for row in both[both["_merge"] != "both"].to_dict("records")
        ]
        both = both[both["_merge"] == "both"]
        value, hours = both[column].to_numpy(), both.tpu_v4_core_hours.to_numpy(float)
        value_width = study.results.half_width(resource, column, value)
        hours_width = study.results.half_width(resource, "tpu_v4_core_hours", hours)
        off = (np.abs(value - both.value_measured) > value_width) | (
            np.abs(hours - both.tpu_v4_core_hours_measured) > hours_width
        )
        problems += [
            f"{resource}: {run_name(row['model'], row['epochs'])} is not its reading rounded."
            for row in both[off].to_dict("records")
        ]
    return problems


CHECKS = {
    "doubling of compute": doubling,
    "rounding of compute": rounded_hours,
    "cross-figure consistency": cross_figure,
    "utilisation": utilisation_by_model,
    "smoothness": smoothness,
    "text quoted twice": quoted_twice,
}
"""Checks that need no knowledge of how the figures were read. ``rounded_readings`` does, and is kept apart."""
