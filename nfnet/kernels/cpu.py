"""The convolution and its gradients in the forms that XLA's CPU backend computes well.

It computes grouped convolutions, and above all the gradients of their weights, up to 64 times slower than the same
arithmetic group by group, and 1x1 convolutions slower than a matrix product.

YNNPACK, the library that it hands convolutions to, keeps to one thread where few channels go in or come out, as in the
stem; it declines those whose output is larger than their input, and these XLA computes with all threads. So where
images keep their size, one row more than asked for is computed and dropped, in both directions. Where many channels
meet, nfnet/kernels/winograd.py needs fewer multiplications; nfnet/kernels/patches.py has the gradient of other 3x3
filters.
The gradient of few channels through a stride is computed apart for even and odd pixels; XLA would spread them among
zeros and multiply those too. docs/performance.md has the measurements.
"""

from functools import partial

import jax.numpy as jnp
from jax import Array

from nfnet.kernels import direct, patches, winograd
from nfnet.kernels.direct import Shape

# Splitting pays while a group fills a matrix product; past this many groups (depthwise-like layers) the
# program only grows.
_MAX_SPLIT = 32
# From this many channels in and out on, the library uses all threads; up to the lower number, it is not used.
_WIDE = 128
_TINY = 16


def convolve(x: Array, w: Array, *, stride: int, groups: int) -> Array:
    """See `direct.convolve`."""
    if _is_product(w.shape, stride, groups):
        return direct.product(x.reshape(-1, x.shape[3]), w[0, 0]).reshape(*x.shape[:3], w.shape[3])
    if groups > _MAX_SPLIT:
        return direct.convolve(x, w, stride=stride, groups=groups)
    if not _keeps_size(w.shape, stride):
        return direct.split(partial(direct.convolve, stride=stride), x, w, groups)
    if winograd.pays(x.shape, w.shape, groups, x.dtype):
        return winograd.convolve(x, w, groups)
    return direct.split(_keeping_size, x, w, groups)


def input_gradient(g: Array, w: Array, *, shape: Shape, stride: int, groups: int) -> Array:
    """See `direct.input_gradient`."""
    if _is_product(w.shape, stride, groups):
        return direct.product(g.reshape(-1, g.shape[3]), w[0, 0], (1, 1)).reshape(shape)
    if groups > _MAX_SPLIT:
        return direct.input_gradient(g, w, shape=shape, stride=stride, groups=groups)
    if _keeps_size(w.shape, stride):
        if winograd.pays(shape, w.shape, groups, g.dtype):
            return winograd.input_gradient(g, w, groups)
        return direct.split(lambda g, w: _keeping_size(g, w[::-1, ::-1].swapaxes(2, 3)), g, w, groups)
    if groups == 1 and _halves_few(shape, w.shape, stride):
        return _even_and_odd(g, w, shape)
    one = partial(direct.input_gradient, shape=(*shape[:3], shape[3] // groups), stride=stride, groups=1)
    return direct.split(one, g, w, groups)


def weight_gradient(x: Array, g: Array, *, shape: Shape, stride: int, groups: int) -> Array:
    """See `direct.weight_gradient`."""
    if _is_product(shape, stride, groups):
        return direct.product(x.reshape(-1, x.shape[3]), g.reshape(-1, g.shape[3]), (0, 0)).reshape(shape)
    if groups > _MAX_SPLIT:
        return direct.weight_gradient(x, g, shape=shape, stride=stride, groups=groups)
    if _keeps_size(shape, stride) and winograd.pays(x.shape, shape, groups, x.dtype, of_weights=True):
        return winograd.weight_gradient(x, g, groups)
    if patches.pays(shape):
        return patches.weight_gradient(x, g, stride, groups)
    one = partial(direct.weight_gradient, shape=(*shape[:3], shape[3] // groups), stride=stride, groups=1)
    return direct.split(one, x, g, groups)


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


def _keeping_size(x: Array, w: Array) -> Array:
    if min(w.shape[2:]) >= _WIDE or max(w.shape[2:]) <= _TINY:
        return direct.convolve(x, w)
    side = w.shape[0] // 2
    return direct.convolve(x, w, padding=((side, side + 1), (side, side)))[:, : x.shape[1]]


def _even_and_odd(g: Array, w: Array, shape: Shape) -> Array:
    """Computes the pixels of even and odd rows and columns apart: the nine taps fall to them as 4, 2, 2 and 1."""
    taps = {"even": slice(2, None, -2), "odd": slice(1, 2)}
    turned = w.swapaxes(2, 3)

    def pixels(row: str, column: str) -> Array:
        filters = turned[taps[row]][:, taps[column]]
        return direct.convolve(g, filters, padding=[(side - 1, 0) for side in filters.shape[:2]])

    rows = [jnp.stack([pixels(row, column) for column in taps], axis=3) for row in taps]
    return jnp.stack(rows, axis=2).reshape(shape)
