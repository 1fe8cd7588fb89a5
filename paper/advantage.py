"""NFNets against Vision Transformers at matched compute: who has the lower ImageNet error within a budget.

The best model within a budget is the lowest error among all runs that cost no more; it needs no fit. Fitted frontiers
(power laws above an irreducible error) give the same comparison with an interval: each bootstrap resample draws runs of
both families anew and one conversion factor from its interval.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Float

from paper.compute import HOURS_A_DAY, Conversion, Route, hours_ratio, sweep
from paper.family import nfnet_family
from paper.laws import Points, SaturatingLaw, frontier_mask
from paper.results import Results
from paper.scaling import ScalingFits

__all__ = ["AXES", "CONVERSIONS", "Advantage", "FittedAdvantage", "Matched", "Scenario", "best_within"]

CONVERSIONS = ("low", "mid", "high")
"""TPU-v4 core hours of a Vision Transformer at either end and in the middle of the conversion's interval."""

AXES = ("hours", "flops")


def best_within(
    budgets: Float[np.ndarray, " b"], compute: Float[np.ndarray, " n"], error: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " b"]:
    """Lowest ``error`` among runs of at most each budget; NaN where no run is that cheap."""
    affordable = compute[None] <= budgets[:, None]
    best = np.where(affordable, error[None], np.inf).min(axis=1)
    return np.where(np.isfinite(best), best, np.nan)


@dataclass(frozen=True)
class Advantage:
    """Error of the best Vision Transformer within each budget less that of the best NFNet, in percentage points.

    Attributes:
        budgets: TPU-v4 core hours, or FLOPs.
        nfnet: Error of the best NFNet within each budget, in percent.
        vit: Error of the best Vision Transformer within each budget, in percent.
    """

    budgets: Float[np.ndarray, " b"]
    nfnet: Float[np.ndarray, " b"]
    vit: Float[np.ndarray, " b"]

    @property
    def points(self) -> Float[np.ndarray, " b"]:
        """Positive where the NFNet leads."""
        return self.vit - self.nfnet

    @property
    def share_led(self) -> float:
        """Share of the budgets that buy both (equally spaced in their logarithm) at which the NFNet leads."""
        both = self.points[np.isfinite(self.points)]
        return float((both > 0).mean())

    @property
    def vit_leads(self) -> list[tuple[float, float]]:
        """Ranges of budgets at which the Vision Transformer leads, ends included."""
        behind = np.flatnonzero(self.points < 0)
        groups = np.split(behind, np.flatnonzero(np.diff(behind) > 1) + 1) if len(behind) else []
        return [(float(self.budgets[group[0]]), float(self.budgets[group[-1]])) for group in groups]


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


@dataclass(frozen=True)
class Scenario:
    """A choice of runs under which the comparison is repeated.

    Attributes:
        name: What is chosen.
        vits: Selects rows of :meth:`Matched.vit_runs`.
        nfnets: Selects rows of :meth:`Matched.nfnet_runs`.
        axis: ``hours`` or ``flops``.
        route: Route of the conversion to hours.
    """

    name: str
    vits: Callable[[pd.DataFrame], pd.Series]
    nfnets: Callable[[pd.DataFrame], pd.Series] = lambda runs: ~runs.repeated_augmentation
    axis: str = "hours"
    route: Route = "hours"


def _range_text(low: float, high: float) -> str:
    spec = ",.3g" if high >= 1e15 else ",.0f"  # FLOPs, or core hours
    return f"{low:{spec}}" if low == high else f"{low:{spec}} to {high:{spec}}"


def _sweep_without(model: str) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda runs: ~runs.later & (runs.model != model)


def _nfnets_without(model: str) -> Callable[[pd.DataFrame], pd.Series]:
    return lambda runs: ~runs.repeated_augmentation & (runs.model != model)


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
    def ratio(self) -> Conversion:
        """TPU-v4 core hours per TPU-v3 core hour."""
        return hours_ratio(self.results)

    @cached_property
    def nfnet_runs(self) -> pd.DataFrame:
        """NFNets of Figure 1 with ``hours`` (TPU-v4 core hours), ``flops`` of pre-training and ``error`` in percent."""
        runs = self.results.finetuning
        macs = runs.model.map(nfnet_family().macs).astype(float)
        images = runs.epochs * self.results.stated("pretrain.images").value
        return runs.assign(
            hours=runs.tpu_v4_core_hours.astype(float),
            flops=6 * macs * images,
            error=runs.imagenet_top1_error_percent,
        )[["model", "epochs", "repeated_augmentation", "hours", "flops", "error"]]

    def vit_runs(self, route: Route = "hours") -> pd.DataFrame:
        """Zhai et al.'s runs and the later points.

        Returns:
            ``model``, ``pretrain_dataset``, ``resolution``, ``later`` (whether it is one of the later, better tuned
            results), ``low``, ``mid``, ``high`` (TPU-v4 core hours), ``flops``, ``error`` (percent) and ``source``. A
            later point's central hours are those that Smith et al. state; its ends are its reported TPU-v3 hours
            converted like all others.
        """
        return self._vit_runs_by_route[route]

    @cached_property
    def _vit_runs_by_route(self) -> dict[Route, pd.DataFrame]:
        routes: tuple[Route, ...] = ("hours", "flops")
        return {route: self._vit_runs(route) for route in routes}

    def _vit_runs(self, route: Route) -> pd.DataFrame:
        table = sweep(self.results, route)
        runs = pd.DataFrame(
            {
                "model": table.model,
                "pretrain_dataset": table.pretrain_dataset,
                "resolution": table.finetune_resolution,
                "later": False,
                "low": table.low,
                "mid": table.mid,
                "high": table.high,
                "flops": table.flops,
                "error": table.imagenet_top1_error_percent,
                "source": table.source,
            }
        )
        return pd.concat([runs, self._later_points], ignore_index=True)

    @cached_property
    def _later_points(self) -> pd.DataFrame:
        from paper.compute import anchors

        results = self.results
        flops = anchors(results).drop_duplicates("model").set_index("model").flops
        rows = []
        for vit in results.vits.to_dict("records"):
            shared = {
                "model": vit["model"],
                "pretrain_dataset": vit["pretraining_dataset"],
                "later": True,
                "low": vit["tpu_v3_core_hours_text"] * self.ratio.low,
                "mid": float(vit["tpu_v4_core_hours_text"]),
                "high": vit["tpu_v3_core_hours_text"] * self.ratio.high,
                "flops": float(flops[vit["model"]]),
            }
            table = results.sovit_table[results.sovit_table.model == vit["model"]]
            largest = int(table.finetune_resolution.max())
            error = round(100 - vit["imagenet_top1_accuracy_percent_text"], 6)
            rows.append({**shared, "resolution": largest, "error": error, "source": "smith2023-figure1-vit"})
            rows += [
                {
                    **shared,
                    "resolution": int(other.finetune_resolution),
                    "error": round(100 - float(other.imagenet_top1_percent), 6),
                    "source": "alabdulmohsin2023-table1",
                }
                for other in table[table.finetune_resolution < largest].itertuples()
            ]
        return pd.DataFrame(rows)

    @cached_property
    def budgets(self) -> Float[np.ndarray, " b"]:
        """TPU-v4 core hours from the cheapest to the dearest fine-tuned NFNet, equally spaced in their logarithm."""
        hours = self.nfnet_runs.hours
        return np.geomspace(hours.min(), hours.max(), 200)

    def _budgets(self, axis: str, nfnets: pd.DataFrame, vits: pd.DataFrame) -> Float[np.ndarray, " b"]:
        if axis == "hours":
            return self.budgets
        return np.geomspace(max(nfnets.flops.min(), vits.flops.min()), nfnets.flops.max(), 200)

    def advantage(self, scenario: Scenario, conversion: str = "mid") -> Advantage:
        """Best within each budget under ``scenario``; ``conversion`` is ignored on the axis of FLOPs."""
        vits = self.vit_runs(scenario.route)
        vits, nfnets = vits[scenario.vits(vits)], self.nfnet_runs[scenario.nfnets(self.nfnet_runs)]
        budgets = self._budgets(scenario.axis, nfnets, vits)
        mine, theirs = ("flops", "flops") if scenario.axis == "flops" else ("hours", conversion)
        return Advantage(
            budgets,
            best_within(budgets, nfnets[mine].to_numpy(float), nfnets.error.to_numpy(float)),
            best_within(budgets, vits[theirs].to_numpy(float), vits.error.to_numpy(float)),
        )

    @property
    def scenarios(self) -> list[Scenario]:
        """The choices under which the comparison is repeated, leaving out each model in turn last."""

        def sweep_only(runs: pd.DataFrame) -> pd.Series:
            return ~runs.later

        chosen = [
            Scenario("Zhai et al.'s sweep", sweep_only),
            Scenario("sweep, JFT-3B only", lambda runs: ~runs.later & (runs.pretrain_dataset == "JFT-3B")),
            Scenario("sweep, 384 px only", lambda runs: ~runs.later & (runs.resolution == 384)),
            Scenario("sweep, large models by FLOPs", sweep_only, route="flops"),
            Scenario("sweep, on the axis of FLOPs", sweep_only, axis="flops"),
            Scenario("sweep and later points", lambda runs: runs.error.notna()),
            Scenario("sweep and later points, 384 px only", lambda runs: runs.resolution == 384),
            Scenario("sweep and later points, on the axis of FLOPs", lambda runs: runs.error.notna(), axis="flops"),
            Scenario(
                "sweep and later points, NFNets with repeated augmentation",
                lambda runs: runs.error.notna(),
                lambda runs: runs.error.notna(),
            ),
        ]
        runs = self.vit_runs()
        vits = [model for model in self.results.vit_models.model if model in set(runs.model[~runs.later])]
        chosen += [Scenario(f"sweep without {model}", _sweep_without(model)) for model in vits]
        chosen += [
            Scenario(f"NFNets without {model}", sweep_only, _nfnets_without(model))
            for model in self.nfnet_runs.model.unique()
        ]
        return chosen

    @cached_property
    def table(self) -> pd.DataFrame:
        """Who leads, for every scenario and conversion.

        Returns:
            ``scenario``, ``axis``, ``conversion`` (empty on the axis of FLOPs), ``share_led`` by NFNets, ``least`` and
            ``most`` advantage in percentage points, and ``vit_leads``: budgets at which a Vision Transformer leads.
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
                        "least": float(np.nanmin(found.points)),
                        "most": float(np.nanmax(found.points)),
                        "vit_leads": "; ".join(_range_text(low, high) for low, high in found.vit_leads),
                    }
                )
        return pd.DataFrame(rows)

    def vit_law(self, axis: str = "hours") -> SaturatingLaw:
        """Frontier of Zhai et al.'s sweep, against TPU-v3 core hours or FLOPs (no conversion enters).

        Fitted where the comparison is made, to the frontier's runs that cost at least half as much as the cheapest
        NFNet under some conversion: far below, where errors reach a half, a power law above a constant is another
        curve.
        """
        runs = sweep(self.results)
        hours, error = runs.tpu_v3_core_hours.to_numpy(float), runs.imagenet_top1_error_percent.to_numpy(float)
        # Markers of equal compute differ by their reading; to a thousandth they are the same.
        hours = np.exp(np.round(np.log(hours), 3))
        runs = runs[frontier_mask(hours, error) & (hours >= self.nfnet_runs.hours.min() / self.ratio.high / 2)]
        column = "tpu_v3_core_hours" if axis == "hours" else "flops"
        return self._law(runs[column].to_numpy(float), runs.imagenet_top1_error_percent.to_numpy(float), 0.05, 11)

    def nfnet_law(self, axis: str = "hours") -> SaturatingLaw:
        """Frontier of the NFNets of Figure 1 without repeated augmentation, against TPU-v4 core hours or FLOPs."""
        runs = self.nfnet_runs[~self.nfnet_runs.repeated_augmentation]
        return self._law(runs[axis].to_numpy(float), runs.error.to_numpy(float), 0.005, 12)

    def _law(self, compute: np.ndarray, error: np.ndarray, width: float, stream: int) -> SaturatingLaw:
        fits = self.fits
        on = frontier_mask(compute, error)
        widths = (np.zeros(on.sum()), np.full(on.sum(), width))
        points = Points.draw(compute[on], error[on], widths, fits.resamples, np.random.default_rng([fits.seed, stream]))
        return SaturatingLaw.fit(points, "percent")

    @cached_property
    def fitted(self) -> FittedAdvantage:
        """Difference of the two fitted frontiers against TPU-v4 core hours."""
        nfnet, vit = self.nfnet_law(), self.vit_law()
        rng = np.random.default_rng([self.fits.seed, 13])
        lows, highs = np.log([self.ratio.low, self.ratio.high])
        factor = rng.uniform(lows, highs, (self.fits.resamples, 1))
        budgets = self.budgets
        difference = vit.curves(np.log(budgets) - factor) - nfnet.curves(np.log(budgets)[None])
        low, high = np.percentile(difference, [2.5, 97.5], axis=0)
        point = vit.predict(budgets / self.ratio.mid) - nfnet.predict(budgets)
        return FittedAdvantage(budgets, point, low, high)

    def printed_law(self, hours: Float[np.ndarray, " b"], law: str = "finetune") -> Float[np.ndarray, " b"]:
        """Zhai et al.'s printed law, in percent, at TPU-v3 core ``hours``."""
        table = self.results.vit_laws
        row = table[table.law == law].iloc[0]
        days = hours / HOURS_A_DAY + row.shift_core_days
        return np.asarray(100 * (row.irreducible + row.coefficient * days**-row.exponent))
