"""NFNets against Vision Transformers at matched compute: who has the lower ImageNet error within a budget.

The best model within a budget is the lowest error among all runs that cost no more; it needs no fit, but favours the
family whose runs lie closer together. Frontiers interpolated between runs do not. Fitted frontiers (power laws above an
irreducible error) give the same comparison with an interval: each bootstrap resample draws runs of both families anew
and one conversion factor from its interval.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Float

from paper.family import nfnet_family
from paper.fits.laws import Points, SaturatingLaw, frontier_mask
from paper.fits.scaling import ScalingFits
from paper.results import Results
from paper.vits.conversion import FORWARD_PASSES, HOURS_A_DAY, Conversion, Route, finetuning_flops, hours_ratio, sweep

__all__ = [
    "AXES",
    "CONVERSIONS",
    "Advantage",
    "FittedAdvantage",
    "Matched",
    "Scenario",
    "best_within",
    "interpolated_within",
]

CONVERSIONS = ("low", "mid", "high")
"""TPU-v4 core hours of a Vision Transformer at either end and in the middle of the conversion's interval."""

AXES = ("hours", "flops", "total_flops")
"""TPU-v4 core hours of pre-training, its FLOPs, and FLOPs with fine-tuning."""

SAM_GRADIENTS = 2  # sharpness-aware minimisation takes a gradient to ascend and one to descend


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
        """Share of the budgets that buy both (equally spaced in their logarithm) at which the NFNet leads; or NaN."""
        both = self.points[np.isfinite(self.points)]
        return float((both > 0).mean()) if len(both) else float("nan")

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
        axis: One of :data:`AXES`.
        route: Route of the conversion to hours.
        interpolated: Whether frontiers are interpolated between their runs.
        stated: Whether later points cost the TPU-v4 core hours that Smith et al. state, within their rounding, rather
            than their TPU-v3 core hours converted like all others.
    """

    name: str
    vits: Callable[[pd.DataFrame], pd.Series]
    nfnets: Callable[[pd.DataFrame], pd.Series] = lambda runs: ~runs.repeated_augmentation
    axis: str = "hours"
    route: Route = "hours"
    interpolated: bool = False
    stated: bool = False


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
        """NFNets of Figure 1.

        Returns:
            ``model``, ``epochs``, ``repeated_augmentation``, ``hours`` (TPU-v4 core hours), ``flops`` of pre-training,
            ``total_flops`` with fine-tuning and ``error`` in percent. FLOPs are those of the dearer, published reading
            of the '+' variants; every fine-tuning step is taken to need two gradients, the dearest reading of
            sharpness-aware minimisation.
        """
        results = self.results
        runs = results.finetuning

        def gradient_flops(resolution: float) -> pd.Series:
            """Of one image."""
            macs = runs.model.map(nfnet_family("published", round(resolution)).macs)
            return 2 * FORWARD_PASSES * macs.astype(float)

        imagenet = results.datasets.set_index(["dataset", "split"]).images["ImageNet-1k", "train"]
        images = runs.epochs * results.stated("pretrain.images").value
        tuned_images = results.stated("finetune.epochs").value * float(imagenet) * SAM_GRADIENTS
        flops = gradient_flops(results.stated("pretrain.train_resolution").value) * images
        tuning = gradient_flops(results.stated("finetune.train_resolution").value) * tuned_images
        return runs.assign(
            hours=runs.tpu_v4_core_hours.astype(float),
            flops=flops,
            total_flops=flops + tuning,
            error=runs.imagenet_top1_error_percent,
        )[["model", "epochs", "repeated_augmentation", "hours", "flops", "total_flops", "error"]]

    def vit_runs(self, route: Route = "hours") -> pd.DataFrame:
        """Zhai et al.'s runs and the later points.

        Returns:
            ``model``, ``pretrain_dataset``, ``resolution``, ``later`` (whether it is one of the later, better tuned
            results), ``low``, ``mid``, ``high`` (TPU-v4 core hours), ``flops`` of pre-training and ``total_flops`` with
            fine-tuning, ``error`` (percent) and ``source``; ``stated_low`` and ``stated_high`` of the later points. A
            later point's central hours are those of Smith et al.'s Figure 1, as the NFNets' are; its ends are its
            reported TPU-v3 hours converted like all others, and its stated ends what the rounding of Smith et al.'s
            text leaves open. ViT-G/14's reported hours are a lower bound.
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
                "stated_low": np.nan,
                "stated_high": np.nan,
                "flops": table.flops,
                "total_flops": table.total_flops,
                "error": table.imagenet_top1_error_percent,
                "source": table.source,
            }
        )
        return pd.concat([runs, self._later_points], ignore_index=True)

    @cached_property
    def _later_points(self) -> pd.DataFrame:
        from paper.vits.conversion import anchors

        results = self.results
        flops = anchors(results).drop_duplicates("model").set_index("model").flops
        rows = []
        for vit in results.vits.to_dict("records"):
            stated = results.half_width(
                "smith2023-figure1-vit", "tpu_v4_core_hours_text", np.array([vit["tpu_v4_core_hours_text"]])
            )[0]
            shared = {
                "model": vit["model"],
                "pretrain_dataset": vit["pretraining_dataset"],
                "later": True,
                "low": vit["tpu_v3_core_hours_text"] * self.ratio.low,
                "mid": float(vit["tpu_v4_core_hours_plotted"]),
                "high": vit["tpu_v3_core_hours_text"] * self.ratio.high,
                "stated_low": vit["tpu_v4_core_hours_text"] - stated,
                "stated_high": vit["tpu_v4_core_hours_text"] + stated,
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
        points = pd.DataFrame(rows)
        return points.assign(total_flops=points.flops + finetuning_flops(results, points.model, points.resolution))

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
        if scenario.stated and conversion != "mid":
            theirs = vits[f"stated_{conversion}"].fillna(theirs)
        within = interpolated_within if scenario.interpolated else best_within
        return Advantage(
            budgets,
            within(budgets, nfnets[scenario.axis].to_numpy(float), nfnets.error.to_numpy(float)),
            within(budgets, theirs.to_numpy(float), vits.error.to_numpy(float)),
        )

    @property
    def scenarios(self) -> list[Scenario]:
        """The choices under which the comparison is repeated, leaving out each model in turn last."""

        def sweep_only(runs: pd.DataFrame) -> pd.Series:
            return ~runs.later

        def everything(runs: pd.DataFrame) -> pd.Series:
            return runs.error.notna()

        chosen = [
            Scenario("Zhai et al.'s sweep", sweep_only),
            Scenario("sweep, JFT-3B only", lambda runs: ~runs.later & (runs.pretrain_dataset == "JFT-3B")),
            Scenario("sweep, 384 px only", lambda runs: ~runs.later & (runs.resolution == 384)),
            Scenario("sweep, large models by FLOPs", sweep_only, route="flops"),
            Scenario("sweep, frontiers interpolated", sweep_only, interpolated=True),
            Scenario("sweep, by FLOPs", sweep_only, axis="flops"),
            Scenario("sweep, FLOPs with fine-tuning", sweep_only, axis="total_flops"),
            Scenario("with later points", everything),
            Scenario("with later points, at stated hours", everything, stated=True),
            Scenario("with later points, interpolated", everything, interpolated=True),
            Scenario("with later points, 384 px only", lambda runs: runs.resolution == 384),
            Scenario("with later points, by FLOPs", everything, axis="flops"),
            Scenario("with later points, repeated augmentation", everything, everything),
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
            ``scenario``, ``axis``, ``conversion`` (empty on the axes of FLOPs), ``share_led`` by NFNets, ``least`` and
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
        NFNet (under some conversion): far below, where errors reach a half, a power law above a constant is another
        curve.
        """
        return self._law_of("vit", axis)

    def nfnet_law(self, axis: str = "hours") -> SaturatingLaw:
        """Frontier of the NFNets of Figure 1 without repeated augmentation, against TPU-v4 core hours or FLOPs."""
        return self._law_of("nfnet", axis)

    @cached_property
    def _laws(self) -> dict[tuple[str, str], SaturatingLaw]:
        return {}

    def _law_of(self, family: str, axis: str) -> SaturatingLaw:
        if (family, axis) not in self._laws:
            self._laws[family, axis] = (self._fit_vits if family == "vit" else self._fit_nfnets)(axis)
        return self._laws[family, axis]

    def _fit_vits(self, axis: str) -> SaturatingLaw:
        runs = sweep(self.results)
        error = runs.imagenet_top1_error_percent.to_numpy(float)
        compute = runs["tpu_v3_core_hours" if axis == "hours" else axis].to_numpy(float)
        least = self.nfnet_runs[axis].min() / (self.ratio.high if axis == "hours" else 1) / 2
        # Markers of equal compute differ by their reading; to a thousandth they are the same.
        on = frontier_mask(np.exp(np.round(np.log(compute), 3)), error) & (compute >= least)
        return self._law(compute[on], error[on], 0.05, 11)

    def _fit_nfnets(self, axis: str) -> SaturatingLaw:
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
        difference = vit.curves(np.log(budgets) - log_factor) - nfnet.curves(np.log(budgets)[None])
        low, high = np.percentile(difference, [2.5, 97.5], axis=0)
        return FittedAdvantage(budgets, vit.predict(budgets / factor) - nfnet.predict(budgets), low, high)

    def printed_law(self, hours: Float[np.ndarray, " b"], law: str = "finetune") -> Float[np.ndarray, " b"]:
        """Zhai et al.'s printed law, in percent, at TPU-v3 core ``hours``."""
        table = self.results.vit_laws
        row = table[table.law == law].iloc[0]
        days = hours / HOURS_A_DAY + row.shift_core_days
        return np.asarray(100 * (row.irreducible + row.coefficient * days**-row.exponent))
