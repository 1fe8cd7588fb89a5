"""The exponential moving average of the parameters (Brock et al. 2021, arXiv 2102.06171, Appendix A)."""

from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

Tree = TypeVar("Tree")


def ema_decay(step: int | Int[Array, ""], decay: float) -> Float[Array, ""]:
    """Returns the share that a step keeps of the average: min(decay, (1 + step) / (10 + step)).

    Args:
        step: Number of updates before this one.
        decay: Share to approach; 0.99999 in Brock et al. 2021.
    """
    return 1 - _ema_step(step, decay)


def ema_update(average: Tree, params: Tree, step: int | Int[Array, ""], decay: float) -> Tree:
    """Returns the exponential moving average after one more step; see `ema_decay`.

    Args:
        average: The average so far; the first parameters at step 0.
        params: The parameters after the step.
        step: Number of updates before this one.
        decay: Share to approach.
    """
    share = _ema_step(step, decay)
    # In this form rounding is relative to the difference: in float32, 0.99999 itself is off by 0.3% of 1e-5.
    moved: Tree = jax.tree.map(lambda a, p: a + share.astype(a.dtype) * (p - a), average, params)
    return moved


def _ema_step(step: int | Int[Array, ""], decay: float) -> Float[Array, ""]:
    return jnp.maximum(1 - decay, 9 / (10 + jnp.asarray(step, float)))
