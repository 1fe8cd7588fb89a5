"""One convolution, written for each platform in the form that its compiler handles well.

XLA's CPU backend computes grouped convolutions, and above all the gradients of their weights, up to 64
times slower than the same arithmetic group by group, and 1x1 convolutions slower than a matrix product.
Accelerators do best with the plain operation. `jax.lax.platform_dependent` chooses when the program is
lowered for its device, so nobody has to say where it will run, and parameters and results are the same.

The matrix product is a primitive of its own for the sake of one transpose. JAX differentiates x w to the
transpose of g^T x, which XLA hands on as a column-major array: whatever reads it beside the row-major weights,
here the gradient of weight standardization, then walks memory with the stride of a row. x^T g, the same
numbers, comes row-major.

Convolutions that keep the size of their images are a primitive for a similar reason. The library that XLA's CPU
backend hands them to keeps to one thread where few channels go in or come out, as in the stem; it declines those
whose output is larger than their input, and these XLA computes with all threads. So one row more than asked for
is computed and dropped, in both directions. Where many channels meet, nfnet/winograd.py needs fewer multiplications.
The gradient of few channels through a stride is computed apart for even and odd pixels; XLA would spread them among
zeros and multiply those too. docs/performance.md has the measurements.

What a backward pass keeps, and when it computes what, is the matter of nfnet/ordering.py.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Float

from nfnet import winograd
from nfnet.ordering import Bilinear, Function, lean, tied

# Splitting pays while a group fills a matrix product; past this many groups (depthwise-like layers) the
# program only grows.
_MAX_SPLIT = 32
# From this many channels in and out on, the library uses all threads; up to the lower number, it is not used.
_WIDE = 128
_TINY = 16


def conv(
    x: Float[Array, "batch height width channels"],
    w: Float[Array, "kernel kernel channels_per_group filters"],
    *,
    stride: int = 1,
    groups: int = 1,
    activation: Function | None = None,
) -> Float[Array, "batch out_height out_width filters"]:
    """Convolves images, or what an activation makes of them, with square filters under SAME padding.

    Args:
        x: Images in NHWC layout.
        w: Filters in HWIO layout, of the images' type.
        stride: Step of the filters in both directions.
        groups: Number of groups: filter g of G sees channels [g C / G, (g + 1) C / G).
        activation: An elementwise function of the images, or None.

    Returns:
        ceil(height / stride) by ceil(width / stride) images.
    """
    function = partial(_convolve, stride=stride, groups=groups)
    return lean(function, activation, groups)(x, w)


def product(x: Float[Array, "rows channels"], w: Float[Array, "channels filters"]) -> Float[Array, "rows filters"]:
    """Returns x w, the product of two matrices."""
    return _choose(_product_p.bind, _product, *tied(x, w))


def _choose(on_cpu: Bilinear, elsewhere: Bilinear, x: Array, w: Array) -> Array:
    y: Array = lax.platform_dependent(x, w, cpu=on_cpu, default=elsewhere)
    return y


def _convolve(x: Array, w: Array, *, stride: int, groups: int) -> Array:
    plain = partial(_plain, stride=stride, groups=groups)
    if w.shape[:2] == (1, 1) and stride == 1 and groups == 1:
        return _choose(_pointwise, plain, x, w)
    if groups <= _MAX_SPLIT and _keeps_size(w, stride):
        return _choose(partial(_same_p.bind, groups=groups), plain, x, w)
    if groups == 1 and _halves_few(x, w, stride):
        return _choose(_half_p.bind, plain, x, w)
    if 1 < groups <= _MAX_SPLIT:
        return _choose(partial(_split, partial(_plain, stride=stride), groups=groups), plain, x, w)
    return plain(x, w)


def _plain(
    x: Array, w: Array, *, stride: int = 1, groups: int = 1, padding: str | Sequence[tuple[int, int]] = "SAME"
) -> Array:
    return lax.conv_general_dilated(
        x,
        w,
        window_strides=(stride, stride),
        padding=padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _keeps_size(w: Array, stride: int) -> bool:
    """Tells whether filters are odd squares of more than one pixel, moved by one."""
    return stride == 1 and w.shape[0] == w.shape[1] and w.shape[0] % 2 == 1 and w.shape[0] > 1


def _pointwise(x: Array, w: Array) -> Array:
    y: Array = _product_p.bind(x.reshape(-1, x.shape[-1]), w[0, 0])
    return y.reshape(*x.shape[:-1], w.shape[-1])


def _product(x: Array, w: Array, contracted: tuple[int, int] = (1, 0)) -> Array:
    left, right = contracted
    return lax.dot_general(x, w, (((left,), (right,)), ((), ())))


def _halves_few(x: Array, w: Array, stride: int) -> bool:
    """Tells whether 3x3 filters halve images of even sides and of few channels."""
    even = x.shape[1] % 2 == x.shape[2] % 2 == 0
    return w.shape[:2] == (3, 3) and stride == 2 and even and _TINY < x.shape[3] < _WIDE


def _split(one: Bilinear, x: Array, w: Array, groups: int) -> Array:
    """Computes a function of images and filters, or of images and gradients, group by group."""
    if groups == 1:
        return one(x, w)
    pairs = zip(jnp.split(x, groups, axis=3), jnp.split(w, groups, axis=3), strict=True)
    return jnp.concatenate([one(xg, wg) for xg, wg in pairs], axis=3)


def _same(x: Array, w: Array, *, groups: int) -> Array:
    if _by_winograd(x, w, groups):
        return winograd.convolve(x, w, groups)
    return _split(_same_direct, x, w, groups)


def _same_input_gradient(g: Array, x: ad.UndefinedPrimal, w: Array, *, groups: int) -> Array:
    if _by_winograd(x.aval, w, groups):
        return winograd.input_gradient(g, w, groups)
    return _split(lambda g, w: _same_direct(g, w[::-1, ::-1].swapaxes(2, 3)), g, w, groups)


def _same_weight_gradient(g: Array, x: Array, w: ad.UndefinedPrimal, *, groups: int) -> Array:
    if _by_winograd(x, w.aval, groups, of_weights=True):
        return winograd.weight_gradient(x, g, groups)
    return _split(partial(_direct_weight_gradient, w=w.aval, stride=1), x, g, groups)


def _direct_weight_gradient(x: Array, g: Array, *, w: Any, stride: int) -> Array:
    """Returns the gradient of as many of the filters w as g has channels."""
    filters = w.update(shape=(*w.shape[:3], g.shape[3]))
    dw: Array = jax.linear_transpose(partial(_plain, x, stride=stride), filters)(g)[0]
    return dw


def _by_winograd(x: Any, w: Any, groups: int, *, of_weights: bool = False) -> bool:
    channels, filters = w.shape[2:]
    return w.shape[0] == 3 and winograd.pays(x.shape, channels, filters, groups, x.dtype, of_weights=of_weights)


def _same_direct(x: Array, w: Array) -> Array:
    if min(w.shape[2:]) >= _WIDE or max(w.shape[2:]) <= _TINY:
        return _plain(x, w)
    side = w.shape[0] // 2
    return _plain(x, w, padding=((side, side + 1), (side, side)))[:, : x.shape[1]]


def _half(x: Array, w: Array) -> Array:
    return _plain(x, w, stride=2)


def _half_input_gradient(g: Array, x: ad.UndefinedPrimal, w: Array) -> Array:
    """Computes the pixels of even and odd rows and columns apart: the nine taps fall to them as 4, 2, 2 and 1."""
    taps = {"even": slice(2, None, -2), "odd": slice(1, 2)}
    turned = w.swapaxes(2, 3)

    def pixels(row: str, column: str) -> Array:
        filters = turned[taps[row]][:, taps[column]]
        return _plain(g, filters, padding=[(side - 1, 0) for side in filters.shape[:2]])

    rows = [jnp.stack([pixels(row, column) for column in taps], axis=3) for row in taps]
    return jnp.stack(rows, axis=2).reshape(x.aval.shape)


def _half_weight_gradient(g: Array, x: Array, w: ad.UndefinedPrimal) -> Array:
    return _direct_weight_gradient(x, g, w=w.aval, stride=2)


def _bilinear(
    name: str,
    function: Callable[..., Array],
    left: Callable[..., Array],
    right: Callable[..., Array],
    *,
    stride: int = 1,
) -> Primitive:
    """Makes a primitive of a bilinear function whose transposes, in either operand, are given.

    The result has the shape of the first operand, but for its sides, divided by the stride, and its last axis, which
    is the second's.
    """

    def shape(x: Any, w: Any, **parameters: Any) -> Any:
        return x.update(shape=(x.shape[0], *(side // stride for side in x.shape[1:-1]), w.shape[-1]))

    def batched(operands: Any, axes: Any, **parameters: Any) -> tuple[Array, int]:
        return jax.vmap(partial(function, **parameters), axes)(*operands), 0

    primitive = Primitive(name)
    primitive.def_impl(function)
    primitive.def_abstract_eval(shape)
    mlir.register_lowering(primitive, mlir.lower_fun(function, multiple_results=False))
    ad.defbilinear(primitive, left, right)
    batching.primitive_batchers[primitive] = batched
    return primitive


_product_p = _bilinear(
    "product", _product, lambda g, x, w: _product(g, w, (1, 1)), lambda g, x, w: _product(x, g, (0, 0))
)
_same_p = _bilinear("same_convolution", _same, _same_input_gradient, _same_weight_gradient)
_half_p = _bilinear("halving_convolution", _half, _half_input_gradient, _half_weight_gradient, stride=2)
