"""Section "Fine-tuned NFNets are competitive with Vision Transformers on ImageNet": the NFNets of Figure 1."""

from __future__ import annotations

import numpy as np
import pandas as pd

from paper.checks.consistency import cross_figure
from paper.family import nfnet_family
from paper.study import Study
from paper.verdicts import Claim, Outcome, verdict


def _top1(study: Study, *, repeated_augmentation: bool) -> float:
    """Plotted top-1 accuracy of F7+ at the largest epoch budget, in percent."""
    runs = study.results.finetuning
    best = runs[(runs.model == "F7+") & (runs.epochs == runs.epochs.max())]
    return 100 - float(best[best.repeated_augmentation == repeated_augmentation].imagenet_top1_error_percent.iloc[0])


def improves_with_compute(claim: Claim, study: Study) -> Outcome:
    """Rank correlation of error and compute, and whether every curve falls."""
    runs = study.fits.finetuning
    rank = float(runs.tpu_v4_core_hours.rank().corr(runs.imagenet_top1_error_percent.rank()))
    curves = [curve.sort_values("epochs") for _, curve in runs.groupby("model")]
    falling = sum(bool((np.diff(curve.imagenet_top1_error_percent) < 0).all()) for curve in curves)
    return Outcome(
        verdict(claim.agrees(rank) and falling == len(curves)),
        f"Rank correlation of error with compute {rank:.2f} over {len(runs)} checkpoints; {falling} of {len(curves)} "
        "curves fall throughout.",
    )


def _text_against_plot(claim: Claim, study: Study, quantity: str, *, repeated_augmentation: bool) -> Outcome:
    stated = study.results.stated(quantity)
    plotted = _top1(study, repeated_augmentation=repeated_augmentation)
    reading = float(
        study.results.half_width("smith2023-figure1", "imagenet_top1_error_percent", np.array([100 - plotted]))[0]
    )
    return Outcome(
        verdict(abs(plotted - stated.value) <= stated.uncertainty + reading),
        f"Figure 1 shows {plotted:.2f} ± {reading:g}%; the text says {stated.value:g}%.",
    )


def f7plus_top1(claim: Claim, study: Study) -> Outcome:
    """Text against plot, F7+ at 8 epochs."""
    return _text_against_plot(claim, study, "finetune.f7plus_8_epochs.top1", repeated_augmentation=False)


def f7plus_top1_repeated(claim: Claim, study: Study) -> Outcome:
    """Text against plot, F7+ at 8 epochs with repeated augmentation."""
    quantity = "finetune.f7plus_8_epochs_repeated_augmentation.top1"
    return _text_against_plot(claim, study, quantity, repeated_augmentation=True)


def repeated_augmentation_helps(claim: Claim, study: Study) -> Outcome:
    """Gain of repeated augmentation at equal compute."""
    gain = _top1(study, repeated_augmentation=True) - _top1(study, repeated_augmentation=False)
    return Outcome(
        verdict(gain > 0, caveat=True),
        f"Repeated augmentation gains {gain:.2f} points, for one run each.",
    )


def text_compute(claim: Claim, study: Study) -> Outcome:
    """Compute of F7+ at 8 epochs, text against plot."""
    stated = study.results.stated("pretrain.max_compute")
    runs = study.results.pretraining
    plotted = int(runs.tpu_v4_core_hours[(runs.model == "F7+") & (runs.epochs == runs.epochs.max())].iloc[0])
    off = plotted / stated.value - 1
    return Outcome(
        verdict(abs(off) <= stated.uncertainty / stated.value, caveat=abs(off) > (claim.tolerance or 0)),
        f"The text says {stated.value:,.0f} TPU-v4 core hours, Figures 1 and 2 show {plotted:,} ({off:+.1%}).",
    )


def same_compute_in_both_figures(claim: Claim, study: Study) -> Outcome:
    """Compute of each checkpoint in Figures 1 and 2."""
    problems = cross_figure(study)
    missing = len(study.results.pretraining) - len(study.checkpoints)
    return Outcome(
        verdict(not problems),
        " ".join(problems)
        or f"All {len(study.checkpoints)} checkpoints agree; {missing} runs of Figure 2 are not in Figure 1.",
    )


def finetuning_cost(claim: Claim, study: Study) -> Outcome:
    """Utilisation that the stated cost of fine-tuning implies, against that of pre-training."""
    stated = study.results.stated
    table = study.results.datasets
    images = float(table.images[(table.dataset == "ImageNet-1k") & (table.split == "train")].iloc[0])
    resolution = round(stated("finetune.train_resolution").value)
    macs = float(nfnet_family("published", resolution).macs["F7+"])
    plain = stated("finetune.epochs").value * images * 6 * macs
    hours = stated("finetune.f7plus_8_epochs.compute").value
    share = plain / (hours * 3600 * study.peak_flops)
    runs = study.utilisation
    pretraining = float(runs.published[runs.model == "F7+"].median())
    # SAM costs between nothing (no ascent) and one more gradient (ascent on the whole batch).
    possible = share <= pretraining and 2 * share >= (claim.expected or 0) * pretraining
    total = study.results.pretraining.tpu_v4_core_hours.max()
    return Outcome(
        verdict(possible),
        f"{hours:,.0f} core hours ({hours / total:.1%} of pre-training) imply a utilisation of {share:.2f} without SAM "
        f"and {2 * share:.2f} with SAM on the whole batch; pre-training reaches {pretraining:.2f}.",
    )


def lowest_loss_not_best(claim: Claim, study: Study) -> Outcome:
    """Pairs of nearly equal compute whose order by error is not that by loss."""
    swaps = study.swaps
    first = swaps.sort_values("loss_gap").iloc[-1] if len(swaps) else None
    detail = (
        f"; most of all {first.better_error} beats {first.better_loss} by {first.error_gap:.2f} points "
        f"although its loss is {first.loss_gap:.3f} higher"
        if first is not None
        else ""
    )
    return Outcome(verdict(len(swaps) > 0), f"{len(swaps)} pairs of nearly equal compute swap their order{detail}.")


def favours_larger(claim: Claim, study: Study) -> Outcome:
    """Direction of those swaps, and the best size at equal compute by loss and by error."""
    swaps = study.swaps
    agree = int(((swaps.size_ratio > 1) & (swaps.epochs_ratio < 1)).sum())
    by_loss, by_error = study.fits.optimum_by_profiles, study.fits.error_optimum_by_profiles
    ratio = np.exp(_line(by_error.size_line, by_error.points) - _line(by_loss.size_line, by_error.points))
    return Outcome(
        verdict(agree == len(swaps) and agree > 0 and bool(np.mean(ratio) > 1)),
        f"In {agree} of {len(swaps)} swaps the better fine-tuner is larger and trained for fewer epochs; over "
        f"{by_error.points.tpu_v4_core_hours.min():,.0f} to {by_error.points.tpu_v4_core_hours.max():,.0f} core hours "
        f"the best size for error is {np.exp(np.mean(np.log(ratio))):.1f} times that for loss.",
    )


def _line(line: tuple[float, float], points: pd.DataFrame) -> np.ndarray:
    return line[0] + line[1] * np.log(points.tpu_v4_core_hours.to_numpy(float))


def better_than_without_extra_data(claim: Claim, study: Study) -> Outcome:
    """Best NFNet of Figure 1 against the best NFNet without extra data, and the latter against Brock et al."""
    plain = study.results.stated("finetune.best_nfnet_without_extra_data.top1").value
    best = 100 - float(study.results.finetuning.imagenet_top1_error_percent.min())
    table = float(study.results.nfnet_imagenet.imagenet_top1_percent.max())
    return Outcome(
        verdict(best > plain >= table),
        f"{best:.2f}% against {plain:g}% without extra data, itself above the {table:g}% of Brock et al. (Table 3).",
    )


def error_exponent(claim: Claim, study: Study) -> Outcome:
    """Exponent of the error on the compute frontier."""
    law = study.fits.error_law
    return Outcome(
        verdict(claim.agrees(law.exponent.value)),
        f"E = {law.coefficient.value:.3g}% C^-a with a = {law.exponent:.4f} on a frontier of {len(law.compute)}.",
    )


def compute_explains_error(claim: Claim, study: Study) -> Outcome:
    """Variance of log error over all checkpoints that compute alone explains."""
    runs = study.fits.finetuning
    x, y = np.log(runs.tpu_v4_core_hours.to_numpy(float)), np.log(runs.imagenet_top1_error_percent.to_numpy(float))
    explained = float(np.corrcoef(x, y)[0, 1] ** 2)
    return Outcome(
        verdict(claim.agrees(explained), caveat=True),
        f"Compute alone explains {explained:.0%} of the variance of log error over {len(runs)} NFNet checkpoints.",
    )
