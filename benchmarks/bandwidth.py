"""The rate at which arrays are read and written."""

from __future__ import annotations

import time

import jax
import jax.numpy as jnp

__all__ = ["copy_rate"]

_MIB = (4, 16, 64)  # as large as activations and weights are, and beyond what a core keeps to itself


def copy_rate(rounds: int = 9) -> float:
    """Returns the best bytes/s of reading an array and writing it in place, in `rounds` at each of several sizes."""
    increment = jax.jit(lambda x: x + 1, donate_argnums=0)
    rates = []
    for size in _MIB:
        array = jax.block_until_ready(increment(jnp.ones(size * 2**18)))
        for _ in range(rounds):
            start = time.perf_counter()
            array = jax.block_until_ready(increment(array))
            rates.append(2 * array.nbytes / (time.perf_counter() - start))
    return max(rates)
