"""The order of a backward pass, and what is computed only once, told to XLA's CPU backend.

XLA arranges the operations of a program itself, and its CPU backend drops `jax.lax.optimization_barrier` before it
does. Left alone, it spends most of a training step's memory on two things:

- Parameters whose memory is donated to their successors are overwritten in place only if all other uses of them
  provably come first. The gradient of a layer's input uses its weights, and their update does not depend on that
  gradient. So the backend copies weights at the start of each step, and keeps the copies. `tied` makes the gradient
  of the weights wait for that of the input.
- The backward pass could compute anew what it needs besides a layer's input: what an activation makes of it,
  standardized and transposed weights. But where that does not depend on the cotangent it is the same
  in both passes, and XLA computes it once and keeps it. `lean` makes it depend on the cotangent.

Both rest on `late`, on other platforms the identity. It is so too in a program for several devices: the number that it
reads would have to be exchanged between them, once for each layer. Where operations take their plain forms
(`nfnet.kernels.forms`), nothing of this module stands in the program.

The backend also fuses cheap operations, all but divisions and the like, into each operation that reads their result,
and each computes it again, for every element. `once` ends a computation with a division.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.custom_derivatives import SymbolicZero
from jax.interpreters import ad, mlir

from nfnet.kernels.direct import Bilinear
from nfnet.kernels.forms import for_cpu
from nfnet.kernels.primitive import primitive

Function = Callable[[Array], Array]


def late(value: Array, first: Array, parts: int = 1) -> Array:
    """Returns the value, which CPUs compute only after another one.

    To the value is added a zero times a number of `first`, or times zero where that is not finite. XLA does not see
    through this: it keeps products of floating-point zeros, for the numbers that have none. The zero is a quotient, or
    whatever reads the value would compute that number again.

    Args:
        value: An array, of a floating type.
        first: What is to be computed before it.
        parts: Number of equal parts along the last axis of `first` that may be computed apart from each other.
    """
    if not for_cpu(value, first):
        return value
    result: Array = _late_p.bind(value, first, parts=parts)
    return result


def once(value: Array) -> Array:
    """Returns the value, which CPUs compute once, however many operations read it; so too its cotangent.

    Args:
        value: An array, of a floating type. It is divided by ones that XLA does not know to be such, so it should be
            small beside the arrays that it meets.
    """
    if not for_cpu(value):
        return value
    result: Array = _once_p.bind(value)
    return result


def tied(x: Array, w: Array, parts: int = 1) -> tuple[Array, Array]:
    """Returns both as they are; in a backward pass the cotangent of w comes after that of x, which has `parts`."""
    if not for_cpu(x, w):
        return x, w
    x, w = _tied_p.bind(x, w, parts=parts)
    return x, w


def lean(function: Bilinear, activation: Function | None = None, parts: int = 1) -> Bilinear:
    """Returns (x, w) -> function(activation(x), w), whose backward pass keeps nothing but x and w.

    Args:
        function: A bilinear function.
        activation: An elementwise function, computed anew for the gradient of w; the identity by default.
        parts: Number of equal parts along the last axis of x of which the function treats each apart.
    """
    inner = activation or _identity

    @jax.custom_jvp
    def whole(x: Array, w: Array) -> Array:
        return function(inner(x), w)

    def linear(of: str, x: Array, w: Array) -> Array:
        result: Array = _linear_p.bind(x, w, of=of, function=function, activation=inner)
        return result

    @partial(whole.defjvp, symbolic_zeros=True)
    def _jvp(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> tuple[Array, Any]:
        (x, w), (dx, dw) = primals, tangents
        if type(dx) is SymbolicZero:
            return whole(x, w), linear("w", x, dw)
        y, dy = jax.jvp(inner, (x,), (dx,))
        if type(dw) is SymbolicZero:
            return function(y, w), linear("x", dy, w)
        dy, dw = tied(dy, dw, parts)
        return function(y, w), linear("x", dy, w) + linear("w", x, dw)

    return whole


def _identity(x: Array) -> Array:
    return x


def _value(value: Array, first: Array, *, parts: int) -> Array:
    return value


def _late_on_cpu(value: Array, first: Array, *, parts: int) -> Array:
    if 0 in first.shape:
        return value
    corner = (1,) * (first.ndim - 1)
    step = first.shape[-1] // parts
    numbers = lax.slice(first, (0,) * first.ndim, (*corner, step * (parts - 1) + 1), (*corner, step))
    number = _finite(jnp.sum(numbers).astype(value.dtype))
    return lax.add(value, lax.broadcast(lax.div(_zero(number), 1 + lax.abs(number)), value.shape))


def _lower_late_on_cpu(context: Any, *operands: Any, parts: int) -> Any:
    function = _value if _devices(context) > 1 else _late_on_cpu
    return mlir.lower_fun(function, multiple_results=False)(context, *operands, parts=parts)


def _devices(context: Any) -> int:
    """Returns the number of devices that a program is lowered for."""
    devices = context.module_context.axis_context  # of `jax.jit`, or with a mesh, that of a map over its axes
    mesh = getattr(devices, "mesh", None)
    return mesh.size if mesh is not None else getattr(devices, "num_devices", None) or 1


def _finite(value: Array) -> Array:
    return jnp.where(jnp.isfinite(value), value, 0)


def _zero(value: Array) -> Array:
    """Returns finite numbers times zero, which XLA does not know to be zero."""
    return lax.mul(value, jnp.zeros_like(value))


def _late_batched(operands: Any, axes: Any, *, parts: int) -> tuple[Array, Any]:
    value, first = operands
    if axes[1] is not None:
        first = jnp.moveaxis(first, axes[1], 0)
    return late(value, first, parts), axes[0]


def _late_jvp(primals: Any, tangents: Any, *, parts: int) -> tuple[Array, Any]:
    value, first = primals
    return late(value, first, parts), tangents[0]


def _once(value: Array) -> Array:
    return value


def _once_on_cpu(value: Array) -> Array:
    return lax.div(value, 1 + _zero(_finite(value)))  # elementwise: by one number, XLA would multiply with its inverse


def _once_jvp(primals: Any, tangents: Any) -> tuple[Array, Any]:
    (value,), (tangent,) = primals, tangents
    return once(value), tangent if type(tangent) is ad.Zero else once(tangent)


def _once_transpose(cotangent: Any, value: Any) -> list[Any]:
    return [cotangent if type(cotangent) is ad.Zero else once(cotangent)]


def _once_batched(operands: Any, axes: Any) -> tuple[Array, Any]:
    return once(*operands), axes[0]


def _tied(x: Array, w: Array, *, parts: int) -> list[Array]:
    return [x, w]


def _tied_jvp(primals: Any, tangents: Any, *, parts: int) -> tuple[Any, Any]:
    (x, w), (dx, dw) = primals, tangents
    both = not any(type(tangent) is ad.Zero for tangent in tangents)
    return tied(x, w, parts), tied(dx, dw, parts) if both else (dx, dw)


def _tied_transpose(cotangents: Any, x: Any, w: Any, *, parts: int) -> list[Any]:
    gx, gw = cotangents
    both = not any(type(g) is ad.Zero for g in cotangents)
    return [gx, late(gw, gx, parts) if both else gw]


def _tied_batched(operands: Any, axes: Any, *, parts: int) -> tuple[Any, Any]:
    x, w = operands
    if axes[0] is not None:  # the last axis is that of the parts
        x, axes = jnp.moveaxis(x, axes[0], 0), (0, axes[1])
    return tied(x, w, parts), axes


def _linear(x: Array, w: Array, *, of: str, function: Bilinear, activation: Function) -> Array:
    """Computes function(activation(x), w) where it is linear in w, and function(x, w) where it is linear in x."""
    return function(activation(x) if of == "w" else x, w)


def _linear_jvp(primals: Any, tangents: Any, *, of: str, function: Bilinear, activation: Function) -> Any:
    whole = lean(function, activation if of == "w" else None)
    return jax.jvp(whole, primals, tuple(ad.instantiate_zeros(tangent) for tangent in tangents))


def _linear_transpose(g: Array, x: Any, w: Any, *, of: str, function: Bilinear, activation: Function) -> list[Any]:
    if of == "w":
        y = activation(late(x, g))
        return [None, *jax.linear_transpose(partial(function, y), w.aval)(g)]
    w = late(w, g)
    return [*jax.linear_transpose(lambda x: function(x, w), x.aval)(g), None]


def _linear_shape(x: Any, w: Any, **parameters: Any) -> Any:
    return x.update(shape=jax.eval_shape(partial(_linear, **parameters), x, w).shape)


def _linear_batched(operands: Any, axes: Any, **parameters: Any) -> tuple[Array, int]:
    return jax.vmap(partial(_linear, **parameters), axes)(*operands), 0


_late_p = primitive("late", _value, shape=_value, batched=_late_batched, jvp=_late_jvp)
mlir.register_lowering(_late_p, _lower_late_on_cpu, platform="cpu")
_once_p = primitive(
    "once", _once, shape=_once, batched=_once_batched, on_cpu=_once_on_cpu, jvp=_once_jvp, transpose=_once_transpose
)
_tied_p = primitive(
    "tied", _tied, shape=_tied, batched=_tied_batched, jvp=_tied_jvp, transpose=_tied_transpose, several=True
)
_linear_p = primitive(
    "linear", _linear, shape=_linear_shape, batched=_linear_batched, jvp=_linear_jvp, transpose=_linear_transpose
)
