"""From settings to a network, an optimiser and a learning-rate schedule."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from nfnet.cost.nfnet import count
from nfnet.errors import UserError, unknown_name
from nfnet.models.nfnet import NFNet, NFNetConfig, find_variant
from nfnet.models.vit import ViT, ViTConfig, find_vit_variant
from nfnet.optim.agc_sgd import agc_sgd, warmup_cosine
from nfnet.ranges import shown
from nfnet.training.config import ModelConfig, OptimiserConfig
from nfnet.training.state import Params
from nfnet.training.step import Forward

Schedule = Callable[[Any], Any]


def network_shape(config: ModelConfig) -> NFNetConfig | ViTConfig:
    """Returns the shape of a run's network: that of its variant with the fields of model.shape.

    Raises:
        UserError: unknown variant or field, or a shape that is not possible.
    """
    shape: NFNetConfig | ViTConfig
    if config.family == "nfnet":
        shape = find_variant(config.variant, config.plus_width)
    else:
        shape = find_vit_variant(config.variant)
    known = [f.name for f in dataclasses.fields(shape)]
    for key in config.shape:
        if key not in known:
            raise unknown_name("field of model.shape", shown(key, quote=False), known)
    return dataclasses.replace(shape, **config.shape)


def _nfnet(config: ModelConfig, shape: Any, dtype: Any) -> Callable[[], Any]:
    return lambda: NFNet(
        config.num_classes,
        shape,
        stochastic_depth_rate=config.stochastic_depth_rate,
        dropout_rate=config.dropout_rate,
        dtype=dtype,
        remat=config.remat,
    )


def _vit(config: ModelConfig, shape: Any, dtype: Any) -> Callable[[], Any]:
    return lambda: ViT(
        config.num_classes,
        shape,
        head=config.head,
        dropout_rate=config.dropout_rate or 0.0,
        stochastic_depth_rate=config.stochastic_depth_rate or 0.0,
        logit_bias=config.logit_bias,
        dtype=dtype,
        remat=config.remat,
    )


FAMILIES: dict[str, Callable[[ModelConfig, Any, Any], Callable[[], Any]]] = {"nfnet": _nfnet, "vit": _vit}


@dataclasses.dataclass(frozen=True)
class Network:
    """A network as two pure functions.

    Attributes:
        init: from a key and images to parameters.
        forward: see `nfnet.training.step.Forward`.
    """

    init: Callable[[PRNGKeyArray, Float[Array, "batch height width 3"]], Params]
    forward: Forward


def make_network(config: ModelConfig) -> Network:
    """Builds the network of a run.

    Raises:
        UserError: unknown variant, or a shape that is not possible.
    """
    build = FAMILIES[config.family](config, network_shape(config), jnp.bfloat16 if config.bfloat16 else None)
    transformed = hk.transform(lambda images, is_training: build()(images, is_training)["logits"])

    def init(key: PRNGKeyArray, images: Any) -> Params:
        return hk.data_structures.to_mutable_dict(transformed.init(key, images, False))

    def forward(params: Params, key: PRNGKeyArray, images: Any, is_training: bool) -> Any:
        return transformed.apply(params, key, images, is_training).astype(jnp.float32)

    return Network(init, forward)


def parameter_shapes(network: Network, image_size: int) -> Params:
    """Returns the parameters' shapes without computing them.

    Raises:
        UserError: the images do not suit the network.
    """
    images = jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.float32)
    return jax.eval_shape(network.init, jax.random.key(0), images)


def forward_macs(network: Network, shapes: Params, image_size: int) -> int:
    """Counts the multiply-adds of the forward pass of one image."""
    images = jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    work = count(lambda params, key, x: network.forward(params, key, x, False), shapes, key, images)
    return work.macs


def make_schedule(config: OptimiserConfig, total_steps: int, steps_per_epoch: float) -> Schedule:
    """Builds the learning-rate schedule.

    "cosine" warms up linearly and falls along half a cosine to zero (NFNets; fine-tuning of ViTs). "rsqrt"
    falls with the inverse square root of time and linearly to zero at the end (pre-training of ViTs).

    Args:
        config: names the schedule.
        total_steps: of the run.
        steps_per_epoch: may be fractional.

    Raises:
        UserError: the schedule does not fit into the run.
    """
    if config.warmup_epochs and config.warmup_steps:
        raise UserError("Both optimiser.warmup_epochs and warmup_steps are given: set one of them to 0.")
    warmup = config.warmup_steps or config.warmup_epochs * steps_per_epoch
    if warmup >= total_steps:
        raise UserError(f"The warm-up takes {warmup:g} of only {total_steps} steps: shorten it.")
    if config.schedule == "rsqrt":
        from nfnet.optim.vit import rsqrt_schedule

        rsqrt: Schedule = rsqrt_schedule(
            config.learning_rate,
            total_steps,
            warmup_steps=round(warmup),
            cooldown_steps=config.cooldown_steps,
            timescale=config.timescale,
        )
        return rsqrt
    schedule: Schedule = warmup_cosine(config.learning_rate, total_steps, warmup)
    return schedule


def _agc_sgd(config: OptimiserConfig, schedule: Schedule) -> optax.GradientTransformation:
    return agc_sgd(schedule, clipping=config.clipping, weight_decay=config.weight_decay, momentum=config.momentum)


def _sgd(config: OptimiserConfig, schedule: Schedule) -> optax.GradientTransformation:
    clip = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity()
    decay = optax.add_decayed_weights(config.weight_decay)
    return optax.chain(clip, decay, optax.sgd(schedule, config.momentum))


def _adamw(config: OptimiserConfig, schedule: Schedule) -> optax.GradientTransformation:
    from nfnet.optim.vit import adamw

    return adamw(
        schedule,
        weight_decay=config.weight_decay,
        head_weight_decay=config.head_weight_decay,
        clip_norm=config.clip_norm or None,
    )


def _adafactor(config: OptimiserConfig, schedule: Schedule) -> optax.GradientTransformation:
    from nfnet.optim.vit import adafactor

    return adafactor(
        schedule,
        weight_decay=config.weight_decay,
        head_weight_decay=config.head_weight_decay,
        momentum=config.momentum,
        clip_norm=config.clip_norm or None,
    )


OPTIMISERS: dict[str, Callable[[OptimiserConfig, Schedule], optax.GradientTransformation]] = {
    "agc_sgd": _agc_sgd,
    "sgd": _sgd,
    "adamw": _adamw,
    "adafactor": _adafactor,
}


def make_optimiser(config: OptimiserConfig, schedule: Schedule) -> optax.GradientTransformation:
    """Builds the optimiser."""
    return OPTIMISERS[config.name](config, schedule)
