"""Optimizers, schedules and recipes of the Vision Transformer papers, as optax transformations.

    optimizer = zhai2022_pretraining(total_steps=1_000_000)
    state = optimizer.init(params)

Zhai et al. 2022 (arXiv 2106.04560) train with Adafactor, a learning rate that decays with the inverse
square root of time, and far more weight decay on the classifier than elsewhere. What the paper leaves open
is taken from the configurations that its authors released (google-research/big_vision,
configs/proj/scaling_laws/train_vit_g.py for pre-training, configs/transfer.py for fine-tuning); each
docstring says which number is from where.
"""

from collections.abc import Callable
from typing import Any

import haiku as hk
import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import ArrayLike

from nfnet.errors import UserError
from nfnet.models.nfnet import is_classifier
from nfnet.optim.agc_sgd import warmup_cosine


def rsqrt_schedule(
    peak: float,
    total_steps: int,
    *,
    warmup_steps: int = 10_000,
    cooldown_steps: int = 50_000,
    timescale: int = 10_000,
) -> optax.Schedule:
    """Returns the "infinite" schedule of Zhai et al. 2022, Section 3.5.

    One long run can be cooled down from any of its checkpoints: before the last cooldown_steps the rate
    does not depend on total_steps.

    Args:
        peak: Learning rate at the end of the warm-up.
        total_steps: Steps of training.
        warmup_steps: Steps of linear growth from 0.
        cooldown_steps: Steps over which a linear factor takes the rate to 0 at the end.
        timescale: Steps after the warm-up at which the rate has fallen to peak / sqrt(2).

    Returns:
        peak * min(1, t / warmup) * (1 + max(0, t - warmup) / timescale)^-1/2 * min(1, (total - t) /
        cooldown).

    Raises:
        UserError: If warm-up and cool-down do not fit into the training, or a number is negative.
    """
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
        clip_norm: Largest norm of the whole gradient; None does not clip.
    """
    return _chain(optax.scale_by_adam(b1, b2), learning_rate, weight_decay, head_weight_decay, clip_norm)


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

    It differs from Shazeer and Stern 2018: a first moment is kept, in bfloat16; the decay of the second
    moment, 1 - t^-0.8, is capped; learning rates are not relative to the parameters' scale; and updates are
    not clipped. The second moment of arrays of at least 32 x 32 is factored (released configuration);
    queries, keys and values, which are one array here and three there, share its statistics of rows.

    Args:
        learning_rate: A number, or a schedule.
        weight_decay: Of all weight matrices but the classifier's; multiplied by the learning rate.
        head_weight_decay: Of the classifier's weights; the same by default.
        momentum: Decay of the first moment.
        b2_cap: Largest decay of the second moment.
        clip_norm: Largest norm of the whole gradient; None does not clip.
    """

    def decay(step: ArrayLike, exponent: ArrayLike) -> Array:
        return jnp.minimum(b2_cap, 1.0 - (jnp.asarray(step, jnp.float32) + 1.0) ** -jnp.asarray(exponent))

    scale = optax.chain(
        optax.scale_by_factored_rms(min_dim_size_to_factor=32, decay_rate_fn=decay),
        optax.ema(momentum, debias=False, accumulator_dtype=jnp.bfloat16),
    )
    return _chain(scale, learning_rate, weight_decay, head_weight_decay, clip_norm)


def decoupled_weight_decay(weight_decay: float, head_weight_decay: float | None = None) -> optax.GradientTransformation:
    """Returns the decay of Zhai et al. 2022, Section 3.1: one strength for the classifier, another for the rest.

    It acts on weight matrices alone: not on biases, layer norms, tokens and positions (released
    configuration).

    Args:
        weight_decay: Of the parameters called w, but the classifier's.
        head_weight_decay: Of the classifier's w; the same by default.
    """

    def weights(*, of_head: bool) -> Callable[[Any], Any]:
        def is_decayed(module: str, name: str, value: Any) -> bool:
            return name == "w" and is_classifier(module) == of_head

        return lambda params: hk.data_structures.map(is_decayed, params)

    if head_weight_decay is None:
        head_weight_decay = weight_decay
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask=weights(of_head=False)),
        optax.add_decayed_weights(head_weight_decay, mask=weights(of_head=True)),
    )


def _chain(
    scale: optax.GradientTransformation,
    learning_rate: optax.ScalarOrSchedule,
    weight_decay: float,
    head_weight_decay: float | None,
    clip_norm: float | None,
) -> optax.GradientTransformation:
    return optax.chain(
        optax.identity() if clip_norm is None else optax.clip_by_global_norm(clip_norm),
        scale,
        decoupled_weight_decay(weight_decay, head_weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )


def zhai2022_pretraining(
    total_steps: int,
    *,
    peak: float = 8e-4,
    warmup_steps: int = 10_000,
    cooldown_steps: int = 50_000,
    weight_decay: float = 0.03,
    head_weight_decay: float = 3.0,
) -> optax.GradientTransformation:
    """Returns the optimizer that pre-trained the ViTs of Zhai et al. 2022 on JFT-3B.

    From the paper: Adafactor, the inverse square root schedule with 10,000 steps of warm-up and a linear
    cool-down, 224 px, and a sigmoid cross-entropy loss. From the released configuration (ViT-g/14, batch of
    16,384): peak, cool-down, both weight decays, the gradient's norm clipped at 1.

    Args:
        total_steps: Steps of training, cool-down included.
        peak: Learning rate at the end of the warm-up.
        warmup_steps: Steps of linear growth.
        cooldown_steps: Steps of linear decay at the end.
        weight_decay: Of weight matrices but the classifier's.
        head_weight_decay: Of the classifier.

    Raises:
        UserError: If warm-up and cool-down do not fit into the training.
    """
    schedule = rsqrt_schedule(peak, total_steps, warmup_steps=warmup_steps, cooldown_steps=cooldown_steps)
    return adafactor(schedule, weight_decay=weight_decay, head_weight_decay=head_weight_decay)


def zhai2022_finetuning(
    peak: float, *, total_steps: int = 20_000, warmup_steps: int = 500
) -> optax.GradientTransformation:
    """Returns the optimizer that fine-tuned the ViTs of Zhai et al. 2022 on ImageNet.

    From the paper: SGD with momentum, no weight decay, a cosine over 20,000 steps, batches of 512, at 384
    px (518 for g/14 and G/14); Tables 14 to 22 list the best peak of each run. From the released
    configuration: momentum of 0.9, 500 steps of warm-up, the gradient's norm clipped at 1.

    Args:
        peak: Learning rate at the end of the warm-up.
        total_steps: Steps of training.
        warmup_steps: Steps of linear growth.

    Raises:
        UserError: If the warm-up does not fit into the training.
    """
    schedule = warmup_cosine(peak, total_steps, warmup_steps)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(schedule, momentum=0.9))


def alabdulmohsin2023_pretraining(
    batch_size: int, *, images: float = 40e9, **settings: Any
) -> optax.GradientTransformation:
    """Returns an optimizer for SoViT-400m/14 as Alabdulmohsin et al. 2023 (arXiv 2305.13035) pre-trained it.

    From the paper: 40e9 images of JFT-3B at 224 px. The rest is `zhai2022_pretraining`: its authors share
    code with Zhai et al., but nothing here confirms that every number was kept.

    Args:
        batch_size: Images in a batch, which gives the number of steps.
        images: Images seen in training.
        settings: What else `zhai2022_pretraining` takes.

    Raises:
        UserError: If warm-up and cool-down do not fit into the training.
    """
    return zhai2022_pretraining(round(images / batch_size), **settings)
