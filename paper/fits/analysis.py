"""Everything that is fitted to one set of runs: the same for the paper's figures and for anybody's own runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from paper.fits.allocation import Allocation, simulate_allocation
from paper.fits.fitting import resample_weights
from paper.fits.forms import Form, Profile, compare_forms, profile_gamma
from paper.fits.held_out import HeldOut, hold_out
from paper.fits.laws import Points, PowerLaw, Resampled, SaturatingLaw, frontier_mask
from paper.fits.optimum import (
    LINES,
    CostLine,
    Optimum,
    budgets_of,
    frontier_lines,
    isocompute_optima,
    optimum_from_lines,
    smooth_residuals,
)
from paper.fits.regret import Regret, regret, worst_regret
from paper.fits.repeated import Repetition, fit_repetition
from paper.fits.runs import Runs
from paper.fits.surface import HUBER_DELTA, Surface, fit_surface, growth

__all__ = ["SURFACE_FORMS", "Analysis"]

SURFACE_FORMS = {"surface": "additive", "general": "general"}
"""Form of the surface of each route to the optimum that fits one."""
_SLOW = 1000  # resamples of what is fitted by steps in six parameters
_LEAST = 5
_TOGETHER = 0.99  # correlation of log size and log examples from which on their effects cannot be told apart
_SIMULATIONS = 300
_INNER = 100


@dataclass(frozen=True)
class Analysis:
    """All fits of one set of runs, computed when first asked for.

    Attributes:
        runs: The runs.
        resamples: Bootstrap resamples of each fit; surfaces take at most a thousand.
        seed: Seed of the bootstrap.
        stream: What tells the draws of several analyses apart.
        limit: Compute up to which runs are fitted where dearer ones are predicted.
    """

    runs: Runs
    resamples: int
    seed: int
    stream: int
    limit: float

    @cached_property
    def has_law(self) -> bool:
        """Whether the frontier has the five points that a law with an irreducible term needs to be judged."""
        return int(frontier_mask(self.runs.compute, self.runs.value).sum()) >= _LEAST

    @property
    def has_surface(self) -> bool:
        """Whether sizes and examples vary, apart, and the runs outnumber the parameters of the additive surface."""
        runs = self.runs
        if not runs.has_surface or len(runs) <= 5:
            return False
        return all(len(np.unique(x)) > 2 for x in (runs.parameters, runs.examples)) and not self.grow_together

    @property
    def grow_together(self) -> bool:
        """Whether size and examples, both known, change so much together that their effects cannot be told apart."""
        logs = [np.log(x) - np.log(x).mean() for x in (self.runs.parameters, self.runs.examples)]
        length = np.sqrt((logs[0] @ logs[0]) * (logs[1] @ logs[1]))
        return bool(length and abs(logs[0] @ logs[1]) >= _TOGETHER * length)

    @property
    def has_general(self) -> bool:
        """Whether the runs outnumber the parameters of the general surface too."""
        return self.has_surface and len(self.runs) > 6

    @property
    def has_optimum(self) -> bool:
        """Whether both surfaces fall with size and with examples, so that there is a best split of compute."""
        return self.has_general and self.surface.has_optimum and self.general.has_optimum

    def _seed(self, part: int) -> tuple[int, int]:
        return self.seed, 100 * self.stream + part

    def _rng(self, part: int) -> np.random.Generator:
        return np.random.default_rng(self._seed(part))

    def _points(self, resampled: Resampled) -> Points:
        part = {"runs": 1, "models": 2, "fixed": 3}[resampled]
        return Points.on_frontier(self.runs, self.resamples, self._rng(part), resampled)

    @cached_property
    def law(self) -> PowerLaw:
        """Power law of the compute frontier, which every resample finds anew."""
        return PowerLaw.fit(self._points("runs"), self.runs.value_unit)

    @cached_property
    def law_clustered(self) -> PowerLaw:
        """The same where whole models are resampled."""
        return PowerLaw.fit(self._points("models"), self.runs.value_unit)

    @cached_property
    def law_fixed(self) -> PowerLaw:
        """The same where the points of the frontier as logged are resampled."""
        return PowerLaw.fit(self._points("fixed"), self.runs.value_unit)

    @cached_property
    def saturating(self) -> SaturatingLaw:
        """Law of the frontier with an irreducible term; every resample finds the frontier anew."""
        return SaturatingLaw.fit(self._points("runs"), self.runs.value_unit)

    @cached_property
    def saturating_clustered(self) -> SaturatingLaw:
        """The same where whole models are resampled."""
        return SaturatingLaw.fit(self._points("models"), self.runs.value_unit)

    @cached_property
    def saturating_fixed(self) -> SaturatingLaw:
        """The same where the points of the frontier as logged are resampled."""
        return SaturatingLaw.fit(self._points("fixed"), self.runs.value_unit)

    @cached_property
    def surface(self) -> Surface:
        """The additive surface over all runs by Huber's loss, as in Hoffmann et al. 2022."""
        return fit_surface(self.runs, "additive", HUBER_DELTA, min(self.resamples, _SLOW), self._seed(4))

    @cached_property
    def general_huber(self) -> Surface:
        """The general surface by Huber's loss; without resamples."""
        return fit_surface(self.runs, "general", HUBER_DELTA, 0, self._seed(5))

    @cached_property
    def forms(self) -> dict[str, Form]:
        """Forms of the surface by least squares, compared."""
        return compare_forms(self.runs, min(self.resamples, _SLOW), self._seed(6))

    @property
    def general(self) -> Surface:
        """The general surface by least squares."""
        return self.forms["general"].surface

    @cached_property
    def gamma_profile(self) -> Profile:
        """The general form at each of a range of outer exponents."""
        return profile_gamma(self.runs, np.geomspace(0.25, 1, 13))

    @cached_property
    def repetition(self) -> dict[str, Repetition]:
        """What repeated data are worth, by form of the surface."""
        return {form: fit_repetition(self.runs, form) for form in ("additive", "general")}

    @cached_property
    def cost(self) -> CostLine:
        """Cost of an epoch against model size."""
        return CostLine.fit(self.runs)

    @cached_property
    def run_optima(self) -> dict[str, Optimum]:
        """Compute-optimal size and epochs by each route that looks at runs and is open to these, by its name."""
        found = {"frontier": self._by_frontier()}
        if self.runs.has_curves:
            found |= {method: self._by_curves(method) for method in LINES}
        return found

    @cached_property
    def optima(self) -> dict[str, Optimum]:
        """Every route to compute-optimal size and epochs that the runs allow, by its name."""
        found = dict(self.run_optima)
        if self.surface.has_optimum:
            found["surface"] = self._by_surface("surface", self.surface)
        if self.has_general and self.general.has_optimum:
            found["general"] = self._by_surface("general", self.general)
        return found

    def _by_frontier(self) -> Optimum:
        runs = self.runs
        shape = (self.resamples, len(runs))
        rng = self._rng(7)
        moved = [
            np.log(array + width * rng.uniform(-1, 1, shape))
            for array, width in ((runs.compute, runs.compute_width), (runs.value, runs.value_width))
        ]
        on = frontier_mask(runs.compute, runs.value)
        point = frontier_lines(runs, np.log(runs.value)[None], np.ones((1, len(runs))))
        drawn = frontier_lines(runs, moved[1], resample_weights(rng, len(runs), self.resamples), moved[0])
        points = pd.DataFrame(
            {"compute": runs.compute[on], "parameters": runs.parameters[on], "epochs": runs.epochs[on]}
        ).sort_values("compute", ignore_index=True)
        return optimum_from_lines("frontier", point, drawn, points, runs.compute_unit)

    def _by_curves(self, method: str) -> Optimum:
        runs, values = self.runs, np.log(self.runs.value)[None]
        fitted, residual = smooth_residuals(runs, values)
        drawn = fitted + self._rng(8).choice(residual[0], (self.resamples, len(runs)))
        point, samples = LINES[method](runs, self.cost, values), LINES[method](runs, self.cost, drawn)
        points = None
        if method == "profiles":
            budgets = budgets_of(runs)
            size = isocompute_optima(runs, budgets, values)[0]
            seen = np.isfinite(size)
            epochs = np.log(budgets) - self.cost.intercept - self.cost.slope * size
            points = pd.DataFrame(
                {"compute": budgets[seen], "parameters": np.exp(size[seen]), "epochs": np.exp(epochs[seen])}
            )
        return optimum_from_lines(method, point, samples, points, runs.compute_unit)

    def _by_surface(self, method: str, surface: Surface) -> Optimum:
        epoch = 1.0 if np.isnan(self.runs.epoch) else self.runs.epoch
        point = growth(surface.theta[None], self.cost, surface.centres, epoch)
        return optimum_from_lines(
            method, point, growth(surface.samples, self.cost, surface.centres, epoch), None, self.runs.compute_unit
        )

    @cached_property
    def allocation(self) -> Allocation:
        """What each route to the optimum says of equal rates, and what it is worth on these runs."""
        many = max(1.0, len(self.runs) / 1000)  # time and memory grow with runs, and thousands scatter little
        simulations, inner = max(60, round(_SIMULATIONS / many)), max(40, round(_INNER / many))
        return simulate_allocation(self.runs, self.cost, simulations, self.resamples, inner, self._seed(9))

    @property
    def anchor(self) -> float:
        """Geometric mean of the range of compute."""
        return float(np.sqrt(self.runs.compute.min() * self.runs.compute.max()))

    def _range(self, points: int) -> np.ndarray:
        return np.geomspace(self.runs.compute.min(), self.runs.compute.max(), points)

    @cached_property
    def regret(self) -> dict[str, Regret]:
        """Loss above the optimum where size and epochs grow at equal rates from the anchor, by form of the surface."""
        epoch = 1.0 if np.isnan(self.runs.epoch) else self.runs.epoch
        return {
            form: regret(self.forms[form].surface, self.cost, epoch, self._range(33), self.anchor)
            for form in ("general", "additive")
            if form in self.forms
        }

    def worst_regret(self, form: str) -> tuple[np.ndarray, np.ndarray]:
        """Anchors over the range of compute, and the largest regret over the range, in percent, from each."""
        epoch = 1.0 if np.isnan(self.runs.epoch) else self.runs.epoch
        anchors = self._range(33)
        return anchors, worst_regret(self.forms[form].surface, self.cost, epoch, anchors, anchors)

    @cached_property
    def held_out(self) -> tuple[HeldOut, ...]:
        """What the forms fitted up to :attr:`limit` say of the dearer runs."""
        return hold_out(self.runs, self.limit, min(self.resamples, _SLOW), self._seed(10))
