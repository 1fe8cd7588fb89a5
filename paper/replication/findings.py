"""What the replication's runs answer to each question of `design.md`, and whether its prediction came true.

A function a question, in the order of the table there. A prediction is scored when all runs that it asks of have ended,
not before: until then the answer says how many are missing. Comparisons are decided at the 5% level.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from itertools import combinations, pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd

from paper.fits.fitting import Estimate
from paper.fits.laws import frontier_mask
from paper.fits.optimum import Optimum
from paper.noise import INTERVAL, difference_error
from paper.replication.logs import Replication

__all__ = ["QUESTIONS", "SWAP", "Finding", "matched", "visible"]

Score = Literal["true", "false", "not decided", "awaits runs"]
NFNETS, VITS = "nfnets", "vits"
TEST_IMAGES = 10_000  # of CIFAR-10
SWAP = 1.25
"""Runs are of comparable compute up to this multiple of each other's."""
_POWER = INTERVAL + 0.8416212335729143  # standard errors that a true difference needs to be seen in 80% of cases
_BETTER = 2.0  # of the Akaike criterion: below it both laws stand


@dataclass(frozen=True)
class Finding:
    """An answer.

    Attributes:
        score: Whether the prediction came true.
        evidence: A sentence with the numbers behind it.
        number: The one number that decides, a few words at most.
    """

    score: Score
    evidence: str
    number: str = ""


def _needing(*stages: str) -> Callable[[Callable[[Replication], Finding]], Callable[[Replication], Finding]]:
    """Makes a finding await all runs of some stages."""

    def wrap(find: Callable[[Replication], Finding]) -> Callable[[Replication], Finding]:
        @wraps(find)
        def found(replication: Replication) -> Finding:
            if not set(stages) <= set(replication.progress.stage):
                return Finding("not decided", "Not asked of these runs, whose plan has none of the kind.")
            if missing := replication.missing(*stages):
                runs = "run has" if missing == 1 else "runs have"
                return Finding("awaits runs", f"{missing} {runs} not ended yet ({', '.join(stages)}).")
            return find(replication)

        return found

    return wrap


def _scored(true: bool, false: bool) -> Score:
    return "true" if true else "false" if false else "not decided"


def _wholly(estimate: Estimate, *, above: float = -math.inf, below: float = math.inf) -> tuple[bool, bool]:
    """Whether an interval lies within bounds, and whether it lies outside of them."""
    inside = above < estimate.low and estimate.high < below
    return inside, estimate.high <= above or estimate.low >= below


def visible(replication: Replication, family: str) -> float:
    """Smallest difference of the log loss of two single runs that is seen at the 5% level in 80% of cases."""
    return _POWER * math.sqrt(2) * replication.noise(family)


@_needing("study")
def log_log_law(replication: Replication) -> Finding:
    """Explained variance of log loss along the NFNets' frontier, and Akaike's criterion of the law with a bend."""
    analysis = replication.analysis(NFNETS, "FLOPs")
    assert analysis is not None
    straight, apart = analysis.law.r_squared, analysis.saturating.criterion - analysis.law.criterion
    return Finding(
        _scored(straight > 0.95 and apart < -_BETTER, straight <= 0.95 or apart > _BETTER),
        f"The line through the frontier explains {straight:.1%} of the variance of log loss, with exponent "
        f"{analysis.law.exponent:.3f}; an irreducible term, {analysis.saturating.irreducible:.2f} nats, changes "
        f"Akaike's criterion by {apart:+.1f}.",
        f"R2 {straight:.3f}",
    )


def _rows(runs: pd.DataFrame) -> list[dict[Any, Any]]:
    return runs.to_dict("records")


def _pairs(replication: Replication) -> pd.DataFrame:
    """Neighbouring NFNets at equal epochs: the log loss of the larger less that of the smaller, and its noise."""
    noise = math.sqrt(2) * replication.noise(NFNETS)
    rows = [
        {"epochs": epochs, "difference": math.log(large["loss"] / small["loss"]), "noise": noise}
        for epochs, group in replication.tuned(NFNETS).groupby("epochs")
        for small, large in pairwise(_rows(group.sort_values("macs")))
        if math.isfinite(small["loss"])
    ]
    return pd.DataFrame(rows)


@_needing("study", "seeds")
def larger_wins(replication: Replication) -> Finding:
    """Share of neighbouring NFNets at equal epochs of which the larger is better, up to 2 epochs and at 8."""
    pairs = _pairs(replication)
    certain = pairs.difference < -INTERVAL * pairs.noise
    possible = pairs.difference < INTERVAL * pairs.noise
    few, many = pairs.epochs <= 2, pairs.epochs == 8
    low, high = (float(one[few].mean()) for one in (certain, possible))
    low8, high8 = (float(one[many].mean()) for one in (certain, possible))
    wins, wins8 = (float((pairs.difference[one] < 0).mean()) for one in (few, many))
    return Finding(
        _scored(low >= 0.8 and high8 < low, high < 0.8 or low8 >= high),
        f"The larger of neighbouring NFNets is better in {wins:.0%} of {int(few.sum())} pairs up to 2 epochs (beyond "
        f"the noise in {low:.0%}, not worse beyond it in {high:.0%}) and in {wins8:.0%} of {int(many.sum())} at 8.",
        f"{wins:.0%} up to 2 epochs",
    )


@_needing("study")
def both_grow(replication: Replication) -> Finding:
    """Exponents of the NFNets' optimal size and epochs by the general surface."""
    if (optimum := _general(replication)) is None:
        return _NO_OPTIMUM
    both = optimum.size_exponent, optimum.epochs_exponent
    true = all(one.value > 0.1 and one.low > 0 for one in both)
    return Finding(
        _scored(true, any(one.high < 0.1 for one in both)),
        f"Size grows as compute to the power of {both[0]:.2f}, epochs to that of {both[1]:.2f}.",
        f"{both[0].value:.2f} and {both[1].value:.2f}",
    )


def _general(replication: Replication) -> Optimum | None:
    analysis = replication.analysis(NFNETS, "FLOPs")
    assert analysis is not None
    return analysis.optima.get("general")


_NO_OPTIMUM = Finding(
    "not decided", "The general surface does not fall with size and epochs alike: it has no optimum.", "no optimum"
)


@_needing("study")
def same_rate(replication: Replication) -> Finding:
    """Exponent of size less that of epochs by the general surface."""
    if (optimum := _general(replication)) is None:
        return _NO_OPTIMUM
    difference = optimum.difference
    return Finding(
        _scored(*_wholly(difference, below=0.0)),
        f"Exponent of size less that of epochs: {difference:.2f}.",
        f"{difference:.2f}",
    )


@_needing("study")
def one_epoch(replication: Replication) -> Finding:
    """Compute at which the optimal budget passes one epoch, by the general surface."""
    if (optimum := _general(replication)) is None:
        return _NO_OPTIMUM
    crossing, flops = optimum.one_epoch, replication.tuned(NFNETS).flops
    return Finding(
        _scored(*_wholly(crossing, above=float(flops.min()), below=float(flops.max()) / 10)),
        f"The optimal budget passes one epoch at {crossing:.2g} FLOPs; runs span {flops.min():.2g} to "
        f"{flops.max():.2g}.",
        f"{crossing.value:.2g} FLOPs",
    )


def _partial_spearman(ranked: pd.DataFrame, column: str, other: str) -> tuple[float, float]:
    """Rank correlation of the best rate with one column, the other held, and its two-sided p-value."""
    from scipy import stats

    ranks = ranked[["learning_rate", column, other]].rank()
    design = np.column_stack([np.ones(len(ranks)), ranks[other]])
    left, right = (
        ranks[name].to_numpy() - design @ np.linalg.lstsq(design, ranks[name].to_numpy(), rcond=None)[0]
        for name in ("learning_rate", column)
    )
    if not (left.any() and right.any()):
        return 0.0, 1.0
    r = float(np.corrcoef(left, right)[0, 1])
    freedom = len(ranks) - 3
    t = r * math.sqrt(freedom / max(1 - r * r, 1e-12))
    return r, float(2 * stats.t.sf(abs(t), freedom))


@_needing("study")
def rate_falls(replication: Replication) -> Finding:
    """Rank correlation of the NFNets' best rate with epochs at equal size and with size at equal epochs; its steps."""
    best = replication.tuned(NFNETS)
    epochs, p_epochs = _partial_spearman(best, "epochs", "macs")
    size, p_size = _partial_spearman(best, "macs", "epochs")
    steps = [
        math.log2(one["learning_rate"] / two["learning_rate"])
        for _, group in best.groupby("model")
        for one, two in pairwise(_rows(group.sort_values("epochs")))
    ]
    falls = epochs < 0 and size < 0 and p_epochs < 0.05 and p_size < 0.05
    rises = (epochs > 0 and p_epochs < 0.05) or (size > 0 and p_size < 0.05) or max(steps) > 1
    return Finding(
        _scored(falls and max(steps) <= 1, rises),
        f"Rank correlation of the best rate with epochs {epochs:.2f} (p = {p_epochs:.2g}), with size {size:.2f} "
        f"(p = {p_size:.2g}); at most {max(steps):.0f} step down a doubling of epochs.",
        f"{epochs:.2f} and {size:.2f}",
    )


@_needing("study", "grids")
def two_trials(replication: Replication) -> Finding:
    """Budgets at which the best rate of the whole grid is one of the two trials (S0, V0)."""
    found = total = 0
    for family in (NFNETS, VITS):
        grid = replication.of("grids", family)
        runs = pd.concat([grid, replication.of("study", family)])
        for epochs in sorted(set(grid.epochs)):
            cell = runs[(runs.epochs == epochs) & runs.model.isin(grid.model)]
            total += 1
            found += int(cell.sort_values("loss").stage.iloc[0] == "study")
    return Finding(
        _scored(found >= 10, found < 10),
        f"At {found} of {total} budgets the best of four rates is one of the two trials.",
        f"{found} of {total}",
    )


@_needing("study", "seeds", "fine-tuning")
def swaps(replication: Replication) -> Finding:
    """Pairs of comparable compute whose order changes after fine-tuning."""
    changed, beyond, pairs = 0, 0, 0
    for family in (NFNETS, VITS):
        tuned = replication.of("fine-tuning", family)
        tuned = tuned[tuned.variant == "plain"]
        runs = tuned.merge(replication.tuned(family), on=["model", "epochs"], suffixes=("", "_before"))
        noise = math.sqrt(2) * replication.noise(family)
        for one, two in combinations(_rows(runs), 2):
            ratio = one["flops_before"] / two["flops_before"]
            if not 1 / SWAP <= ratio <= SWAP:
                continue
            pairs += 1
            before = math.log(one["loss_before"] / two["loss_before"])
            after = 100 * (two["top1"] - one["top1"])  # errors: above zero where the first is worse
            if before * after < 0:
                changed += 1
                error = float(difference_error(100 * (1 - one["top1"]), 100 * (1 - two["top1"]), TEST_IMAGES))
                beyond += abs(before) > 2 * noise and abs(after) > 2 * error
    return Finding(
        _scored(changed >= 1 and not beyond, not changed or beyond > 0),
        f"Of {pairs} pairs within {SWAP - 1:.0%} of each other's compute {changed} change their order after "
        f"fine-tuning, {beyond} of them beyond twice the noise.",
        f"{changed} of {pairs}",
    )


def _difference(replication: Replication, name: str) -> tuple[float, float]:
    """Top-1 of the best NFNet fine-tuned plainly less that of a variant, in points, and its standard error."""
    runs = replication.of("fine-tuning", NFNETS)
    other = runs[runs.variant == name].iloc[0]
    plain = runs[(runs.variant == "plain") & (runs.model == other.model) & (runs.epochs == other.epochs)].iloc[0]
    errors = 100 * (1 - float(plain.top1)), 100 * (1 - float(other.top1))
    return errors[1] - errors[0], float(difference_error(*errors, TEST_IMAGES))


@_needing("study", "fine-tuning")
def repeated_augmentation(replication: Replication) -> Finding:
    """Top-1 with repeated augmentation less without, at equal cost, against the noise of the test set."""
    gain, error = _difference(replication, "repeated")
    return Finding(
        _scored(abs(gain) < INTERVAL * error, abs(gain) >= INTERVAL * error),
        f"Repeated augmentation changes top-1 by {-gain:+.2f} points (standard error at most {error:.2f}).",
        f"{-gain:+.2f} points",
    )


@_needing("study", "fine-tuning")
def sam(replication: Replication) -> Finding:
    """Top-1 with SAM less without, against the noise of the test set."""
    gain, error = _difference(replication, "without_sam")
    low, high = gain - INTERVAL * error, gain + INTERVAL * error
    return Finding(
        _scored(low > 0 and gain <= 1, high <= 0 or low > 1),
        f"SAM changes top-1 by {gain:+.2f} points [{low:+.2f}, {high:+.2f}].",
        f"{gain:+.2f} points",
    )


def matched(replication: Replication, axis: str) -> pd.DataFrame:
    """Loss of both families at budgets that both reach, read off their compute frontiers.

    Between runs of a frontier the loss goes straight in log-log coordinates: as a staircase, a family would seem behind
    wherever its next run costs a little more.

    Args:
        replication: The runs.
        axis: One of `replication.axes`.

    Returns:
        ``compute`` and ``difference``: log of the NFNets' loss less that of the ViTs'.
    """
    column = "flops" if axis == "FLOPs" else "core_hours"
    frontiers = []
    for family in (NFNETS, VITS):
        runs = replication.tuned(family).sort_values(column)
        compute, loss = runs[column].to_numpy(float), runs.loss.to_numpy(float)
        if not len(runs):
            return pd.DataFrame({"compute": [], "difference": []}, dtype=float)
        on = frontier_mask(compute, loss)
        # The end of the range is reached by the dearest run, on the frontier or not.
        frontiers.append((np.log(np.append(compute[on], compute[-1])), np.log(np.append(loss[on], loss[on][-1]))))
    low, high = max(x[0] for x, _ in frontiers), min(x[-1] for x, _ in frontiers)
    budgets = np.linspace(low, high, 200) if high > low else np.array([])
    nfnets, vits = (np.interp(budgets, x, y) for x, y in frontiers)
    return pd.DataFrame({"compute": np.exp(budgets), "difference": nfnets - vits})


@_needing("study", "seeds")
def convnets_match(replication: Replication) -> Finding:
    """Log of the NFNets' lowest loss less that of the ViTs' at equal compute, counted both ways."""
    noise = INTERVAL * math.hypot(replication.noise(NFNETS), replication.noise(VITS))
    both = {axis: matched(replication, axis).difference for axis in replication.axes}
    shares = ", ".join(f"{(one < 0).mean():.0%} of budgets by {axis} (beyond the noise {(one < -noise).mean():.0%})"
                       for axis, one in both.items())  # fmt: skip
    return Finding(
        _scored(all((one < -noise).all() for one in both.values()), any((one > noise).any() for one in both.values())),
        f"NFNets have the lower loss at {shares}.",
        f"{min((one < 0).mean() for one in both.values()):.0%} of budgets",
    )


QUESTIONS: Mapping[str, Callable[[Replication], Finding]] = {
    "log-log law of held-out loss": log_log_law,
    "larger wins at equal epochs": larger_wins,
    "size and epochs both grow": both_grow,
    "at the same rate": same_rate,
    "one-epoch crossing": one_epoch,
    "the best rate falls slowly": rate_falls,
    "two trials suffice": two_trials,
    "lowest loss is not always best": swaps,
    "repeated augmentation helps": repeated_augmentation,
    "SAM helps": sam,
    "ConvNets match ViTs": convnets_match,
}
"""The function of each row of the table in `design.md`."""
