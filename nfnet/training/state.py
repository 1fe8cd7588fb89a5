"""The state of a run on the devices."""

from __future__ import annotations

from typing import Any, NamedTuple

from jaxtyping import Array, Float, Int

Params = Any  # Haiku's nested mapping: module name, then array name


class TrainState(NamedTuple):
    """What a train step changes.

    Attributes:
        step: number of steps done.
        params: float32 parameters.
        opt_state: of the optimiser.
        average: exponential moving average of the parameters, or None.
        first_bad_step: the first step whose loss or gradient was not finite, or -1.
    """

    step: Int[Array, ""]
    params: Params
    opt_state: Any
    average: Params | None
    first_bad_step: Int[Array, ""]

    @property
    def evaluated(self) -> Params:
        """The parameters that are evaluated: the average where there is one."""
        return self.params if self.average is None else self.average


class StepMetrics(NamedTuple):
    """What a train step reports, on the devices.

    Attributes:
        loss: objective, mean over the examples that weigh.
        correct: number of examples classified right.
        weight: number of examples that weigh.
        gradient_norm: L2, before clipping.
        unreadable: number of images that could not be decoded.
    """

    loss: Float[Array, ""]
    correct: Float[Array, ""]
    weight: Float[Array, ""]
    gradient_norm: Float[Array, ""]
    unreadable: Int[Array, ""]


class EvaluationSums(NamedTuple):
    """Sums over held-out examples.

    Attributes:
        loss: summed loss.
        correct: number classified right.
        weight: number of examples.
    """

    loss: Float[Array, ""]
    correct: Float[Array, ""]
    weight: Float[Array, ""]
