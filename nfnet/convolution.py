"""One convolution, written for each platform in the form that its compiler handles well.

XLA's CPU backend computes grouped convolutions, and above all the gradients of their weights, up to 64
times slower than the same arithmetic group by group, and 1x1 convolutions slower than a matrix product.
Accelerators do best with the plain operation. `jax.lax.platform_dependent` chooses when the program is
lowered for its device, so nobody has to say where it will run, and parameters and results are the same.

The matrix product is a primitive of its own for the sake of one transpose. JAX differentiates x w to the
transpose of g^T x, which XLA hands on as a column-major array: whatever reads it beside the row-major weights,
here the gradient of weight standardization, then walks memory with the stride of a row. x^T g, the same
numbers, comes row-major. docs/performance.md has the measurements.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
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
    y: Array = _product_p.bind(x.reshape(-1, x.shape[-1]), w[0, 0])
    return y.reshape(*x.shape[:-1], w.shape[-1])


def _product(x: Array, w: Array, contracted: tuple[int, int] = (1, 0)) -> Array:
    left, right = contracted
    return lax.dot_general(x, w, (((left,), (right,)), ((), ())))


_product_p = Primitive("product")
_product_p.def_impl(_product)
_product_p.def_abstract_eval(lambda x, w: x.update(shape=(x.shape[0], w.shape[1])))
mlir.register_lowering(_product_p, mlir.lower_fun(_product, multiple_results=False))
ad.defbilinear(_product_p, lambda g, x, w: _product(g, w, (1, 1)), lambda g, x, w: _product(x, g, (0, 0)))
batching.primitive_batchers[_product_p] = lambda operands, axes: (jax.vmap(_product, axes)(*operands), 0)


def _split(x: Array, w: Array, *, stride: int, groups: int) -> Array:
    pairs = zip(jnp.split(x, groups, axis=3), jnp.split(w, groups, axis=3), strict=True)
    return jnp.concatenate([_plain(xg, wg, stride=stride, groups=1) for xg, wg in pairs], axis=3)
