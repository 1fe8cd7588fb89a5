"""What repeated data are worth: the effective data of Muennighoff et al. 2023 in the loss surface.

"Scaling Data-Constrained Language Models", equation 5: with ``U`` unique examples seen for ``1 + R`` epochs, the data
count as ``D' = U + U R* (1 - exp(-R / R*))``. An infinite ``R*`` counts every repetition like new data. Their formula
for excess parameters is left out: no run here shows one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from paper.fits.fitting import likelihood_ratio
from paper.fits.forms import Profile
from paper.fits.runs import Runs
from paper.fits.surface import FORMS, best_lanes, fit_lanes
from paper.keeping.memory import remembered

__all__ = ["RATES", "Repetition", "effective_data", "fit_repetition"]

RATES = np.append(np.geomspace(0.25, 256, 21), np.inf)
"""Values of ``R*`` that are tried: repetitions worth a quarter of an epoch in all, to repetitions worth new data."""


def effective_data(
    examples: Float[np.ndarray, " n"], epoch: float, rate: Float[np.ndarray, " m"]
) -> Float[np.ndarray, "m n"]:
    """Effective examples for each ``R*`` of ``rate``; ``epoch`` is the number of unique examples."""
    unique = np.minimum(examples, epoch)
    repetitions = np.maximum(examples / epoch - 1, 0)
    scale = np.where(np.isinf(rate), 1, rate)[:, None]
    worth = np.where(np.isinf(rate)[:, None], repetitions, -scale * np.expm1(-repetitions / scale))
    return np.asarray(unique * (1 + worth))


@dataclass(frozen=True)
class Repetition:
    """A form of the surface over effective data.

    Attributes:
        form: A key of :data:`paper.fits.surface.FORMS`.
        profile: Over ``R*``.
        low: Smallest ``R*`` in the 95% likelihood interval.
        high: Largest one; infinite where the runs cannot tell a repeated example from a new one.
        ratio: Likelihood-ratio statistic of counting every repetition as new.
        floor_ratio: Likelihood-ratio statistic of ``E = 0`` where ``R*`` is free in either.
    """

    form: str
    profile: Profile
    low: float
    high: float
    ratio: float
    floor_ratio: float

    @property
    def best(self) -> float:
        """The likeliest ``R*``."""
        return float(self.profile.held[self.profile.best])


@remembered
def fit_repetition(runs: Runs, form: str) -> Repetition:
    """Profiles a form over ``R*``; ``runs`` know the size of an epoch."""
    size, target = np.log(runs.parameters)[None], np.log(runs.value)[None]
    data = np.log(effective_data(runs.examples, runs.epoch, RATES))
    centre = np.log(runs.examples).mean()
    centred = size - size.mean(), data - centre, target
    theta, loss, _ = best_lanes(*centred, FORMS[form], iterations=200, tolerance=1e-8)
    _, without = fit_lanes(*centred, np.ones_like(data), theta, (*FORMS[form], "E"), tolerance=1e-8)
    profile = Profile(RATES, likelihood_ratio(2 * loss, 2 * loss.min(), len(runs)), np.exp(theta[:, 0]), theta)
    inside = RATES[profile.inside]
    floor = float(likelihood_ratio(2 * without.min(), 2 * loss.min(), len(runs)))
    return Repetition(form, profile, float(inside.min()), float(inside.max()), float(profile.ratio[-1]), floor)
