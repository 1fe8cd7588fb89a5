"""The convolution as XLA knows it, its two gradients, and the product of matrices: the plain forms."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import Array, lax

Shape = tuple[int, ...]
Bilinear = Callable[[Array, Array], Array]


def convolve(
    x: Array, w: Array, *, stride: int = 1, groups: int = 1, padding: str | Sequence[tuple[int, int]] = "SAME"
) -> Array:
    """Convolves images, NHWC, with filters, HWIO."""
    return lax.conv_general_dilated(
        x,
        w,
        window_strides=(stride, stride),
        padding=padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def input_gradient(g: Array, w: Array, *, shape: Shape, stride: int, groups: int) -> Array:
    """Returns the gradient of images of a shape, from that of the result."""
    images = jax.ShapeDtypeStruct(shape, g.dtype)
    dx: Array = jax.linear_transpose(lambda x: convolve(x, w, stride=stride, groups=groups), images)(g)[0]
    return dx


def weight_gradient(x: Array, g: Array, *, shape: Shape, stride: int, groups: int) -> Array:
    """Returns the gradient of filters of a shape, from that of the result."""
    filters = jax.ShapeDtypeStruct(shape, x.dtype)
    dw: Array = jax.linear_transpose(lambda w: convolve(x, w, stride=stride, groups=groups), filters)(g)[0]
    return dw


def product(x: Array, w: Array, contracted: tuple[int, int] = (1, 0)) -> Array:
    """Returns the product of two matrices that sums over one axis of each."""
    left, right = contracted
    return lax.dot_general(x, w, (((left,), (right,)), ((), ())))


def split(one: Bilinear, x: Array, w: Array, groups: int) -> Array:
    """Computes a function of two arrays with groups of channels in their last axes, group by group."""
    if groups == 1:
        return one(x, w)
    pairs = zip(jnp.split(x, groups, axis=3), jnp.split(w, groups, axis=3), strict=True)
    return jnp.concatenate([one(xg, wg) for xg, wg in pairs], axis=3)
