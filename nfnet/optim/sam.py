"""Sharpness-aware minimisation (Foret et al. 2021).

As in Brock et al. 2021, appendix A.5, the ascent may see a part of the batch only.
"""

from __future__ import annotations

import math

import haiku as hk
import jax
import optax
from jaxtyping import Array

_BLOCK = 64


def ascent_rows(batch: int, fraction: float) -> tuple[int, int]:
    """Chooses which rows of a batch the ascent sees: the first n of every block.

    Blocks, rather than the head of the batch, let every device take part without moving data; they do not
    depend on the number of devices, so that results do not either.

    Args:
        batch: number of rows.
        fraction: share of the rows that is wanted.

    Returns:
        n and the length of a block, which divides `batch`.
    """
    block = math.gcd(batch, _BLOCK)
    return max(1, round(fraction * block)), block


def take_ascent_rows(rows: Array, fraction: float) -> Array:
    """Takes the ascent's share along the first axis."""
    n, block = ascent_rows(rows.shape[0], fraction)
    return rows.reshape(-1, block, *rows.shape[1:])[:, :n].reshape(-1, *rows.shape[1:])


def ascend(params: hk.Params, gradient: hk.Params, rho: float) -> hk.Params:
    """Moves the parameters by `rho` along the normalised gradient (Foret et al. 2021, equation 2)."""
    scale = rho / (optax.tree.norm(gradient) + 1e-12)
    return jax.tree.map(lambda p, g: p + scale * g, params, gradient)
