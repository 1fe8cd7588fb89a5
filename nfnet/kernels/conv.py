"""One convolution, written for each platform in the form that its compiler handles well.

XLA's CPU backend computes grouped convolutions, and above all the gradients of their weights, up to 64
times slower than the same arithmetic group by group, and 1x1 convolutions slower than a matrix product.
Accelerators do best with the plain operation. The form is chosen when the program is lowered for its device, so
nobody has to say where it will run, and parameters and results are the same.

One function, linear in images, filters and the result's cotangent, has three gradients: by the cotangent it is the
convolution, by the others the gradients of images and of filters. Each of the three is a primitive with a form for
CPUs and one for other platforms, and the transposes of each are the other two. So a derivative of any order has the
form that suits.

The matrix product is a primitive for the sake of one transpose. JAX differentiates x w to the
transpose of g^T x, which XLA hands on as a column-major array: whatever reads it beside the row-major weights,
here the gradient of weight standardization, then walks memory with the stride of a row. x^T g, the same
numbers, comes row-major.

The library that XLA's CPU backend hands convolutions to keeps to one thread where few channels go in or come out, as
in the stem; it declines those whose output is larger than their input, and these XLA computes with all threads. So
where images keep their size, one row more than asked for is computed and dropped, in both directions. Where many
channels meet, nfnet/kernels/winograd.py needs fewer multiplications; nfnet/kernels/patches.py has the gradient of other
3x3 filters. The gradient of few channels through a stride is computed apart for even and odd pixels; XLA would spread them among
zeros and multiply those too. docs/performance.md has the measurements.

What a backward pass keeps, and when it computes what, is the matter of nfnet/kernels/ordering.py.
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

from nfnet.kernels import patches, winograd
from nfnet.kernels.ordering import Bilinear, Function, lean, tied

Shape = tuple[int, ...]

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
    y: Array = _product_p.bind(*tied(x, w))
    return y


def plain_form(primitive: Primitive) -> Callable[..., Array] | None:
    """Returns what a primitive of this module computes, written for any platform, or None for other primitives."""
    return _PLAIN.get(primitive)


def _convolve(x: Array, w: Array, *, stride: int, groups: int) -> Array:
    y: Array = _value_p.bind(x, w, stride=stride, groups=groups)
    return y


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


def _plain_input_gradient(g: Array, w: Array, *, shape: Shape, stride: int, groups: int) -> Array:
    images = jax.ShapeDtypeStruct(shape, g.dtype)
    dx: Array = jax.linear_transpose(lambda x: _plain(x, w, stride=stride, groups=groups), images)(g)[0]
    return dx


def _plain_weight_gradient(x: Array, g: Array, *, shape: Shape, stride: int, groups: int) -> Array:
    filters = jax.ShapeDtypeStruct(shape, x.dtype)
    dw: Array = jax.linear_transpose(lambda w: _plain(x, w, stride=stride, groups=groups), filters)(g)[0]
    return dw


def _value(x: Array, w: Array, *, stride: int, groups: int) -> Array:
    if _is_product(w.shape, stride, groups):
        return _product(x.reshape(-1, x.shape[3]), w[0, 0]).reshape(*x.shape[:3], w.shape[3])
    if groups > _MAX_SPLIT:
        return _plain(x, w, stride=stride, groups=groups)
    if not _keeps_size(w.shape, stride):
        return _split(partial(_plain, stride=stride), x, w, groups)
    if winograd.pays(x.shape, w.shape, groups, x.dtype):
        return winograd.convolve(x, w, groups)
    return _split(_keeping_size, x, w, groups)


def _input_gradient(g: Array, w: Array, *, shape: Shape, stride: int, groups: int) -> Array:
    if _is_product(w.shape, stride, groups):
        return _product(g.reshape(-1, g.shape[3]), w[0, 0], (1, 1)).reshape(shape)
    if groups > _MAX_SPLIT:
        return _plain_input_gradient(g, w, shape=shape, stride=stride, groups=groups)
    if _keeps_size(w.shape, stride):
        if winograd.pays(shape, w.shape, groups, g.dtype):
            return winograd.input_gradient(g, w, groups)
        return _split(lambda g, w: _keeping_size(g, w[::-1, ::-1].swapaxes(2, 3)), g, w, groups)
    if groups == 1 and _halves_few(shape, w.shape, stride):
        return _even_and_odd(g, w, shape)
    one = partial(_plain_input_gradient, shape=(*shape[:3], shape[3] // groups), stride=stride, groups=1)
    return _split(one, g, w, groups)


def _weight_gradient(x: Array, g: Array, *, shape: Shape, stride: int, groups: int) -> Array:
    if _is_product(shape, stride, groups):
        return _product(x.reshape(-1, x.shape[3]), g.reshape(-1, g.shape[3]), (0, 0)).reshape(shape)
    if groups > _MAX_SPLIT:
        return _plain_weight_gradient(x, g, shape=shape, stride=stride, groups=groups)
    if _keeps_size(shape, stride) and winograd.pays(x.shape, shape, groups, x.dtype, of_weights=True):
        return winograd.weight_gradient(x, g, groups)
    if patches.pays(shape):
        return patches.weight_gradient(x, g, stride, groups)
    one = partial(_plain_weight_gradient, shape=(*shape[:3], shape[3] // groups), stride=stride, groups=1)
    return _split(one, x, g, groups)


def _is_product(filters: Shape, stride: int, groups: int) -> bool:
    return (*filters[:2], stride, groups) == (1, 1, 1, 1)


def _keeps_size(filters: Shape, stride: int) -> bool:
    """Tells whether filters are odd squares of more than one pixel, moved by one."""
    rows, columns = filters[:2]
    return stride == 1 and rows == columns and rows % 2 == 1 and rows > 1


def _halves_few(images: Shape, filters: Shape, stride: int) -> bool:
    """Tells whether 3x3 filters halve images of even sides and of few channels."""
    _, height, width, channels = images
    even = height % 2 == width % 2 == 0
    return tuple(filters[:2]) == (3, 3) and stride == 2 and even and _TINY < channels < _WIDE


def _product(x: Array, w: Array, contracted: tuple[int, int] = (1, 0)) -> Array:
    left, right = contracted
    return lax.dot_general(x, w, (((left,), (right,)), ((), ())))


def _split(one: Bilinear, x: Array, w: Array, groups: int) -> Array:
    """Computes a function of two arrays with groups of channels in their last axes, group by group."""
    if groups == 1:
        return one(x, w)
    pairs = zip(jnp.split(x, groups, axis=3), jnp.split(w, groups, axis=3), strict=True)
    return jnp.concatenate([one(xg, wg) for xg, wg in pairs], axis=3)


def _keeping_size(x: Array, w: Array) -> Array:
    if min(w.shape[2:]) >= _WIDE or max(w.shape[2:]) <= _TINY:
        return _plain(x, w)
    side = w.shape[0] // 2
    return _plain(x, w, padding=((side, side + 1), (side, side)))[:, : x.shape[1]]


def _even_and_odd(g: Array, w: Array, shape: Shape) -> Array:
    """Computes the pixels of even and odd rows and columns apart: the nine taps fall to them as 4, 2, 2 and 1."""
    taps = {"even": slice(2, None, -2), "odd": slice(1, 2)}
    turned = w.swapaxes(2, 3)

    def pixels(row: str, column: str) -> Array:
        filters = turned[taps[row]][:, taps[column]]
        return _plain(g, filters, padding=[(side - 1, 0) for side in filters.shape[:2]])

    rows = [jnp.stack([pixels(row, column) for column in taps], axis=3) for row in taps]
    return jnp.stack(rows, axis=2).reshape(shape)


def _bilinear(
    name: str,
    function: Callable[..., Array],
    shape: Callable[..., Shape],
    left: Callable[..., Array],
    right: Callable[..., Array],
    on_cpu: Callable[..., Array] | None = None,
) -> Primitive:
    """Makes a primitive of a bilinear function.

    Args:
        name: Its name.
        function: Of two arrays, and of parameters by name.
        shape: Returns the result's shape, from what describes the arrays, and the parameters.
        left: The transpose in the first array.
        right: The transpose in the second array.
        on_cpu: What CPUs compute in place of the function.
    """

    def chosen(x: Array, w: Array, **parameters: Any) -> Array:
        forms = {"cpu": partial(on_cpu, **parameters)} if on_cpu else {}
        y: Array = lax.platform_dependent(x, w, **forms, default=partial(function, **parameters))
        return y

    def described(x: Any, w: Any, **parameters: Any) -> Any:
        return x.update(shape=shape(x, w, **parameters))

    def batched(operands: Any, axes: Any, **parameters: Any) -> tuple[Array, int]:
        return jax.vmap(partial(chosen, **parameters), axes)(*operands), 0

    primitive = Primitive(name)
    primitive.def_impl(chosen)
    primitive.def_abstract_eval(described)
    mlir.register_lowering(primitive, mlir.lower_fun(function, multiple_results=False))
    if on_cpu:
        mlir.register_lowering(primitive, mlir.lower_fun(on_cpu, multiple_results=False), platform="cpu")
    ad.defbilinear(primitive, left, right)
    batching.primitive_batchers[primitive] = batched
    return primitive


_product_p: Primitive = _bilinear(
    "product",
    _product,
    lambda x, w: (x.shape[0], w.shape[1]),
    lambda g, x, w: _product(g, w, (1, 1)),
    lambda g, x, w: _product(x, g, (0, 0)),
)


def _value_shape(x: Any, w: Any, *, stride: int, groups: int) -> Shape:
    batch, height, width, _ = x.shape
    return batch, -(-height // stride), -(-width // stride), w.shape[3]


def _given_shape(x: Any, w: Any, *, shape: Shape, stride: int, groups: int) -> Shape:
    return shape


_value_p: Primitive = _bilinear(
    "convolution",
    _plain,
    _value_shape,
    lambda g, x, w, **how: _input_gradient_p.bind(g, w, shape=x.aval.shape, **how),
    lambda g, x, w, **how: _weight_gradient_p.bind(x, g, shape=w.aval.shape, **how),
    on_cpu=_value,
)
_input_gradient_p: Primitive = _bilinear(
    "convolution_input_gradient",
    _plain_input_gradient,
    _given_shape,
    lambda x, g, w, *, shape, **how: _value_p.bind(x, w, **how),
    lambda x, g, w, *, shape, **how: _weight_gradient_p.bind(x, g, shape=w.aval.shape, **how),
    on_cpu=_input_gradient,
)
_weight_gradient_p: Primitive = _bilinear(
    "convolution_weight_gradient",
    _plain_weight_gradient,
    _given_shape,
    lambda w, x, g, *, shape, **how: _input_gradient_p.bind(g, w, shape=x.aval.shape, **how),
    lambda w, x, g, *, shape, **how: _value_p.bind(x, w, **how),
    on_cpu=_weight_gradient,
)
_PLAIN: dict[Primitive, Callable[..., Array]] = {
    _product_p: _product,
    _value_p: _plain,
    _input_gradient_p: _plain_input_gradient,
    _weight_gradient_p: _plain_weight_gradient,
}
