"""Forms of the loss surface, each a restriction of one general form, fitted alike and compared by likelihood ratios.

The general form is ``L(N, D) = E + (A / N^alpha + B / D^beta)^gamma``. With gamma = 1 it is the additive surface of
Hoffmann et al. 2022, equation 10; with alpha = beta the optimal size and epochs grow with compute at equal rates,
whatever an epoch costs. All are fitted by least squares on log residuals: :mod:`paper.fits.surface` uses Huber's loss.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

__all__ = ["FORMS", "Form", "fit_forms"]

# What each form leaves out of (log E, log A, alpha, log B, beta, log gamma): its restrictions.
FORMS: Mapping[str, tuple[str, ...]] = {
    "general": (),
    "general, E = 0": ("E",),
    "general, equal rates": ("rates",),
    "additive": ("gamma",),
    "additive, E = 0": ("gamma", "E"),
    "additive, equal rates": ("gamma", "rates"),
}
_NAMES = ("E", "A", "alpha", "B", "beta", "gamma")


@dataclass(frozen=True)
class Form:
    """A fitted form.

    Attributes:
        name: A key of :data:`FORMS`.
        free: Number of fitted parameters.
        squares: Sum of squared log residuals.
        rms_percent: Their root mean square, in percent.
        values: ``E``, in nats, ``A``, ``alpha``, ``B``, ``beta`` and ``gamma`` by name.
        covariance: Of ``log E``, ``log A``, ``alpha``, ``log B``, ``beta`` and ``log gamma``, from the residuals'
            curvature, with sizes and images in units of their geometric means; 0 for what is fixed.
        ratio: Likelihood-ratio statistic against the general form, ``n log(squares / squares of the general form)``.
        p_value: Chance of a larger one if the restrictions held (chi-squared with as many degrees of freedom).
    """

    name: str
    free: int
    squares: float
    rms_percent: float
    values: dict[str, float]
    covariance: Float[np.ndarray, "6 6"]
    ratio: float
    p_value: float

    @property
    def irreducible_error(self) -> float:
        """Standard error of ``E`` in nats."""
        return self.values["E"] * float(np.sqrt(self.covariance[0, 0]))

    def exponents(self, cost_slope: float) -> tuple[float, float]:
        """How optimal size and epochs grow with compute, where an epoch costs ``N^cost_slope``."""
        alpha, beta = self.values["alpha"], self.values["beta"]
        total = alpha + cost_slope * beta
        return beta / total, alpha / total


def fit_forms(
    parameters: Float[np.ndarray, " n"], images: Float[np.ndarray, " n"], value: Float[np.ndarray, " n"]
) -> dict[str, Form]:
    """Fits every form from many starts.

    Args:
        parameters: Model size of each run.
        images: Images seen by each run.
        value: Held-out loss of each run in nats.

    Returns:
        The forms by name, in the order of :data:`FORMS`.
    """
    from scipy.stats import chi2

    size, data, target = (np.log(one) for one in (parameters, images, value))
    centres = size.mean(), data.mean()
    found: dict[str, Form] = {}
    for name, restrictions in FORMS.items():
        theta, covariance, squares = _fit(size - centres[0], data - centres[1], target, restrictions)
        general = found["general"].squares if found else squares
        degrees = len(restrictions)
        ratio = len(target) * float(np.log(squares / general))
        alpha, beta = theta[2], theta[4]
        natural = np.exp([theta[0], theta[1] + alpha * centres[0], 0, theta[3] + beta * centres[1], 0, theta[5]])
        natural[[2, 4]] = alpha, beta
        found[name] = Form(
            name=name,
            free=6 - degrees,
            squares=squares,
            rms_percent=float(100 * np.sqrt(squares / len(target))),
            values=dict(zip(_NAMES, natural.tolist(), strict=True)),
            covariance=covariance,
            ratio=ratio,
            p_value=float(chi2.sf(ratio, degrees)) if degrees else 1.0,
        )
    return found


def _fit(
    size: np.ndarray, data: np.ndarray, target: np.ndarray, restrictions: tuple[str, ...]
) -> tuple[Float[np.ndarray, " 6"], Float[np.ndarray, "6 6"], float]:
    """Returns all six parameters, their covariance, and the sum of squares."""
    from scipy.optimize import least_squares

    # Each column is a fitted parameter, each row what it adds to one of the six.
    spread = np.eye(6)
    if "rates" in restrictions:
        spread[4, 2] = 1
    fixed = {"E": 0, "rates": 4, "gamma": 5}
    spread = np.delete(spread, [fixed[one] for one in restrictions], axis=1)
    start_at = np.zeros(6)
    if "E" in restrictions:
        start_at[0] = -np.inf

    def whole(free: np.ndarray) -> np.ndarray:
        return start_at + spread @ free

    def residuals(free: np.ndarray) -> np.ndarray:
        log_e, log_a, alpha, log_b, beta, log_gamma = whole(free)
        inner = np.logaddexp(log_a - alpha * size, log_b - beta * data)
        return target - np.logaddexp(log_e, np.exp(log_gamma) * inner)

    mean = float(target.mean())
    best = None
    for share, alpha, beta, log_gamma in itertools.product((0.2, 0.6), (0.1, 0.4), (0.1, 0.4), (0.0, -1.0)):
        term = (mean + np.log(1 - share)) / np.exp(log_gamma) - np.log(2)
        guess = np.array([mean + np.log(share), term, alpha, term, beta, log_gamma])
        free = np.linalg.lstsq(spread, np.nan_to_num(guess - np.where(np.isinf(start_at), 0, start_at)), rcond=None)[0]
        result = least_squares(residuals, free, method="lm", xtol=1e-12, ftol=1e-12, max_nfev=4000)
        if np.isfinite(result.cost) and (best is None or result.cost < best.cost):
            best = result
    assert best is not None  # every start gives a finite sum
    squares = 2 * float(best.cost)
    noise = squares / (len(target) - spread.shape[1])
    covariance = spread @ (noise * np.linalg.pinv(best.jac.T @ best.jac)) @ spread.T
    return whole(best.x), covariance, squares
