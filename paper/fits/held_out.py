"""Prediction held out by compute: fitted to the cheaper runs, asked for the dearer ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from paper.fits.laws import Points, PowerLaw, SaturatingLaw, frontier_mask
from paper.fits.runs import Runs
from paper.fits.surface import FORMS, fit_surface

__all__ = ["HeldOut", "forecast_chance", "forecast_power", "hold_out"]


@dataclass(frozen=True)
class HeldOut:
    """What a form fitted up to a budget says of the runs beyond it.

    Attributes:
        form: ``power law`` or ``saturating law`` (of the frontier, judged by the runs of the whole frontier), or a
            key of :data:`paper.fits.surface.FORMS` (of all runs, judged by all).
        limit: The budget.
        fitted: Runs that were fitted.
        compute: Compute of each held-out run.
        value: Its value.
        predicted: What the form says.
        low: Lower end of the 95% prediction interval.
        high: Upper end of it.
    """

    form: str
    limit: float
    fitted: int
    compute: Float[np.ndarray, " m"]
    value: Float[np.ndarray, " m"]
    predicted: Float[np.ndarray, " m"]
    low: Float[np.ndarray, " m"]
    high: Float[np.ndarray, " m"]

    @property
    def errors_percent(self) -> Float[np.ndarray, " m"]:
        """Predicted less observed, in percent of the observed: above zero where the form expects too high a value."""
        return np.asarray(100 * (self.predicted / self.value - 1))

    @property
    def inside(self) -> int:
        """Held-out runs inside their prediction intervals."""
        return int(((self.value >= self.low) & (self.value <= self.high)).sum())


def hold_out(runs: Runs, limit: float, resamples: int, seed: tuple[int, int]) -> tuple[HeldOut, ...]:
    """Fits every form to the runs of up to ``limit`` and predicts the rest.

    A form is left out where fewer runs than its parameters and one more are left, or no run lies beyond the limit.
    """
    cheap, dear = runs.where(runs.compute <= limit), runs.where(runs.compute > limit)
    found: list[HeldOut] = []
    beyond = runs.where(frontier_mask(runs.compute, runs.value) & (runs.compute > limit))
    if len(cheap) and len(beyond):
        points = Points.on_frontier(cheap, resamples, np.random.default_rng(seed))
        laws: list[tuple[str, type[PowerLaw] | type[SaturatingLaw], int]] = [
            ("power law", PowerLaw, 4),
            ("saturating law", SaturatingLaw, 5),
        ]
        for name, kind, least in laws:
            if len(points.compute) >= least:
                law = kind.fit(points, runs.value_unit)
                low, high = law.prediction_band(beyond.compute)
                predicted = law.predict(beyond.compute)
                found.append(
                    HeldOut(name, limit, len(points.compute), beyond.compute, beyond.value, predicted, low, high)
                )
    for form in ("additive", "general"):
        if runs.has_surface and len(dear) and len(cheap) > 7 - len(FORMS[form]):
            surface = fit_surface(cheap, form, np.inf, resamples, seed)
            low, high = surface.prediction_interval(dear.parameters, dear.examples)
            predicted = surface.predict(dear.parameters, dear.examples)
            found.append(HeldOut(form, limit, len(cheap), dear.compute, dear.value, predicted, low, high))
    return tuple(found)


def forecast_chance(
    log_compute: Float[np.ndarray, " n"], log_value: Float[np.ndarray, "*r n"], cheap: Bool[np.ndarray, " n"]
) -> Float[np.ndarray, "*r"]:
    """Chance that the dearer points lie as far from the line through the cheap ones, if all lie on one line.

    Chow (1960), Tests of equality between sets of coefficients in two linear regressions, Econometrica 28: that all
    predictions hang on one fitted line is part of it, other than in a count of intervals that are missed.
    """
    from scipy.stats import f

    def squares(among: Bool[np.ndarray, " n"]) -> Float[np.ndarray, "*r"]:
        x, y = log_compute[among], log_value[..., among]
        basis, _ = np.linalg.qr(np.stack([np.ones_like(x), x], axis=1))
        return np.asarray(np.sum((y - (y @ basis) @ basis.T) ** 2, axis=-1))

    all_of_them, of_cheap = squares(np.ones_like(cheap)), squares(cheap)
    free, dear = int(cheap.sum()) - 2, int((~cheap).sum())
    statistic = (all_of_them - of_cheap) / dear / np.maximum(of_cheap / free, np.finfo(float).tiny)
    return np.asarray(f.sf(statistic, dear, free))


def forecast_power(
    log_compute: Float[np.ndarray, " n"],
    log_value: Float[np.ndarray, " n"],
    cheap: Bool[np.ndarray, " n"],
    irreducible: float,
    level: float,
    draws: int = 20_000,
) -> float:
    """Share of simulated frontiers that :func:`forecast_chance` rejects at ``level`` if there is an irreducible term.

    The truth is ``irreducible`` plus the power law through what the points leave above it; points scatter about it as
    those given do.

    Raises:
        ValueError: If ``irreducible`` is not below all points.
    """
    value = np.exp(log_value)
    if irreducible >= value.min():
        raise ValueError(
            f"the irreducible term {irreducible:g} is not below all points, the lowest being {value.min():g}"
        )
    above = value - irreducible
    # An error of log(above) is one of log(value) in the inverse of the share that is above.
    line = np.polyfit(log_compute, np.log(above), 1, w=above / value)
    truth = np.log(irreducible + np.exp(np.polyval(line, log_compute)))
    scatter = np.sqrt(np.sum((log_value - truth) ** 2) / (len(value) - 2))
    drawn = truth + scatter * np.random.default_rng(0).standard_normal((draws, len(value)))
    return float(np.mean(forecast_chance(log_compute, drawn, cheap) < level))
