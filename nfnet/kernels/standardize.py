"""Weight standardization (Brock et al. 2021, arXiv 2102.06171, Section 3)."""

from functools import partial
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
        reader: The images that the filters are for. On CPUs the filters are standardized only once these exist, or all
            would be at the start of a program, and kept.

    Returns:
        gain * (w - mean) / sqrt(variance * fan_in), floored.
    """
    if only_plain():
        return _plain(w, gain, floor)
    if reader is not None:
        gain = late(gain, reader.operand if isinstance(reader, Deferred) else reader)
    # As a matrix: over several axes, the gradient's sums take XLA's CPU backend up to nine times as long.
    return _standardize(w.reshape(-1, w.shape[-1]), gain, floor).reshape(w.shape)


def _centred(rows: Array, number: int, mean: Array | None = None) -> tuple[Array, Array]:
    """Returns the rows less one of them, and the mean of that.

    Sums of differences keep their digits where the mean is large beside the deviation. XLA would write down
    differences from one row for all that read them; each reader takes another row, and none is written down.

    Args:
        rows: An array of fan-in by filters.
        number: Of the row; the last one if there are not as many.
        mean: Of the rows less the first one, if it is known.
    """
    row = rows[min(number, rows.shape[0] - 1)]
    return rows - row, jnp.mean(rows - row, axis=0) if mean is None else mean + (rows[0] - row)


def _moments(rows: Array, floor: VarianceFloor) -> tuple[Array, Array, Array]:
    """Returns the mean of the rows less the first one, the variance * fan_in, and the scale that belongs to it."""
    fan_in = rows.shape[0]
    _, mean = _centred(rows, 0)
    difference, its_mean = _centred(rows, 1, mean)
    square = fan_in * (jnp.mean(difference * difference, axis=0) - its_mean * its_mean)
    floored = jnp.where(square < 1e-4, 1e-4, square) if floor == "clamp" else jnp.maximum(square, 0) + fan_in * 1e-5
    return mean, square, lax.rsqrt(floored)


@partial(jax.custom_jvp, nondiff_argnums=(2,))
def _standardize(rows: Array, gain: Array, floor: VarianceFloor) -> Array:
    mean, _, inverse = _moments(rows, floor)
    return _scaled(*_centred(rows, 2, mean), inverse * gain)


def _scaled(difference: Array, mean: Array, scale: Array) -> Array:
    """As scale and shift: difference - mean would be kept, a second copy of the weights."""
    return difference * scale - mean * scale


@_standardize.defjvp
def _standardize_jvp(
    floor: VarianceFloor, primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    (rows, gain), (drows, dgain) = primals, tangents
    mean, square, inverse = _moments(rows, floor)
    difference, its_mean = _centred(rows, 2, mean)
    scale = inverse * gain
    value = _scaled(difference, its_mean, scale)
    dmean = jnp.mean(drows, axis=0)
    dsquare = 2 * rows.shape[0] * (jnp.mean(difference * drows, axis=0) - its_mean * dmean)
    if floor == "clamp":
        dsquare = jnp.where(square < 1e-4, 0, dsquare)
    dscale = inverse * dgain - 0.5 * inverse**3 * gain * dsquare
    difference, its_mean = _centred(rows, 3, mean)
    return value, drows * scale - dmean * scale + difference * dscale - its_mean * dscale


def _plain(w: Array, gain: Array, floor: VarianceFloor) -> Array:
    axes = tuple(range(w.ndim - 1))
    fan_in = w.size // w.shape[-1]
    variance = jnp.var(w, axes)
    square = jnp.maximum(variance * fan_in, 1e-4) if floor == "clamp" else fan_in * (variance + 1e-5)
    return gain * (w - jnp.mean(w, axes)) * lax.rsqrt(square)
