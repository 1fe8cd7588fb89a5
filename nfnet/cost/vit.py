"""Parameters, multiply-adds and activations of Vision Transformers, counted by `nfnet.cost.nfnet`.

Tables of Vision Transformers print FLOPs = 2 x multiply-adds (Zhai et al. 2022, Table 2; Alabdulmohsin et al. 2023,
Table 1), those of NFNets multiply-adds. Table 2 describes networks with the head "gap", without their classifier, at
the largest multiple of the patch within 224 and 384 px, and has elementwise operations in its FLOPs, which matter
little: XLA's own count of our networks, which has them too, reproduces it (tests/nfnet/test_vit_costs.py).
"""

import math
from functools import lru_cache

import jax.numpy as jnp
from jax.typing import DTypeLike

from nfnet.cost.nfnet import Cost, StageCost, Traced, total_cost, trace
from nfnet.models.vit import EncoderBlock, Head, PositionEmbedding, ViT, ViTConfig, find_vit_variant


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
    block = trace(lambda x: EncoderBlock(config)(x, False), tokens)
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
    embedding = trace(lambda x: network().embed(x, False), (1, resolution, resolution, 3))
    pooling = trace(lambda x: network().pool(x), tokens)
    classifier = trace(lambda x: network().classify(x), (1, config.width))
    stages = (
        _as_stage(embedding, "embedding", side, config.width),
        encoder,
        _as_stage(pooling, "pooling", 1, config.width),
        _as_stage(classifier, "classifier", 1, num_classes),
    )
    return total_cost(stages, itemsize)


def _as_stage(piece: Traced, name: str, resolution: int, channels: int) -> StageCost:
    return StageCost(
        name=name,
        blocks=0,
        resolution=resolution,
        channels=channels,
        parameters=piece.parameters,
        macs=piece.work.macs,
        activations=piece.work.activations,
        carried=0,
        largest=0,
    )
