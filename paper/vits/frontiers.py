"""Fitted frontiers of both families at matched compute: their difference, its interval, and what that hangs on.

A frontier is fitted where the comparison is made, to runs that cost at least a share of what the cheapest NFNet cost:
far below, where errors reach a half, a power law above a constant is another curve. A resample draws the runs of the
frontier as logged, all runs, or whole models; in the last two it finds the frontier anew. It moves each error inside
its reading's uncertainty, and each accounting's hours by one factor inside that accounting's interval.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, get_args

import numpy as np
import pandas as pd
from jaxtyping import Float

from paper.fits.fitting import resample_weights
from paper.fits.laws import Points, Resampled, SaturatingLaw, frontier_mask, frontier_weights
from paper.keeping.memory import remembered

__all__ = [
    "CUT_OFF",
    "CUT_OFFS",
    "NFNET_WIDTH",
    "TREE_RESAMPLES",
    "VIT_WIDTH",
    "FittedAdvantage",
    "difference",
    "frontier_points",
    "sensitivity",
]

CUT_OFFS = (0.5, 1.0)
"""Compute of the cheapest Vision Transformer that is fitted, as shares of the cheapest NFNet's."""
CUT_OFF = 0.5
"""The share that the fitted laws use."""

VIT_WIDTH = 0.05
"""Half-width of an error of Zhai et al.'s tables, which print accuracies to a tenth of a point."""
NFNET_WIDTH = 0.005
"""Half-width of an error of Smith et al.'s Figure 1."""

TREE_RESAMPLES = 200
"""Resamples of each branch of the sensitivity tree, whose intervals are read to a tenth of a point."""

LARGEST = "ViT-G/14"


@dataclass(frozen=True)
class FittedAdvantage:
    """Difference of the two fitted frontiers, with a 95% interval of runs and conversion.

    Attributes:
        budgets: TPU-v4 core hours, or FLOPs.
        points: Difference in percentage points; positive where the NFNet leads.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    budgets: Float[np.ndarray, " b"]
    points: Float[np.ndarray, " b"]
    low: Float[np.ndarray, " b"]
    high: Float[np.ndarray, " b"]

    @property
    def share_apart(self) -> float:
        """Share of the budgets at which the whole interval is on the NFNets' side."""
        return float((self.low > 0).mean())

    @property
    def share_behind(self) -> float:
        """Share of the budgets at which the whole interval is on the Vision Transformers' side."""
        return float((self.high < 0).mean())


def difference(
    budgets: Float[np.ndarray, " b"],
    points: Float[np.ndarray, " b"],
    nfnet: Float[np.ndarray, "r b"],
    vit: Float[np.ndarray, "r b"],
) -> FittedAdvantage:
    """``points`` with the interval of the resamples' curves; resamples without a law in either family are left out."""
    apart = vit - nfnet
    apart = apart[np.isfinite(apart).all(1)]
    low, high = np.percentile(apart, [2.5, 97.5], axis=0)
    return FittedAdvantage(budgets, points, low, high)


def frontier_points(
    compute: Float[np.ndarray, " n"],
    error: Float[np.ndarray, " n"],
    models: Sequence[str],
    width: float,
    resamples: int,
    rng: np.random.Generator,
    *,
    resampled: Resampled = "runs",
    least: float = 0.0,
    log_factor: Float[np.ndarray, "r n"] | float = 0.0,
) -> Points:
    """The frontier of runs, and of resamples of them.

    Args:
        compute: Hours or FLOPs of each run.
        error: Error of each run, in percent.
        models: Model of each run.
        width: Half-width of the errors.
        resamples: Resamples to draw.
        rng: Their source.
        resampled: What a resample draws.
        least: Runs that cost less shape the frontier but are not fitted.
        log_factor: Added to the logarithm of compute in each resample.
    """
    # Markers of equal compute differ by their reading; to a thousandth they are the same.
    x = np.round(np.log(compute), 3)
    on = frontier_mask(np.exp(x), error) & (compute >= least)
    shape = (resamples, len(compute))
    log_error = np.log(error + width * rng.uniform(-1, 1, shape))
    log_compute = np.broadcast_to(x + log_factor, shape)
    if resampled == "fixed":
        weights = np.zeros(shape)
        weights[:, on] = resample_weights(rng, int(on.sum()), resamples)
    else:
        weights = resample_weights(rng, len(compute), resamples)
        if resampled == "models":
            cluster = pd.factorize(np.asarray(models, object))[0]
            weights = resample_weights(rng, int(cluster.max()) + 1, resamples)[:, cluster]
        weights = np.where(compute >= least, frontier_weights(log_compute, log_error, weights), 0.0)
    return Points(compute[on], error[on], *_packed(log_compute, log_error, weights, int(on.sum())))


def _packed(
    log_compute: np.ndarray, log_value: np.ndarray, weights: np.ndarray, least: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Moves the runs of positive weight to the front of each lane, and leaves out columns that no lane needs."""
    width = max(least, int((weights > 0).sum(1).max()))
    order = np.argsort(weights <= 0, axis=1, kind="stable")[:, :width]
    return (
        np.take_along_axis(log_compute, order, 1),
        np.take_along_axis(log_value, order, 1),
        np.take_along_axis(weights, order, 1),
    )


def _joined(branches: Sequence[Points]) -> Points:
    """All lanes of all branches as one, each branch led by a lane of its frontier as logged."""
    width = max(branch.weights.shape[1] for branch in branches)

    def padded(lanes: np.ndarray, mode: Literal["edge", "constant"]) -> np.ndarray:
        return np.pad(lanes, ((0, 0), (0, width - lanes.shape[1])), mode=mode)

    stacked: dict[str, list[np.ndarray]] = {"log_compute": [], "log_value": [], "weights": []}
    for branch in branches:
        logged = np.log(branch.compute), np.log(branch.value), np.ones(len(branch.compute))
        for (name, lanes), first in zip(stacked.items(), logged, strict=True):
            mode: Literal["edge", "constant"] = "constant" if name == "weights" else "edge"  # weight 0 takes them out
            lanes += [padded(first[None], mode), padded(getattr(branch, name), mode)]
    return Points(
        branches[0].compute, branches[0].value, **{name: np.concatenate(lanes) for name, lanes in stacked.items()}
    )


def _curves(branches: Sequence[Points], budgets: np.ndarray) -> list[np.ndarray]:
    """Of each branch, the law of its frontier as logged and those of its resamples at ``budgets``, row by row."""
    curves = SaturatingLaw.fit(_joined(branches), "percent").curves(np.log(budgets)[None])
    ends = np.cumsum([1 + len(branch.weights) for branch in branches])
    return np.split(curves, ends[:-1])


@dataclass(frozen=True)
class _Choice:
    """A choice of the Vision Transformers' runs and of the axis.

    Attributes:
        name: What is chosen.
        axis: ``hours`` or ``flops``.
        later: Accounting of the later results that join the sweep; empty for the sweep alone.
    """

    name: str
    axis: str
    later: str = ""

    def runs(self, vits: pd.DataFrame, *, with_largest: bool) -> pd.DataFrame:
        """The rows; ViT-G/14 counts once, as one of the sweep."""
        chosen = ~vits.later | ((vits.accounting == self.later) & (vits.model != LARGEST))
        return vits[chosen if with_largest else chosen & (vits.model != LARGEST)]


_CHOICES = (
    _Choice("sweep, Figure 2 hours", "hours"),
    _Choice("with later results, reported hours", "hours", "reported"),
    _Choice("with later results, stated hours", "hours", "stated"),
    _Choice("sweep, FLOPs", "flops"),
)


def _hours_moved(runs: pd.DataFrame, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Logarithm of a factor on each run's central hours: one an accounting, of ``stated`` hours one a model."""
    groups = runs.accounting.where(runs.accounting != "stated", runs.model)
    place = rng.uniform(size=(resamples, groups.nunique()))[:, pd.factorize(groups)[0]]
    low, mid, high = (np.log(runs[name].to_numpy(float)) for name in ("low", "mid", "high"))
    return np.asarray(low + place * (high - low) - mid)


@remembered
def sensitivity(nfnets: pd.DataFrame, vits: pd.DataFrame, resamples: int, seed: int) -> pd.DataFrame:
    """The difference of the fitted frontiers under every choice at once.

    Args:
        nfnets: Rows of :func:`paper.vits.runs.nfnet_runs`, without repeated augmentation.
        vits: Rows of :func:`paper.vits.runs.vit_runs`.
        resamples: Resamples of each branch.
        seed: Of the resamples.

    Returns:
        One row a branch: ``runs`` (of the Vision Transformers, with their accounting), ``axis``, ``largest`` (whether
        ViT-G/14 is in), ``cut_off`` (least compute fitted, as a share of the cheapest NFNet's), ``resampled``;
        ``share_apart`` and ``share_behind`` of the budgets at which the whole interval is on the NFNets' or on the
        Vision Transformers' side; and ``points``, ``low`` and ``high`` at the dearest NFNet's compute.
    """
    return pd.DataFrame([row for axis in ("hours", "flops") for row in _branches(axis, nfnets, vits, resamples, seed)])


def _branches(
    axis: str, nfnets: pd.DataFrame, vits: pd.DataFrame, resamples: int, seed: int
) -> Iterator[dict[str, object]]:
    """Rows of one axis."""
    kinds: tuple[Resampled, ...] = get_args(Resampled)
    rng = np.random.default_rng([seed, 14, len(axis)])
    compute, error = nfnets[axis].to_numpy(float), nfnets.error.to_numpy(float)
    budgets = np.geomspace(compute.min(), compute.max(), 100)

    def nfnet_points(kind: Resampled) -> Points:
        return frontier_points(compute, error, list(nfnets.model), NFNET_WIDTH, resamples, rng, resampled=kind)

    def vit_points(choice: _Choice, with_largest: bool, share: float, kind: Resampled) -> Points:
        runs = choice.runs(vits, with_largest=with_largest)
        return frontier_points(
            runs["mid" if axis == "hours" else axis].to_numpy(float),
            runs.error.to_numpy(float),
            list(runs.model),
            VIT_WIDTH,
            resamples,
            rng,
            resampled=kind,
            least=share * compute.min(),
            log_factor=_hours_moved(runs, resamples, rng) if axis == "hours" else 0.0,
        )

    mine = dict(zip(kinds, _curves([nfnet_points(kind) for kind in kinds], budgets), strict=True))
    branches = list(product([choice for choice in _CHOICES if choice.axis == axis], (True, False), CUT_OFFS, kinds))
    theirs = _curves([vit_points(*branch) for branch in branches], budgets)
    for (choice, with_largest, share, kind), vit in zip(branches, theirs, strict=True):
        nfnet = mine[kind]
        found = difference(budgets, vit[0] - nfnet[0], nfnet[1:], vit[1:])
        yield {
            "runs": choice.name,
            "axis": axis,
            "largest": with_largest,
            "cut_off": share,
            "resampled": kind,
            "share_apart": found.share_apart,
            "share_behind": found.share_behind,
            "points": float(found.points[-1]),
            "low": float(found.low[-1]),
            "high": float(found.high[-1]),
        }
