"""Parameters, multiply-adds and activations of networks of any family, from abstract shapes alone.

A network says what parts it is made of (`nfnet.models.parts`); each distinct part is traced once, so that all NFNets
together take about a second.

Tables of NFNets call a multiply-add one "FLOP" (Brock et al. 2021, Table 3), those of Vision Transformers and peaks of
hardware call it two (Zhai et al. 2022, Table 2; Alabdulmohsin et al. 2023, Table 1): `macs` are multiply-adds. Table 2
describes networks with the head "gap", without their classifier, at the largest multiple of the patch within 224 and
384 px, and has elementwise operations in its FLOPs, which matter little: XLA's own count of our networks, which has
them too, reproduces it (tests/nfnet/test_vit_costs.py).
"""

import dataclasses
import math
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache, partial
from itertools import groupby
from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike

from nfnet.cost.counter import Work, trace
from nfnet.models.families import find_family
from nfnet.models.parts import Part


@dataclasses.dataclass(frozen=True)
class StageCost:
    """Cost of one part of a network for one image.

    Attributes:
        name: Such as "stem", "stage 1" or "encoder".
        blocks: Number of residual blocks, 0 at the ends of the network.
        resolution: Side of its output in pixels or patches.
        channels: Channels of its output.
        parameters: Number of parameters.
        macs: Multiply-adds of the forward pass.
        activations: Elements output by convolutions and matrix products; attention's scores are among them.
        carried: Elements of its blocks' inputs, which are all that rematerialization keeps.
        largest: Activations of its largest block, which rematerialization has to recompute at once.
    """

    name: str
    blocks: int
    resolution: int
    channels: int
    parameters: int
    macs: int
    activations: int
    carried: int
    largest: int


@dataclasses.dataclass(frozen=True)
class Cost:
    """Cost of a network for one image.

    Attributes:
        parameters: Number of parameters.
        macs: Multiply-adds of the forward pass; a training step does about three times as many.
        activations: Elements output by convolutions and matrix products.
        activation_bytes: Bytes of these: what backpropagation keeps at least, if it recomputes whatever is
            elementwise.
        remat_bytes: The same when blocks are recomputed: all blocks' inputs, what is not a block, and the
            activations of the largest block.
        stages: The parts, which sum up to the whole.
    """

    parameters: int
    macs: int
    activations: int
    activation_bytes: int
    remat_bytes: int
    stages: tuple[StageCost, ...]


def network_cost(
    variant: Any,
    resolution: int,
    *,
    num_classes: int = 1000,
    dtype: DTypeLike = jnp.bfloat16,
    **settings: Any,
) -> Cost:
    """Returns the cost of a network for one square image.

    Args:
        variant: A name in `nfnet.VARIANTS` or `nfnet.VIT_VARIANTS`, or a configuration.
        resolution: Side of the image in pixels.
        num_classes: Number of logits.
        dtype: Type of the activations, for their size in bytes.
        **settings: plus_width of a named NFNet (see `nfnet.models.nfnet.find_variant`); head and posemb of a ViT.

    Raises:
        UserError: If the variant is unknown or the image does not suit it.
    """
    family = find_family(variant)
    config = family.find(variant, **{key: settings.pop(key) for key in family.readings if key in settings})
    parts = family.parts(config, resolution, num_classes, **settings)
    stages = tuple(_stage(name, tuple(group)) for name, group in groupby(parts, key=lambda part: part.stage))
    total = {key: sum(getattr(stage, key) for stage in stages) for key in ("parameters", "macs", "activations")}
    ends = sum(stage.activations for stage in stages if not stage.blocks)
    kept = ends + sum(stage.carried for stage in stages) + max(stage.largest for stage in stages)
    itemsize = jnp.dtype(dtype).itemsize
    return Cost(
        **total,
        activation_bytes=total["activations"] * itemsize,
        remat_bytes=kept * itemsize,
        stages=stages,
    )


def training_bytes(cost: Cost, batch: int, *, remat: bool = False) -> int:
    """Returns the bytes of an accelerator's memory that a training step of an NFNet is expected to need.

    Parameters, momentum and gradient take four bytes a parameter each, and filters in bfloat16 two. Beside the outputs
    of convolutions, XLA keeps what activations make of them, which filters' gradients read: about twice the bytes.

    Args:
        cost: Of the network for one image.
        batch: Images on the device.
        remat: Whether blocks are recomputed.
    """
    return 14 * cost.parameters + 2 * batch * (cost.remat_bytes if remat else cost.activation_bytes)


def largest_batch(cost: Cost, memory: float, *, remat: bool = False) -> int:
    """Returns the largest batch whose training step is expected to fit; 0 where none does.

    Args:
        cost: Of the network for one image.
        memory: Bytes of the accelerator.
        remat: Whether blocks are recomputed.
    """
    state = training_bytes(cost, 0)
    return max(0, int((memory - state) // (training_bytes(cost, 1, remat=remat) - state)))


def _stage(name: str, parts: Sequence[Part]) -> StageCost:
    pieces = [(part.blocks, *_traced(part.apply, part.settings, part.shape)) for part in parts]
    total = sum((work * (blocks or 1) for blocks, work, _ in pieces), start=Work(0, 0))
    return StageCost(
        name=name,
        blocks=sum(part.blocks for part in parts),
        resolution=parts[-1].side,
        channels=pieces[-1][2][-1],
        **dataclasses.asdict(total),
        carried=sum(part.blocks * math.prod(part.shape) for part in parts),
        largest=max(work.activations if blocks else 0 for blocks, work, _ in pieces),
    )


@lru_cache(maxsize=1024)
def _traced(
    apply: Callable[..., Array], settings: tuple[Hashable, ...], shape: tuple[int, ...]
) -> tuple[Work, tuple[int, ...]]:
    return trace(partial(apply, *settings), shape)
