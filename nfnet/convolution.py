"""One convolution, written for each platform in the form that its compiler handles well.

XLA's CPU backend computes grouped convolutions, and above all the gradients of their weights, up to 64
times slower than the same arithmetic group by group, and 1x1 convolutions slower than a matrix product.
Accelerators do best with the plain operation. `jax.lax.platform_dependent` chooses when the program is
lowered for its device, so nobody has to say where it will run, and parameters and results are the same.
"""

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

# Splitting pays while a group fills a matrix product; past this many groups (depthwise-like layers) the
# program only grows.
_MAX_SPLIT = 32


def conv(
    x: Float[Array, "batch height width channels"],
    w: Float[Array, "kernel kernel channels_per_group filters"],
    *,
    stride: int = 1,
    groups: int = 1,
) -> Float[Array, "batch out_height out_width filters"]:
    """Convolves images with square filters under SAME padding.

    Args:
        x: Images in NHWC layout.
        w: Filters in HWIO layout, of the images' type.
        stride: Step of the filters in both directions.
        groups: Number of groups: filter g of G sees channels [g C / G, (g + 1) C / G).

    Returns:
        ceil(height / stride) by ceil(width / stride) images.
    """
    plain = partial(_plain, stride=stride, groups=groups)
    on_cpu: Callable[[Array, Array], Array] = plain
    if w.shape[:2] == (1, 1) and stride == 1 and groups == 1:
        on_cpu = _pointwise
    elif 1 < groups <= _MAX_SPLIT:
        on_cpu = partial(_split, stride=stride, groups=groups)
    if on_cpu is plain:
        return plain(x, w)
    y: Array = lax.platform_dependent(x, w, cpu=on_cpu, default=plain)
    return y


def _plain(x: Array, w: Array, *, stride: int, groups: int) -> Array:
    return lax.conv_general_dilated(
        x,
        w,
        window_strides=(stride, stride),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _pointwise(x: Array, w: Array) -> Array:
    return jnp.dot(x, w[0, 0])


def _split(x: Array, w: Array, *, stride: int, groups: int) -> Array:
    pairs = zip(jnp.split(x, groups, axis=3), jnp.split(w, groups, axis=3), strict=True)
    return jnp.concatenate([_plain(xg, wg, stride=stride, groups=1) for xg, wg in pairs], axis=3)
