"""Convolutions and matrix products, in the form that the compiler at hand computes well.

Accelerators do best with the plain operations. For CPUs, one function, linear in images, filters and the result's
cotangent, has three gradients: by the cotangent it is the convolution, by the others the gradients of images and of
filters. Each of the three is a primitive with a form for CPUs (nfnet/kernels/cpu.py), and the transposes of each are
the other two. So a derivative of any order has the form that suits. Lowered for other platforms, as by `jax.export`,
they are the plain operations.

The matrix product is a primitive for the sake of one transpose. JAX differentiates x w to the transpose of g^T x, which
XLA hands on as a column-major array: whatever reads it beside the row-major weights, here the gradient of weight
standardization, then walks memory with the stride of a row. x^T g, the same numbers, comes row-major.

What a backward pass keeps, and when it computes what, is the matter of nfnet/kernels/ordering.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import SymbolicZero
from jax.extend.core import Primitive
from jax.sharding import AxisType
from jaxtyping import Float

from nfnet.kernels import cpu, direct
from nfnet.kernels.direct import Bilinear, Shape
from nfnet.kernels.forms import for_cpu
from nfnet.kernels.ordering import Function, lean, tied
from nfnet.kernels.primitive import bilinear


@dataclass(frozen=True)
class Deferred:
    """What an elementwise function makes of an array, left to the convolution that reads it; see `deferred`.

    Attributes:
        function: Elementwise.
        operand: The array.
    """

    function: Function
    operand: Array

    @property
    def shape(self) -> Shape:
        """The array's shape."""
        return self.operand.shape

    @property
    def dtype(self) -> jnp.dtype:
        """The array's type."""
        return self.operand.dtype


def deferred(function: Function) -> Callable[[Array], Array | Deferred]:
    """Returns an elementwise function, whose result, given to `conv`, is computed again in the backward pass.

    XLA's CPU backend would keep it beside the array that it is of, a second copy of all activations.
    """
    return lambda x: Deferred(function, x) if for_cpu(x) else function(x)


def conv(
    x: Float[Array, "batch height width channels"] | Deferred,
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
    images, activation = (x.operand, x.function) if isinstance(x, Deferred) else (x, None)
    if for_cpu(images, w):
        return lean(partial(_convolve, stride=stride, groups=groups), activation, groups)(images, w)
    images = images if activation is None else activation(images)
    plain: Bilinear = partial(direct.convolve, stride=stride, groups=groups)
    mesh = jax.typeof(images).sharding.mesh
    if AxisType.Explicit not in mesh.axis_types:
        return plain(images, w)
    # JAX does not know how the gradient of filters is split: XLA does, and is told of the result alone.
    (result,) = jax.make_jaxpr(plain)(images, w).out_avals
    if len(mesh.axis_names) > 1:  # XLA splits the gradient of grouped filters wrongly over some of several axes
        plain = partial(direct.split, partial(direct.convolve, stride=stride), groups=groups)
    y: Array = jax.sharding.auto_axes(plain, out_sharding=result.sharding)(images, w)
    return y


def product(x: Float[Array, "*axes channels"], w: Float[Array, "channels filters"]) -> Float[Array, "*axes filters"]:
    """Returns x w, products with a matrix."""
    if not for_cpu(x, w):
        return jnp.matmul(x, w)
    return _product(x.reshape(-1, x.shape[-1]), w).reshape(*x.shape[:-1], w.shape[1])


@jax.custom_jvp
def _product(x: Array, w: Array) -> Array:
    y: Array = _product_p.bind(x, w)
    return y


@partial(_product.defjvp, symbolic_zeros=True)
def _product_jvp(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> tuple[Array, Array]:
    (x, w), (dx, dw) = primals, tangents
    y: Array = _product_p.bind(x, w)
    if type(dx) is SymbolicZero:
        return y, _product_p.bind(x, dw)
    if type(dw) is SymbolicZero:
        return y, _product_p.bind(dx, w)
    dx, dw = tied(dx, dw)
    return y, _product_p.bind(dx, w) + _product_p.bind(x, dw)


def _convolve(x: Array, w: Array, *, stride: int, groups: int) -> Array:
    y: Array = _value_p.bind(x, w, stride=stride, groups=groups)
    return y


def _value_shape(x: Any, w: Any, *, stride: int, groups: int) -> Shape:
    batch, height, width, _ = x.shape
    return batch, -(-height // stride), -(-width // stride), w.shape[3]


def _given_shape(x: Any, w: Any, *, shape: Shape, stride: int, groups: int) -> Shape:
    return shape


_product_p: Primitive = bilinear(
    "product",
    direct.product,
    shape=lambda x, w: (x.shape[0], w.shape[1]),
    left=lambda g, x, w: direct.product(g, w, (1, 1)),
    right=lambda g, x, w: direct.product(x, g, (0, 0)),
)
_value_p: Primitive = bilinear(
    "convolution",
    direct.convolve,
    shape=_value_shape,
    left=lambda g, x, w, **how: _input_gradient_p.bind(g, w, shape=x.aval.shape, **how),
    right=lambda g, x, w, **how: _weight_gradient_p.bind(x, g, shape=w.aval.shape, **how),
    on_cpu=cpu.convolve,
)
_input_gradient_p: Primitive = bilinear(
    "convolution_input_gradient",
    direct.input_gradient,
    shape=_given_shape,
    left=lambda x, g, w, *, shape, **how: _value_p.bind(x, w, **how),
    right=lambda x, g, w, *, shape, **how: _weight_gradient_p.bind(x, g, shape=w.aval.shape, **how),
    on_cpu=cpu.input_gradient,
)
_weight_gradient_p: Primitive = bilinear(
    "convolution_weight_gradient",
    direct.weight_gradient,
    shape=_given_shape,
    left=lambda w, x, g, *, shape, **how: _input_gradient_p.bind(g, w, shape=x.aval.shape, **how),
    right=lambda w, x, g, *, shape, **how: _value_p.bind(x, w, **how),
    on_cpu=cpu.weight_gradient,
)
