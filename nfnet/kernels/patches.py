"""The gradient of 3x3 filters as one matrix product over all pixels, for CPUs.

XLA's CPU backend computes this gradient as a convolution: pixels become channels, and the result of the network's
convolution becomes a filter as large as an image. The larger the image, the slower that is. Here all nine taps of all
filters are one product instead. It sums over pixels, so what it multiplies has pixels as rows:

- without a stride, the image shifted by -1, 0 and 1 rows beside the result's gradient shifted by 1, 0 and -1
  columns: three copies of each, and each pair of them makes one tap;
- with a stride, the gradient beside the nine pixels that each of its pixels was made of.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from nfnet.kernels.ordering import once

_SIDE = 3
# With fewer channels a group, such as those of an image, the copies take longer than the convolution.
_CHANNELS = 16


def pays(filters: Sequence[int]) -> bool:
    """Tells whether this is faster than a convolution on CPUs, given the shape of the filters, HWIO."""
    return tuple(filters[:2]) == (_SIDE, _SIDE) and filters[2] >= _CHANNELS


@jax.named_scope("patches")
def weight_gradient(
    x: Float[Array, "batch height width channels"],
    g: Float[Array, "batch out_height out_width filters"],
    stride: int,
    groups: int,
) -> Float[Array, "3 3 channels_per_group filters"]:
    """Returns the gradient of 3x3 filters, from the images and the gradient of the result, under SAME padding."""
    channels, filters = x.shape[3] // groups, g.shape[3] // groups
    above, beside = lax.padtype_to_pads(x.shape[1:3], (_SIDE, _SIDE), (stride, stride), "SAME")
    _, height, width, _ = g.shape
    if stride == 1:
        rows = jnp.pad(x, ((0, 0), above, (0, 0), (0, 0)))
        columns = jnp.pad(g, ((0, 0), (0, 0), beside, (0, 0)))
        left = _joined([rows[:, i : i + height] for i in range(_SIDE)], groups)
        right = _joined([columns[:, :, j : j + width] for j in reversed(range(_SIDE))], groups)
        taps = _product(left, right).reshape(groups, _SIDE, channels, _SIDE, filters).transpose(1, 3, 2, 0, 4)
    else:
        padded = jnp.pad(x, ((0, 0), above, beside, (0, 0)))
        bottom, right_end = (stride * (side - 1) + 1 for side in (height, width))
        pixels = [
            padded[:, i : i + bottom : stride, j : j + right_end : stride] for i in range(_SIDE) for j in range(_SIDE)
        ]
        product = _product(_joined([g], groups), _joined(pixels, groups))
        taps = product.reshape(groups, filters, _SIDE, _SIDE, channels).transpose(2, 3, 4, 0, 1)
    return once(taps.reshape(_SIDE, _SIDE, channels, -1))


def _joined(parts: Sequence[Array], groups: int) -> Float[Array, "groups pixels _"]:
    """Returns arrays of images beside each other, group by group."""
    grouped = [part.reshape(-1, groups, part.shape[3] // groups).swapaxes(0, 1) for part in parts]
    return jnp.concatenate(grouped, axis=2)


def _product(left: Array, right: Array) -> Array:
    return lax.dot_general(left, right, (((1,), (1,)), ((0,), (0,))))
