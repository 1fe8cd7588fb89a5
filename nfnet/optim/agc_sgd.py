"""How NFNets are trained: clipped SGD, warm-up and cosine decay, and an average of the parameters.

Brock et al. 2021 (arXiv 2102.06171), Section 4 (adaptive gradient clipping) and Appendix A. Everything is
composed from optax; what is ours is which parameters are clipped and decayed.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

import haiku as hk
import jax
import jax.numpy as jnp
import optax
from jax import Array
from jaxtyping import Float, Int

from nfnet.errors import UserError
from nfnet.models.nfnet import is_classifier

Mask = Mapping[str, Mapping[str, bool]]
Tree = TypeVar("Tree")


def agc_sgd(
    learning_rate: float | optax.Schedule,
    *,
    weight_decay: float,
    clipping: float = 0.01,
    eps: float = 1e-3,
    momentum: float = 0.9,
    nesterov: bool = True,
) -> optax.GradientTransformation:
    """Returns SGD with momentum and adaptive gradient clipping (Section 4, equation 3).

    A unit is all weights of one output channel. Where the norm of its gradient exceeds
    clipping * max(norm of the weights, eps), the gradient is scaled down to that. Weight decay is then added
    to the gradient (L2, coupled), before momentum.

    Args:
        learning_rate: Step size, or a function from the number of the step to it.
        weight_decay: Factor of the L2 penalty's gradient.
        clipping: Largest ratio of a gradient's norm to its weights' norm.
        eps: Floor of the weights' norm, so that what starts at zero can grow.
        momentum: Decay of the accumulated gradient.
        nesterov: Whether to look one step ahead.

    Returns:
        An optax transformation whose update needs the parameters, as Haiku names them.
    """
    return optax.chain(
        optax.masked(optax.adaptive_grad_clip(clipping, eps), is_clipped),
        optax.masked(optax.add_decayed_weights(weight_decay), is_decayed),
        optax.sgd(learning_rate, momentum, nesterov),
    )


def is_clipped(params: hk.Params) -> Mask:
    """Marks what gradient clipping applies to: everything but the weight of the classifier."""
    return _mark(params, lambda module, name: not (is_classifier(module) and name == "w"))


def is_decayed(params: hk.Params) -> Mask:
    """Marks what weight decay applies to: all weights, but no gains, biases or skip gains."""
    return _mark(params, lambda module, name: name == "w")


def warmup_cosine(
    peak: float, total_steps: int, warmup_steps: float, *, start: float = 0.0, end: float = 0.0
) -> optax.Schedule:
    """Returns a learning rate that rises linearly and then falls along half a cosine (Appendix A).

    Args:
        peak: Highest value, reached after the warm-up.
        total_steps: Number of steps after which `end` is reached, warm-up included.
        warmup_steps: Length of the warm-up; a fraction of a step is kept.
        start: Value at step 0.
        end: Value from total_steps on.

    Raises:
        UserError: If the warm-up is negative or takes all steps.
    """
    if not 0 <= warmup_steps < total_steps:
        raise UserError(f"warmup_steps is {warmup_steps}, but must be at least 0 and below {total_steps} steps.")
    schedule = optax.cosine_decay_schedule(peak, total_steps - warmup_steps, alpha=end / peak)
    if warmup_steps:
        rise = optax.linear_schedule(start, peak, warmup_steps)
        schedule = optax.join_schedules([rise, schedule], [warmup_steps])
    # Steps are counted in int32, whose quotients would be float32 even where all else is float64.
    return lambda step: schedule(jnp.asarray(step, float))


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


def _mark(params: hk.Params, rule: Callable[[str, str], bool]) -> Mask:
    return {module: {name: rule(module, name) for name in group} for module, group in params.items()}
