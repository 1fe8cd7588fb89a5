"""Section "Fine-tuned NFNets are competitive with Vision Transformers on ImageNet": the NFNets of Figure 1."""

from __future__ import annotations

import numpy as np
import pandas as pd

from paper.checks.consistency import cross_figure
from paper.family import nfnet_family
from paper.noise import INTERVAL, difference_z, validation_images
from paper.results import run_name
from paper.study import Study
from paper.verdicts import LEVEL, Claim, Outcome, Verdict, verdict


def _top1(study: Study, *, repeated_augmentation: bool) -> float:
    """Plotted top-1 accuracy of F7+ at the largest epoch budget, in percent."""
    runs = study.results.finetuning
    best = runs[(runs.model == "F7+") & (runs.epochs == runs.epochs.max())]
    return 100 - float(best[best.repeated_augmentation == repeated_augmentation].imagenet_top1_error_percent.iloc[0])


def improves_with_compute(claim: Claim, study: Study) -> Outcome:
    """Steps to the next epoch budget along each curve: which lower the error, and which by more than test-set noise."""
    runs = study.fits.finetuning
    images = validation_images(study.results.datasets)
    steps = []
    for model, curve in runs.sort_values("epochs").groupby("model"):
        errors = curve.imagenet_top1_error_percent.to_numpy(float)
        z = difference_z(errors[:-1], errors[1:], images)
        steps += [(run_name(str(model), epochs), *step) for epochs, *step in zip(curve.epochs[1:], z, strict=True)]
    z = np.array([step[1] for step in steps])
    rises = [f"{name} ({-one:.1f} standard errors)" for name, one in steps if one < 0]
    rank = float(runs.tpu_v4_core_hours.rank().corr(runs.imagenet_top1_error_percent.rank()))
    return Outcome(
        verdict(bool((z > -INTERVAL).all()) and rank < 0, caveat=bool(rises)),
        f"Training a model for twice as long lowers its error in {int((z > 0).sum())} of {len(z)} steps, in "
        f"{int((z > INTERVAL).sum())} of them by more than the noise of the test set; over all {len(runs)} checkpoints "
        f"the rank correlation of error with compute is {rank:.2f}.",
        f"The error rises, within the noise of the test set, up to {' and up to '.join(rises)}." if rises else "",
        number=f"{int((z > 0).sum())} of {len(z)} steps",
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
        number=f"{plotted:.2f}% plotted",
    )


def f7plus_top1(claim: Claim, study: Study) -> Outcome:
    """Text against plot, F7+ at 8 epochs."""
    return _text_against_plot(claim, study, "finetune.f7plus_8_epochs.top1", repeated_augmentation=False)


def f7plus_top1_repeated(claim: Claim, study: Study) -> Outcome:
    """Text against plot, F7+ at 8 epochs with repeated augmentation."""
    quantity = "finetune.f7plus_8_epochs_repeated_augmentation.top1"
    return _text_against_plot(claim, study, quantity, repeated_augmentation=True)


def repeated_augmentation_helps(claim: Claim, study: Study) -> Outcome:
    """Gain of repeated augmentation at equal compute, in standard errors of the test set."""
    gain = _top1(study, repeated_augmentation=True) - _top1(study, repeated_augmentation=False)
    errors = [100 - _top1(study, repeated_augmentation=repeated) for repeated in (False, True)]
    z = float(difference_z(errors[0], errors[1], validation_images(study.results.datasets)))
    found = Verdict.OPEN if abs(z) < INTERVAL else verdict(z > 0, caveat=True)
    return Outcome(
        found,
        f"Repeated augmentation {'gains' if gain >= 0 else 'loses'} {abs(gain):.2f} points, {abs(z):.1f} standard "
        f"errors of two evaluations on the same number of images.",
        f"The difference lies within the noise of the test set, which is at most {INTERVAL * abs(gain / z):.2f} points "
        "either way, since both were evaluated on the same images."
        if found == Verdict.OPEN and z
        else "",
        number=f"{gain:+.2f} points, {abs(z):.1f} standard errors",
    )


def text_compute(claim: Claim, study: Study) -> Outcome:
    """Compute of F7+ at 8 epochs: the text's number less the plotted one, against the rounding of either."""
    stated = study.results.stated("pretrain.max_compute")
    runs = study.results.pretraining
    plotted = int(runs.tpu_v4_core_hours[(runs.model == "F7+") & (runs.epochs == runs.epochs.max())].iloc[0])
    (reading,) = study.results.half_width("smith2023-figure2", "tpu_v4_core_hours", np.array([plotted]))
    off = plotted - stated.value
    return Outcome(
        verdict(abs(off) <= stated.uncertainty + reading, caveat=abs(off) > reading),
        f"The text says {stated.value:,.0f} TPU-v4 core hours, Figures 1 and 2 show {plotted:,} "
        f"({off / stated.value:+.1%}).",
        f"They differ by {abs(off):,.0f} hours, more than the figure leaves open ({reading:,.0f} either way) and less "
        f"than the text's rounding does ({stated.uncertainty:,.0f})."
        if reading < abs(off) <= stated.uncertainty + reading
        else "",
        number=f"{off / stated.value:+.1%}",
    )


def same_compute_in_both_figures(claim: Claim, study: Study) -> Outcome:
    """Compute of each checkpoint in Figures 1 and 2."""
    problems = cross_figure(study)
    missing = len(study.results.pretraining) - len(study.checkpoints)
    return Outcome(
        verdict(not problems),
        " ".join(problems)
        or f"All {len(study.checkpoints)} checkpoints agree; {missing} runs of Figure 2 are not in Figure 1.",
        number=f"{len(problems)} exceptions",
    )


def finetuning_cost(claim: Claim, study: Study) -> Outcome:
    """Utilisation that the stated cost of fine-tuning implies, against the range that pre-training reaches.

    SAM costs between nothing (no ascent) and one more gradient (ascent on the whole batch), so the utilisation is a
    range; the two ranges must overlap.
    """
    stated = study.results.stated
    table = study.results.datasets
    images = float(table.images[(table.dataset == "ImageNet-1k") & (table.split == "train")].iloc[0])
    resolution = round(stated("finetune.train_resolution").value)
    macs = float(nfnet_family("published", resolution).macs["F7+"])
    plain = stated("finetune.epochs").value * images * 6 * macs
    hours = stated("finetune.f7plus_8_epochs.compute").value
    share = plain / (hours * 3600 * study.peak_flops)
    reached = study.utilisation.published
    total = study.results.pretraining.tpu_v4_core_hours.max()
    return Outcome(
        verdict(bool(share <= reached.max() and 2 * share >= reached.min())),
        f"{hours:,.0f} core hours ({hours / total:.1%} of pre-training) imply a utilisation of {share:.2f} without SAM "
        f"and {2 * share:.2f} with SAM on the whole batch; pre-training reaches {reached.min():.2f} to "
        f"{reached.max():.2f}.",
        number=f"utilisation {share:.2f} to {2 * share:.2f}",
    )


def lowest_loss_not_best(claim: Claim, study: Study) -> Outcome:
    """Pairs of nearly equal compute whose order by error is not that by loss, and their gaps in test-set noise."""
    swaps = study.swaps.sort_values("error_z")
    beyond = int((swaps.error_z > INTERVAL).sum())
    detail = ""
    if len(swaps):
        first = swaps.iloc[-1]
        detail = (
            f"; most of all {first.better_error} beats {first.better_loss} by {first.error_gap:.2f} points "
            f"({first.error_z:.1f} standard errors of the test set) although its loss is {first.loss_gap:.3f} higher"
        )
    return Outcome(
        verdict(beyond > 0, caveat=beyond < len(swaps)) if beyond or not len(swaps) else Verdict.OPEN,
        f"{len(swaps)} of {len(study.near_pairs)} pairs of nearly equal compute swap their order{detail}.",
        f"{len(swaps) - beyond} of the {len(swaps)} leads after fine-tuning lie within the noise of the test set."
        if beyond < len(swaps)
        else "",
        number=f"{beyond} of {len(swaps)} swaps beyond noise",
    )


def favours_larger(claim: Claim, study: Study) -> Outcome:
    """Whether the order swaps more often where the loss favours longer training than where it favours the larger model.

    Fisher's exact test over all pairs of nearly equal compute; beside it the best size at equal compute, by loss and by
    error.
    """
    from scipy.stats import hypergeom

    pairs = study.near_pairs
    by_loss = np.sign(pairs.loss_gap)  # above zero where the longer training has the lower loss
    swapped = pairs.loss_gap * pairs.error_gap < 0
    longer, towards = int((by_loss > 0).sum()), int((swapped & (by_loss > 0)).sum())
    chance = float(hypergeom.sf(towards - 1, int((by_loss != 0).sum()), longer, int(swapped.sum())))
    optimum, tuned = study.fits.optimum_by_profiles, study.fits.error_optimum_by_profiles
    budgets = tuned.points.compute
    ratio = float(
        np.exp(
            (_line(tuned.size_line, tuned.points) - _line(optimum.size_line, tuned.points)).sum() / max(1, len(budgets))
        )
    )
    beyond = int((study.swaps.error_z > INTERVAL).sum())
    return Outcome(
        verdict(bool(chance < LEVEL and ratio > 1), caveat=beyond < len(study.swaps)),
        f"Fine-tuning prefers the larger model in {towards} of the {longer} pairs in which the loss prefers longer "
        f"training, and longer training in {int(swapped.sum()) - towards} of the {int((by_loss < 0).sum())} others "
        f"(exact test, p = {chance:.2g}). "
        + (
            f"Over {budgets.min():,.0f} to {budgets.max():,.0f} core hours the best size for error is {ratio:.1f} "
            "times that for loss."
            if len(budgets)
            else "No budget has a best size for error among the models."
        ),
        f"Only {beyond} of the {len(study.swaps)} leads alone exceeds the noise of the test set."
        if beyond == 1
        else f"Of the {len(study.swaps)} leads {beyond} alone exceed the noise of the test set.",
        number=f"p = {chance:.2g}",
    )


def _line(line: tuple[float, float], points: pd.DataFrame) -> np.ndarray:
    return line[0] + line[1] * np.log(points.compute.to_numpy(float))


def better_than_without_extra_data(claim: Claim, study: Study) -> Outcome:
    """Best NFNet of Figure 1 less the best NFNet without extra data, in standard errors of the test set."""
    plain = study.results.stated("finetune.best_nfnet_without_extra_data.top1").value
    best = 100 - float(study.results.finetuning.imagenet_top1_error_percent.min())
    table = float(study.results.nfnet_imagenet.imagenet_top1_percent.max())
    z = float(difference_z(100 - plain, 100 - best, validation_images(study.results.datasets)))
    return Outcome(
        verdict(z > INTERVAL and plain >= table),
        f"{best:.2f}% against {plain:g}% without extra data, a difference of {z:.0f} standard errors of the test set; "
        f"the latter is itself above the {table:g}% of Brock et al. (Table 3).",
        number=f"{z:.0f} standard errors",
    )


def compute_explains_error(claim: Claim, study: Study) -> Outcome:
    """Variance of log error over all checkpoints that compute alone explains; no family is there to compare with."""
    runs = study.fits.finetuning
    x, y = np.log(runs.tpu_v4_core_hours.to_numpy(float)), np.log(runs.imagenet_top1_error_percent.to_numpy(float))
    explained = float(np.corrcoef(x, y)[0, 1] ** 2)
    return Outcome(
        Verdict.OPEN,
        f"Compute alone explains {explained:.0%} of the variance of log error over {len(runs)} NFNet checkpoints, and "
        "nothing varies the design beside it.",
        number=f"{explained:.0%} of the variance, in one family",
    )
