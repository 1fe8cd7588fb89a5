"""Section "Pre-trained NFNets obey scaling laws" and Figure 2."""

from __future__ import annotations

import numpy as np

from nfnet import VARIANTS
from paper.checks.consistency import doubling, utilisation_by_model
from paper.fits.laws import PowerLaw, SaturatingLaw
from paper.results import MODELS, run_name
from paper.study import Study
from paper.verdicts import Claim, Outcome, Verdict, verdict


def compute_range(claim: Claim, study: Study) -> Outcome:
    """Figure 2's cheapest and dearest run against the range that the abstract states."""
    hours = study.results.pretraining.tpu_v4_core_hours
    low, high = study.results.stated("pretrain.min_compute"), study.results.stated("pretrain.max_compute")
    inside = abs(hours.min() - low.value) <= low.uncertainty and abs(hours.max() - high.value) <= high.uncertainty
    return Outcome(
        verdict(inside),
        f"Figure 2 spans {hours.min():,} to {hours.max():,} TPU-v4 core hours; the text rounds to "
        f"{low.value:,.0f} and {high.value:,.0f}.",
    )


def epoch_budgets(claim: Claim, study: Study) -> Outcome:
    """Every model of Figure 2 has the same budgets, doubling from the smallest to the largest stated."""
    runs = study.results.pretraining
    low, high = (study.results.stated(f"pretrain.{end}_epochs").value for end in ("min", "max"))
    expected = low * 2.0 ** np.arange(round(np.log2(high / low)) + 1)
    complete = [model for model in MODELS if np.array_equal(np.sort(runs.epochs[runs.model == model]), expected)]
    return Outcome(
        verdict(len(complete) == len(MODELS)),
        f"{len(complete)} of {len(MODELS)} models have the {len(expected)} budgets {low:g} to {high:g} epochs.",
    )


def depth_doubles(claim: Claim, study: Study) -> Outcome:
    """Depth of F1 over F0, F3 over F1 and F7 over F3 at equal widths, from the models themselves."""
    pairs = (("F0", "F1"), ("F1", "F3"), ("F3", "F7"))
    ratios = {sum(VARIANTS[large].depths) / sum(VARIANTS[small].depths) for small, large in pairs}
    same = all(VARIANTS[small].widths == VARIANTS[large].widths for small, large in pairs)
    return Outcome(
        verdict(all(claim.agrees(ratio) for ratio in ratios) and same),
        f"Ratios of depth: {', '.join(f'{ratio:g}' for ratio in sorted(ratios))}; widths "
        f"{'equal' if same else 'differ'}.",
    )


def plus_is_wider(claim: Claim, study: Study) -> Outcome:
    """Depth and widths of F3+ and F7+ against F3 and F7, from the models themselves."""
    wider = all(
        VARIANTS[name].depths == VARIANTS[name + "+"].depths
        and all(a < b for a, b in zip(VARIANTS[name].widths, VARIANTS[name + "+"].widths, strict=True))
        for name in ("F3", "F7")
    )
    return Outcome(
        verdict(wider),
        f"Widths {VARIANTS['F3'].widths} against {VARIANTS['F3+'].widths}; depths {VARIANTS['F7'].depths} in both "
        "F7 and F7+.",
    )


def compute_doubles(claim: Claim, study: Study) -> Outcome:
    """Compute against epochs along each model's curve."""
    problems = doubling(study)
    runs = study.results.pretraining
    rate = runs[runs.epochs == runs.epochs.max()]
    costs = ", ".join(f"{row.model} {row.tpu_v4_core_hours / row.epochs:,.0f}" for row in rate.itertuples())
    return Outcome(
        verdict(not problems), " ".join(problems) or f"One cost per epoch fits each model; core hours: {costs}."
    )


def compute_is_rounded(claim: Claim, study: Study) -> Outcome:
    """Every plotted compute is a multiple of the expected step."""
    hours = np.concatenate([study.results.pretraining.tpu_v4_core_hours, study.results.finetuning.tpu_v4_core_hours])
    step = claim.expected or 1.0
    round_ones = int(np.sum(hours % step == 0))
    return Outcome(
        verdict(round_ones == len(hours)),
        f"{round_ones} of {len(hours)} plotted values of Figures 1 and 2 are multiples of {step:g} core hours.",
    )


def loss_falls(claim: Claim, study: Study) -> Outcome:
    """Loss against epochs for each model."""
    runs = study.results.pretraining.sort_values("epochs")
    falling = [model for model, curve in runs.groupby("model") if (np.diff(curve.jft4b_val_loss) < 0).all()]
    return Outcome(
        verdict(len(falling) == len(MODELS)), f"{len(falling)} of {len(MODELS)} curves of Figure 2 fall throughout."
    )


def larger_is_better(claim: Claim, study: Study) -> Outcome:
    """At equal epochs, the share of budgets at which each model beats the next smaller one."""
    table = study.fits.pretraining.pivot(index="model", columns="epochs", values="jft4b_val_loss").loc[list(MODELS)]
    gains = -table.diff().iloc[1:]
    ties = [run_name(str(model), float(epochs)) for model, row in gains.iterrows() for epochs in row.index[row <= 0]]
    share = float((gains > 0).to_numpy().mean())
    return Outcome(
        verdict(claim.agrees(share), caveat=bool(ties)),
        f"A larger model has the lower loss in {share:.0%} of neighbouring pairs at equal epochs"
        + (f"; not so for {', '.join(ties)}." if ties else "."),
    )


def loss_is_loglog_linear(claim: Claim, study: Study) -> Outcome:
    """Share of the variance of log loss on the compute frontier that a straight line explains."""
    law = study.fits.loss_law
    largest = 100 * np.abs(law.residuals).max()
    return Outcome(
        verdict(claim.agrees(law.r_squared)),
        f"Over the {len(law.compute)} runs of the frontier a line explains {law.r_squared:.1%} of the variance of the "
        f"log loss; the largest residual is {largest:.1f}% of the loss.",
    )


def loss_exponent(claim: Claim, study: Study) -> Outcome:
    """Exponent of the frontier, with both bootstraps."""
    law, runs = study.fits.loss_law, study.fits.loss_law_all_resampled
    return Outcome(
        verdict(claim.agrees(law.exponent.value)),
        f"L = {law.coefficient.value:.3g} C^-a with a = {law.exponent:.4f}; resampling whole runs gives "
        f"{runs.low:.4f} to {runs.high:.4f}.",
    )


def _tell_apart(claim: Claim, name: str, power: PowerLaw, saturating: SaturatingLaw) -> Outcome:
    gain = power.criterion - saturating.criterion
    decided = abs(gain) > (claim.tolerance or 0)
    found = (verdict(gain > 0)) if decided else Verdict.OPEN
    return Outcome(
        found,
        f"An irreducible {name} of {saturating.irreducible:.3g} {saturating.irreducible.unit} changes the corrected "
        f"Akaike criterion by {-gain:+.1f} (below zero favours it; within {claim.tolerance:g} neither).",
    )


def loss_saturates(claim: Claim, study: Study) -> Outcome:
    """Whether the frontier of the loss prefers an irreducible term."""
    return _tell_apart(claim, "loss", study.fits.loss_law, study.fits.loss_law_saturating)


def error_saturates(claim: Claim, study: Study) -> Outcome:
    """Whether the frontier of the error prefers an irreducible term."""
    return _tell_apart(claim, "error", study.fits.error_law, study.fits.error_law_saturating)


def _exponents(study: Study, name: str) -> str:
    return "; ".join(f"{route.method} {getattr(route, name):.2f}" for route in study.fits.optima)


def size_grows(claim: Claim, study: Study) -> Outcome:
    """Exponent of the compute-optimal size by the three routes."""
    growing = all(route.size_exponent.low > 0 for route in study.fits.optima)
    return Outcome(verdict(growing), f"Exponents of size: {_exponents(study, 'size_exponent')}.")


def epochs_grow(claim: Claim, study: Study) -> Outcome:
    """Exponent of the compute-optimal epoch budget by the three routes."""
    growing = all(route.epochs_exponent.low > 0 for route in study.fits.optima)
    return Outcome(verdict(growing), f"Exponents of epochs: {_exponents(study, 'epochs_exponent')}.")


def same_rate(claim: Claim, study: Study) -> Outcome:
    """Whether the two exponents can be equal, by the three routes."""
    inside = [route.method for route in study.fits.optima if route.same_rate]
    runs = study.fits.pretraining
    span = np.log(runs.tpu_v4_core_hours.max() / runs.tpu_v4_core_hours.min())
    diagonal = [float(np.log(runs[name].max() / runs[name].min()) / span) for name in ("parameters", "epochs")]
    all_routes = len(inside) == len(study.fits.optima)
    return Outcome(
        verdict(bool(inside), caveat=not all_routes),
        f"Exponent of size less that of epochs: {_exponents(study, 'difference')}; zero lies inside for "
        f"{', '.join(inside) or 'none'}. The sweep's own diagonal has {diagonal[0]:.2f} and {diagonal[1]:.2f}.",
    )


def one_epoch(claim: Claim, study: Study) -> Outcome:
    """Compute at which the optimal epoch budget passes 1, by the three routes."""
    stated = study.results.stated("pretrain.compute_where_optimal_epochs_exceed_one")
    inside = [abs(route.one_epoch.value - stated.value) <= stated.uncertainty for route in study.fits.optima]
    found = "; ".join(f"{route.method} {route.one_epoch:,.0f}" for route in study.fits.optima)
    return Outcome(
        verdict(all(inside)),
        f"The optimal budget passes one epoch at, in TPU-v4 core hours: {found}; the text says {stated.value:,.0f}.",
    )


def f7plus_is_rough(claim: Claim, study: Study) -> Outcome:
    """Roughness of the F7+ curve against the other curves."""
    rough = study.fits.loss_roughness
    others = rough.drop("F7+")
    ratio = float(rough["F7+"] / others.median())
    return Outcome(
        verdict(rough.idxmax() == "F7+" and ratio >= (claim.expected or 0)),
        f"F7+ strays {rough['F7+']:.2f}% from a smooth curve, {ratio:.1f} times the median of the others "
        f"({others.min():.2f}% to {others.max():.2f}%).",
    )


def utilisation_is_constant(claim: Claim, study: Study) -> Outcome:
    """Implied utilisation within each model, and its range over models under both readings of '+'."""
    problems = utilisation_by_model(study)
    runs = study.utilisation[study.utilisation.epochs == study.utilisation.epochs.max()]
    share = "; ".join(
        f"{row.model} {row.published:.2f}" + (f" ({row.released:.2f} as released)" if row.model[-1] == "+" else "")
        for row in runs.itertuples()
    )
    return Outcome(verdict(not problems), " ".join(problems) or f"One utilisation fits each model: {share}.")


def not_published(claim: Claim, study: Study) -> Outcome:
    """For statements whose data were not published."""
    return Outcome(Verdict.OPEN, "Nothing published bears on it.")
