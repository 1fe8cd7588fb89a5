"""Vision Transformers from their own papers' full sweeps, at matched compute.

Every comparison of errors counts the noise of the test set (:mod:`paper.noise`). "Nearly every" is read alike by all.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from paper.noise import INTERVAL, difference_z
from paper.study import Study
from paper.verdicts import Claim, Outcome, Verdict, verdict
from paper.vits.advantage import CONVERSIONS, Advantage
from paper.vits.conversion import COMPARABLE_RATE, anchors, flops_rate, hours_ratio, relative_rates, sweep
from paper.vits.frontiers import FittedAdvantage


def _v3_hours(study: Study, model: str, accounting: str) -> float:
    """TPU-v3 core hours of an anchor in one accounting."""
    table = anchors(study.results).set_index(["model", "accounting"])
    return float(table.tpu_v3_core_hours[model, accounting])


def hours_credited_to_zhai(claim: Claim, study: Study) -> Outcome:
    """Where the stated TPU-v3 hours of ViT-g/14 are printed."""
    stated = study.results.stated("vit.g14.tpu_v3")
    mine = {accounting: _v3_hours(study, "ViT-g/14", accounting) for accounting in ("figure 2", "reported")}
    agrees = abs(mine["figure 2"] - stated.value) <= stated.uncertainty
    return Outcome(
        verdict(bool(agrees)),
        f"The text says {stated.value:,.0f} TPU-v3 core hours; Figure 2 of Zhai et al. gives {mine['figure 2']:,.0f}, "
        f"and Alabdulmohsin et al. print {mine['reported']:,.0f}.",
        number=f"{mine['figure 2']:,.0f} in Zhai et al.",
    )


def hours_of_the_largest(claim: Claim, study: Study) -> Outcome:
    """The stated lower bound on the TPU-v3 hours of ViT-G/14 against Figure 2 of Zhai et al."""
    stated = study.results.stated("vit.G14.tpu_v3")
    hours = _v3_hours(study, "ViT-G/14", "figure 2")
    return Outcome(
        verdict(hours > stated.value),
        f"The text says over {stated.value:,.0f} TPU-v3 core hours; Figure 2 of Zhai et al. gives {hours:,.0f}.",
        number=f"{hours:,.0f}",
    )


def hours_of_sovit(claim: Claim, study: Study) -> Outcome:
    """The stated TPU-v3 hours of SoViT-400m/14 against those that its authors print."""
    stated = study.results.stated("vit.SoViT-400m.tpu_v3")
    hours = _v3_hours(study, "SoViT-400m/14", "reported")
    return Outcome(
        verdict(abs(hours - stated.value) <= stated.uncertainty),
        f"The text says {stated.value:,.0f} TPU-v3 core hours; Alabdulmohsin et al. print {hours:,.0f}.",
        number=f"{hours:,.0f}",
    )


def routes_agree(claim: Claim, study: Study) -> Outcome:
    """Intervals of hours by FLOPs and of hours by TPU-v3 hours, for the models that both routes convert."""
    results = study.results
    by_hours, by_flops = sweep(results, "hours"), sweep(results, "flops")
    rates = relative_rates(results)
    large = by_hours.model.map(rates) >= COMPARABLE_RATE
    meet = ((by_flops.low <= by_hours.high) & (by_hours.low <= by_flops.high))[large]
    ratio = (by_flops.mid / by_hours.mid)[large].groupby(by_hours.model[large]).median()
    hours, flops = hours_ratio(results), flops_rate(results)
    small = rates[rates < COMPARABLE_RATE]
    return Outcome(
        verdict(claim.agrees(float(meet.mean()))),
        f"The intervals meet for {meet.mean():.0%} of {len(meet)} runs; hours by FLOPs over hours by hours: "
        + ", ".join(f"{model} {value:.2f}" for model, value in ratio.items())
        + f". A TPU-v3 hour is {hours.mid:.2f} [{hours.low:.2f}, {hours.high:.2f}] TPU-v4 hours; a TPU-v4 core does "
        f"{flops.mid / 1e12:.1f} [{flops.low / 1e12:.1f}, {flops.high / 1e12:.1f}] TFLOP/s. Smaller models reach "
        f"{small.min():.0%} to {small.max():.0%} of ViT-g/14's rate and are converted by hours alone.",
        number=f"{meet.mean():.0%} of {len(meet)} runs",
    )


def _lead(led: float, beyond: float) -> str:
    """Least shares of budgets at which NFNets lead, and lead by more than the noise of the test set."""
    return f"{led:.0%} of budgets, {beyond:.0%} beyond noise"


def _led(claim: Claim, study: Study, name: str) -> Outcome:
    """Share of the budgets at which NFNets lead in the scenario called ``name``, by conversion.

    Plainly where they lead by more than the test set's noise at nearly every budget, with a caveat where some of the
    lead is within it.
    """
    table = study.matched.table
    rows = table[table.scenario == name].to_dict("records")

    def shares(column: str) -> str:
        return ", ".join(
            f"{row[column]:.1%}" + (f" ({row['conversion']})" if row["conversion"] else "") for row in rows
        )

    behind = [row for row in rows if row["vit_leads"]]
    where = "; ".join(f"{row['vit_leads']} ({row['conversion']})" for row in behind)
    led, beyond = (all(claim.agrees(row[column]) for row in rows) for column in ("share_led", "share_beyond"))
    unit = "TPU-v4 core hours" if rows[0]["axis"] == "hours" else "FLOPs"
    least, most = min(row["least"] for row in rows), max(row["most"] for row in rows)
    furthest = max(row["share_behind"] for row in rows)
    noise = "nowhere beyond that noise" if furthest == 0 else f"beyond that noise at up to {furthest:.1%} of budgets"
    return Outcome(
        verdict(led, caveat=not beyond),
        f"NFNets lead at {shares('share_led')} of budgets, beyond the noise of the test set at "
        f"{shares('share_beyond')}, by {least:+.2f} to {most:+.2f} points."
        + (f" A Vision Transformer leads at {where} {unit}, {noise}." if behind else ""),
        "At some budgets the lead lies within the noise of the test set." if led and not beyond else "",
        number=_lead(min(row["share_led"] for row in rows), min(row["share_beyond"] for row in rows)),
    )


def lead_sweep(claim: Claim, study: Study) -> Outcome:
    """The whole sweep."""
    return _led(claim, study, "sweep")


def lead_sweep_jft_3b(claim: Claim, study: Study) -> Outcome:
    """Only runs pre-trained on JFT-3B."""
    return _led(claim, study, "sweep, JFT-3B only")


def lead_sweep_384(claim: Claim, study: Study) -> Outcome:
    """Only runs fine-tuned at 384 px, as the NFNets were; these were then evaluated at a higher resolution."""
    found = _led(claim, study, "sweep, 384 px only")
    if found.verdict != Verdict.HOLDS:
        return found
    return replace(
        found,
        verdict=Verdict.CAVEAT,
        caveat="The NFNets were evaluated at a higher resolution than they were fine-tuned at, these Vision "
        "Transformers were not; and the sweep's largest models have no run at it, so that nothing competes at the "
        "largest budgets.",
    )


def lead_sweep_flops(claim: Claim, study: Study) -> Outcome:
    """On the axis of FLOPs, on which no conversion enters."""
    return _led(claim, study, "sweep, by FLOPs")


def lead_sweep_interpolated(claim: Claim, study: Study) -> Outcome:
    """Frontiers interpolated between runs, so that the spacing of either sweep plays no part."""
    return _led(claim, study, "sweep, frontiers interpolated")


def lead_sweep_total_flops(claim: Claim, study: Study) -> Outcome:
    """On the axis of FLOPs, those of fine-tuning included."""
    return _led(claim, study, "sweep, FLOPs with fine-tuning")


def _led_with_later(claim: Claim, study: Study, accounting: str, suffix: str = "") -> Outcome:
    """With the later Vision Transformers at their hours of one accounting, and what the cheapest of them cost."""
    found = _led(claim, study, f"with later results, {accounting} hours{suffix}")
    vits = study.matched.vit_runs()
    cheapest = vits[vits.later & (vits.accounting == accounting)].low.min()
    dearest = study.matched.nfnet_runs.hours.max()
    return Outcome(
        found.verdict if cheapest <= dearest else verdict(found.verdict != Verdict.FAILS, caveat=True),
        found.evidence,
        f"{found.caveat} By their {accounting} hours the cheapest of the later models cost {cheapest:,.0f} TPU-v4 core "
        f"hours or more and the dearest NFNet {dearest:,.0f}, so that none of them takes part.".strip()
        if cheapest > dearest
        else found.caveat,
        number=found.number,
    )


def lead_with_later_points(claim: Claim, study: Study) -> Outcome:
    """With the later, better tuned Vision Transformers at their reported TPU-v3 hours."""
    return _led_with_later(claim, study, "reported")


def lead_with_later_points_stated(claim: Claim, study: Study) -> Outcome:
    """With the later Vision Transformers at the TPU-v4 hours that Smith et al. state for them."""
    return _led_with_later(claim, study, "stated")


def lead_with_later_points_384(claim: Claim, study: Study) -> Outcome:
    """With the later Vision Transformers at their reported hours, all at 384 px."""
    return _led_with_later(claim, study, "reported", ", 384 px only")


def lead_with_later_points_flops(claim: Claim, study: Study) -> Outcome:
    """With the later Vision Transformers, on the axis of FLOPs."""
    return _led(claim, study, "with later results, by FLOPs")


def leads_beyond_nfnets(claim: Claim, study: Study) -> Outcome:
    """Best of each family at the compute of the dearest Vision Transformer, which no NFNet was given."""
    matched = study.matched
    vits, nfnets = matched.vit_runs(), matched.nfnet_runs
    vit = vits[vits.accounting == "stated"].sort_values("error").iloc[0]
    nfnet, plain = (runs.sort_values("error").iloc[0] for runs in (nfnets, nfnets[~nfnets.repeated_augmentation]))
    z, plain_z = (float(difference_z(vit.error, other.error, matched.images)) for other in (nfnet, plain))
    if vit.error >= nfnet.error or vit.low <= nfnet.hours:
        found = Verdict.FAILS
    else:
        found = Verdict.HOLDS if z < -INTERVAL else Verdict.OPEN
    return Outcome(
        found,
        f"{vit.model} has an error of {vit.error:.2f}% after {vit.mid:,.0f} TPU-v4 core hours, {nfnet.model} "
        f"{nfnet.error:.2f}% with repeated augmentation and {plain.error:.2f}% without after {nfnet.hours:,.0f}: "
        f"{-z:.1f} and {-plain_z:.1f} standard errors of the test set apart.",
        "The difference lies within the noise of the test set." if found == Verdict.OPEN else "",
        number=f"{vit.error - nfnet.error:+.2f} points, {-z:.1f} standard errors",
    )


def no_single_model_decides(claim: Claim, study: Study) -> Outcome:
    """The sweep with each NFNet on the frontier left out in turn; to leave out others cannot shorten the lead."""
    table = study.matched.table
    rows = table[table.scenario.str.startswith("NFNets without ")].sort_values("share_led")
    worst = rows.iloc[0]
    holds = all(claim.agrees(share) for share in rows.share_led)
    return Outcome(
        verdict(holds, caveat=not all(claim.agrees(share) for share in rows.share_beyond)),
        f"Over {rows.scenario.nunique()} models left out, each on the NFNets' frontier, and {len(CONVERSIONS)} "
        f"conversions NFNets lead at {worst.share_led:.1%} of budgets or more; least for {worst.scenario} "
        f"({worst.conversion}).",
        f"Where a Vision Transformer is ahead, it is so by up to {-rows.least.min():.2f} points, less than the "
        "noise of two independent test sets, which bounds that of one and the same."
        if rows.least.min() < 0 and rows.share_behind.max() == 0
        else "",
        number=f"{worst.share_led:.1%} of budgets at least",
    )


def _fitted_apart(claim: Claim, study: Study, fitted: FittedAdvantage, axis: str) -> Outcome:
    """Difference of the fitted frontiers, and the least share of budgets in the sensitivity tree that it exceeds."""
    unit, spec = ("TPU-v4 core hours", ",.0f") if axis == "hours" else ("FLOPs", ".2g")
    tree = study.matched.sensitivity
    tree = tree[tree.axis == axis]
    share = min(fitted.share_apart, float(tree.share_apart.min()))
    ends = " and ".join(
        f"{fitted.points[i]:.2f} [{fitted.low[i]:.2f}, {fitted.high[i]:.2f}] points at {fitted.budgets[i]:{spec}}"
        for i in (0, -1)
    )
    return Outcome(
        verdict(share > (claim.expected or 0.0)),
        f"The NFNets' fitted frontier is lower by {ends} {unit}, beyond the interval at {fitted.share_apart:.1%} of "
        f"budgets; under {len(tree)} other choices of runs, accounting, cut-off and resampling at "
        f"{tree.share_apart.min():.0%} to {tree.share_apart.max():.0%}.",
        number=f"at least {share:.0%} of budgets",
    )


def fitted_frontiers_differ(claim: Claim, study: Study) -> Outcome:
    """Least share of budgets, over all choices, at which the fitted frontiers differ beyond runs and conversion."""
    return _fitted_apart(claim, study, study.matched.fitted, "hours")


def fitted_frontiers_differ_flops(claim: Claim, study: Study) -> Outcome:
    """The same on the axis of FLOPs, where no conversion enters."""
    return _fitted_apart(claim, study, study.matched.fitted_flops, "flops")


def fitted_frontiers_at_the_dearest(claim: Claim, study: Study) -> Outcome:
    """Interval of the difference of the fitted frontiers at the dearest NFNet's compute, over all choices."""
    tree = study.matched.sensitivity
    above, below = int((tree.low > 0).sum()), int((tree.high < 0).sum())
    decided = max(above, below) == len(tree)
    fitted, flops = study.matched.fitted, study.matched.fitted_flops
    return Outcome(
        verdict(below == 0) if decided else Verdict.OPEN,
        f"At the dearest NFNet's compute the NFNets' fitted frontier is lower by {fitted.points[-1]:.2f} "
        f"[{fitted.low[-1]:.2f}, {fitted.high[-1]:.2f}] points by hours and {flops.points[-1]:.2f} "
        f"[{flops.low[-1]:.2f}, {flops.high[-1]:.2f}] by FLOPs. Of {len(tree)} choices of runs, accounting, cut-off "
        f"and resampling the interval is above zero in {above}, below in {below}, and holds it in the others.",
        number=f"{above} of {len(tree)} choices",
    )


def printed_law(claim: Claim, study: Study) -> Outcome:
    """The interval of our law of the sweep's frontier against what the rounding of the printed one leaves open."""
    matched = study.matched
    law = matched.vit_law()
    hours = np.geomspace(law.compute.min(), law.compute.max(), 100)
    off = law.predict(hours) / matched.printed_law(hours) - 1
    (low, high), (least, most) = law.band(hours), matched.printed_range(hours)
    share = float(((low <= most) & (least <= high)).mean())
    return Outcome(
        verdict(claim.agrees(share)),
        f"Between {hours[0]:,.0f} and {hours[-1]:,.0f} TPU-v3 core hours the interval of ours meets the rounding of "
        f"the printed one at {share:.0%} of budgets; the two differ by {off.min():+.1%} to {off.max():+.1%}, and ours "
        f"has an irreducible error of {law.irreducible:.1f}%.",
        number=f"{off.min():+.1%} to {off.max():+.1%}",
    )


def _inference(found: Advantage) -> str:
    """Who leads at which cost of inference."""
    behind = " and ".join(f"{low:,.0f} to {high:,.0f}" for low, high in found.vit_leads)
    return (
        f"Between {found.budgets[0]:,.0f} and {found.budgets[-1]:,.0f} GFLOPs an image NFNets lead at "
        f"{found.share_led:.1%} of costs, beyond the noise of the test set at {found.share_beyond:.1%}"
        + (
            f"; a Vision Transformer leads at {behind}, by up to {-np.nanmin(found.points):.2f} points and beyond that "
            f"noise at {found.share_behind:.1%} of costs."
            if behind
            else "."
        )
    )


def inference_against_sweep(claim: Claim, study: Study) -> Outcome:
    """Errors at matched operations of a forward pass, against Zhai et al.'s models."""
    found = study.matched.inference_advantage(later=False)
    return Outcome(
        verdict(claim.agrees(found.share_led), caveat=not claim.agrees(found.share_beyond)),
        _inference(found),
        number=_lead(found.share_led, found.share_beyond).replace("budgets", "costs"),
    )


def inference_against_all(claim: Claim, study: Study) -> Outcome:
    """The same against the later models too: whether either family leads at nearly every cost."""
    found = study.matched.inference_advantage(later=True)
    table = study.matched.inference
    mine, theirs = (table[table.family == family] for family in ("nfnet", "vit"))
    below = theirs[theirs.gflops < mine.gflops.min()]
    best = theirs.sort_values("error").iloc[0]
    nfnet = mine.sort_values("error").iloc[0]
    behind = float((found.points < 0).mean())
    z = float(difference_z(nfnet.error, best.error, study.matched.images))
    within = behind > 0 and found.share_behind == 0
    neither = not any(claim.agrees(share) for share in (found.share_led, behind))
    return Outcome(
        verdict(neither, caveat=within),
        f"{_inference(found)} Below, there are only Vision Transformers ({below.model.nunique()} models); the lowest "
        f"error of all, {best.error:.2f}% of {best.model} at {best.gflops:,.0f} GFLOPs, is "
        f"{nfnet.error - best.error:.2f} points ({z:.1f} standard errors) below that of {nfnet.model} at "
        f"{nfnet.gflops:,.0f}.",
        "Where a Vision Transformer leads, it does so by less than the noise of two independent test sets, which "
        "bounds that of one and the same."
        if within
        else "",
        number=f"NFNets at {found.share_led:.0%} of costs, Vision Transformers at {behind:.0%}",
    )


def robust_test_sets(claim: Claim, study: Study) -> Outcome:
    """ImageNet v2 and ReaL: published for Vision Transformers only."""
    runs = study.results.vit_finetuning
    count = int(runs.imagenet_v2_top1_percent.notna().sum())
    return Outcome(
        Verdict.OPEN, f"Zhai et al. print both for {count} runs; for NFNets pre-trained on JFT-4B nobody did."
    )
