"""What a program asks of a device, read from its StableHLO before any compiler has seen it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp

from nfnet import NFNet
from nfnet.optim.sgd import agc_sgd
from nfnet.training.sharding import make_mesh
from nfnet.training.step import StepConfig, init_state, make_train_step

CLASSES = 10


@dataclass(frozen=True)
class Operation:
    """One operation of a program.

    Attributes:
        name: Without its dialect, e.g. "convolution".
        reads: Element type and shape of each operand.
        yields: Element type and shape of each result.
        attributes: As MLIR prints them.
    """

    name: str
    reads: tuple[tuple[str, tuple[int, ...]], ...]
    yields: tuple[tuple[str, tuple[int, ...]], ...]
    attributes: dict[str, str]


def parameters(variant: Any, *, side: int) -> Any:
    """The shapes of a network's parameters."""
    network = hk.transform(lambda images: NFNet(CLASSES, variant)(images, False))
    images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    return jax.eval_shape(network.init, jax.random.key(0), images)


def training(variant: Any, dtype: Any, *, side: int, batch: int, fsdp: int = 1, remat: bool = False) -> Any:
    """Traces the training step that `nfnet.train` runs, on all devices."""
    network = hk.transform(
        lambda images, is_training: NFNet(CLASSES, variant, dtype=dtype, remat=remat)(images, is_training)
    )
    params = parameters(variant, side=side)

    def optimiser(rate: Any) -> Any:
        return agc_sgd(lambda _: rate, weight_decay=1e-5)

    state = jax.eval_shape(lambda params: init_state(params, optimiser(0.1), 0.0), params)

    def forward(params: Any, key: Any, images: Any, is_training: bool) -> Any:
        return network.apply(params, key, images, is_training)["logits"]

    config = StepConfig(CLASSES, (0.5,) * 3, (0.25,) * 3)
    step = make_train_step(forward, optimiser, config, make_mesh(fsdp), state)
    shapes = {"image": ((batch, side, side, 3), jnp.uint8), "label": ((batch,), jnp.int32)}
    shapes |= {"weight": ((batch,), jnp.float32), "unreadable": ((batch,), bool)}
    rows = {name: jax.ShapeDtypeStruct(*one) for name, one in shapes.items()}
    return step.trace(state, rows, jax.eval_shape(lambda: jax.random.key(0)), 0.1)


def inference(variant: Any, dtype: Any, *, side: int, batch: int) -> Any:
    """Traces a forward pass without randomness."""
    network = hk.transform(lambda images: NFNet(CLASSES, variant, dtype=dtype)(images, False)["logits"])
    images = jax.ShapeDtypeStruct((batch, side, side, 3), jnp.float32)
    params = parameters(variant, side=side)
    return jax.jit(lambda params, images: network.apply(params, None, images)).trace(params, images)


def operations(traced: Any, platform: str) -> list[Operation]:
    """Lowers a traced function for a platform and returns its operations; a called function's once a call."""
    module = traced.lower(lowering_platforms=(platform,)).compiler_ir("stablehlo")
    functions = {_attributes(one.operation)["sym_name"].strip('"'): one for one in module.body.operations}
    return list(_walk(functions["main"].regions, functions))


def _walk(regions: Any, functions: Any) -> Iterator[Operation]:
    for region in regions:
        for block in region.blocks:
            for one in block.operations:
                inner = one.operation
                attributes = _attributes(inner)
                if inner.name.endswith(".call"):
                    yield from _walk(functions[attributes["callee"].removeprefix("@")].regions, functions)
                    continue
                reads = tuple(_array(value) for value in inner.operands)
                yields = tuple(_array(value) for value in inner.results)
                yield Operation(inner.name.partition(".")[2], reads, yields, attributes)
                if inner.name != "stablehlo.reduce":  # its body adds single numbers
                    yield from _walk(inner.regions, functions)


def _attributes(operation: Any) -> dict[str, str]:
    names = [one if isinstance(one, str) else one.name for one in operation.attributes]  # JAX releases differ
    return {name: str(operation.attributes[name]) for name in names}


def _array(value: Any) -> tuple[str, tuple[int, ...]]:
    kind = value.type
    return str(getattr(kind, "element_type", kind)), tuple(getattr(kind, "shape", ()))
