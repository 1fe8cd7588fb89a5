"""Batches of images through a folded network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float, UInt8

from nfnet.errors import UserError, printable
from nfnet.inference.fold import FoldedBlock, fold
from nfnet.models.nfnet import NFNetConfig
from nfnet.models.vit import EncoderBlock
from nfnet.weights.zoo import Preprocessing

if TYPE_CHECKING:
    from nfnet.weights.pretrained import Pretrained

Outputs = Mapping[str, Array]
Forward = Callable[[UInt8[np.ndarray, "batch height width 3"]], dict[str, np.ndarray]]
STAGES = "stages"


def normalise(images: Array, settings: Preprocessing) -> Float[Array, "batch height width 3"]:
    """Returns (images / 255 - mean) / std per channel, float32."""
    mean, std = (jnp.asarray(values, jnp.float32) for values in (settings.mean, settings.std))
    return (images.astype(jnp.float32) / 255 - mean) / std


def make_forward(
    pretrained: Pretrained,
    settings: Preprocessing,
    batch: int,
    *,
    dtype: DTypeLike | None = None,
    select: Callable[[Outputs], dict[str, Array]] = lambda outputs: {"logits": outputs["logits"]},
    stages: bool = False,
) -> Forward:
    """Compiles a network, folded, for batches of one size.

    Args:
        pretrained: The network and its parameters.
        settings: Colours are normalised as it says.
        batch: Images of a batch; fewer are filled up, and what belongs to the filling is dropped.
        dtype: Type of the activations, float32 by default.
        select: What to keep of the network's outputs.
        stages: Whether the outputs have "stages", a list of what each stage returns (each block of a ViT).

    Returns:
        A function of pixels that returns arrays, float32; it raises UserError where they are not finite, of which the
        largest would be the first without a word.
    """
    network, folded = fold(pretrained.params, pretrained.config, dtype=dtype)
    params = jax.device_put(folded)

    @jax.jit
    def run(params: hk.Params, pixels: Array) -> dict[str, Array]:
        kept: list[Array] = []
        with _collect(kept):
            outputs = dict(network.apply(params, None, normalise(pixels, settings), is_training=False))
        if stages:
            outputs[STAGES] = _last_of_stages(kept, pretrained.config)
        return {name: value.astype(jnp.float32) for name, value in select(outputs).items()}

    def forward(pixels: np.ndarray) -> dict[str, np.ndarray]:
        count = len(pixels)
        filled = np.concatenate([pixels, np.zeros((batch - count, *pixels.shape[1:]), np.uint8)])
        found = {name: np.asarray(value)[:count] for name, value in run(params, filled).items()}
        if not all(np.isfinite(value).all() for value in found.values()):
            raise UserError(
                f"{pretrained.description}: outputs are not finite, so that they say nothing: the training that made "
                "the weights diverged, or they are damaged."
            )
        return found

    return forward


def _collect(kept: list[Array]) -> Any:
    """Returns a context in which the outputs of all blocks are added to a list."""

    def keep(method: Any, args: Any, kwargs: Any, context: Any) -> Any:
        result = method(*args, **kwargs)
        if isinstance(context.module, (FoldedBlock, EncoderBlock)) and context.method_name == "__call__":
            kept.append(result)
        return result

    return hk.intercept_methods(keep)


def _last_of_stages(blocks: list[Array], config: Any) -> Any:
    if not isinstance(config, NFNetConfig):
        return blocks
    return [blocks[last - 1] for last in np.cumsum(config.depths)]


def stage_count(config: Any) -> int:
    """Returns how many stages an NFNet has, or blocks a ViT."""
    return len(config.depths) if isinstance(config, NFNetConfig) else config.depth


def select_features(stage: str, config: Any, *, maps: bool = False) -> Callable[[Outputs], dict[str, Array]]:
    """Returns what keeps the features that a user asks for.

    Args:
        stage: "pooled", what the classifier sees; or the number of a stage (of a block of a ViT), from 1.
        config: The network's configuration.
        maps: Keep a stage's pixels (a ViT's tokens) rather than average them.

    Raises:
        UserError: If there is no such stage, or maps are asked of pooled features.
    """
    if stage == "pooled":
        if maps:
            raise UserError("pooled features have no maps: give --stage a number, or leave out --maps.")
        name = "pool" if isinstance(config, NFNetConfig) else "features"
        return lambda outputs: {"features": outputs[name]}
    most = stage_count(config)
    if stage not in map(str, range(1, most + 1)):
        raise UserError(f"--stage is {printable(repr(stage))}, but must be pooled or a number from 1 to {most}.")

    def chosen(outputs: Any) -> dict[str, Array]:
        found = outputs[STAGES][int(stage) - 1]
        return {"features": found if maps else jnp.mean(found, axis=tuple(range(1, found.ndim - 1)), dtype=jnp.float32)}

    return chosen


def probabilities(logits: Float[np.ndarray, "batch classes"]) -> Float[np.ndarray, "batch classes"]:
    """Returns the softmax of logits, in float64."""
    from scipy.special import softmax

    return np.asarray(softmax(logits.astype(np.float64), axis=1))


def largest(values: Float[np.ndarray, "batch classes"], count: int) -> np.ndarray:
    """Returns the places of the largest values of each row, the largest first; equal ones in their order."""
    return np.argsort(-values, axis=1, kind="stable")[:, :count]
