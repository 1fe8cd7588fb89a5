"""What JAX users do to an operation, for each operation of `nfnet.kernels`.

As a program, it does what needs several devices: `python -m support.contract NAME...` prints a verdict for each case.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from nfnet.kernels import conv, deferred, gate, gelu_tanh, plain, product, standardize


@dataclass(frozen=True)
class Kernel:
    """An operation to hold to the contract.

    Attributes:
        function: Of arrays of the shapes; the first axis of the first is the batch.
        shapes: Of its operands.
        dtype: Of the operands: float64 but for what takes other forms in other types.
    """

    function: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]
    dtype: Any = jnp.float64

    def operands(self, dtype: Any = None, batch: int | None = None) -> list[jax.Array]:
        """Random operands, the same at each call."""
        rng = np.random.default_rng(0)
        drawn = [jnp.asarray(rng.standard_normal(shape) / 2, dtype or self.dtype) for shape in self.shapes]
        if batch is not None:
            drawn[0] = jnp.resize(drawn[0], (batch, *self.shapes[0][1:]))
        return drawn


KERNELS = {
    "conv": Kernel(conv, ((4, 4, 6, 20), (3, 3, 20, 24))),
    "conv 1x1": Kernel(conv, ((4, 3, 4, 12), (1, 1, 12, 8))),
    "grouped conv": Kernel(partial(conv, groups=2), ((4, 4, 6, 32), (3, 3, 16, 32))),
    "strided conv": Kernel(partial(conv, stride=2, groups=4), ((4, 5, 6, 16), (3, 3, 4, 16))),
    "deferred gelu": Kernel(
        lambda x, w: conv(deferred(gelu_tanh)(x), w, groups=2), ((4, 4, 4, 8), (3, 3, 4, 8)), jnp.float32
    ),
    "product": Kernel(product, ((4, 3, 12), (12, 8))),
    "standardize": Kernel(
        lambda x, w, gain: conv(x, standardize(w, gain, reader=x)), ((4, 4, 4, 4), (3, 3, 4, 6), (6,))
    ),
    "gelu": Kernel(partial(gelu_tanh, scale=1.7), ((4, 3, 4, 5),), jnp.float32),
    "gates": Kernel(gate, ((4, 3, 4, 6), (4, 1, 1, 6), ())),
}


def loss(function: Callable[..., Any]) -> Callable[..., Any]:
    """A number of which no derivative vanishes."""
    return lambda *args: jnp.sum(jnp.sin(function(*args)))


def gradients(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args: jax.grad(loss(function), tuple(range(len(args))))(*args)


def second(function: Callable[..., Any], *args: Any) -> Any:
    """The Hessian times the operands."""
    return jax.jvp(gradients(function), args, args)[1]


def linearized(function: Callable[..., Any], *args: Any) -> Any:
    value, tangent = jax.linearize(function, *args)
    return value, tangent(*args), jax.linear_transpose(tangent, *args)(value)


def mapped(axis: int, which: int, function: Callable[..., Any], *args: Any) -> Any:
    """Value and gradients, mapped over a new axis of one operand, or of all (-1)."""
    axes = [axis if which in (-1, i) else None for i in range(len(args))]
    axes = [min(a, one.ndim) if a is not None else None for a, one in zip(axes, args, strict=True)]
    many = [
        one if a is None else jnp.stack([one, 2 * one, -one], a) for a, one in zip(axes, args, strict=True)
    ]  # fmt: skip

    def total(*many: Any) -> Any:
        return jnp.sum(jnp.sin(jax.vmap(function, axes)(*many)))

    return jax.vmap(function, axes)(*many), jax.grad(total, tuple(range(len(args))))(*many)


def scanned(function: Callable[..., Any], *args: Any) -> Any:
    def total(*args: Any) -> Any:
        def step(carry: Any, scale: Any) -> Any:
            return carry + jnp.sum(jnp.sin(function(scale * args[0], *args[1:]))), None

        return lax.scan(step, jnp.zeros((), args[0].dtype), jnp.arange(1, 4).astype(args[0].dtype))[0]

    return jax.grad(total, tuple(range(len(args))))(*args)


def rematerialized(policy: str | None, function: Callable[..., Any], *args: Any) -> Any:
    kept = getattr(jax.checkpoint_policies, policy) if policy else None
    return gradients(jax.checkpoint(lambda *args: jnp.sin(function(*args)), policy=kept))(*args)


def transposed(function: Callable[..., Any], *args: Any) -> Any:
    """In the first operand and in the last, of the function's linear part at the others."""
    results = []
    for i in {0, len(args) - 1}:

        def linear(one: Any, i: int = i) -> Any:
            return jax.jvp(lambda one: function(*args[:i], one, *args[i + 1 :]), (args[i],), (one,))[1]

        results.append(jax.linear_transpose(linear, args[i])(function(*args)))
    return results


def empty(function: Callable[..., Any], *args: Any) -> Any:
    batch = args[0].shape[0]
    none = [one[:0] if one.shape[:1] == (batch,) and one.ndim == args[0].ndim else one for one in args]
    return function(*none), gradients(function)(*none)


POLICIES = ("nothing_saveable", "everything_saveable", "dots_saveable", "dots_with_no_batch_dims_saveable")
ALONE: dict[str, Callable[..., Any]] = {
    "jit": lambda f, *args: f(*args),
    "grad": lambda f, *args: gradients(f)(*args),
    "jvp": lambda f, *args: jax.jvp(f, args, args),
    "hessian-vector": second,
    "linearize": linearized,
    **{f"vmap first, axis {axis}": partial(mapped, axis, 0) for axis in (0, 1, 2, 3, 4, -1)},
    "vmap all, axis 0": partial(mapped, 0, -1),
    "vmap all, last axis": partial(mapped, -1, -1),
    "scan": scanned,
    "remat": partial(rematerialized, None),
    **{f"remat, {policy}": partial(rematerialized, policy) for policy in POLICIES},
    "linear transpose": transposed,
    "empty batch": empty,
}
"""On one device."""


def _split(mesh: Any, shapes: Any) -> list[P]:
    """Splits what has the batch as its first axis."""
    batch = shapes[0].shape[0]
    return [P(*mesh.axis_names) if one.shape[:1] == (batch,) and one.ndim > 2 else P() for one in shapes]


def per_device(function: Callable[..., Any], *args: Any) -> Any:
    axes = [0 if spec else None for spec in _split(jax.make_mesh((4,), ("i",)), args)]
    shards = [one.reshape(4, -1, *one.shape[1:]) if axis == 0 else one for one, axis in zip(args, axes, strict=True)]
    return jax.pmap(gradients(function), in_axes=tuple(axes))(*shards)


def sharded_map(function: Callable[..., Any], *args: Any) -> Any:
    mesh = jax.make_mesh((4,), ("i",), axis_types=(AxisType.Auto,))
    specs = tuple(_split(mesh, args))
    value = jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=P("i"))
    # What is not split over devices has the sum of their gradients.
    gradient = jax.shard_map(gradients(function), mesh=mesh, in_specs=specs, out_specs=specs)
    return jax.jit(lambda *args: (value(*args), gradient(*args)))(*args)


def meshed(kinds: tuple[AxisType, AxisType], axes: Any, function: Callable[..., Any], *args: Any) -> Any:
    mesh = jax.make_mesh((2, 2), ("i", "j"), axis_types=kinds)
    split = [
        jax.device_put(one, NamedSharding(mesh, P(axes) if spec else P()))
        for one, spec in zip(args, _split(jax.make_mesh((4,), ("i",)), args), strict=True)
    ]
    with jax.set_mesh(mesh) if AxisType.Explicit in kinds else nullcontext():
        return jax.jit(lambda *args: (function(*args), gradients(function)(*args)))(*split)


TOGETHER: dict[str, Callable[..., Any]] = {
    "pmap": per_device,
    "shard_map": sharded_map,
    "explicit mesh": partial(meshed, (AxisType.Explicit,) * 2, ("i", "j")),
    "explicit mesh, one axis": partial(meshed, (AxisType.Explicit,) * 2, "i"),
    "mixed mesh": partial(meshed, (AxisType.Explicit, AxisType.Auto), "i"),
    "auto mesh": partial(meshed, (AxisType.Auto,) * 2, ("i", "j")),
}
"""On four devices."""


def differences(ours: Any, expected: Any, dtype: Any) -> Iterator[str]:
    """Says where results differ in structure, type, sharding or value."""
    digits = float(jnp.finfo(dtype).eps) * 100
    if jax.tree.structure(ours) != jax.tree.structure(expected):
        yield "another structure"
        return
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        if jax.typeof(one) != jax.typeof(other):
            yield f"{jax.typeof(one)} instead of {jax.typeof(other)}"
        elif not one.sharding.is_equivalent_to(other.sharding, one.ndim):
            yield f"{one.sharding} instead of {other.sharding}"
        elif one.size:
            a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
            if not np.max(np.abs(a - b)) <= digits * (1 + np.max(np.abs(b))):
                yield f"off by {np.max(np.abs(a - b))} of {np.max(np.abs(b))}"


def main() -> None:
    """Prints the verdicts on four devices."""
    jax.config.update("jax_enable_x64", True)
    verdicts: dict[str, str] = {}
    for name, kernel in ((name, KERNELS[name]) for name in sys.argv[1:]):
        for how, transform in TOGETHER.items():
            args = kernel.operands()
            try:
                ours = transform(kernel.function, *args)
                with plain():
                    expected = transform(kernel.function, *args)
                    if "mesh" in how:  # whatever the partitioner makes of the plain form: one device is right
                        one = jax.device_get((kernel.function(*args), gradients(kernel.function)(*args)))
                        expected = jax.tree.map(lambda x, like: jax.device_put(x, like.sharding), one, expected)
                verdicts[f"{name}: {how}"] = "; ".join(differences(ours, expected, kernel.dtype))
            except Exception as error:
                verdicts[f"{name}: {how}"] = f"{type(error).__name__}: {error}"
    print(json.dumps(verdicts))


if __name__ == "__main__":
    main()
