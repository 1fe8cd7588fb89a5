"""AdamW and Adafactor with decoupled weight decay, as Zhai et al. 2022 (arXiv 2106.04560) use them.

"Released" is the configuration that they published: google-research/big_vision, .../scaling_laws/train_vit_g.py.
"""

from functools import partial

import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import ArrayLike

from nfnet.optim.masks import is_weight
from nfnet.optim.sgd import clip_by_norm


def adamw(
    learning_rate: optax.ScalarOrSchedule,
    *,
    weight_decay: float = 0.03,
    head_weight_decay: float | None = None,
    b1: float = 0.9,
    b2: float = 0.999,
    clip_norm: float | None = 1.0,
) -> optax.GradientTransformation:
    """Returns AdamW (Loshchilov and Hutter 2019) with the weight decay of `decoupled_weight_decay`.

    Args:
        learning_rate: A number, or a schedule.
        weight_decay: Of all weight matrices but the classifier's; multiplied by the learning rate.
        head_weight_decay: Of the classifier's weights; the same by default.
        b1: Decay of the first moment.
        b2: Decay of the second moment.
        clip_norm: Largest norm of the whole gradient; None or 0 does not clip.
    """
    decay, step = decoupled_weight_decay(weight_decay, head_weight_decay), optax.scale_by_learning_rate(learning_rate)
    return optax.chain(clip_by_norm(clip_norm), optax.scale_by_adam(b1, b2), decay, step)


def adafactor(
    learning_rate: optax.ScalarOrSchedule,
    *,
    weight_decay: float = 0.03,
    head_weight_decay: float | None = None,
    momentum: float = 0.9,
    b2_cap: float = 0.999,
    clip_norm: float | None = 1.0,
) -> optax.GradientTransformation:
    """Returns the Adafactor of Zhai et al. 2022, Section 3.4.

    It differs from Shazeer and Stern 2018: a first moment is kept, in bfloat16; the decay of the second moment,
    1 - t^-0.8, is capped; learning rates are not relative to the parameters' scale; updates are not clipped. The second
    moment of arrays of at least 32 x 32 is factored (released configuration); queries, keys and values, which are one
    array here and three there, share its statistics of rows.

    Args:
        learning_rate: A number, or a schedule.
        weight_decay: Of all weight matrices but the classifier's; multiplied by the learning rate.
        head_weight_decay: Of the classifier's weights; the same by default.
        momentum: Decay of the first moment.
        b2_cap: Largest decay of the second moment.
        clip_norm: Largest norm of the whole gradient; None or 0 does not clip.
    """

    def b2(step: ArrayLike, exponent: ArrayLike) -> Array:
        return jnp.minimum(b2_cap, 1.0 - (jnp.asarray(step, jnp.float32) + 1.0) ** -jnp.asarray(exponent))

    scale = optax.chain(
        optax.scale_by_factored_rms(min_dim_size_to_factor=32, decay_rate_fn=b2),
        optax.ema(momentum, debias=False, accumulator_dtype=jnp.bfloat16),
    )
    decay, step = decoupled_weight_decay(weight_decay, head_weight_decay), optax.scale_by_learning_rate(learning_rate)
    return optax.chain(clip_by_norm(clip_norm), scale, decay, step)


def decoupled_weight_decay(weight_decay: float, head_weight_decay: float | None = None) -> optax.GradientTransformation:
    """Returns the decay of Zhai et al. 2022, Section 3.1: one strength for the classifier, another for the rest.

    It acts on weight matrices alone: not on biases, layer norms, tokens and positions (released configuration).

    Args:
        weight_decay: Of the parameters called w, but the classifier's.
        head_weight_decay: Of the classifier's w; the same by default.
    """
    if head_weight_decay is None:
        head_weight_decay = weight_decay
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask=partial(is_weight, of_head=False)),
        optax.add_decayed_weights(head_weight_decay, mask=partial(is_weight, of_head=True)),
    )
