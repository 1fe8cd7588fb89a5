"""The Vision Transformers of Figure 1 and the hardware that both families were trained on."""

from __future__ import annotations

import numpy as np
import pandas as pd

from paper.noise import INTERVAL, ONE_SIDED, difference_error, difference_z, validation_images
from paper.study import Study
from paper.verdicts import Claim, Outcome, Verdict, verdict
from paper.vits.conversion import ACCOUNTINGS, anchors


def _best_nfnet(study: Study) -> pd.Series:
    return study.results.finetuning.sort_values("imagenet_top1_error_percent").iloc[0]


def _best_plain(study: Study) -> pd.Series:
    runs = study.results.finetuning
    return runs[~runs.repeated_augmentation].sort_values("imagenet_top1_error_percent").iloc[0]


def _margin(study: Study) -> float:
    """How much one and the same model gains, in points, between two resolutions of fine-tuning.

    SoViT-400m/14 at 384 pixels, as the NFNets were fine-tuned, and at its largest resolution: what a difference of
    protocol that the comparison leaves open is worth.
    """
    table = study.results.sovit_table
    mine = table[table.model == "SoViT-400m/14"].set_index("finetune_resolution").imagenet_top1_percent
    trained = round(study.results.stated("finetune.train_resolution").value)
    return float(mine[mine.index.max()] - mine[trained])


def _not_inferior(study: Study, nfnet: pd.Series, vits: pd.DataFrame) -> Outcome:
    """Whether the error of ``nfnet`` is above that of each of ``vits`` by less than the margin, noise counted.

    It is shown where the upper end of a one-sided 95% interval is below the margin; held with a caveat where only the
    error as printed is.
    """
    margin, images = _margin(study), validation_images(study.results.datasets)
    own = float(nfnet.imagenet_top1_error_percent)
    theirs = vits.imagenet_top1_error_percent_plotted.to_numpy(float)
    gaps = own - theirs
    ends = gaps + ONE_SIDED * difference_error(own, theirs, images)
    z = difference_z(own, theirs, images)
    ratios = vits.tpu_v4_core_hours_plotted / nfnet.tpu_v4_core_hours
    detail = "; ".join(
        f"{model} {gap:+.2f} points ({one:+.1f} standard errors, at most {end:+.2f}) at {ratio:.2f} times the compute"
        for model, gap, one, end, ratio in zip(vits.model, gaps, z, ends, ratios, strict=True)
    )
    printed, shown = bool(len(vits)) and bool((gaps < margin).all()), bool((ends < margin).all())
    open_ = [model for model, end in zip(vits.model, ends, strict=True) if end >= margin]
    return Outcome(
        verdict(printed, caveat=not shown),
        f"Error of the NFNet less that of each Vision Transformer, against a margin of {margin:.2f}: {detail}.",
        f"The test set is too small to show that the NFNet is within the margin of {' and '.join(open_)}."
        if printed and open_
        else "",
        number=f"at most {ends.max():+.2f} points, margin {margin:.2f}" if len(vits) else "",
    )


def _comparable(claim: Claim, study: Study, nfnet: pd.Series) -> pd.DataFrame:
    """Vision Transformers of Figure 1 of comparable compute."""
    vits = study.results.vits
    return vits[vits.tpu_v4_core_hours_plotted <= claim.compute_factor * nfnet.tpu_v4_core_hours]


def _slip(study: Study) -> float:
    """TPU-v3 hours per TPU-v4 hour of F7+, reading the printed 250 as 250k."""
    printed = study.results.stated("hardware.f7plus_8_epochs_on_v3_as_printed").value
    return printed * 1000 / _hours(study)


def _v3_over_v4(study: Study, accounting: str) -> pd.Series:
    """TPU-v3 hours per TPU-v4 hour of the Vision Transformers whose TPU-v3 hours one accounting has, by model."""
    table = anchors(study.results)
    own = table[table.accounting == accounting].set_index("model")
    return 1 / own.ratio


def _hours(study: Study) -> float:
    runs = study.results.pretraining
    return float(runs.tpu_v4_core_hours[(runs.model == "F7+") & (runs.epochs == runs.epochs.max())].iloc[0])


def text_compute(claim: Claim, study: Study) -> Outcome:
    """TPU-v4 hours of each Vision Transformer, text against plot."""
    vits = study.results.vits
    stated, plotted = vits.tpu_v4_core_hours_text, vits.tpu_v4_core_hours_plotted
    off = np.abs(plotted - stated)
    rounding, reading = (
        study.results.half_width("smith2023-figure1-vit", column, vits[column])
        for column in ("tpu_v4_core_hours_text", "tpu_v4_core_hours_plotted")
    )
    detail = "; ".join(
        f"{model} {text:,} in the text, {plot:,} plotted ({plot / text - 1:+.1%})"
        for model, text, plot in zip(vits.model, stated, plotted, strict=True)
    )
    differ = bool((off > reading).any())
    return Outcome(
        verdict(bool((off <= rounding).all()), caveat=differ),
        f"{detail}.",
        "Figure 1 plots other values than the text states." if differ else "",
        number=f"off by up to {float((off / stated).max()):.1%}",
    )


def text_accuracy(claim: Claim, study: Study) -> Outcome:
    """Accuracy of each Vision Transformer, text against plot."""
    vits = study.results.vits
    off = (100 - vits.imagenet_top1_error_percent_plotted - vits.imagenet_top1_accuracy_percent_text).abs()
    return Outcome(
        verdict(all(claim.agrees(value) for value in off)),
        f"Plotted errors and stated accuracies of the {len(vits)} models differ by at most {off.max():.2f} points.",
        number=f"off by {off.max():.2f} points at most",
    )


def matches_at_comparable_compute(claim: Claim, study: Study) -> Outcome:
    """Upper end of a one-sided interval of the best NFNet's error less that of each ViT of comparable compute."""
    best = _best_nfnet(study)
    return _not_inferior(study, best, _comparable(claim, study, best))


def competitive_with_the_largest(claim: Claim, study: Study) -> Outcome:
    """The same against the best Vision Transformer, whatever its compute."""
    return _not_inferior(
        study, _best_nfnet(study), study.results.vits.sort_values("imagenet_top1_error_percent_plotted").head(1)
    )


def plain_against_repeated(claim: Claim, study: Study) -> Outcome:
    """The same for the best NFNet without repeated augmentation."""
    best = _best_plain(study)
    return _not_inferior(study, best, _comparable(claim, study, best))


def slip_of_250_hours(claim: Claim, study: Study) -> Outcome:
    """The printed TPU-v3 hours of F7+ against its TPU-v4 hours."""
    stated = study.results.stated("hardware.f7plus_8_epochs_on_v3_as_printed")
    hours = _hours(study)
    vits = _v3_over_v4(study, "reported")
    return Outcome(
        verdict(stated.value > hours),
        f"{stated.value:g} TPU-v3 core hours are {stated.value / hours:.2%} of its {hours:,.0f} TPU-v4 core hours; "
        f"read as thousands the ratio is {_slip(study):.2f}, beside {vits.min():.2f} to {vits.max():.2f} for the "
        "Vision Transformers.",
        number=f"{_slip(study):.2f} TPU-v3 hours a TPU-v4 hour, if 250k",
    )


def better_on_v4(claim: Claim, study: Study) -> Outcome:
    """TPU-v3 hours per TPU-v4 hour: F7+ against the Vision Transformers in either accounting of their TPU-v3 hours."""
    nfnet = _slip(study)
    by = {accounting: _v3_over_v4(study, accounting) for accounting in ACCOUNTINGS}
    above = [accounting for accounting, vits in by.items() if nfnet > vits.max()]
    detail = "; ".join(
        f"by {'Figure 2 of Zhai et al.' if accounting == 'figure 2' else 'reported hours'} "
        + ", ".join(f"{model} {ratio:.2f}" for model, ratio in vits.items())
        for accounting, vits in by.items()
    )
    undecided = 0 < len(above) < len(by)
    return Outcome(
        Verdict.OPEN if undecided else verdict(bool(above), caveat=True),
        f"TPU-v3 core hours per TPU-v4 core hour: F7+ {nfnet:.2f} (reading 250 as thousands); {detail}.",
        f"It is so by the {above[0].replace('figure', 'Figure')} hours alone." if undecided else "",
        number=f"{nfnet:.2f} against {min(vits.max() for vits in by.values()):.2f} or "
        f"{max(vits.max() for vits in by.values()):.2f}",
    )


def v4_doubles_v3(claim: Claim, study: Study) -> Outcome:
    """Ratio of theoretical peaks, beside what the hours of the Vision Transformers imply."""
    vits = pd.concat([_v3_over_v4(study, accounting) for accounting in ACCOUNTINGS])
    stated = study.results.stated("hardware.v4_over_v3_theoretical_flops")
    ratio = study.peak_flops_of("TPU-v4") / study.peak_flops_of("TPU-v3")
    return Outcome(
        verdict(abs(ratio - stated.value) <= stated.uncertainty),
        f"The theoretical peaks are as {ratio:.2f} to 1 per core; the hours of the Vision Transformers imply "
        f"{vits.min():.2f} to {vits.max():.2f}.",
        number=f"{ratio:.2f} to 1",
    )


def same_pretraining_data(claim: Claim, study: Study) -> Outcome:
    """Data sets of the Vision Transformers against the NFNets' JFT-4B."""
    data = sorted(set(study.results.vits.pretraining_dataset))
    return Outcome(
        verdict(data == ["JFT-4B"]),
        f"The Vision Transformers were pre-trained on {', '.join(data)}, the NFNets on JFT-4B.",
        number=f"{', '.join(data)} against JFT-4B",
    )


def no_strong_evidence_for_vits(claim: Claim, study: Study) -> Outcome:
    """Vision Transformers of comparable compute with a lower error than the best NFNet, test-set noise counted."""
    best = _best_nfnet(study)
    images = validation_images(study.results.datasets)
    near = _comparable(claim, study, best)
    far = study.results.vits.drop(near.index)

    def told(vits: pd.DataFrame) -> tuple[np.ndarray, str]:
        errors = vits.imagenet_top1_error_percent_plotted.to_numpy(float)
        z = difference_z(errors, best.imagenet_top1_error_percent, images)
        rows = zip(vits.model, errors - best.imagenet_top1_error_percent, z, strict=True)
        return z, "; ".join(f"{model} {gap:+.2f} points, {one:+.1f} standard errors" for model, gap, one in rows)

    (z, compared), (far_z, left_out) = told(near), told(far)
    ahead = int((z < -INTERVAL).sum())
    found = Verdict.OPEN if near.empty else verdict(ahead == 0, caveat=True)
    return Outcome(
        found,
        f"{ahead} of {len(near)} Vision Transformers of up to {claim.compute_factor:g} times its compute have a lower "
        f"error than the best NFNet by more than the noise of the test set (theirs less the NFNet's: {compared}).",
        f"{len(far)} of {len(study.results.vits)} is left out for costing more: {left_out}, which is "
        f"{'beyond' if (far_z < -INTERVAL).any() else 'within'} that noise."
        if len(far)
        else "",
        number=f"{ahead} of {len(near)} beyond noise",
    )
