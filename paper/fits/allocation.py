"""Whether size and epochs should grow at equal rates: what each route to the optimum is worth on these runs.

A route may be wide, or lean to one side, on the grid of sizes and budgets that was run. So data sets are simulated on
that grid under two truths, the general surface restricted to equal rates and the general surface as fitted, with normal
scatter of the general fit's size. Each route estimates the difference of exponents (size less epochs) of every data
set, with its interval; bias, spread and coverage are told beside its estimate.

Intervals, in the data as in the simulation: for the frontier, resamples of whole runs, each with its own frontier; for
envelope and profiles, resamples of the residuals about the models' smooth curves; for surfaces the covariance (delta
method, Student's t), since a bootstrap of every simulated surface would take minutes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from paper.fits.fitting import Estimate, likelihood_ratio, resample_weights
from paper.fits.optimum import LINES, CostLine, frontier_lines, smooth_residuals
from paper.fits.runs import Runs
from paper.fits.surface import FORMS, basis, best_lanes, fit_lanes, growth, log_surface, surface_and_slopes
from paper.keeping.memory import remembered

__all__ = ["TRUTHS", "Allocation", "Route", "simulate_allocation"]

TRUTHS = ("equal rates", "as fitted")
LEAN = 0.5
"""A route whose bias is below half its spread counts as unbiased: a 95% interval then still covers in 92% of cases."""
_SURFACES = {"surface": "additive", "general": "general"}


@dataclass(frozen=True)
class Route:
    """A route to the difference of the exponents of optimal size and epochs.

    Attributes:
        method: ``frontier``, ``envelope``, ``profiles``, ``surface`` (additive) or ``general``.
        difference: Its estimate, with the interval whose coverage is told.
        bias: Mean of its estimates less the truth, by truth.
        spread: Standard deviation of its estimates, by truth.
        coverage: Share of its intervals that hold the truth, by truth.
    """

    method: str
    difference: Estimate
    bias: dict[str, float]
    spread: dict[str, float]
    coverage: dict[str, float]

    @property
    def unbiased(self) -> bool:
        """Whether its bias is below :data:`LEAN` of its spread under either truth."""
        return all(abs(self.bias[truth]) <= LEAN * self.spread[truth] for truth in self.bias)


@dataclass(frozen=True)
class Allocation:
    """What the routes say of equal rates, and what they are worth.

    Attributes:
        truth: The difference under each truth.
        routes: By method; without those that have no estimate of the runs or of half of the simulated data sets.
        ratio: Likelihood-ratio statistic of equal rates within the general form.
        p_value: Share of data sets simulated under equal rates with a ratio as large, the data's own counted in.
        simulations: Data sets of each truth.
    """

    truth: dict[str, float]
    routes: dict[str, Route]
    ratio: float
    p_value: float
    simulations: int

    @property
    def deciding(self) -> Route:
        """The most precise of the unbiased routes; of all where none is unbiased."""
        unbiased = [route for route in self.routes.values() if route.unbiased]
        return min(unbiased or self.routes.values(), key=lambda route: route.spread["as fitted"])

    @property
    def equal_rates(self) -> bool | None:
        """Whether the runs allow equal rates; None where likelihood ratio and deciding route disagree."""
        allowed = {self.p_value > 0.05, self.deciding.difference.contains(0)}
        return allowed.pop() if len(allowed) == 1 else None


def _line_intervals(
    runs: Runs, cost: CostLine, log_values: Float[np.ndarray, "s n"], resamples: int, rng: np.random.Generator
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Difference of each data set by each route that looks at runs, with the ends of its 95% interval."""
    sets, points = log_values.shape
    flat = np.repeat(log_values, resamples, axis=0)
    moved = np.log(runs.compute + runs.compute_width * rng.uniform(-1, 1, flat.shape))
    weights = resample_weights(rng, points, len(flat))
    estimates = {"frontier": frontier_lines(runs, log_values, np.ones_like(log_values))}
    drawn = {"frontier": frontier_lines(runs, flat, weights, moved)}
    if runs.has_curves:
        fitted, residual = smooth_residuals(runs, log_values)
        chosen = rng.integers(0, points, (sets, resamples, points))
        bumped = fitted[:, None] + np.take_along_axis(residual[:, None], chosen, axis=2)
        bumped = bumped.reshape(-1, points)
        for method, lines in LINES.items():
            estimates[method], drawn[method] = lines(runs, cost, log_values), lines(runs, cost, bumped)
    found = {}
    for method, (size, epochs) in estimates.items():
        samples = (drawn[method][0][1] - drawn[method][1][1]).reshape(sets, resamples)
        samples = np.where(np.isfinite(samples).any(1, keepdims=True), samples, 0)
        low, high = np.nanpercentile(samples, [2.5, 97.5], axis=1)
        found[method] = size[1] - epochs[1], low, high
    return found


def _surface_intervals(
    size: np.ndarray, data: np.ndarray, theta: Float[np.ndarray, "s 6"], squares: np.ndarray, form: str, slope: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Difference of each fitted surface with the ends of its 95% interval by the delta method."""
    from scipy.stats import t

    _, spread = basis(FORMS[form])
    jacobian = surface_and_slopes(theta, size, data)[1] @ spread
    freedom = max(1, size.shape[1] - spread.shape[1])
    inverse = np.linalg.pinv(np.swapaxes(jacobian, 1, 2) @ jacobian, hermitian=True)
    a, b = theta[:, 2], theta[:, 4]
    total = a + slope * b
    by_theta = np.zeros((len(theta), 6))
    by_theta[:, 2], by_theta[:, 4] = -(1 + slope) * b / total**2, (1 + slope) * a / total**2
    by_free = by_theta @ spread
    variance = np.einsum("ri,rij,rj->r", by_free, inverse, by_free) * squares / freedom
    half = t.ppf(0.975, freedom) * np.sqrt(np.maximum(variance, 0))
    difference = (b - a) / total
    return difference, difference - half, difference + half


@remembered
def simulate_allocation(
    runs: Runs, cost: CostLine, simulations: int, resamples: int, inner: int, seed: tuple[int, int]
) -> Allocation:
    """Estimates the difference by every route, and simulates what each is worth.

    Args:
        runs: Runs with parameters and examples.
        cost: Cost of an epoch.
        simulations: Data sets simulated under each truth.
        resamples: Bootstrap resamples of the data.
        inner: Bootstrap resamples of each simulated data set.
        seed: Of all draws.
    """
    rng = np.random.default_rng(seed)
    size, data, target = (np.log(one)[None] for one in (runs.parameters, runs.examples, runs.value))
    centres = float(size.mean()), float(data.mean())
    size, data = size - centres[0], data - centres[1]
    fits = {name: best_lanes(size, data, target, FORMS[name])[:2] for name in ("additive", *_SURFACE_TRUTHS.values())}
    scatter = np.sqrt(2 * float(fits["general"][1][0]) / max(1, len(runs) - 6))

    estimates = _line_intervals(runs, cost, target, resamples, rng)
    for method, form in _SURFACES.items():
        theta, loss = fits[form]
        estimates[method] = _surface_intervals(size, data, theta, 2 * loss, form, cost.slope)
    found = {name: tuple(float(end[0]) for end in ends) for name, ends in estimates.items()}

    truth: dict[str, float] = {}
    simulated: dict[str, dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
    ratios = np.zeros(0)
    for name, form in _SURFACE_TRUTHS.items():
        theta = fits[form][0]
        lines = growth(theta, cost, centres, 1.0)
        truth[name] = float(lines[0][1][0] - lines[1][1][0])
        drawn = log_surface(theta, size, data) + scatter * rng.standard_normal((simulations, len(runs)))
        simulated[name] = _line_intervals(runs, cost, drawn, inner, rng)
        ones = np.ones_like(drawn)
        losses = {}
        for method, fitted in (*_SURFACES.items(), *([("null", form)] if name == TRUTHS[0] else [])):
            start = fits[fitted][0] if fitted == "additive" else theta
            lanes, losses[method] = fit_lanes(
                size, data, drawn, ones, np.tile(start, (simulations, 1)), FORMS[fitted], tolerance=1e-8
            )
            if method != "null":
                simulated[name][method] = _surface_intervals(size, data, lanes, 2 * losses[method], fitted, cost.slope)
        if "null" in losses:
            ratios = likelihood_ratio(2 * losses["null"], 2 * losses["general"], len(runs))
    equal, free = (2 * float(fits[form][1][0]) for form in ("general, equal rates", "general"))
    ratio = float(likelihood_ratio(equal, free, len(runs)))

    routes = {}
    for method, (value, low, high) in found.items():
        shares = [np.isfinite(by_method[method][0]).mean() for by_method in simulated.values()]
        if not np.isfinite(value) or min(shares) < 0.5:
            continue
        bias, spread, coverage = {}, {}, {}
        for name, by_method in simulated.items():
            each, lows, highs = by_method[method]
            usable = np.isfinite(each)
            bias[name] = float(each[usable].mean() - truth[name])
            spread[name] = float(each[usable].std(ddof=1))
            coverage[name] = float(((lows <= truth[name]) & (truth[name] <= highs))[usable].mean())
        routes[method] = Route(method, Estimate(value, low, high), bias, spread, coverage)
    p_value = (1 + int((ratios >= ratio).sum())) / (1 + len(ratios))
    return Allocation(truth, routes, ratio, float(p_value), simulations)


_SURFACE_TRUTHS = dict(zip(TRUTHS, ("general, equal rates", "general"), strict=True))
