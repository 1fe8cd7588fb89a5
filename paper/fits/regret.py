"""What a rule of thumb costs: the loss above the optimum where size and epochs grow at equal rates.

The rule says how to grow, not from where. It is given its best start: the optimum of the same surface at one budget,
the anchor. An analysis takes the geometric mean of the runs' range, from which the rule strays equally far up and
down; :func:`worst_regret` tells what other anchors change.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from paper.fits.optimum import CostLine
from paper.fits.surface import Surface, growth, log_surface

__all__ = ["Regret", "allotted", "regret", "worst_regret"]


@dataclass(frozen=True)
class Regret:
    """Loss of equal rates above the optimum, in percent of the optimum's.

    Attributes:
        form: Form of the surface.
        anchor: Budget at which rule and optimum agree.
        compute: Budgets.
        percent: Regret at each.
        low: Lower end of its 95% interval.
        high: Upper end of it.
    """

    form: str
    anchor: float
    compute: Float[np.ndarray, " m"]
    percent: Float[np.ndarray, " m"]
    low: Float[np.ndarray, " m"]
    high: Float[np.ndarray, " m"]


def allotted(
    theta: Float[np.ndarray, "r 6"],
    cost: CostLine,
    centres: tuple[float, float],
    epoch: float,
    compute: Float[np.ndarray, " m"],
    anchor: Float[np.ndarray, "*#r"],
    *,
    equal_rates: bool,
) -> tuple[Float[np.ndarray, "r m"], Float[np.ndarray, "r m"]]:
    """Log size and log epochs that a budget buys: at their optimum, or grown at equal rates from that of the anchor.

    Args:
        theta: Fitted surfaces, one a lane.
        cost: Cost of an epoch.
        centres: Of the surfaces' log size and log examples.
        epoch: Examples of an epoch.
        compute: Budgets.
        anchor: Budget at which rule and optimum agree; one, or one a lane.
        equal_rates: Whether the rule is followed.
    """
    size, epochs = (
        intercept[:, None]
        + slope[:, None] * np.log(anchor)
        + (1 / (1 + cost.slope) if equal_rates else slope[:, None]) * (np.log(compute) - np.log(anchor))
        for intercept, slope in growth(theta, cost, centres, epoch)
    )
    return size, epochs


def _percent(
    surface: Surface, theta: np.ndarray, cost: CostLine, epoch: float, compute: np.ndarray, anchor: np.ndarray
) -> Float[np.ndarray, "r m"]:
    logs = []
    for equal_rates in (False, True):
        size, epochs = allotted(theta, cost, surface.centres, epoch, compute, anchor, equal_rates=equal_rates)
        logs.append(log_surface(theta, size - surface.centres[0], epochs + np.log(epoch) - surface.centres[1]))
    with np.errstate(over="ignore"):  # a surface that the runs do not determine may cost without bound
        return np.asarray(100 * np.expm1(logs[1] - logs[0]))


def regret(surface: Surface, cost: CostLine, epoch: float, compute: Float[np.ndarray, " m"], anchor: float) -> Regret:
    """Regret at ``compute`` with the interval of the surface's resamples.

    Args:
        surface: Fitted form.
        cost: Cost of an epoch.
        epoch: Examples of an epoch.
        compute: Budgets.
        anchor: Budget at which rule and optimum agree, in each resample.
    """
    at = np.asarray(anchor)
    point = _percent(surface, surface.theta[None], cost, epoch, compute, at)[0]
    usable = (surface.samples[:, 2] > 0) & (surface.samples[:, 4] > 0)
    drawn = _percent(surface, surface.samples[usable], cost, epoch, compute, at)
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0) if len(drawn) else (point * np.nan, point * np.nan)
    return Regret(surface.form, float(anchor), compute, point, low, high)


def worst_regret(
    surface: Surface, cost: CostLine, epoch: float, compute: Float[np.ndarray, " m"], anchors: Float[np.ndarray, " k"]
) -> Float[np.ndarray, " k"]:
    """Largest regret over ``compute``, in percent, for each anchor."""
    theta = np.tile(surface.theta, (len(anchors), 1))
    return np.asarray(_percent(surface, theta, cost, epoch, compute, anchors[:, None]).max(1))
