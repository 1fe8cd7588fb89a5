"""From the settings of a model to a network as pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from nfnet.cost.counter import count
from nfnet.errors import unknown_name
from nfnet.models.families import FAMILIES
from nfnet.ranges import shown
from nfnet.training.config import ModelConfig
from nfnet.training.state import Params
from nfnet.training.step import Forward


@dataclasses.dataclass(frozen=True)
class Network:
    """A network as two pure functions.

    Attributes:
        init: from a key and images to parameters.
        forward: see `nfnet.training.step.Forward`.
    """

    init: Callable[[PRNGKeyArray, Float[Array, "batch height width 3"]], Params]
    forward: Forward


def network_shape(config: ModelConfig) -> Any:
    """Returns the configuration of a run's network: that of its variant with the fields of model.shape.

    Raises:
        UserError: unknown variant or field, a setting that the family does not have, or a shape that is not possible.
    """
    if config.family not in FAMILIES:
        raise unknown_name("config.model.family", shown(config.family, quote=False), FAMILIES)
    family = FAMILIES[config.family]
    own = family.settings(config, ModelConfig, "model.")
    shape = family.find(config.variant, **{key: own[key] for key in family.readings})
    known = [field.name for field in dataclasses.fields(shape)]
    for key in config.shape:
        if key not in known:
            raise unknown_name("field of model.shape", shown(key, quote=False), known)
    return dataclasses.replace(shape, **config.shape)


def make_network(config: ModelConfig) -> Network:
    """Builds the network of a run.

    Raises:
        UserError: as `network_shape` does.
    """
    shape, family = network_shape(config), FAMILIES[config.family]
    settings = {key: getattr(config, key) for key in ("dropout_rate", "stochastic_depth_rate", *family.options)}
    build = partial(
        family.build,
        config.num_classes,
        shape,
        dtype=jnp.bfloat16 if config.bfloat16 else None,
        remat=config.remat,
        **{key: value for key, value in settings.items() if value is not None},
    )
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
    return jax.eval_shape(lambda images: network.init(jax.random.key(0), images), _image(image_size))


def forward_macs(network: Network, shapes: Params, image_size: int) -> int:
    """Counts the multiply-adds of the forward pass of one image."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    return count(lambda params, key, x: network.forward(params, key, x, False), shapes, key, _image(image_size)).macs


def _image(size: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
