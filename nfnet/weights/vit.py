"""What conversions of Vision Transformers share: names and shapes of `nfnet.ViT`, and its position embedding.

Arrays are reshaped, transposed and joined, never approximated, but for position embeddings of another resolution.
"""

import math
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from nfnet.errors import UserError, printable, unknown_name
from nfnet.weights.files import Arrays

Interpolation = Literal["bilinear", "bicubic"]


def own_name(module: str, kind: str) -> str:
    """Returns our name of a parameter that others call a bias, or a weight, kernel or scale."""
    weight, bias = ("scale", "offset") if module.endswith("norm") else ("w", "b")
    return bias if kind == "bias" else weight


def filters_to_matrix(value: np.ndarray) -> np.ndarray:
    """From [..., out], as filters [height, width, in, out] or [head, feature, out], to [in, out]."""
    return value.reshape(-1, value.shape[-1]) if value.ndim > 1 else value


def check_axes(value: np.ndarray, allowed: tuple[int, ...], key: str, source: str) -> None:
    """Raises UserError unless an array has one of the allowed numbers of axes."""
    if value.ndim not in allowed:
        raise UserError(
            f"{source}: {printable(key)} has shape {value.shape}, but needs {' or '.join(map(str, allowed))} axes."
        )


def with_class_position(params: Arrays, source: str) -> Arrays:
    """Gives the class token a position of zero where the checkpoint has positions of patches alone."""
    tokens = params.get("ViT", {})
    if "position_embedding" in tokens:
        check_axes(tokens["position_embedding"], (3,), "the position embedding", source)
    if "cls_token" in tokens and "position_embedding" in tokens:
        embedding = tokens["position_embedding"]
        if math.isqrt(embedding.shape[1]) ** 2 == embedding.shape[1]:
            padded = np.concatenate([np.zeros_like(embedding[:, :1]), embedding], axis=1)
            return {**params, "ViT": {**tokens, "position_embedding": padded}}
    return params


def resize_position_embedding(
    embedding: Float[np.ndarray, "1 tokens width"],
    grid: tuple[int, int],
    *,
    old_grid: tuple[int, int] | None = None,
    with_class: bool = False,
    interpolation: Interpolation = "bilinear",
) -> Float[np.ndarray, "1 new_tokens width"]:
    """Interpolates a learned position embedding to another grid (Dosovitskiy et al. 2021, Section 3.2).

    A position stands for the centre of its patch, and a coarser grid averages (antialiasing). The authors' code lays
    the centres of the outermost patches on top of each other instead, and does not average.

    Args:
        embedding: Positions of the patches row by row, after that of the class token if there is one.
        grid: Rows and columns of patches to come; see `nfnet.ViTConfig.grid`.
        old_grid: Rows and columns now; by default as many of either.
        with_class: Whether the first position is the class token's, which is kept.
        interpolation: "bilinear" or "bicubic".

    Raises:
        UserError: If the embedding is not of such a grid, or the interpolation is unknown.
    """
    if interpolation not in get_args(Interpolation):
        raise unknown_name("interpolation", interpolation, get_args(Interpolation))
    _, tokens, width = embedding.shape
    rows, columns = old_grid or (math.isqrt(tokens - with_class),) * 2
    if rows * columns + with_class != tokens:
        raise UserError(
            f"a position embedding of {tokens} tokens, {'one' if with_class else 'none'} of them a class token, is not "
            f"of {rows} x {columns} patches: give old_grid and with_class."
        )
    if (rows, columns) == grid:
        return embedding
    first, patches = np.split(np.asarray(embedding), [int(with_class)], axis=1)
    resized = jax.image.resize(jnp.asarray(patches.reshape(rows, columns, width)), (*grid, width), interpolation)
    return np.concatenate([first, np.asarray(resized).reshape(1, -1, width)], axis=1)
