"""Vision Transformers from their own papers' full sweeps, at matched compute. All statements are ours."""

from __future__ import annotations

import numpy as np

from paper.study import Study
from paper.verdicts import Claim, Outcome, Verdict, verdict
from paper.vits.advantage import CONVERSIONS, FittedAdvantage
from paper.vits.conversion import COMPARABLE_RATE, anchors, flops_rate, hours_ratio, relative_rates, sweep


def hours_credited_to_zhai(claim: Claim, study: Study) -> Outcome:
    """Where the stated TPU-v3 hours of ViT-g/14 are printed."""
    stated = study.results.stated("vit.g14.tpu_v3")
    table = anchors(study.results)
    mine = table[table.model == "ViT-g/14"].set_index("accounting").tpu_v3_core_hours
    agrees = abs(mine["figure 2"] - stated.value) <= stated.uncertainty
    return Outcome(
        verdict(bool(agrees)),
        f"The text says {stated.value:,.0f} TPU-v3 core hours; Figure 2 of Zhai et al. gives {mine['figure 2']:,.0f}, "
        f"and Alabdulmohsin et al. print {mine['reported']:,.0f}.",
    )


def routes_agree(claim: Claim, study: Study) -> Outcome:
    """Hours by FLOPs over hours by TPU-v3 hours, for the models that both routes convert."""
    results = study.results
    by_hours, by_flops = sweep(results, "hours"), sweep(results, "flops")
    rates = relative_rates(results)
    large = by_hours.model.map(rates) >= COMPARABLE_RATE
    ratio = (by_flops.mid / by_hours.mid)[large].groupby(by_hours.model[large]).median()
    hours, flops = hours_ratio(results), flops_rate(results)
    small = rates[rates < COMPARABLE_RATE]
    return Outcome(
        verdict(all(claim.agrees(value) for value in ratio)),
        "Hours by FLOPs over hours by hours: "
        + ", ".join(f"{model} {value:.2f}" for model, value in ratio.items())
        + f". A TPU-v3 hour is {hours.mid:.2f} [{hours.low:.2f}, {hours.high:.2f}] TPU-v4 hours; a TPU-v4 core does "
        f"{flops.mid / 1e12:.1f} [{flops.low / 1e12:.1f}, {flops.high / 1e12:.1f}] TFLOP/s. Smaller models reach "
        f"{small.min():.0%} to {small.max():.0%} of ViT-g/14's rate and are converted by hours alone.",
    )


def _led(claim: Claim, study: Study, name: str) -> Outcome:
    """Share of the budgets at which NFNets lead in the scenario called ``name``, by conversion."""
    table = study.matched.table
    rows = table[table.scenario == name].to_dict("records")
    shares = ", ".join(
        f"{row['share_led']:.1%}" + (f" ({row['conversion']})" if row["conversion"] else "") for row in rows
    )
    behind = [row for row in rows if row["vit_leads"]]
    where = "; ".join(f"{row['vit_leads']} ({row['conversion']})" for row in behind)
    holds = all(claim.agrees(row["share_led"]) for row in rows)
    unit = "TPU-v4 core hours" if rows[0]["axis"] == "hours" else "FLOPs"
    least, most = min(row["least"] for row in rows), max(row["most"] for row in rows)
    return Outcome(
        verdict(holds, caveat=bool(behind)),
        f"NFNets lead at {shares} of budgets, by {least:+.2f} to {most:+.2f} points."
        + (f" A Vision Transformer leads at {where} {unit}." if behind else ""),
    )


def lead_sweep(claim: Claim, study: Study) -> Outcome:
    """The whole sweep."""
    return _led(claim, study, "Zhai et al.'s sweep")


def lead_sweep_jft_3b(claim: Claim, study: Study) -> Outcome:
    """Only runs pre-trained on JFT-3B."""
    return _led(claim, study, "sweep, JFT-3B only")


def lead_sweep_384(claim: Claim, study: Study) -> Outcome:
    """Only runs fine-tuned at 384 px, as the NFNets were."""
    return _led(claim, study, "sweep, 384 px only")


def lead_sweep_flops(claim: Claim, study: Study) -> Outcome:
    """On the axis of FLOPs, on which no conversion enters."""
    return _led(claim, study, "sweep, by FLOPs")


def lead_sweep_interpolated(claim: Claim, study: Study) -> Outcome:
    """Frontiers interpolated between runs, so that the spacing of either sweep plays no part."""
    return _led(claim, study, "sweep, frontiers interpolated")


def lead_sweep_total_flops(claim: Claim, study: Study) -> Outcome:
    """On the axis of FLOPs, those of fine-tuning included."""
    return _led(claim, study, "sweep, FLOPs with fine-tuning")


def lead_with_later_points(claim: Claim, study: Study) -> Outcome:
    """With the later, better tuned Vision Transformers."""
    return _led(claim, study, "with later points")


def lead_with_later_points_stated(claim: Claim, study: Study) -> Outcome:
    """With the later Vision Transformers at the TPU-v4 hours that Smith et al. state for them."""
    return _led(claim, study, "with later points, at stated hours")


def lead_with_later_points_flops(claim: Claim, study: Study) -> Outcome:
    """With the later Vision Transformers, on the axis of FLOPs."""
    return _led(claim, study, "with later points, by FLOPs")


def lead_with_later_points_384(claim: Claim, study: Study) -> Outcome:
    """With the later Vision Transformers, all at 384 px."""
    return _led(claim, study, "with later points, 384 px only")


def leads_beyond_nfnets(claim: Claim, study: Study) -> Outcome:
    """Best of each family at the compute of the dearest Vision Transformer, which no NFNet was given."""
    matched = study.matched
    vits, nfnets = matched.vit_runs(), matched.nfnet_runs
    vit, nfnet, plain = (
        runs.sort_values("error").iloc[0] for runs in (vits, nfnets, nfnets[~nfnets.repeated_augmentation])
    )
    return Outcome(
        verdict(bool(vit.error < nfnet.error and vit.low > nfnet.hours), caveat=True),
        f"{vit.model} has an error of {vit.error:.2f}% after {vit.mid:,.0f} TPU-v4 core hours, {nfnet.model} "
        f"{nfnet.error:.2f}% with repeated augmentation and {plain.error:.2f}% without after {nfnet.hours:,.0f}.",
    )


def no_single_model_decides(claim: Claim, study: Study) -> Outcome:
    """The sweep with each model of either family left out in turn."""
    table = study.matched.table
    rows = table[table.scenario.str.contains(" without ")].sort_values("share_led")
    worst = rows.iloc[0]
    holds = all(claim.agrees(share) for share in rows.share_led)
    return Outcome(
        verdict(holds),
        f"Over {rows.scenario.nunique()} models left out and {len(CONVERSIONS)} conversions NFNets lead at "
        f"{worst.share_led:.1%} of budgets or more; least for {worst.scenario} ({worst.conversion}).",
    )


def _fitted_apart(claim: Claim, fitted: FittedAdvantage, unit: str, spec: str) -> Outcome:
    """Difference of the fitted frontiers, and where its interval leaves zero out."""
    apart = fitted.low > 0
    share = float(apart.mean())
    ends = " and ".join(
        f"{fitted.points[i]:.2f} [{fitted.low[i]:.2f}, {fitted.high[i]:.2f}] points at {fitted.budgets[i]:{spec}}"
        for i in (0, -1)
    )
    limit = (
        f"; above {fitted.budgets[apart].max():{spec}} the interval holds zero" if not apart[-1] and apart.any() else ""
    )
    return Outcome(
        verdict(claim.agrees(share), caveat=share < 1), f"The NFNets' fitted frontier is lower by {ends} {unit}{limit}."
    )


def fitted_frontiers_differ(claim: Claim, study: Study) -> Outcome:
    """Difference of the fitted frontiers with the interval of runs and conversion."""
    return _fitted_apart(claim, study.matched.fitted, "TPU-v4 core hours", ",.0f")


def fitted_frontiers_differ_flops(claim: Claim, study: Study) -> Outcome:
    """The same on the axis of FLOPs, where no conversion enters."""
    return _fitted_apart(claim, study.matched.fitted_flops, "FLOPs", ".2g")


def printed_law(claim: Claim, study: Study) -> Outcome:
    """Our law of the sweep's frontier against the one that Zhai et al. print."""
    matched = study.matched
    law = matched.vit_law()
    hours = np.geomspace(law.compute.min(), law.compute.max(), 100)
    off = law.predict(hours) / matched.printed_law(hours) - 1
    return Outcome(
        verdict(all(claim.agrees(value) for value in off)),
        f"Between {hours[0]:,.0f} and {hours[-1]:,.0f} TPU-v3 core hours the two differ by "
        f"{off.min():+.1%} to {off.max():+.1%}; ours has an irreducible error of {law.irreducible:.1f}%.",
    )


def robust_test_sets(claim: Claim, study: Study) -> Outcome:
    """ImageNet v2 and ReaL: published for Vision Transformers only."""
    runs = study.results.vit_finetuning
    count = int(runs.imagenet_v2_top1_percent.notna().sum())
    return Outcome(
        Verdict.OPEN, f"Zhai et al. print both for {count} runs; for NFNets pre-trained on JFT-4B nobody did."
    )
