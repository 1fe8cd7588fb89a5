"""What to train with a budget: the optimal size and epochs of a surface, and those of the rule of equal rates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from paper.fits.optimum import CostLine
from paper.fits.surface import Surface, growth

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
    lines = [
        (float(start[0]), float(rate[0])) for start, rate in growth(surface.theta[None], cost, surface.centres, epoch)
    ]
    equal = 1 / (1 + cost.slope)
    best, rule = (
        [np.exp(start + rate * np.log(anchor) + (grown or rate) * np.log(compute / anchor)) for start, rate in lines]
        for grown in (None, equal)
    )
    optimal, by_rule = (
        Plan(float(size), float(epochs), float(surface.predict(size, epochs * epoch))) for size, epochs in (best, rule)
    )
    return optimal, by_rule
