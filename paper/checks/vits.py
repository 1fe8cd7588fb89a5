"""The Vision Transformers of Figure 1 and the hardware that both families were trained on."""

from __future__ import annotations

import numpy as np
import pandas as pd

from paper.study import Study
from paper.verdicts import Claim, Outcome, verdict


def _best_nfnet(study: Study) -> pd.Series:
    return study.results.finetuning.sort_values("imagenet_top1_error_percent").iloc[0]


def _v3_over_v4(study: Study) -> tuple[float, pd.Series]:
    """TPU-v3 hours per TPU-v4 hour: of F7+ reading 250 as 250k, and of each Vision Transformer."""
    printed = study.results.stated("hardware.f7plus_8_epochs_on_v3_as_printed").value
    vits = study.results.vits.set_index("model")
    return printed * 1000 / _hours(study), vits.tpu_v3_core_hours_text / vits.tpu_v4_core_hours_text


def _hours(study: Study) -> float:
    runs = study.results.pretraining
    return float(runs.tpu_v4_core_hours[(runs.model == "F7+") & (runs.epochs == runs.epochs.max())].iloc[0])


def text_compute(claim: Claim, study: Study) -> Outcome:
    """TPU-v4 hours of each Vision Transformer, text against plot."""
    vits = study.results.vits
    off = vits.tpu_v4_core_hours_plotted / vits.tpu_v4_core_hours_text - 1
    inside = np.abs(vits.tpu_v4_core_hours_plotted - vits.tpu_v4_core_hours_text) <= study.results.half_width(
        "smith2023-figure1-vit", "tpu_v4_core_hours_text", vits.tpu_v4_core_hours_text
    )
    pairs = zip(vits.itertuples(), off, strict=True)
    detail = "; ".join(
        f"{row.model} {row.tpu_v4_core_hours_text:,} in the text, "
        f"{row.tpu_v4_core_hours_plotted:,} plotted ({part:+.1%})"
        for row, part in pairs
    )
    return Outcome(verdict(bool(inside.all()), caveat=bool((np.abs(off) > (claim.tolerance or 0)).any())), f"{detail}.")


def text_accuracy(claim: Claim, study: Study) -> Outcome:
    """Accuracy of each Vision Transformer, text against plot."""
    vits = study.results.vits
    off = (100 - vits.imagenet_top1_error_percent_plotted - vits.imagenet_top1_accuracy_percent_text).abs()
    return Outcome(
        verdict(all(claim.agrees(value) for value in off)),
        f"Plotted errors and stated accuracies of the {len(vits)} models differ by at most {off.max():.2f} points.",
    )


def matches_at_comparable_compute(claim: Claim, study: Study) -> Outcome:
    """Best NFNet against the Vision Transformers of comparable compute."""
    best = _best_nfnet(study)
    vits = study.results.vits
    near = vits[vits.tpu_v4_core_hours_plotted <= claim.compute_factor * best.tpu_v4_core_hours]
    gaps = near.imagenet_top1_error_percent_plotted - best.imagenet_top1_error_percent
    detail = "; ".join(
        f"{row.model} {gap:+.2f} points at "
        f"{row.tpu_v4_core_hours_plotted / best.tpu_v4_core_hours:.2f} times the compute"
        for row, gap in zip(near.itertuples(), gaps, strict=True)
    )
    return Outcome(
        verdict(len(near) > 0 and all(claim.agrees(gap) for gap in gaps)),
        f"Error of the Vision Transformers less that of the best NFNet: {detail}.",
    )


def competitive_with_the_largest(claim: Claim, study: Study) -> Outcome:
    """Best NFNet against the best Vision Transformer, whatever its compute."""
    best = _best_nfnet(study)
    vits = study.results.vits
    top = vits.sort_values("imagenet_top1_error_percent_plotted").iloc[0]
    gap = float(best.imagenet_top1_error_percent - top.imagenet_top1_error_percent_plotted)
    ratio = float(top.tpu_v4_core_hours_plotted / best.tpu_v4_core_hours)
    return Outcome(
        verdict(claim.agrees(gap), caveat=gap > 0),
        f"{top.model} has the lower error by {gap:.2f} points after {ratio:.1f} times the compute.",
    )


def plain_against_repeated(claim: Claim, study: Study) -> Outcome:
    """The same comparison without repeated augmentation."""
    runs = study.results.finetuning
    plain = runs[~runs.repeated_augmentation]
    best = plain.sort_values("imagenet_top1_error_percent").iloc[0]
    vits = study.results.vits
    near = vits[vits.tpu_v4_core_hours_plotted <= claim.compute_factor * best.tpu_v4_core_hours]
    gaps = near.imagenet_top1_error_percent_plotted - best.imagenet_top1_error_percent
    ahead = [row.model for row, gap in zip(near.itertuples(), gaps, strict=True) if gap < 0]
    detail = "; ".join(f"{row.model} {gap:+.2f}" for row, gap in zip(near.itertuples(), gaps, strict=True))
    return Outcome(
        verdict(all(claim.agrees(gap) for gap in gaps), caveat=bool(ahead)),
        f"Error of the Vision Transformers less that of the best NFNet so trained, in points: {detail}.",
    )


def slip_of_250_hours(claim: Claim, study: Study) -> Outcome:
    """The printed TPU-v3 hours of F7+ against its TPU-v4 hours."""
    stated = study.results.stated("hardware.f7plus_8_epochs_on_v3_as_printed")
    hours = _hours(study)
    ratio, vits = _v3_over_v4(study)
    return Outcome(
        verdict(stated.value > hours),
        f"{stated.value:g} TPU-v3 core hours are {stated.value / hours:.2%} of its {hours:,.0f} TPU-v4 core hours; "
        f"read as thousands the ratio is {ratio:.2f}, beside {vits.min():.2f} to {vits.max():.2f} for the Vision "
        "Transformers.",
    )


def better_on_v4(claim: Claim, study: Study) -> Outcome:
    """TPU-v3 hours per TPU-v4 hour of NFNets and of Vision Transformers."""
    nfnet, vits = _v3_over_v4(study)
    return Outcome(
        verdict(nfnet > vits.max(), caveat=True),
        f"TPU-v3 core hours per TPU-v4 core hour: F7+ {nfnet:.2f} (reading 250 as thousands), Vision Transformers "
        + ", ".join(
            f"{'at least ' if bound else ''}{ratio:.2f}"
            for ratio, bound in zip(vits, study.results.vits.tpu_v3_is_lower_bound, strict=True)
        )
        + ".",
    )


def v4_doubles_v3(claim: Claim, study: Study) -> Outcome:
    """Ratio of theoretical peaks, beside what the stated hours of the Vision Transformers imply."""
    _, vits = _v3_over_v4(study)
    stated = study.results.stated("hardware.v4_over_v3_theoretical_flops")
    ratio = study.peak_flops_of("TPU-v4") / study.peak_flops_of("TPU-v3")
    return Outcome(
        verdict(abs(ratio - stated.value) <= stated.uncertainty),
        f"The theoretical peaks are as {ratio:.2f} to 1 per core; the stated hours of the Vision Transformers imply "
        f"{vits.min():.2f} to {vits.max():.2f}.",
    )


def same_pretraining_data(claim: Claim, study: Study) -> Outcome:
    """Data sets of the Vision Transformers against the NFNets' JFT-4B."""
    data = sorted(set(study.results.vits.pretraining_dataset))
    return Outcome(
        verdict(data == ["JFT-4B"]),
        f"The Vision Transformers were pre-trained on {', '.join(data)}, the NFNets on JFT-4B.",
    )


def no_strong_evidence_for_vits(claim: Claim, study: Study) -> Outcome:
    """Whether any Vision Transformer of comparable or less compute beats the best NFNet."""
    best = _best_nfnet(study)
    vits = study.results.vits
    ahead = vits[
        (vits.tpu_v4_core_hours_plotted <= claim.compute_factor * best.tpu_v4_core_hours)
        & (vits.imagenet_top1_error_percent_plotted < best.imagenet_top1_error_percent)
    ]
    return Outcome(
        verdict(ahead.empty, caveat=True),
        f"{len(ahead)} of {len(vits)} Vision Transformers of Figure 1 have a lower error than the best NFNet at up to "
        f"{claim.compute_factor:g} times its compute.",
    )
