"""Section "Pre-trained NFNets obey scaling laws" and Figure 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nfnet import VARIANTS
from paper.checks.consistency import doubling, utilisation_by_model
from paper.fits.analysis import Analysis
from paper.fits.fitting import likelihood_ratio
from paper.fits.forms import Form
from paper.fits.held_out import forecast_chance, forecast_power
from paper.results import MODELS, run_name
from paper.study import Study
from paper.verdicts import LEVEL, Claim, Outcome, Verdict, verdict

ENOUGH = 0.8
"""Power of a test from which on what it does not find counts as not there (Cohen 1988, section 2.4)."""

INDIFFERENT = 2.0
"""Akaike criteria that differ by less describe data about equally well (Burnham and Anderson 2002, section 2.6)."""


def compute_range(claim: Claim, study: Study) -> Outcome:
    """Figure 2's cheapest and dearest run against the range that the abstract states."""
    hours = study.results.pretraining.tpu_v4_core_hours
    low, high = study.results.stated("pretrain.min_compute"), study.results.stated("pretrain.max_compute")
    inside = abs(hours.min() - low.value) <= low.uncertainty and abs(hours.max() - high.value) <= high.uncertainty
    return Outcome(
        verdict(inside),
        f"Figure 2 spans {hours.min():,} to {hours.max():,} TPU-v4 core hours; the text rounds to "
        f"{low.value:,.0f} and {high.value:,.0f}.",
        number=f"{hours.min():,} to {hours.max():,} TPU-v4 core hours",
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
        number=f"{len(complete)} of {len(MODELS)} models",
    )


def depth_doubles(claim: Claim, study: Study) -> Outcome:
    """Depth of F1 over F0, F3 over F1 and F7 over F3 at equal widths, from the models themselves."""
    pairs = (("F0", "F1"), ("F1", "F3"), ("F3", "F7"))
    ratios = {sum(VARIANTS[large].depths) / sum(VARIANTS[small].depths) for small, large in pairs}
    same = all(VARIANTS[small].widths == VARIANTS[large].widths for small, large in pairs)
    found = ", ".join(f"{ratio:g}" for ratio in sorted(ratios))
    return Outcome(
        verdict(all(claim.agrees(ratio) for ratio in ratios) and same),
        f"Ratios of depth: {found}; widths {'equal' if same else 'differ'}.",
        number=f"{found} times the depth",
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
        number=f"{sum(VARIANTS['F3+'].widths) / sum(VARIANTS['F3'].widths):.2f} times the width",
    )


def compute_doubles(claim: Claim, study: Study) -> Outcome:
    """Compute against epochs along each model's curve."""
    problems = doubling(study)
    runs = study.results.pretraining
    rate = runs[runs.epochs == runs.epochs.max()]
    costs = ", ".join(f"{row.model} {row.tpu_v4_core_hours / row.epochs:,.0f}" for row in rate.itertuples())
    return Outcome(
        verdict(not problems),
        " ".join(problems) or f"One cost per epoch fits each model; core hours: {costs}.",
        number=f"{len(problems)} exceptions",
    )


def compute_is_rounded(claim: Claim, study: Study) -> Outcome:
    """Mean distance of the raw readings from a multiple of the expected step, over readings that can tell.

    Those are uncertain by less than half a step. Hours that were not rounded lie anywhere between two multiples, on
    average a quarter of a step from the nearer; the chance of a mean as small counts each run once.
    """
    from scipy.stats import norm

    step = claim.expected or 1.0
    readings = study.results.readings.assign(
        model=lambda t: t.model.str.removesuffix(" with RA"), hours=lambda t: t.tpu_v4_core_hours_measured
    )
    width = study.results.half_width("smith2023-digitisation-raw", "tpu_v4_core_hours_measured", readings.hours)
    fine = readings[width < step / 2]
    off = (fine.hours - step * np.rint(fine.hours / step)).abs()
    mean = float(off.mean())
    runs = len(fine[["model", "epochs"]].drop_duplicates())
    chance = float(norm.cdf((mean - step / 4) / (step / 4 / np.sqrt(3 * runs))))
    small = off[fine.hours < 100 * step]
    return Outcome(
        verdict(chance < LEVEL),
        f"The {len(fine)} raw readings that are fine enough to tell lie {mean:.1f} hours on average and at most "
        f"{off.max():.1f} from a multiple of {step:g} ({len(small)} of them, those below {100 * step:,.0f} hours, at "
        f"most {small.max():.1f}); hours that were not rounded would lie {step / 4:g} away on average "
        f"(p = {chance:.1g}).",
        number=f"{mean:.1f} hours off on average, {step / 4:g} if unrounded",
    )


def loss_falls(claim: Claim, study: Study) -> Outcome:
    """Loss against epochs for each model."""
    runs = study.results.pretraining.sort_values("epochs")
    falling = [model for model, curve in runs.groupby("model") if (np.diff(curve.jft4b_val_loss) < 0).all()]
    curves = f"{len(falling)} of {len(MODELS)} curves"
    return Outcome(verdict(len(falling) == len(MODELS)), f"{curves} of Figure 2 fall throughout.", number=curves)


def larger_is_better(claim: Claim, study: Study) -> Outcome:
    """Share of pairs of neighbouring sizes at equal epochs in which the larger has the lower loss, by a sign test."""
    from scipy.stats import binomtest

    runs = study.fits.pretraining
    width = study.results.half_width("smith2023-figure2", "jft4b_val_loss", runs.jft4b_val_loss)
    table, widths = (
        runs.assign(width=width).pivot(index="model", columns="epochs", values=name).loc[list(MODELS)]
        for name in ("jft4b_val_loss", "width")
    )
    gains = -np.diff(table.to_numpy(float), axis=0)
    read = widths.to_numpy(float)[1:] + widths.to_numpy(float)[:-1]
    worse = [
        f"{run_name(MODELS[row + 1], table.columns[column])} (by {-gains[row, column]:.3f} nats)"
        for row, column in np.argwhere(gains <= -read)
    ]
    better, pairs = int((gains > 0).sum()), gains.size
    chance = float(binomtest(better, pairs, alternative="greater").pvalue)
    return Outcome(
        verdict(chance < LEVEL, caveat=bool(worse)),
        f"The larger of two neighbouring models has the lower loss in {better} of {pairs} pairs at equal epochs "
        f"(sign test, p = {chance:.1g}).",
        f"It has the higher loss for {' and for '.join(worse)}." if worse else "",
        f"{better} of {pairs} pairs",
    )


def loss_is_loglog_linear(claim: Claim, study: Study) -> Outcome:
    """Correlation of log loss and log compute over all runs, and an F test of a quadratic term on the frontier.

    The frontier falls by its making: it can tell whether a trend is straight, not whether there is one.
    """
    from scipy.stats import f, pearsonr

    law, runs = study.fits.loss_law, study.fits.pretraining
    every = pearsonr(np.log(runs.tpu_v4_core_hours), np.log(runs.jft4b_val_loss), alternative="less")
    x, y = np.log(law.compute / law.compute.mean()), np.log(law.value)
    line, parabola = (float(np.sum((y - np.polyval(np.polyfit(x, y, degree), x)) ** 2)) for degree in (1, 2))
    free = len(x) - 3
    curved = float(f.sf((line - parabola) / max(parabola / free, 1e-300), 1, free))
    return Outcome(
        verdict(bool(every.pvalue < LEVEL), caveat=curved < LEVEL),
        f"Over all {len(runs)} runs the correlation of log loss with log compute is {every.statistic:.2f}. Over the "
        f"{len(x)} runs of the frontier a line explains {law.r_squared:.1%} of the variance; the largest residual is "
        f"{100 * np.abs(law.residuals).max():.1f}% of the loss, and a quadratic term is "
        f"{'needed' if curved < LEVEL else 'not needed'} (p = {curved:.2g}).",
        "The frontier bends away from a line." if curved < LEVEL else "",
        f"correlation {every.statistic:.2f}",
    )


def _one_power(analysis: Analysis, name: str, unit: str) -> Outcome:
    """Decides by the runs beyond a budget whether the law of the frontier up to it is one power of compute."""
    held = {one.form: one for one in analysis.held_out}
    if "saturating law" not in held:
        return Outcome(Verdict.OPEN, f"Too few runs lie on the frontier of the {name} to hold any out.")
    power, saturating = held["power law"], held["saturating law"]
    tried = len(power.value)
    law = analysis.law
    points = np.log(law.compute), np.log(law.value), law.compute <= power.limit
    chance = float(forecast_chance(*points))
    fails = chance < LEVEL
    floor = analysis.forms["general"].values["E"]
    caveat = ""
    if fails:
        caveat = f"With an irreducible {name} the law predicts {saturating.inside} of them."
    elif floor < law.value.min() and (seen := forecast_power(*points, floor, LEVEL)) < ENOUGH:
        caveat = (
            f"The test has little power: with the irreducible {name} of the general surface over all runs, "
            f"{floor:.2f}{unit}, it would reject one power of compute in {seen:.0%} of simulated frontiers."
        )
    return Outcome(
        verdict(not fails, caveat=bool(caveat)),
        f"The power law of the frontier up to {power.limit:,.0f} TPU-v4 core hours predicts {power.inside} of the "
        f"{tried} dearer runs of the frontier within its 95% interval (forecast test: p = {chance:.2g}). Over the "
        f"whole frontier the {name} is {law.coefficient.value:.3g}{unit} C^-a with a = {law.exponent:.3f}; twice the "
        f"compute lowers it by {100 * (1 - 2**-law.exponent.value):.1f}%.",
        caveat,
        f"{power.inside} of {tried} dearer runs predicted",
    )


def loss_exponent(claim: Claim, study: Study) -> Outcome:
    """Chow's forecast test of the power law of the loss: the frontier up to a budget, and beyond it."""
    return _one_power(study.fits.loss, "loss", " nats")


def error_exponent(claim: Claim, study: Study) -> Outcome:
    """Chow's forecast test of the power law of the error: the frontier up to a budget, and beyond it."""
    return _one_power(study.fits.error, "error", "%")


def likelihood_chance(restricted: Form, full: Form, points: int) -> float:
    """Chance of as large a likelihood ratio of two nested forms if the restrictions held (chi-squared).

    For an irreducible term, which cannot be negative, this is twice the true chance: conservative.
    """
    from scipy.stats import chi2

    statistic = float(likelihood_ratio(restricted.squares, full.squares, points))
    return float(chi2.sf(statistic, full.free - restricted.free))


def _without_floor(name: str, unit: str, forms: Mapping[str, Form], points: int, frontier: float) -> Outcome:
    """Decides on an irreducible term by the surfaces over all runs, with and without one."""
    rows = ("general", "additive")
    chances = {row: likelihood_chance(forms[f"{row}, E = 0"], forms[row], points) for row in rows}
    rejected = [row for row, chance in chances.items() if chance < LEVEL]
    values = " and ".join(
        f"{forms[row].values['E']:.2f} ± {forms[row].irreducible_error:.2f}{unit} in the {row} form" for row in rows
    )
    tested = " and ".join(f"{chance:.1g} in the {row} form" for row, chance in chances.items())
    undecided = abs(frontier) < INDIFFERENT
    found = Verdict.OPEN
    if len(rejected) == len(rows):
        found = verdict(True, caveat=undecided)
    elif not rejected:
        found = Verdict.FAILS
    return Outcome(
        found,
        f"Over all {points} runs a surface without an irreducible {name} is rejected by {len(rejected)} of {len(rows)} "
        f"forms (likelihood ratio, p = {tested}). "
        f"The term is {values}.",
        f"Its size hangs on the form, and the runs of the frontier alone cannot tell: there the corrected Akaike "
        f"criterion changes by {-frontier:+.1f}."
        if undecided and found == Verdict.CAVEAT
        else "",
        f"p = {max(chances.values()):.1g} without it",
    )


def loss_saturates(claim: Claim, study: Study) -> Outcome:
    """Likelihood ratio of the loss surface without its irreducible term against that with it, in two forms."""
    fits = study.fits
    frontier = fits.loss_law.criterion - fits.loss_law_saturating.criterion
    return _without_floor("loss", " nats", fits.surface_forms, len(fits.pretraining), frontier)


def error_saturates(claim: Claim, study: Study) -> Outcome:
    """Likelihood ratio of the error surface without its irreducible term against that with it, in two forms."""
    fits = study.fits
    frontier = fits.error_law.criterion - fits.error_law_saturating.criterion
    return _without_floor("error", "%", fits.error.forms, len(fits.finetuning), frontier)


def _exponents(study: Study, name: str) -> str:
    biased = {method for method, route in study.fits.loss.allocation.routes.items() if not route.unbiased}
    return "; ".join(
        f"{method}{' (biased on this grid)' if method in biased else ''} {getattr(route, name):.2f}"
        for method, route in study.fits.loss.optima.items()
    )


def size_grows(claim: Claim, study: Study) -> Outcome:
    """Exponent of the compute-optimal size by every route, whose intervals must all lie above zero."""
    growing = all(route.size_exponent.low > 0 for route in study.fits.loss.optima.values())
    return Outcome(
        verdict(growing),
        f"Exponents of size: {_exponents(study, 'size_exponent')}.",
        number=f"at least {min(route.size_exponent.low for route in study.fits.loss.optima.values()):.2f}",
    )


def epochs_grow(claim: Claim, study: Study) -> Outcome:
    """Exponent of the compute-optimal epoch budget by every route, whose intervals must all lie above zero."""
    growing = all(route.epochs_exponent.low > 0 for route in study.fits.loss.optima.values())
    return Outcome(
        verdict(growing),
        f"Exponents of epochs: {_exponents(study, 'epochs_exponent')}.",
        number=f"at least {min(route.epochs_exponent.low for route in study.fits.loss.optima.values()):.2f}",
    )


def same_rate(claim: Claim, study: Study) -> Outcome:
    """Equal rates by likelihood ratio and by the most precise unbiased route; and what they cost as a rule of thumb.

    Where equal rates are rejected, the rule may still be reliable: if following it over the whole range wastes less
    compute than half a step of the sweep, at the upper end of the regret's interval.
    """
    loss = study.fits.loss
    allocation, regret, route = loss.allocation, loss.regret["general"], loss.allocation.deciding
    worst = int(np.argmax(regret.percent))
    law = loss.law.exponent.value
    wasted, most = (100 * ((1 + value / 100) ** (1 / law) - 1) for value in (regret.percent[worst], regret.high.max()))
    equal = allocation.equal_rates
    # Each model's budgets are a factor of two apart: the sweep tells no optimum better than half of that.
    reliable = most < 100 * (np.sqrt(2) - 1)
    found = Verdict.OPEN if equal is None else verdict(equal or reliable, caveat=not equal)
    return Outcome(
        found,
        f"Exponent of size less that of epochs, by resampling: {_exponents(study, 'difference')}. The most precise "
        f"route without bias on this grid is {'the general surface' if route.method == 'general' else route.method}, "
        f"with {route.difference:.2f} by its covariance; a likelihood ratio within the general surface gives equal "
        f"rates p = {allocation.p_value:.2g}. Over the range of Figure 2 the rule of thumb costs at most "
        f"{regret.percent[worst]:.2f}% of the loss (up to {regret.high.max():.2f}%), as {wasted:.0f}% more compute "
        f"would (up to {most:.0f}%).",
        f"Equal rates are rejected: {'epochs' if route.difference.value < 0 else 'size'} should grow faster. As a rule "
        "of thumb they cost less than the sweep can tell."
        if found == Verdict.CAVEAT
        else "",
        f"at most {regret.percent[worst]:.2f}% of the loss from mid-range",
    )


def as_for_language_models(claim: Claim, study: Study) -> Outcome:
    """How fast epochs grow relative to size, by the general surface, against data relative to size in language models.

    The ratio of the exponents does not depend on what an epoch costs, so it compares across units of compute. Theirs
    has the range of the bootstrap's percentiles that Hoffmann et al. 2022 print in Table 2.
    """
    cost, difference = study.fits.cost.slope, study.fits.loss.optima["general"].difference
    # With N ~ C^a, epochs ~ C^b and cost a + b = 1, the ratio b / a follows from the difference a - b.
    low, value, high = ((1 - cost * one) / (1 + one) for one in (difference.high, difference.value, difference.low))
    table = study.results.language_exponents.set_index("approach").astype(float)
    deciding = study.fits.loss.allocation.deciding.difference
    narrow = [(1 - cost * one) / (1 + one) for one in (deciding.high, deciding.low)]
    least, most = table.data_exponent_low / table.size_exponent_high, table.data_exponent_high / table.size_exponent_low
    theirs = {str(name): (float(least[name]), float(most[name])) for name in table.index}
    alike = [name for name, (start, end) in theirs.items() if start <= high and low <= end]
    other = [name for name in theirs if name not in alike]
    printed = ", ".join(f"{start:.2f} to {end:.2f} ({name})" for name, (start, end) in theirs.items())
    return Outcome(
        verdict(bool(alike), caveat=bool(other)),
        f"The optimal epochs grow as the optimal size to the power {value:.2f} [{low:.2f}, {high:.2f}]; for language "
        f"models data grow as size to the power {printed}.",
        f"The range overlaps that of language models by {_listed(alike)}, not that by {_listed(other)}; by the "
        f"interval that decides on equal rates it is {narrow[0]:.2f} to {narrow[1]:.2f}."
        if alike and other
        else "",
        f"power {value:.2f} [{low:.2f}, {high:.2f}]",
    )


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def one_epoch(claim: Claim, study: Study) -> Outcome:
    """Compute at which the optimal epoch budget passes 1, by every route, against what "roughly 5k" leaves open."""
    stated = study.results.stated("pretrain.compute_where_optimal_epochs_exceed_one")
    optima = study.fits.loss.optima
    inside = [abs(route.one_epoch.value - stated.value) <= stated.uncertainty for route in optima.values()]
    found = "; ".join(f"{method} {route.one_epoch:,.0f}" for method, route in optima.items())
    values = [route.one_epoch.value for route in optima.values()]
    return Outcome(
        verdict(all(inside)),
        f"The optimal budget passes one epoch at, in TPU-v4 core hours: {found}; the text says {stated.value:,.0f}.",
        number=f"{min(values):,.0f} to {max(values):,.0f} TPU-v4 core hours",
    )


def f7plus_is_rough(claim: Claim, study: Study) -> Outcome:
    """Scatter of the F7+ curve about a smooth one against that of the other curves, by an F test."""
    from scipy.stats import f

    rough = study.fits.loss_roughness
    others = rough.drop("F7+")
    runs = study.fits.pretraining.groupby("model").size() - 3  # a parabola has three parameters
    pooled = float(np.sqrt((others**2 * runs[others.index]).sum() / runs[others.index].sum()))
    ratio = float(rough["F7+"] / pooled)
    # The paper chose the curve after seeing six, so the chance is that of any of them.
    chance = min(1.0, len(rough) * float(f.sf(ratio**2, runs["F7+"], runs[others.index].sum())))
    return Outcome(
        verdict(chance < LEVEL),
        f"F7+ strays {rough['F7+']:.2f}% from a smooth curve, {ratio:.1f} times as far as the others together "
        f"({others.min():.2f}% to {others.max():.2f}%; p = {chance:.2g} for any of {len(rough)} curves).",
        number=f"{ratio:.1f} times as rough as the others",
    )


def utilisation_is_constant(claim: Claim, study: Study) -> Outcome:
    """Implied utilisation within each model, and its range over models under both readings of '+'."""
    problems = utilisation_by_model(study)
    runs = study.utilisation[study.utilisation.epochs == study.utilisation.epochs.max()]
    share = "; ".join(
        f"{row.model} {row.published:.2f}" + (f" ({row.released:.2f} as released)" if row.model[-1] == "+" else "")
        for row in runs.itertuples()
    )
    return Outcome(
        verdict(not problems),
        " ".join(problems) or f"One utilisation fits each model: {share}.",
        number=f"{runs.published.min():.2f} to {runs.published.max():.2f} of the peak",
    )


def not_published(claim: Claim, study: Study) -> Outcome:
    """None: nothing that was published bears on it."""
    return Outcome(Verdict.OPEN, "Nothing published bears on it.")
