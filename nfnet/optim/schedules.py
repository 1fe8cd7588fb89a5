"""Learning rates over the steps of a run."""

import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import ArrayLike

from nfnet.errors import UserError


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


def rsqrt_schedule(
    peak: float,
    total_steps: int,
    warmup_steps: float = 10_000,
    *,
    cooldown_steps: int = 50_000,
    timescale: int = 10_000,
) -> optax.Schedule:
    """Returns the "infinite" schedule of Zhai et al. 2022, Section 3.5.

    One long run can be cooled down from any checkpoint: before that the rate does not depend on total_steps.

    Args:
        peak: Learning rate at the end of the warm-up.
        total_steps: Steps of training.
        warmup_steps: Steps of linear growth from 0, rounded.
        cooldown_steps: Steps over which a linear factor takes the rate to 0 at the end.
        timescale: Steps after the warm-up at which the rate has fallen to peak / sqrt(2).

    Returns:
        peak * min(1, t / warmup) * (1 + max(0, t - warmup) / timescale)^-1/2 * min(1, (total - t) / cooldown).

    Raises:
        UserError: If warm-up and cool-down do not fit into the training, or a number is negative.
    """
    warmup_steps = round(warmup_steps)
    if min(warmup_steps, cooldown_steps) < 0 or timescale < 1:
        raise UserError(
            f"warmup_steps {warmup_steps}, cooldown_steps {cooldown_steps} and timescale {timescale} must not be "
            "negative, and timescale not zero."
        )
    if warmup_steps + cooldown_steps > total_steps:
        raise UserError(
            f"{warmup_steps} steps of warm-up and {cooldown_steps} of cool-down do not fit into {total_steps} steps: "
            "shorten them."
        )

    def rate(step: ArrayLike) -> Array:
        step = jnp.asarray(step, float)  # optax counts in int32
        warmup = jnp.minimum(1.0, step / warmup_steps) if warmup_steps else 1.0
        decay = (1.0 + jnp.maximum(0.0, step - warmup_steps) / timescale) ** -0.5
        cooldown = jnp.clip((total_steps - step) / cooldown_steps, 0.0, 1.0) if cooldown_steps else 1.0
        return peak * warmup * decay * cooldown

    return rate
