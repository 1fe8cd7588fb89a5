"""Types of numbers: activations may be short, parameters and what is summed over pixels are not."""

import jax.numpy as jnp
from jax.typing import DTypeLike


def parameter_dtype(dtype: DTypeLike) -> jnp.dtype:
    """Returns the type of parameters beside activations of a type: at least float32."""
    return jnp.promote_types(dtype, jnp.float32)
