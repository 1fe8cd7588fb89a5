"""3x3 convolutions by Winograd's minimal filtering, F(2x2, 3x3), in the form that XLA's CPU backend computes well.

Lavin and Gray 2016 (arXiv 1509.09308), Section 4.1. Images are cut into overlapping tiles of 4x4 pixels, one for each
2x2 pixels of the result. Tiles and filters are transformed by sums and differences, and then multiply elementwise:
16 products of matrices, each with a quarter of the pixels as rows, take the place of nine with all, 4/9 of the
multiplications. Both gradients are of the same kind.

The 16 transformed tiles are one array, [tile and group, pixel, channel], joined along its first axis: XLA fuses each
transform into one operation of loops over contiguous channels, all products are one, and no group is cut out.

Results differ from those of the direct convolution by rounding. An infinite pixel makes the others of its tiles
undefined.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from nfnet.kernels.ordering import late

# Transforms of tiles, filters and results: rows of B^T, G and A^T, with the last rows of B^T and A^T negated, so that
# each combination has a part to start from.
_TILE = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]])
_FILTER = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
_RESULT = np.array([[1, 1, 1, 0], [0, 1, -1, 1]])
_FILTERS = np.kron(_FILTER, _FILTER)  # of filters as rows of nine
# A filter turned by 180 degrees has the same transform with its first and last row, and column, swapped.
_TURNED = [4 * row + column for row in (3, 1, 2, 0) for column in (3, 1, 2, 0)]

# The transforms cost as much as they save unless each channel meets so many others.
_CHANNELS = 128
# Tiles in a batch that it takes: XLA's library uses further cores only for products of many rows. It has another
# product for the gradient of filters, which takes them at fewer.
_TILES = 1024
_TILES_OF_WEIGHTS = 64


def pays(
    images: Sequence[int], filters: Sequence[int], groups: int, dtype: jnp.dtype, *, of_weights: bool = False
) -> bool:
    """Tells whether this is faster than a direct convolution on CPUs.

    Args:
        images: Their shape, NHWC.
        filters: Their shape, HWIO; they move by one pixel.
        groups: Number of groups.
        dtype: Of images and filters; types of less than 32 bits lose too many of them in the transforms.
        of_weights: Whether the gradient of the filters is asked for.
    """
    batch, height, width, _ = images
    if not all(isinstance(side, int) for side in (batch, height, width)):  # unknown, as `jax.export` permits
        return False
    fitting = filters[0] == 3 and height % 2 == width % 2 == 0
    wide = min(filters[2], filters[3] // groups) >= _CHANNELS
    enough = batch * height * width // 4 >= (_TILES_OF_WEIGHTS if of_weights else _TILES)
    return fitting and wide and enough and jnp.dtype(dtype).itemsize >= np.dtype(np.float32).itemsize


@jax.named_scope("winograd")
def convolve(
    x: Float[Array, "batch height width channels"], w: Float[Array, "3 3 channels_per_group filters"], groups: int
) -> Float[Array, "batch height width filters"]:
    """Convolves images of even sides with 3x3 filters, stride 1, SAME padding."""
    return _results(_product(_tiles(x, groups), _filters(w, groups, _FILTERS), (2, 1)), x)


@jax.named_scope("winograd")
def input_gradient(
    g: Float[Array, "batch height width filters"], w: Float[Array, "3 3 channels_per_group filters"], groups: int
) -> Float[Array, "batch height width channels"]:
    """Returns the gradient of the images, from that of the result: its convolution with the turned filters."""
    return _results(_product(_tiles(g, groups), _filters(w, groups, _FILTERS[_TURNED]), (2, 2)), g)


@jax.named_scope("winograd")
def weight_gradient(
    x: Float[Array, "batch height width channels"], g: Float[Array, "batch height width filters"], groups: int
) -> Float[Array, "3 3 channels_per_group filters"]:
    """Returns the gradient of the filters, from the images and the gradient of the result."""
    pixels = [g[:, row::2, column::2] for row in range(2) for column in range(2)]
    products = _product(_tiles(x, groups), _transformed(np.kron(_RESULT, _RESULT).T, pixels, groups), (1, 1))
    # As a product, this is computed once; a sum would be fused into each of the operations that read it. A product of
    # a constant and parts XLA would turn into such a sum; what is late is no constant to it.
    constant = late(jnp.asarray(_FILTERS.T, products.dtype), g)
    taps = lax.dot(constant, products.reshape(16, -1)).reshape(3, 3, groups, *products.shape[1:])
    return jnp.concatenate([taps[:, :, group] for group in range(groups)], axis=3)


def _product(left: Array, right: Array, contracted: tuple[int, int]) -> Array:
    first, second = contracted
    return lax.dot_general(left, right, (((first,), (second,)), ((0,), (0,))))


def _combine(matrix: np.ndarray, parts: Sequence[Array]) -> list[Array]:
    """Returns linear combinations of arrays, one for each row of factors of 1, 0 and -1, at least one of them 1."""
    return [_sum([(factor, part) for factor, part in zip(row, parts, strict=True) if factor]) for row in matrix]


def _sum(terms: Sequence[tuple[float, Array]]) -> Array:
    (_, total), *rest = sorted(terms, key=lambda term: -term[0])
    for factor, part in rest:
        total = total + part if factor > 0 else total - part
    return total


def _transformed(
    matrix: np.ndarray, parts: Sequence[Array], groups: int
) -> Float[Array, "sixteen_groups tiles channels_per_group"]:
    """Returns the 16 combinations of arrays, each cut into its groups."""
    combined = [part.reshape(-1, groups, part.shape[3] // groups).swapaxes(0, 1) for part in _combine(matrix, parts)]
    # XLA leaves more than eight arrays apart when it joins them; four times four take it twice as long to compile.
    return jnp.stack([jnp.concatenate(combined[:8]), jnp.concatenate(combined[8:])]).reshape(
        16 * groups, *combined[0].shape[1:]
    )


def _tiles(x: Array, groups: int) -> Float[Array, "sixteen_groups tiles channels_per_group"]:
    _, height, width, _ = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    pixels = [padded[:, i : i + height - 1 : 2, j : j + width - 1 : 2] for i in range(4) for j in range(4)]
    return _transformed(np.kron(_TILE, _TILE), pixels, groups)


def _filters(
    w: Array, groups: int, transform: np.ndarray
) -> Float[Array, "sixteen_groups channels_per_group filters_per_group"]:
    channels, filters = w.shape[2:]
    grouped = w.reshape(9, channels, groups, filters // groups).swapaxes(1, 2)
    return lax.dot(jnp.asarray(transform, w.dtype), grouped.reshape(9, -1)).reshape(16 * groups, channels, -1)


def _results(products: Float[Array, "sixteen_groups tiles filters_per_group"], like: Array) -> Array:
    batch, height, width, _ = like.shape
    tiles = products.reshape(16, -1, *products.shape[1:]).swapaxes(1, 2)
    parts = [part.reshape(batch, height // 2, width // 2, *part.shape[1:]) for part in tiles]
    pixels = _combine(np.kron(_RESULT, _RESULT), parts)
    rows = [jnp.stack(pixels[2 * row : 2 * row + 2], axis=3) for row in range(2)]
    return jnp.stack(rows, axis=2).reshape(batch, height, width, -1)
