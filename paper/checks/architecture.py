"""The NFNets themselves: their published counts, the two readings of '+', signal propagation, clipping, latency."""

from __future__ import annotations

import numpy as np
import pandas as pd

from nfnet.cost.cost import Cost
from paper.experiments.clipping import clipping
from paper.experiments.propagation import propagation, transitions, within_stages
from paper.family import PLUS_WIDTHS, PlusWidth, imagenet_variants, variant_cost
from paper.noise import INTERVAL, difference_z, validation_images
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
        verdict(not wrong),
        f"{len(table) - len(wrong)} of {len(table)} rows agree to the printed digit{ours}.",
        number=f"{len(table) - len(wrong)} of {len(table)} rows",
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
        number=f"{costs['published'].macs / 1e9:.1f}G multiply-adds published, {costs['released'].macs / 1e9:.1f}G "
        "released",
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
        + (
            f"only the {fitting[0]} reading fits." if len(fitting) == 1 else "both fit." if fitting else "neither fits."
        ),
        number=f"{len(fitting)} of {len(ranges)} readings fit",
    )


def _distance(measured: pd.Series, expected: pd.Series | float) -> float:
    """Root mean square of the log ratio."""
    return float(np.sqrt(np.mean(np.log(measured / expected) ** 2)))


def variance_as_expected(claim: Claim, study: Study) -> Outcome:
    """Distance of the variance after each block from the analytic one, against its distance from a variance of one.

    On inputs that are uniform in space. A variance of one after every block is what no analysis at all would expect.
    """
    rows = propagation().query("inputs == 'uniform' and block > 0")
    ratio = rows.variance / rows.expected
    analysis, none = _distance(rows.variance, rows.expected), _distance(rows.variance, 1.0)
    return Outcome(
        verdict(analysis < none),
        f"Over {len(rows)} blocks the variance is {ratio.min():.2f} to {ratio.max():.2f} times the expected one, "
        f"{100 * analysis:.0f}% off on average; a variance of one after every block would be {100 * none:.0f}% off.",
        number=f"{100 * analysis:.0f}% off, {100 * none:.0f}% without analysis",
    )


def variance_grows_within_stages(claim: Claim, study: Study) -> Outcome:
    """Distance of the growth within stages from the analytic one, against those from no growth and from its square."""
    growth = within_stages(propagation()).query("inputs == 'uniform'")
    analysis, none, twice = (
        _distance(growth.growth, expected) for expected in (growth.expected, 1.0, growth.expected**2)
    )
    less = int((growth.growth < growth.expected).sum())
    found = ", ".join(f"stage {row.stage} {row.growth:.2f} ({row.expected:.2f})" for row in growth.itertuples())
    return Outcome(
        verdict(analysis < min(none, twice), caveat=less == len(growth)),
        f"Growth from first to last block, and the expected one: {found}. The latter is {100 * analysis:.0f}% off on "
        f"average; no growth would be {100 * none:.0f}% off, and growth twice as fast {100 * twice:.0f}%.",
        "In every stage the variance grows by less than expected." if less == len(growth) else "",
        number=f"{100 * analysis:.0f}% off, {100 * none:.0f}% if it did not grow",
    )


def pooling_takes_noise(claim: Claim, study: Study) -> Outcome:
    """Share of the variance of white noise that halving the resolution keeps: nearer to a quarter than to all of it.

    On the log scale; what is uniform in space must be nearer to all of it.
    """
    table = transitions(propagation())
    kept = table[table.halves & (table.inputs == "noise")].kept
    smooth = table[table.halves & (table.inputs == "uniform")].kept
    between = np.sqrt(claim.expected or 0)
    return Outcome(
        verdict(bool((kept < between).all() and (smooth > between).all())),
        f"Halving the resolution keeps {100 * kept.min():.0f} to {100 * kept.max():.0f}% of white noise's variance, "
        f"and {100 * smooth.min():.0f} to {100 * smooth.max():.0f}% of what is uniform in space.",
        number=f"{100 * kept.min():.0f} to {100 * kept.max():.0f}% of white noise kept",
    )


def clipping_stabilises(claim: Claim, study: Study) -> Outcome:
    """Losses of a small network over the last quarter of training with clipping, against a guess; and those without."""
    losses = clipping().losses
    guess = float(losses.with_clipping.iloc[0])  # the classifier starts at zero: all classes are as likely
    last = losses.with_clipping.iloc[-len(losses) // 4 :]
    finite = bool(losses.with_clipping.notna().all())
    falls = finite and bool((last < guess).all())
    diverges = bool(losses.without.isna().any())
    return Outcome(
        verdict(diverges and falls, caveat=True),
        f"Over {len(losses)} steps the loss {'stays finite' if finite else 'diverges'} with "
        f"clipping, and over the last quarter it is {last.min():.2f} to {last.max():.2f} nats where a guess has "
        f"{guess:.2f}; without clipping it {'is not finite at the end' if diverges else 'stays finite'}.",
        number=f"{last.max():.2f} nats at most at the end, a guess has {guess:.2f}",
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
    errors = 100 - best.imagenet_top1_percent.to_numpy(float)
    steps = difference_z(errors[:-1], errors[1:], validation_images(study.results.datasets))
    within = int((np.abs(steps) < INTERVAL).sum())
    return Outcome(
        verdict(rising, caveat=bool(only_sam or within)),
        f"From {first.variant} to {last.variant} a step on TPU-v3 takes {first.tpu_v3_train_ms:g} to "
        f"{last.tpu_v3_train_ms:g} ms, and top-1 goes from {first.imagenet_top1_percent:.1f} to "
        f"{last.imagenet_top1_percent:.1f}%.",
        f"Of the {len(errors) - 1} gains from one variant to the next {within} lie within the noise of the test set."
        if within
        else "",
        number=f"{len(steps) - within} of {len(steps)} gains beyond noise",
    )
