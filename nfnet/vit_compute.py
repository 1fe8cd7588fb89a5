"""Parameters, multiply-adds and activations of Vision Transformers, counted by `nfnet.compute`.

Tables of Vision Transformers print FLOPs = 2 x multiply-adds (Zhai et al. 2022, Table 2; Alabdulmohsin et al. 2023,
Table 1), those of NFNets multiply-adds. Table 2 describes networks with the head "gap", without their classifier, at
the largest multiple of the patch within 224 and 384 px, and has elementwise operations in its FLOPs, which matter
little: XLA's own count of our networks, which has them too, reproduces it (tests/nfnet/test_vit_costs.py).
"""

import dataclasses
import math
from collections.abc import Callable
from functools import lru_cache

import haiku as hk
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from nfnet.compute import Cost, StageCost, Work, count, count_parameters, total_cost
from nfnet.vit import EncoderBlock, Head, PositionEmbedding, ViT, ViTConfig, find_vit_variant


def vit_cost(
    variant: str | ViTConfig,
    resolution: int,
    *,
    head: Head = "gap",
    posemb: PositionEmbedding = "learned",
    num_classes: int = 1000,
    dtype: DTypeLike = jnp.bfloat16,
) -> Cost:
    """Returns the cost of a Vision Transformer for one square image.

    Its stages are "embedding" (patches and positions), "encoder" (all blocks), "pooling" (the last norm and the head)
    and "classifier"; their resolution is the side of the grid of patches. Activations include attention's scores.

    Args:
        variant: A name in `nfnet.VIT_VARIANTS`, or a configuration.
        resolution: Side of the image in pixels, a multiple of the patch.
        head: See `nfnet.ViT`.
        posemb: See `nfnet.ViT`.
        num_classes: Number of logits.
        dtype: Type of the activations, for their size in bytes.

    Raises:
        UserError: If a name is unknown or the resolution no multiple of the patch.
    """
    return _cost(find_vit_variant(variant), resolution, head, posemb, num_classes, jnp.dtype(dtype).itemsize)


@lru_cache(maxsize=1024)
def _cost(
    config: ViTConfig, resolution: int, head: Head, posemb: PositionEmbedding, num_classes: int, itemsize: int
) -> Cost:
    def network() -> ViT:
        return ViT(num_classes, config, head=head, posemb=posemb)

    side, _ = config.grid(resolution, resolution)
    tokens = (1, side**2 + (head == "cls"), config.width)
    block = _Piece.of(lambda x: EncoderBlock(config)(x, False), tokens)
    encoder = StageCost(
        name="encoder",
        blocks=config.depth,
        resolution=side,
        channels=config.width,
        parameters=config.depth * block.parameters,
        macs=config.depth * block.work.macs,
        activations=config.depth * block.work.activations,
        carried=config.depth * math.prod(tokens),
        largest=block.work.activations,
    )
    embedding = _Piece.of(lambda x: network().embed(x, False), (1, resolution, resolution, 3))
    pooling = _Piece.of(lambda x: network().pool(x), tokens)
    classifier = _Piece.of(lambda x: network().classify(x), (1, config.width))
    stages = (
        embedding.as_stage("embedding", side, config.width),
        encoder,
        pooling.as_stage("pooling", 1, config.width),
        classifier.as_stage("classifier", 1, num_classes),
    )
    return total_cost(stages, itemsize)


@dataclasses.dataclass(frozen=True)
class _Piece:
    """A traced part of a network."""

    parameters: int
    work: Work

    @staticmethod
    def of(function: Callable[[Array], Array], shape: tuple[int, ...]) -> "_Piece":
        part = hk.transform(function)
        x = jax.ShapeDtypeStruct(shape, jnp.float32)
        params = jax.eval_shape(lambda x: part.init(jax.random.key(0), x), x)
        return _Piece(count_parameters(params), count(lambda params, x: part.apply(params, None, x), params, x))

    def as_stage(self, name: str, resolution: int, channels: int) -> StageCost:
        return StageCost(
            name=name,
            blocks=0,
            resolution=resolution,
            channels=channels,
            parameters=self.parameters,
            macs=self.work.macs,
            activations=self.work.activations,
            carried=0,
            largest=0,
        )
