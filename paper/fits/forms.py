"""Forms of the loss surface against each other, and how the irreducible loss hangs on the form.

All are fitted by least squares on log residuals, so that their sums of squares give likelihood ratios;
:data:`paper.fits.surface.HUBER_DELTA` is for comparison with the literature.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from paper.fits.fitting import likelihood_ratio
from paper.fits.runs import Runs
from paper.fits.surface import FORMS, NAMES, Surface, best_lanes, fit_surface
from paper.keeping.memory import remembered

__all__ = ["FORMS", "Form", "Profile", "compare_forms", "likelihood_limit", "profile_gamma"]


@dataclass(frozen=True)
class Form:
    """A fitted form beside the general one.

    Attributes:
        surface: The fit.
        ratio: Likelihood-ratio statistic against the general form, ``n log(squares / squares of the general form)``.
        p_value: Chance of a larger one if the restrictions held (chi-squared with as many degrees of freedom).
    """

    surface: Surface
    ratio: float
    p_value: float

    @property
    def name(self) -> str:
        """A key of :data:`FORMS`."""
        return self.surface.form

    @property
    def free(self) -> int:
        """Number of fitted parameters."""
        return self.surface.free

    @property
    def squares(self) -> float:
        """Sum of squared log residuals."""
        return self.surface.squares

    @property
    def rms_percent(self) -> float:
        """Root mean square of the log residuals, in percent."""
        return self.surface.rms_percent

    @property
    def irreducible_error(self) -> float:
        """Standard error of ``E``."""
        return self.surface.irreducible_error

    @property
    def values(self) -> dict[str, float]:
        """``E``, ``A``, ``alpha``, ``B``, ``beta`` and ``gamma`` by name."""
        s = self.surface
        found = (
            s.irreducible,
            s.size_coefficient,
            s.size_exponent,
            s.data_coefficient,
            s.data_exponent,
            s.outer_exponent,
        )
        return {name: one.value for name, one in zip(NAMES, found, strict=True)}

    def exponents(self, cost_slope: float) -> tuple[float, float]:
        """How optimal size and epochs grow with compute, where an epoch costs ``N^cost_slope``."""
        return self.surface.exponents(cost_slope)


def compare_forms(runs: Runs, resamples: int, seed: tuple[int, int]) -> dict[str, Form]:
    """Fits every form that the number of runs allows; the general and the additive one with ``resamples``.

    Returns:
        The forms by name, in the order of :data:`FORMS`.
    """
    from scipy.stats import chi2

    found: dict[str, Form] = {}
    for name, restrictions in FORMS.items():
        if 6 - len(restrictions) >= len(runs):
            continue
        surface = fit_surface(runs, name, np.inf, 0 if "," in name else resamples, seed)
        degrees = len(restrictions)
        general = found["general"].squares if "general" in found else surface.squares
        ratio = float(likelihood_ratio(surface.squares, general, len(runs)))
        found[name] = Form(surface, ratio, float(chi2.sf(ratio, degrees)) if degrees else 1.0)
    return found


@dataclass(frozen=True)
class Profile:
    """The best fit at each value of one parameter that is held.

    Attributes:
        held: The values.
        ratio: Likelihood-ratio statistic of each against the best of them.
        irreducible: ``E`` at each.
        theta: Surface at each, as :mod:`paper.fits.surface` writes it.
    """

    held: Float[np.ndarray, " m"]
    ratio: Float[np.ndarray, " m"]
    irreducible: Float[np.ndarray, " m"]
    theta: Float[np.ndarray, "m 6"]

    @property
    def best(self) -> int:
        """Where the likelihood is largest."""
        return int(self.ratio.argmin())

    @property
    def inside(self) -> np.ndarray:
        """Which values lie in the 95% likelihood interval."""
        return np.asarray(self.ratio <= likelihood_limit())


def likelihood_limit() -> float:
    """What a likelihood-ratio statistic of one parameter exceeds in 5% of cases."""
    from scipy.stats import chi2

    return float(chi2.ppf(0.95, 1))


@remembered
def profile_gamma(runs: Runs, gamma: Float[np.ndarray, " m"]) -> Profile:
    """Profile of the general form over its outer exponent: the irreducible loss that each gamma asks for."""
    size, data, target = (np.log(one)[None] for one in (runs.parameters, runs.examples, runs.value))
    theta, loss, _ = best_lanes(
        size - size.mean(), data - data.mean(), target, ("gamma",), log_gamma=np.log(gamma), tolerance=1e-8
    )
    return Profile(gamma, likelihood_ratio(2 * loss, 2 * loss.min(), len(runs)), np.exp(theta[:, 0]), theta)
