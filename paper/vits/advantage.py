"""NFNets against Vision Transformers at matched compute: who has the lower ImageNet error within a budget.

The best model within a budget is the lowest error among all runs that cost no more; it needs no fit, but favours the
family whose runs lie closer together, and, errors being noisy, the family with more runs. Frontiers interpolated
between runs do not favour the denser family. Fitted frontiers (:mod:`paper.vits.frontiers`) give the same comparison
with an interval.

Both families were tested on the same finite set of images; a lead below what that set can tell
(:mod:`paper.noise`) is counted apart from one beyond.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import pandas as pd
from jaxtyping import Float

from paper.fits.laws import SaturatingLaw, frontier_mask
from paper.fits.scaling import ScalingFits
from paper.noise import INTERVAL, difference_z, validation_images
from paper.results import Results
from paper.vits import frontiers, runs
from paper.vits.conversion import HOURS_A_DAY, Conversion, Route, hours_ratio, sweep
from paper.vits.frontiers import FittedAdvantage
from paper.vits.inference import evaluated

__all__ = [
    "AXES",
    "CONVERSIONS",
    "Advantage",
    "Matched",
    "Scenario",
    "best_within",
    "interpolated_within",
]

CONVERSIONS = ("low", "mid", "high")
"""TPU-v4 core hours of a Vision Transformer at either end and in the middle of its accounting's interval."""

AXES = ("hours", "flops", "total_flops")
"""TPU-v4 core hours of pre-training, its FLOPs, and FLOPs with fine-tuning."""


def best_within(
    budgets: Float[np.ndarray, " b"], compute: Float[np.ndarray, " n"], error: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " b"]:
    """Lowest ``error`` among runs of at most each budget; NaN where no run is that cheap."""
    affordable = compute[None] <= budgets[:, None]
    best = np.where(affordable, error[None], np.inf).min(axis=1, initial=np.inf)
    return np.where(np.isfinite(best), best, np.nan)


def interpolated_within(
    budgets: Float[np.ndarray, " b"], compute: Float[np.ndarray, " n"], error: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " b"]:
    """Error of the compute frontier at each budget, interpolated between its runs in log-log coordinates.

    NaN where no run is that cheap; beyond the frontier's dearest run, that run's error.
    """
    if not len(compute):
        return np.full(len(budgets), np.nan)
    on = frontier_mask(compute, error)
    order = np.argsort(compute[on])
    x, y = np.log(compute[on][order]), np.log(error[on][order])
    return np.asarray(np.exp(np.interp(np.log(budgets), x, y, left=np.nan)))


@dataclass(frozen=True)
class Advantage:
    """Error of the best Vision Transformer within each budget less that of the best NFNet, in percentage points.

    Attributes:
        budgets: TPU-v4 core hours, or FLOPs.
        nfnet: Error of the best NFNet within each budget, in percent.
        vit: Error of the best Vision Transformer within each budget, in percent.
        images: Images of the test set that errors were counted on.
    """

    budgets: Float[np.ndarray, " b"]
    nfnet: Float[np.ndarray, " b"]
    vit: Float[np.ndarray, " b"]
    images: int

    @property
    def points(self) -> Float[np.ndarray, " b"]:
        """Positive where the NFNet leads."""
        return self.vit - self.nfnet

    @property
    def z(self) -> Float[np.ndarray, " b"]:
        """The same in standard errors of the test set, taken as independent; see :func:`paper.noise.difference_z`."""
        return difference_z(self.vit, self.nfnet, self.images)

    def _share(self, leads: np.ndarray) -> float:
        """Of the budgets that buy both (equally spaced in their logarithm); or NaN."""
        both = np.isfinite(self.points)
        return float(leads[both].mean()) if both.any() else float("nan")

    @property
    def share_led(self) -> float:
        """Share of the budgets at which the NFNet's error is the lower."""
        return self._share(self.points > 0)

    @property
    def share_beyond(self) -> float:
        """Share of the budgets at which the NFNet leads by more than the noise of the test set, at 95%."""
        return self._share(self.z > INTERVAL)

    @property
    def share_behind(self) -> float:
        """Share of the budgets at which the Vision Transformer leads by more than that noise."""
        return self._share(self.z < -INTERVAL)

    @property
    def vit_leads(self) -> list[tuple[float, float]]:
        """Ranges of budgets at which the Vision Transformer leads, ends included."""
        behind = np.flatnonzero(self.points < 0)
        groups = np.split(behind, np.flatnonzero(np.diff(behind) > 1) + 1) if len(behind) else []
        return [(float(self.budgets[group[0]]), float(self.budgets[group[-1]])) for group in groups]


@dataclass(frozen=True)
class Scenario:
    """A choice of runs under which the comparison is repeated.

    Attributes:
        name: What is chosen.
        vits: Selects rows of :meth:`Matched.vit_runs`.
        nfnets: Selects rows of :attr:`Matched.nfnet_runs`.
        axis: One of :data:`AXES`.
        route: Route of the sweep's conversion to hours.
        interpolated: Whether frontiers are interpolated between their runs.
    """

    name: str
    vits: Callable[[pd.DataFrame], pd.Series]
    nfnets: Callable[[pd.DataFrame], pd.Series] = lambda runs: ~runs.repeated_augmentation
    axis: str = "hours"
    route: Route = "hours"
    interpolated: bool = False


def _range_text(low: float, high: float) -> str:
    spec = ",.3g" if high >= 1e15 else ",.0f"  # FLOPs, or core hours
    return f"{low:{spec}}" if low == high else f"{low:{spec}} to {high:{spec}}"


def _swept(table: pd.DataFrame) -> pd.Series:
    return ~table.later


def _with_later(accounting: str) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda table: ~table.later | (table.accounting == accounting)


def _nfnets_without(model: str) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda table: ~table.repeated_augmentation & (table.model != model)


@dataclass(frozen=True)
class Matched:
    """Both families on the same axes.

    Attributes:
        results: The logged results.
        fits: Fits, for the bootstrap's size and seed.
    """

    results: Results
    fits: ScalingFits

    @cached_property
    def images(self) -> int:
        """Images of ImageNet's validation set."""
        return validation_images(self.results.datasets)

    @cached_property
    def ratio(self) -> Conversion:
        """TPU-v4 core hours per TPU-v3 core hour of Zhai et al.'s Figure 2."""
        return hours_ratio(self.results, "figure 2")

    @cached_property
    def nfnet_runs(self) -> pd.DataFrame:
        """See :func:`paper.vits.runs.nfnet_runs`."""
        return runs.nfnet_runs(self.results)

    def vit_runs(self, route: Route = "hours") -> pd.DataFrame:
        """See :func:`paper.vits.runs.vit_runs`."""
        return self._vit_runs[route]

    @cached_property
    def _vit_runs(self) -> dict[Route, pd.DataFrame]:
        routes: tuple[Route, ...] = ("hours", "flops")
        return {route: runs.vit_runs(self.results, route) for route in routes}

    @cached_property
    def budgets(self) -> Float[np.ndarray, " b"]:
        """TPU-v4 core hours from the cheapest to the dearest fine-tuned NFNet, equally spaced in their logarithm."""
        hours = self.nfnet_runs.hours
        return np.geomspace(hours.min(), hours.max(), 200)

    def _budgets(self, axis: str, nfnets: pd.DataFrame, vits: pd.DataFrame) -> Float[np.ndarray, " b"]:
        if axis == "hours":
            return self.budgets
        return np.geomspace(max(nfnets[axis].min(), vits[axis].min()), nfnets[axis].max(), 200)

    def advantage(
        self, scenario: Scenario, conversion: str = "mid", budgets: Float[np.ndarray, " b"] | None = None
    ) -> Advantage:
        """Both families within each budget under ``scenario``.

        Args:
            scenario: Which runs, on which axis.
            conversion: One of :data:`CONVERSIONS`; ignored on the axes of FLOPs.
            budgets: Where to compare; by default from the cheapest NFNet to the dearest.
        """
        vits = self.vit_runs(scenario.route)
        vits, nfnets = vits[scenario.vits(vits)], self.nfnet_runs[scenario.nfnets(self.nfnet_runs)]
        if budgets is None:
            budgets = self._budgets(scenario.axis, nfnets, vits)
        theirs = vits[conversion if scenario.axis == "hours" else scenario.axis]
        within = interpolated_within if scenario.interpolated else best_within
        return Advantage(
            budgets,
            within(budgets, nfnets[scenario.axis].to_numpy(float), nfnets.error.to_numpy(float)),
            within(budgets, theirs.to_numpy(float), vits.error.to_numpy(float)),
            self.images,
        )

    @property
    def decisive(self) -> list[str]:
        """NFNets with a run on their frontier: those without which another lead is possible.

        To leave out any other NFNet changes nothing, and to leave out a Vision Transformer can but lengthen the lead.
        """
        plain = self.nfnet_runs[~self.nfnet_runs.repeated_augmentation]
        on = frontier_mask(plain.hours.to_numpy(float), plain.error.to_numpy(float))
        return list(dict.fromkeys(plain.model[on]))

    @property
    def scenarios(self) -> list[Scenario]:
        """The choices under which the comparison is repeated, leaving out each decisive model in turn last."""
        plain = [
            Scenario("sweep", _swept),
            Scenario("sweep, JFT-3B only", lambda table: ~table.later & (table.pretrain_dataset == "JFT-3B")),
            Scenario("sweep, 384 px only", lambda table: ~table.later & (table.resolution == 384)),
            Scenario("sweep, large models by FLOPs", _swept, route="flops"),
            Scenario("sweep, frontiers interpolated", _swept, interpolated=True),
            Scenario("sweep, by FLOPs", _swept, axis="flops"),
            Scenario("sweep, FLOPs with fine-tuning", _swept, axis="total_flops"),
        ]
        later = [
            Scenario("with later results, Figure 2 hours", _with_later("figure 2")),
            Scenario("with later results, reported hours", _with_later("reported")),
            Scenario("with later results, stated hours", _with_later("stated")),
            Scenario(
                "with later results, reported hours, 384 px only",
                lambda table: _with_later("reported")(table) & (table.resolution == 384),
            ),
            Scenario("with later results, reported hours, interpolated", _with_later("reported"), interpolated=True),
            Scenario("with later results, by FLOPs", _with_later("stated"), axis="flops"),
            Scenario(
                "with later results, reported hours, repeated augmentation",
                _with_later("reported"),
                lambda table: table.error.notna(),
            ),
        ]
        without = [Scenario(f"NFNets without {model}", _swept, _nfnets_without(model)) for model in self.decisive]
        return [*plain, *later, *without]

    @cached_property
    def inference(self) -> pd.DataFrame:
        """See :func:`paper.vits.inference.evaluated`."""
        return evaluated(self.results, self.nfnet_runs, self.vit_runs())

    def inference_advantage(
        self, *, later: bool, repeated: bool = False, costs: Float[np.ndarray, " b"] | None = None
    ) -> Advantage:
        """Both families within each cost of a forward pass, in 1e9 operations an image, whatever the pre-training.

        Args:
            later: Whether the later Vision Transformers take part beside Zhai et al.'s.
            repeated: Whether NFNets may have been fine-tuned with repeated augmentation.
            costs: Where to compare; by default from the cheapest NFNet to the dearest.
        """
        table = self.inference
        mine = table[(table.family == "nfnet") & (repeated | ~table.repeated_augmentation)]
        theirs = table[(table.family == "vit") & (later | ~table.later)]
        if costs is None:
            costs = np.geomspace(mine.gflops.min(), mine.gflops.max(), 200)
        nfnet, vit = (best_within(costs, runs.gflops.to_numpy(), runs.error.to_numpy()) for runs in (mine, theirs))
        return Advantage(costs, nfnet, vit, self.images)

    @cached_property
    def table(self) -> pd.DataFrame:
        """Who leads, for every scenario and conversion.

        Returns:
            ``scenario``, ``axis``, ``conversion`` (empty on the axes of FLOPs); shares of the budgets: ``share_led`` by
            NFNets, ``share_beyond`` by more than the test set's noise, ``share_behind`` by as much behind; ``least``
            and ``most`` advantage in percentage points, and ``vit_leads``: budgets at which a Vision Transformer leads.
        """
        rows = []
        for scenario in self.scenarios:
            for conversion in CONVERSIONS if scenario.axis == "hours" else ("",):
                found = self.advantage(scenario, conversion)
                rows.append(
                    {
                        "scenario": scenario.name,
                        "axis": scenario.axis,
                        "conversion": conversion,
                        "share_led": found.share_led,
                        "share_beyond": found.share_beyond,
                        "share_behind": found.share_behind,
                        "least": float(np.nanmin(found.points)),
                        "most": float(np.nanmax(found.points)),
                        "vit_leads": "; ".join(_range_text(low, high) for low, high in found.vit_leads),
                    }
                )
        return pd.DataFrame(rows)

    def vit_law(self, axis: str = "hours") -> SaturatingLaw:
        """Frontier of Zhai et al.'s runs, against TPU-v3 core hours of Figure 2 or FLOPs (no conversion enters)."""
        if ("vit", axis) not in self._laws:
            table = sweep(self.results)
            cheapest = self.nfnet_runs[axis].min() / (self.ratio.mid if axis == "hours" else 1)
            compute = table["tpu_v3_core_hours" if axis == "hours" else axis]
            error = table.imagenet_top1_error_percent
            self._laws["vit", axis] = self._fit(
                compute, error, table.model, frontiers.VIT_WIDTH, 11, frontiers.CUT_OFF * cheapest
            )
        return self._laws["vit", axis]

    def nfnet_law(self, axis: str = "hours") -> SaturatingLaw:
        """Frontier of the NFNets of Figure 1 without repeated augmentation, against TPU-v4 core hours or FLOPs."""
        if ("nfnet", axis) not in self._laws:
            table = self.nfnet_runs[~self.nfnet_runs.repeated_augmentation]
            self._laws["nfnet", axis] = self._fit(
                table[axis], table.error, table.model, frontiers.NFNET_WIDTH, 12, least=0.0
            )
        return self._laws["nfnet", axis]

    @cached_property
    def _laws(self) -> dict[tuple[str, str], SaturatingLaw]:
        return {}

    def _fit(
        self, compute: pd.Series, error: pd.Series, models: pd.Series, width: float, stream: int, least: float
    ) -> SaturatingLaw:
        x, y = compute.to_numpy(float), error.to_numpy(float)
        rng = np.random.default_rng([self.fits.seed, stream])
        points = frontiers.frontier_points(x, y, list(models), width, self.fits.resamples, rng, least=least)
        return SaturatingLaw.fit(points, "percent")

    @cached_property
    def fitted(self) -> FittedAdvantage:
        """Difference of the two fitted frontiers against TPU-v4 core hours, runs resampled and frontiers found anew."""
        lows, highs = np.log([self.ratio.low, self.ratio.high])
        rng = np.random.default_rng([self.fits.seed, 13])
        factor = rng.uniform(lows, highs, (self.fits.resamples, 1))
        return self._difference("hours", self.budgets, factor, self.ratio.mid)

    @cached_property
    def fitted_flops(self) -> FittedAdvantage:
        """Difference of the two fitted frontiers against FLOPs; its interval is that of the runs alone."""
        flops = self.nfnet_runs.flops
        return self._difference("flops", np.geomspace(flops.min(), flops.max(), 200), np.zeros((1, 1)), 1.0)

    def _difference(self, axis: str, budgets: np.ndarray, log_factor: np.ndarray, factor: float) -> FittedAdvantage:
        nfnet, vit = self.nfnet_law(axis), self.vit_law(axis)
        points = vit.predict(budgets / factor) - nfnet.predict(budgets)
        at = np.log(budgets)
        return frontiers.difference(budgets, points, nfnet.curves(at[None]), vit.curves(at - log_factor))

    @cached_property
    def sensitivity(self) -> pd.DataFrame:
        """See :func:`paper.vits.frontiers.sensitivity`."""
        plain = self.nfnet_runs[~self.nfnet_runs.repeated_augmentation].reset_index(drop=True)
        resamples = min(self.fits.resamples, frontiers.TREE_RESAMPLES)
        return frontiers.sensitivity(plain, self.vit_runs(), resamples, self.fits.seed)

    def printed_law(self, hours: Float[np.ndarray, " b"], law: str = "finetune") -> Float[np.ndarray, " b"]:
        """Zhai et al.'s printed law, in percent, at TPU-v3 core ``hours``."""
        return self._printed(hours, law, (0, 0, 0))

    def printed_range(
        self, hours: Float[np.ndarray, " b"], law: str = "finetune"
    ) -> tuple[Float[np.ndarray, " b"], Float[np.ndarray, " b"]]:
        """Least and largest value of the printed law that the rounding of its coefficients leaves open."""
        corners = [self._printed(hours, law, signs) for signs in product((-1, 1), repeat=3)]
        return np.min(corners, axis=0), np.max(corners, axis=0)

    def _printed(self, hours: np.ndarray, law: str, signs: tuple[int, ...]) -> np.ndarray:
        """The printed law with each of its three coefficients moved by so many half-widths of its rounding."""
        table = self.results.vit_laws
        row = table[table.law == law].iloc[0]
        irreducible, coefficient, exponent = (
            float(row[name]) + sign * float(self.results.half_width("zhai2022-laws", name, np.array([row[name]]))[0])
            for name, sign in zip(("irreducible", "coefficient", "exponent"), signs, strict=True)
        )
        days = hours / HOURS_A_DAY + float(row.shift_core_days)
        return np.asarray(100 * (irreducible + coefficient * days**-exponent))
