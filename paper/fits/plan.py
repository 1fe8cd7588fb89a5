"""What to train with a budget: the optimal size and epochs of a surface, and those of the rule of equal rates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from paper.fits.optimum import CostLine
from paper.fits.regret import allotted
from paper.fits.surface import Surface

__all__ = ["Plan", "plan"]


@dataclass(frozen=True)
class Plan:
    """One way to spend a budget.

    Attributes:
        parameters: Size of the model.
        epochs: How often it sees the examples.
        loss: What the surface expects of it, in the unit of the fitted values.
    """

    parameters: float
    epochs: float
    loss: float


def plan(surface: Surface, cost: CostLine, epoch: float, compute: float, anchor: float) -> tuple[Plan, Plan]:
    """The optimum at a budget, and what the rule of equal rates makes of the optimum at another.

    Args:
        surface: Fitted form.
        cost: Cost of an epoch.
        epoch: Examples of an epoch.
        compute: The budget, in the unit of ``cost``.
        anchor: Budget from whose optimum the rule grows, likewise.
    """
    plans = []
    for equal_rates in (False, True):
        at, start = np.array([compute]), np.asarray(anchor)
        logs = allotted(surface.theta[None], cost, surface.centres, epoch, at, start, equal_rates=equal_rates)
        size, epochs = (np.exp(one[0, 0]) for one in logs)
        plans.append(Plan(float(size), float(epochs), float(surface.predict(size, epochs * epoch))))
    return plans[0], plans[1]
