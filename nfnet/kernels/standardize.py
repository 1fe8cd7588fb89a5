"""Weight standardization (Brock et al. 2021, arXiv 2102.06171, Section 3)."""

from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from nfnet.kernels.conv import Deferred
from nfnet.kernels.forms import only_plain
from nfnet.kernels.ordering import late

VarianceFloor = Literal["clamp", "add"]


def standardize(
    w: Float[Array, "*fan_in filters"],
    gain: Float[Array, " filters"],
    *,
    floor: VarianceFloor = "clamp",
    reader: Array | Deferred | None = None,
) -> Float[Array, "*fan_in filters"]:
    """Standardizes each filter over its fan-in and scales it (Section 3, equation 1).

    Args:
        w: Filters, the last axis counting them.
        gain: One factor per filter.
        floor: How a vanishing variance is kept from dividing by zero: "clamp" takes
            max(variance * fan_in, 1e-4), as the released code does; "add" takes fan_in * (variance + 1e-5),
            as timm's port does.
        reader: The images that the filters are for. CPUs wait for them, or all filters would be standardized at the
            start of a program, and kept.

    Returns:
        gain * (w - mean) / sqrt(variance * fan_in), floored.
    """
    if only_plain():
        return _plain(w, gain, floor)
    if reader is not None:
        gain = late(gain, reader.operand if isinstance(reader, Deferred) else reader)
    # As a matrix: over several axes, the gradient's sums take XLA's CPU backend up to nine times as long.
    rows = w.reshape(-1, w.shape[-1])
    fan_in = rows.shape[0]
    # From a mean square, in one pass; about a value near the mean, or the difference would lose the digits of a mean
    # that is large beside the deviation. The result does not depend on that value, nor does any derivative.
    rows = rows - lax.stop_gradient(jnp.mean(rows[:8], axis=0))
    mean = jnp.mean(rows, axis=0)
    square = fan_in * (jnp.mean(rows * rows, axis=0) - mean * mean)
    square = _at_least(square, 1e-4) if floor == "clamp" else _at_least(square, 0) + fan_in * 1e-5
    scale = _rsqrt(square) * gain
    # As scale and shift: rows - mean would be kept, a second copy of the weights, for both of its uses.
    return (rows * scale - mean * scale).reshape(w.shape)


def _plain(w: Array, gain: Array, floor: VarianceFloor) -> Array:
    axes = tuple(range(w.ndim - 1))
    fan_in = w.size // w.shape[-1]
    variance = jnp.var(w, axes)
    square = jnp.maximum(variance * fan_in, 1e-4) if floor == "clamp" else fan_in * (variance + 1e-5)
    return gain * (w - jnp.mean(w, axes)) * lax.rsqrt(square)


def _at_least(x: Array, floor: float) -> Array:
    """Returns the larger of both, like jnp.maximum, whose derivative halves where they are equal, a longer program."""
    return jnp.where(x < floor, floor, x)


@jax.custom_jvp
def _rsqrt(x: Array) -> Array:
    """Returns x^(-1/2), with a derivative computed from the result alone: what led to x is not computed again."""
    return lax.rsqrt(x)


@_rsqrt.defjvp
def _rsqrt_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    y = _rsqrt(*primals)
    return y, -0.5 * y * y * y * tangents[0]
