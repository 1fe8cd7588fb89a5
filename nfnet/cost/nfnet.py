"""Parameters, multiply-adds and activations of networks, from abstract shapes alone.

`count` counts the work of any JAX function from its jaxpr, so the numbers are those of the code that runs;
`variant_cost` applies it to an NFNet. Blocks repeat, so each distinct one is traced once: the whole family
takes about a second, and nothing is ever computed on a device.

Tables of networks call a multiply-add one "FLOP" (Brock et al. 2021, Table 3), peaks of hardware call it
two: `macs` are multiply-adds.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from itertools import islice
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
from jax import Array
from jax.extend import core
from jax.typing import DTypeLike

from nfnet.errors import UserError
from nfnet.kernels.conv import plain_form
from nfnet.models.nfnet import BlockConfig, NFBlock, NFNet, NFNetConfig, PlusWidth, find_variant


@dataclasses.dataclass(frozen=True)
class Work:
    """What a function does in its convolutions and matrix products.

    Attributes:
        macs: Multiply-adds. Padding counts like pixels, as is usual.
        activations: Elements that they output, the measure of Radosavovic et al. 2020 (arXiv 2003.13678).
    """

    macs: int
    activations: int

    def __add__(self, other: "Work") -> "Work":
        return Work(self.macs + other.macs, self.activations + other.activations)

    def __mul__(self, times: int) -> "Work":
        return Work(self.macs * times, self.activations * times)


@dataclasses.dataclass(frozen=True)
class StageCost:
    """Cost of one part of a network for one image.

    Attributes:
        name: "stem", "stage 1" to "stage 4" or "head".
        blocks: Number of residual blocks, 0 for stem and head.
        resolution: Side in pixels of its output.
        channels: Channels of its output.
        parameters: Number of parameters.
        macs: Multiply-adds of the forward pass.
        activations: Elements output by convolutions and linear layers.
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
        activations: Elements output by convolutions and linear layers.
        activation_bytes: Bytes of these: what backpropagation keeps at least, if it recomputes whatever is
            elementwise.
        remat_bytes: The same when blocks are recomputed: all blocks' inputs, stem and head, and the
            activations of the largest block.
        stages: The parts, which sum up to the whole.
    """

    parameters: int
    macs: int
    activations: int
    activation_bytes: int
    remat_bytes: int
    stages: tuple[StageCost, ...]


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


def count(function: Callable[..., Any], *specs: Any) -> Work:
    """Counts the work of a function without running it.

    Args:
        function: A traceable function.
        *specs: Its arguments; arrays may be `jax.ShapeDtypeStruct`s.

    Raises:
        NotImplementedError: If the function has a loop whose trip count is unknown before it runs.
    """
    return _count(jax.make_jaxpr(function)(*specs).jaxpr)


def count_parameters(params: Any) -> int:
    """Returns the number of parameters in a tree of arrays or their shapes."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def variant_cost(
    variant: str | NFNetConfig,
    resolution: int,
    plus_width: PlusWidth = "published",
    num_classes: int = 1000,
    dtype: DTypeLike = jnp.bfloat16,
) -> Cost:
    """Returns the cost of an NFNet for one square image.

    Args:
        variant: A name in `nfnet.VARIANTS` or a configuration.
        resolution: Side of the image in pixels.
        plus_width: Which reading of a '+' variant; see `nfnet.models.nfnet.find_variant`.
        num_classes: Number of logits.
        dtype: Type of the activations, for their size in bytes.

    Raises:
        UserError: If the variant is unknown or the image too small.
    """
    return _cost(find_variant(variant, plus_width), resolution, num_classes, jnp.dtype(dtype).itemsize)


def total_cost(stages: tuple[StageCost, ...], itemsize: int) -> Cost:
    """Returns the cost of a network that has the given parts.

    Args:
        stages: All parts; rematerialization recomputes the blocks of those that have any.
        itemsize: Bytes of one activation.
    """
    activations = sum(stage.activations for stage in stages)
    ends = sum(stage.activations for stage in stages if not stage.blocks)
    kept = ends + sum(stage.carried for stage in stages) + max(stage.largest for stage in stages)
    return Cost(
        parameters=sum(stage.parameters for stage in stages),
        macs=sum(stage.macs for stage in stages),
        activations=activations,
        activation_bytes=activations * itemsize,
        remat_bytes=kept * itemsize,
        stages=stages,
    )


@lru_cache(maxsize=1024)
def _cost(config: NFNetConfig, resolution: int, num_classes: int, itemsize: int) -> Cost:
    if resolution < config.smallest_image:
        raise UserError(
            f"resolution is {resolution}, too small for the strides of this network: give at least "
            f"{config.smallest_image}."
        )
    return total_cost(tuple(_stages(config, resolution, num_classes)), itemsize)


def _stages(config: NFNetConfig, resolution: int, num_classes: int) -> Iterator[StageCost]:
    ends = dataclasses.replace(  # what stem and head depend on, so that variants share their traces
        config,
        depths=(1,) * len(config.depths),
        activation="identity",  # elementwise, so not counted
        dropout_rate=0.0,
        stochastic_depth_rate=0.0,
        train_resolution=None,
        test_resolution=None,
    )
    stem = _stem(ends, resolution)
    yield _stage("stem", [], [stem])
    side = stem.shape[1]
    blocks = iter(config.blocks())
    for stage, depth in enumerate(config.depths):
        inputs, pieces = [], []
        for block in islice(blocks, depth):
            piece = _block(dataclasses.replace(block, beta=1.0, activation="identity"), side)
            inputs.append(side**2 * block.in_channels)
            pieces.append(piece)
            side = piece.shape[1]
        yield _stage(f"stage {stage + 1}", inputs, pieces)
    yield _stage("head", [], [_head(ends, side, num_classes)])


def _stage(name: str, inputs: list[int], pieces: list["Traced"]) -> StageCost:
    return StageCost(
        name=name,
        blocks=len(inputs),
        resolution=pieces[-1].shape[1],
        channels=pieces[-1].shape[3],
        parameters=sum(piece.parameters for piece in pieces),
        macs=sum(piece.work.macs for piece in pieces),
        activations=sum(piece.work.activations for piece in pieces),
        carried=sum(inputs),
        largest=max(piece.work.activations for piece in pieces) if inputs else 0,
    )


@dataclasses.dataclass(frozen=True)
class Traced:
    """A traced part of a network.

    Attributes:
        parameters: Number of its parameters.
        work: What it does.
        shape: Shape of its output.
    """

    parameters: int
    work: Work
    shape: tuple[int, ...]


def trace(function: Callable[[Array], Array], shape: tuple[int, ...]) -> Traced:
    """Traces a part of a network, abstractly.

    Args:
        function: Builds it and applies it, as would be given to `hk.transform`; draws no random numbers.
        shape: Shape of its input.
    """
    shapes = []

    def recorded(x: Array) -> None:
        shapes.append(function(x).shape)

    # Initialization runs the forward pass, so one trace gives parameters, work and shape.
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    jaxpr, params = jax.make_jaxpr(_blank_init(recorded), return_shape=True)(x)
    (out,) = shapes
    return Traced(count_parameters(params), _count(jaxpr.jaxpr), out)


def parameter_shapes(function: Callable[[Array], Any], x: Any) -> Mapping[str, Mapping[str, jax.ShapeDtypeStruct]]:
    """Shapes and types of a network's parameters, by module and name.

    Args:
        function: Builds it and applies it, as would be given to `hk.transform`; draws no random numbers.
        x: What it is applied to; only shape and type matter.
    """
    return jax.eval_shape(_blank_init(function), x)


def _blank_init(function: Callable[[Array], Any]) -> Callable[[Array], hk.Params]:
    """Initialization without drawing: initializers are many operations to trace, and a generator starts a backend."""

    def blank(creator: Any, shape: Sequence[int], dtype: DTypeLike, init: Any, context: hk.GetterContext) -> Array:
        return jnp.zeros(shape, dtype)

    def initialized(x: Array) -> None:
        with hk.custom_creator(blank):
            function(x)

    return lambda x: hk.transform(initialized).init(None, x)


@lru_cache(maxsize=1024)
def _stem(config: NFNetConfig, side: int) -> Traced:
    return trace(lambda x: NFNet(1, config).stem(x), (1, side, side, 3))


@lru_cache(maxsize=1024)
def _block(config: BlockConfig, side: int) -> Traced:
    return trace(lambda x: NFBlock(config)(x, is_training=False), (1, side, side, config.in_channels))


@lru_cache(maxsize=1024)
def _head(config: NFNetConfig, side: int, num_classes: int) -> Traced:
    def head(x: Array) -> Array:
        return NFNet(num_classes, config).head(x, is_training=False)["logits"][:, None, None, :]

    return trace(head, (1, side, side, config.widths[-1]))


def _count(jaxpr: core.Jaxpr) -> Work:
    return sum((_count_equation(eqn) for eqn in jaxpr.eqns), start=Work(0, 0))


def _count_equation(eqn: core.JaxprEqn) -> Work:
    name = eqn.primitive.name
    if name in ("dot_general", "conv_general_dilated"):
        outputs = math.prod(_shape(eqn.outvars[0]))
        return Work(outputs * _terms(eqn), outputs)
    if (plain := plain_form(eqn.primitive)) is not None:  # however the platform at hand computes it
        return count(partial(plain, **eqn.params), *(jax.ShapeDtypeStruct(_shape(x), jnp.float32) for x in eqn.invars))
    if name == "while":
        raise NotImplementedError("cannot count a while loop: its trip count is unknown before it runs.")
    inner = [_count(jaxpr) for jaxpr in _inner_jaxprs(eqn)]
    if name == "cond":
        # The alternatives are either the same work written for different platforms, the last for any
        # other platform, or a real choice, of which the costliest counts.
        per_platform = eqn.params.get("branches_platforms") is not None
        return inner[-1] if per_platform else max(inner, key=lambda work: work.macs)
    return sum(inner, start=Work(0, 0)) * (eqn.params["length"] if name == "scan" else 1)


def _terms(eqn: core.JaxprEqn) -> int:
    """Returns how many products are summed for one element of the output."""
    if eqn.primitive.name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        return math.prod(_shape(eqn.invars[0])[axis] for axis in contracted)
    filters = _shape(eqn.invars[1])
    out_axis: int = eqn.params["dimension_numbers"].rhs_spec[0]
    return math.prod(filters) // filters[out_axis]


def _shape(atom: Any) -> tuple[int, ...]:
    shape: tuple[int, ...] = atom.aval.shape
    return shape


def _inner_jaxprs(eqn: core.JaxprEqn) -> Iterator[core.Jaxpr]:
    for value in eqn.params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, core.ClosedJaxpr):
                yield item.jaxpr
            elif isinstance(item, core.Jaxpr):
                yield item
