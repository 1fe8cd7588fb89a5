"""The NFNets themselves: their published counts, the two readings of '+', signal propagation, clipping, latency."""

from __future__ import annotations

import pandas as pd

from nfnet.cost.cost import Cost
from paper.experiments.clipping import clipping
from paper.experiments.propagation import propagation, transitions, within_stages
from paper.family import PLUS_WIDTHS, PlusWidth, imagenet_variants, variant_cost
from paper.study import Study
from paper.verdicts import Claim, Outcome, Verdict, verdict


def table3_counts(claim: Claim, study: Study) -> Outcome:
    """Parameters and multiply-adds at test resolution against each row of Brock et al.'s Table 3."""
    table = imagenet_variants(study.results.nfnet_imagenet)
    wrong = []
    for row in table.to_dict("records"):
        cost = variant_cost(row["variant"], row["test_resolution"])
        if not _as_printed(
            study, "brock2021-table3", cost, {name: row[name] for name in ("params_m", "gmacs_at_test")}
        ):
            wrong.append(f"{row['variant']} ({cost.parameters / 1e6:.1f}M, {cost.macs / 1e9:.2f}G)")
    ours = "" if not wrong else f"; not so {', '.join(wrong)}"
    return Outcome(
        verdict(not wrong), f"{len(table) - len(wrong)} of {len(table)} rows agree to the printed digit{ours}."
    )


def table5_is_published_width(claim: Claim, study: Study) -> Outcome:
    """F4+ of Brock et al.'s Table 5 under both readings of '+'."""
    table = study.results.nfnet_extra_data
    row = table[table.model.str.startswith("NFNet-F4+ ")].iloc[0]
    resolution = imagenet_variants(study.results.nfnet_imagenet).set_index("variant").test_resolution["F4"]
    costs = {reading: variant_cost("F4+", int(resolution), plus_width=reading) for reading in PLUS_WIDTHS}
    printed = {"params_m": float(row.params_m), "gmacs": float(row.gmacs)}
    agrees = {reading: _as_printed(study, "brock2021-table5", cost, printed) for reading, cost in costs.items()}
    found = ", ".join(f"{cost.parameters / 1e6:.1f}M and {cost.macs / 1e9:.1f}G {name}" for name, cost in costs.items())
    return Outcome(
        verdict(agrees["published"] and not agrees["released"]),
        f"Table 5 prints {row.params_m:.0f}M parameters and {row.gmacs:.0f}G multiply-adds; F4+ has {found}.",
    )


def _as_printed(study: Study, resource: str, cost: Cost, printed: dict[str, float]) -> bool:
    """Whether the cost lies within the rounding of what is printed."""
    for field, value in printed.items():
        mine = cost.parameters / 1e6 if field == "params_m" else cost.macs / 1e9
        (width,) = study.results.half_width(resource, field, pd.Series([value]))
        if abs(mine - value) > width:
            return False
    return True


def utilisation_decides(claim: Claim, study: Study) -> Outcome:
    """Whether the '+' variants' utilisation lies inside the range of the other models under just one reading."""
    runs = study.utilisation
    plus = runs.model.str.endswith("+")
    plain = runs.published[~plus]
    ranges: dict[PlusWidth, pd.Series] = {reading: runs.loc[plus, reading] for reading in PLUS_WIDTHS}
    fitting = [reading for reading, share in ranges.items() if share.between(plain.min(), plain.max()).all()]
    found = ", ".join(f"{share.min():.2f} to {share.max():.2f} {reading}" for reading, share in ranges.items())
    return Outcome(
        Verdict.HOLDS if len(fitting) == 1 else Verdict.OPEN,
        f"Models of known width imply {plain.min():.2f} to {plain.max():.2f} of the peak, the '+' variants {found}: "
        + (f"only the {fitting[0]} reading fits." if len(fitting) == 1 else f"{len(fitting)} of the readings fit."),
    )


def variance_as_expected(claim: Claim, study: Study) -> Outcome:
    """Variance after each block relative to the analytic one, on inputs that are uniform in space."""
    rows = propagation().query("inputs == 'uniform'")
    ratio = rows.variance / rows.expected
    return Outcome(
        verdict(bool(ratio.map(claim.agrees).all()), caveat=True),
        f"The variance is {ratio.min():.2f} to {ratio.max():.2f} times the expected one over {len(rows) - 1} blocks.",
    )


def variance_grows_within_stages(claim: Claim, study: Study) -> Outcome:
    """Growth of the variance from the first to the last block of a stage relative to the analytic one."""
    growth = within_stages(propagation()).query("inputs == 'uniform'")
    ratio = growth.growth / growth.expected
    found = ", ".join(f"stage {row.stage} {row.growth:.2f} ({row.expected:.2f})" for row in growth.itertuples())
    return Outcome(
        verdict(bool(ratio.map(claim.agrees).all())), f"Growth from first to last block, and the expected one: {found}."
    )


def pooling_takes_noise(claim: Claim, study: Study) -> Outcome:
    """What transition blocks that halve the resolution leave of white noise's variance."""
    table = transitions(propagation())
    kept = table[table.halves & (table.inputs == "noise")].kept
    smooth = table[table.halves & (table.inputs == "uniform")].kept
    limit = (claim.expected or 0) + (claim.tolerance or 0)
    return Outcome(
        verdict(bool((kept <= limit).all())),
        f"Halving the resolution keeps {100 * kept.min():.0f} to {100 * kept.max():.0f}% of white noise's variance, "
        f"and {100 * smooth.min():.0f} to {100 * smooth.max():.0f}% of what is uniform in space.",
    )


def clipping_stabilises(claim: Claim, study: Study) -> Outcome:
    """Training of a small network with and without clipping."""
    losses = clipping().losses
    share = claim.expected or 0.0
    last = losses.with_clipping.iloc[-len(losses) // 4 :]
    falls = bool(losses.with_clipping.notna().all() and last.median() < share * losses.with_clipping.iloc[0])
    diverges = bool(losses.without.isna().any())
    return Outcome(
        verdict(diverges and falls, caveat=True),
        f"Over {len(losses)} steps the loss {'falls' if falls else 'does not fall'} below {100 * share:.0f}% of its "
        f"first value with clipping (median of the last quarter), and without it "
        f"{'is not finite at the end' if diverges else 'stays finite'}.",
    )


def accuracy_grows_with_latency(claim: Claim, study: Study) -> Outcome:
    """Top-1 and latency along F0 to F6 in Brock et al.'s Table 3, by the best run of each."""
    table = imagenet_variants(study.results.nfnet_imagenet)
    plain = table[~table.sam].sort_values("variant")
    best = table.sort_values(["variant", "imagenet_top1_percent"]).drop_duplicates("variant", keep="last")
    rising = all(
        rows[column].dropna().is_monotonic_increasing and rows[column].dropna().is_unique
        for rows in (plain, best)
        for column in ("imagenet_top1_percent", "tpu_v3_train_ms", "v100_train_ms")
    )
    only_sam = sorted(set(table.variant) - set(plain.variant))
    first, last = best.iloc[0], best.iloc[-1]
    return Outcome(
        verdict(rising, caveat=bool(only_sam)),
        f"From {first.variant} to {last.variant} a step on TPU-v3 takes {first.tpu_v3_train_ms:g} to "
        f"{last.tpu_v3_train_ms:g} ms, and top-1 goes from {first.imagenet_top1_percent:.1f} to "
        f"{last.imagenet_top1_percent:.1f}%.",
    )
