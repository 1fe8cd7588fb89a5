"""Ways to write the operations of an NFNet on a CPU, each against the floor that arithmetic and memory set.

python -m benchmarks.formulations

For each operation at the shapes of NFNet-F0, 192 px, batch 8: milliseconds of value, input gradient and weight
gradient as each formulation gives them, the largest deviation from the plain operation, and the floor, the longer
of operations over the sgemm rate and bytes over the copy rate that are measured in the same run. The last rows are
the floors of the whole forward pass and training step. Formulations that are not ours live here alone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from benchmarks.bandwidth import copy_rate
from benchmarks.machine import describe
from benchmarks.model import FLOPS_PER_MAC
from benchmarks.report import RESULTS, emit, parser, positive, run, say
from benchmarks.timing import Summary, summary
from nfnet.cost.cost import network_cost
from nfnet.kernels import standardize
from nfnet.kernels.conv import conv

__all__ = ["POINTWISE", "SPATIAL", "STANDARDIZATION", "main"]

Convolution = Callable[..., Array]
_BATCH, _RESOLUTION = 8, 192
_SIDE = 3  # of the spatial filters
_SQUARES = (1024, 2048, 3072)  # sides of the products that tell the sgemm rate


def plain(x: Array, w: Array, *, stride: int = 1, groups: int = 1) -> Array:
    """One convolution, groups by feature_group_count."""
    return lax.conv_general_dilated(
        x, w, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups
    )


def by_group(x: Array, w: Array, *, stride: int = 1, groups: int = 1) -> Array:
    """A direct convolution for each group."""
    return _by_group(partial(plain, stride=stride), x, w, groups)


def _taps(x: Array, stride: int) -> list[Array]:
    """The nine shifted copies of images under SAME padding."""
    pads = [lax.padtype_to_pads((side,), (_SIDE,), (stride,), "SAME")[0] for side in x.shape[1:3]]
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    rows, columns = (-(-side // stride) for side in x.shape[1:3])
    return [
        padded[:, i : i + (rows - 1) * stride + 1 : stride, j : j + (columns - 1) * stride + 1 : stride]
        for i in range(_SIDE)
        for j in range(_SIDE)
    ]


def _by_group(one: Callable[[Array, Array], Array], x: Array, w: Array, groups: int) -> Array:
    pairs = zip(jnp.split(x, groups, axis=3), jnp.split(w, groups, axis=3), strict=True)
    return jnp.concatenate([one(part, filters) for part, filters in pairs], axis=3)


def im2col(x: Array, w: Array, *, stride: int = 1, groups: int = 1) -> Array:
    """All nine taps beside one another, then one product per group."""

    def one(x: Array, w: Array) -> Array:
        return jnp.concatenate(_taps(x, stride), axis=3) @ w.reshape(-1, w.shape[3])

    return _by_group(one, x, w, groups)


def shifted(x: Array, w: Array, *, stride: int = 1, groups: int = 1) -> Array:
    """Nine products per group, one a tap, added up."""

    def one(x: Array, w: Array) -> Array:
        filters = w.reshape(-1, *w.shape[2:])
        return sum((tap @ part for tap, part in zip(_taps(x, stride), filters, strict=True)), start=jnp.zeros(()))

    return _by_group(one, x, w, groups)


# Lavin and Gray 2016 (arXiv 1509.09308): input, filter and output transforms of F(2x2, 3x3).
_INPUT = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]], np.float32)
_FILTER = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)
_OUTPUT = np.array([[1, 1, 1, 0], [0, 1, -1, -1]], np.float32)


def _combine(matrix: np.ndarray, parts: Sequence[Array]) -> list[Array]:
    """Linear combinations of arrays, without the terms that are zero."""
    return [sum(p * c for c, p in zip(row, parts, strict=True) if c) for row in matrix]


def winograd(x: Array, w: Array, *, stride: int = 1, groups: int = 1) -> Array:
    """Winograd's F(2x2, 3x3) as one would write it: 16 products of a quarter of the pixels, even sides only."""
    assert stride == 1
    batch, height, width, _ = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows = _combine(_INPUT, [padded[:, i : i + height - 1 : 2] for i in range(4)])
    tiles = [_combine(_INPUT, [row[:, :, j : j + width - 1 : 2] for j in range(4)]) for row in rows]
    filters = jnp.einsum("ai,bj,ijck->abck", _FILTER, _FILTER, w)
    products = [
        [_by_group(jnp.matmul, tiles[a][b], filters[a, b][None, None], groups) for b in range(4)] for a in range(4)
    ]
    columns = [_combine(_OUTPUT, [products[a][b] for a in range(4)]) for b in range(4)]
    pixels = [jnp.stack(_combine(_OUTPUT, [columns[b][p] for b in range(4)]), axis=3) for p in range(2)]
    return jnp.stack(pixels, axis=2).reshape(batch, height, width, -1)


# The same for four pixels of a row from six products: F(4, 3).
_ROW_INPUT = np.array(
    [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0], [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0],
     [0, 4, 0, -5, 0, 1]], np.float32,
)  # fmt: skip
_ROW_FILTER = np.array(
    [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], np.float32
) / np.float32(24)  # fmt: skip
_ROW_OUTPUT = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], np.float32)


def winograd_rows(x: Array, w: Array, *, stride: int = 1, groups: int = 1) -> Array:
    """Winograd's F(4, 3) along rows: six columns of filters at a quarter of the pixels, widths of fours only."""
    assert stride == 1
    batch, height, width, _ = x.shape
    padded = jnp.pad(x.transpose(2, 1, 0, 3), ((1, 1), (0, 0), (0, 0), (0, 0)))  # width, height, batch, channels
    tiles = _combine(_ROW_INPUT, [padded[i : i + width - 3 : 4] for i in range(6)])
    filters = _combine(_ROW_FILTER, [w[:, i : i + 1] for i in range(3)])

    def one(x: Array, w: Array) -> Array:
        return lax.conv_general_dilated(x, w, (1, 1), ((1, 1), (0, 0)), dimension_numbers=("NHWC", "HWIO", "NHWC"))

    products = [_by_group(one, tile, part, groups) for tile, part in zip(tiles, filters, strict=True)]
    columns = jnp.stack(_combine(_ROW_OUTPUT, products), axis=1)  # quarter, place in it, height, batch, filters
    return columns.reshape(width, height, batch, -1).transpose(2, 1, 0, 3)


def dot(x: Array, w: Array, *, stride: int = 1, groups: int = 1) -> Array:
    """A matrix product as JAX differentiates it, whose weight gradient comes column-major."""
    assert stride == groups == 1
    return jnp.dot(x, w[0, 0])


def dot_of_halves(x: Array, w: Array, *, stride: int = 1, groups: int = 1) -> Array:
    """Two products, one for each half of the batch, which may run on a core each."""
    assert stride == groups == 1
    return jnp.concatenate([jnp.dot(half, w[0, 0]) for half in jnp.split(x, 2)])


def dot_transposed(x: Array, w: Array, *, stride: int = 1, groups: int = 1) -> Array:
    """A product with filters that are laid down anew, the inputs of each beside one another."""
    assert stride == groups == 1
    return lax.dot_general(x, w[0, 0].T, (((3,), (1,)), ((), ())))


def standardize_axes(w: Array, gain: Array) -> Array:
    """Weight standardization over the three axes of the fan-in, as one would write it."""
    axes = tuple(range(w.ndim - 1))
    centred = w - jnp.mean(w, axis=axes)
    square = jnp.maximum(jnp.var(w, axis=axes) * (w.size // w.shape[-1]), 1e-4)
    return centred * (lax.rsqrt(square) * gain)


def standardize_scale_shift(w: Array, gain: Array) -> Array:
    """The same as scale and shift over three axes, the released code's way."""
    axes = tuple(range(w.ndim - 1))
    square = jnp.maximum(jnp.var(w, axis=axes) * (w.size // w.shape[-1]), 1e-4)
    scale = lax.rsqrt(square) * gain
    return w * scale - jnp.mean(w, axis=axes) * scale


def standardize_one_pass(w: Array, gain: Array) -> Array:
    """The same with both sums taken in one pass over the weights, as pairs."""
    rows = w.reshape(-1, w.shape[-1])
    zero = jnp.zeros((), w.dtype)
    total, of_squares = lax.reduce(
        (rows, rows * rows), (zero, zero), lambda one, other: (one[0] + other[0], one[1] + other[1]), (0,)
    )
    mean = total / len(rows)
    scale = lax.rsqrt(jnp.maximum(of_squares - total * mean, 1e-4)) * gain
    return (rows * scale - mean * scale).reshape(w.shape)


SPATIAL: Mapping[str, Convolution] = {
    "plain": plain,
    "ours": conv,
    "group by group": by_group,
    "im2col and product": im2col,
    "nine shifted products": shifted,
    "Winograd, group by group": winograd,
    "Winograd F(4, 3)": winograd_rows,
}
_UNIT_STRIDE = (winograd, winograd_rows)
POINTWISE: Mapping[str, Convolution] = {
    "plain": plain,
    "ours": conv,
    "product, JAX's gradient": dot,
    "product of halves": dot_of_halves,
    "product, filters transposed": dot_transposed,
}
STANDARDIZATION: Mapping[str, Callable[[Array, Array], Array]] = {
    "plain": standardize_axes,
    "ours": standardize,
    "scale and shift, three axes": standardize_scale_shift,
    "scale and shift, one pass": standardize_one_pass,
}

# Name, formulations, pixels a side, channels, filters, kernel, stride, groups: NFNet-F0 at 192 px.
_CONVOLUTIONS = (
    ("3x3, stem, 32 to 64", SPATIAL, 96, 32, 64, 3, 1, 1),
    ("3x3, stem, stride 2, 64 to 128", SPATIAL, 96, 64, 128, 3, 2, 1),
    ("3x3, stage 1, 128", SPATIAL, 48, 128, 128, 3, 1, 1),
    ("3x3, stage 2, 256 in 2 groups", SPATIAL, 24, 256, 256, 3, 1, 2),
    ("3x3, stage 3, 768 in 6 groups", SPATIAL, 12, 768, 768, 3, 1, 6),
    ("3x3, stage 3, stride 2, 768 in 6 groups", SPATIAL, 24, 768, 768, 3, 2, 6),
    ("1x1, stage 1, 128 to 256", POINTWISE, 48, 128, 256, 1, 1, 1),
    ("1x1, stage 3, 768 to 1536", POINTWISE, 12, 768, 1536, 1, 1, 1),
    ("1x1, stage 4, 1536 to 3072", POINTWISE, 6, 1536, 3072, 1, 1, 1),
)
_WEIGHTS = (("standardize, 1x1x1536x3072", (1, 1, 1536, 3072)), ("standardize, 3x3x128x768", (3, 3, 128, 768)))


def measured(function: Callable[..., Any], operands: Sequence[Array], rounds: int) -> Summary:
    """Returns the seconds of a compiled call, after one that is not counted."""
    program = jax.jit(function).lower(*operands).compile()
    jax.block_until_ready(program(*operands))
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        jax.block_until_ready(program(*operands))
        seconds.append(time.perf_counter() - start)
    return summary(seconds)


def _passes(function: Callable[[Array, Array], Array]) -> dict[str, Callable[[Array, Array, Array], Array]]:
    return {
        "value": lambda a, b, g: function(a, b),
        "input gradient": lambda a, b, g: jax.vjp(lambda a: function(a, b), a)[1](g)[0],
        "weight gradient": lambda a, b, g: jax.vjp(lambda b: function(a, b), b)[1](g)[0],
    }


def _sgemm_rate(rounds: int) -> float:
    """Returns the best FLOP/s of float32 products."""
    products = {side: measured(jnp.matmul, (jnp.ones((side, side)),) * 2, rounds)["low"] for side in _SQUARES}
    return max(2 * side**3 / seconds for side, seconds in products.items())


def _rows(
    name: str,
    forms: Mapping[str, Callable[..., Array]],
    operands: tuple[Array, Array],
    floors: Mapping[str, float],
    rounds: int,
) -> list[dict[str, Any]]:
    rows = []
    shape = jax.eval_shape(forms["plain"], *operands).shape
    cotangent = jnp.asarray(np.random.default_rng(1).standard_normal(shape), jnp.float32)
    expected = {key: f(*operands, cotangent) for key, f in _passes(forms["plain"]).items()}
    for form, function in forms.items():
        say(f"{name}: {form}")
        for key, f in _passes(function).items():
            if key not in floors:
                continue
            found = f(*operands, cotangent)
            deviation = float(jnp.max(jnp.abs(found - expected[key])) / jnp.max(jnp.abs(expected[key])))
            seconds = measured(f, (*operands, cotangent), rounds)
            row: dict[str, Any] = {"operation": name, "pass": key, "formulation": form}
            rows.append({**row, "seconds": seconds, "floor_s": floors[key], "deviation": deviation})
    return rows


def _main(arguments: Sequence[str] | None) -> int:
    line = parser("formulations", "Measure ways to write the operations of an NFNet.")
    line.add_argument("--rounds", type=positive, default=9, help="calls that are kept (%(default)s)")
    options = line.parse_args(arguments)
    flops, bandwidth = _sgemm_rate(options.rounds), copy_rate(options.rounds)
    rng = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for name, forms, side, channels, filters, kernel, stride, groups in _CONVOLUTIONS:
        x = jnp.asarray(rng.standard_normal((_BATCH, side, side, channels)), jnp.float32)
        w = jnp.asarray(rng.standard_normal((kernel, kernel, channels // groups, filters)), jnp.float32)
        usable = {key: form for key, form in forms.items() if stride == 1 or form not in _UNIT_STRIDE}
        bound = {key: partial(form, stride=stride, groups=groups) for key, form in usable.items()}
        outputs = _BATCH * (side // stride) ** 2 * filters
        floor = max(2 * outputs * kernel**2 * channels // groups / flops, 4 * (x.size + w.size + outputs) / bandwidth)
        rows += _rows(name, bound, (x, w), dict.fromkeys(_passes(plain), floor), options.rounds)
    for name, shape in _WEIGHTS:
        w = jnp.asarray(rng.standard_normal(shape), jnp.float32)
        # The value reads weights twice and writes them; the gradient reads weights and cotangent twice and writes.
        floors = {"value": 3 * w.nbytes / bandwidth, "input gradient": 5 * w.nbytes / bandwidth}
        rows += _rows(name, STANDARDIZATION, (w, jnp.ones(shape[-1])), floors, options.rounds)
    macs = _BATCH * network_cost("F0", _RESOLUTION).macs
    record: dict[str, Any] = {
        "benchmark": "formulations",
        "machine": describe() | {"device_kind": jax.devices()[0].device_kind},
        "settings": {"network": "F0", "batch": _BATCH, "resolution": _RESOLUTION, "rounds": options.rounds},
        "sgemm_flops": flops,
        "copy_bytes_per_s": bandwidth,
        "floor_s": {mode: FLOPS_PER_MAC[mode] * macs / flops for mode in ("forward", "train")},
        "results": rows,
    }
    columns = ("operation", "pass", "formulation", "ms", "floor, ms", "deviation")
    table: list[list[Any]] = [
        [*(row[key] for key in ("operation", "pass", "formulation")), *(1e3 * t for t in _times(row)), row["deviation"]]
        for row in rows
    ]
    table += [["F0", name, "all products", None, 1e3 * seconds, None] for name, seconds in record["floor_s"].items()]
    emit(options.out or RESULTS / "formulations.json", record, columns, table)
    return 0


def _times(row: Mapping[str, Any]) -> tuple[float, float]:
    return row["seconds"]["median"], row["floor_s"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0, or 2 at bad input."""
    return run(lambda: _main(arguments))


if __name__ == "__main__":
    sys.exit(main())
