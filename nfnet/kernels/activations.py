"""GELU, which keeps nothing for its backward pass but its argument."""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from nfnet.kernels.forms import only_plain

_SATURATED = 10.0  # beyond it value and slope are those of 0 and x, to any precision below float64's


def gelu_tanh(x: Float[Array, "*shape"], scale: float = 1.0) -> Float[Array, "*shape"]:
    """Returns GELU in its tanh form, x / 2 (1 + tanh(u)) with u = sqrt(2 / pi) (x + 0.044715 x^3), times a scale.

    float16 is computed in float32: its own range ends where the slope's parts do.
    """
    x = jnp.asarray(x)
    if only_plain() or x.dtype == jnp.float64:  # used to compare with the released code: rounded as there
        return scale * jax.nn.gelu(x, approximate=True)
    if x.dtype == jnp.float16:
        return _gelu_tanh(x.astype(jnp.float32), scale).astype(x.dtype)
    return _gelu_tanh(x, scale)


# Value and derivative end with a division: XLA fuses a product into all operations that read it, which compute it
# again each, but it computes a quotient once. Transposed copies of it, which the gradients of weights need on CPUs,
# are then plain copies. The two exponentials differ in a bound: XLA would share equal ones, and keep them.
@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _gelu_tanh(x: Array, scale: float) -> Array:
    return scale * x / (1 + jnp.exp(-_twice_u(x)))


@_gelu_tanh.defjvp
def _gelu_tanh_jvp(scale: float, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (tangent,) = primals, tangents
    z = jnp.clip(x, -_SATURATED, _SATURATED)  # or its powers would be infinite, and their product with 0 undefined
    slope = math.sqrt(8 / math.pi) * (1 + 3 * 0.044715 * z * z)  # of 2 u
    decay = jnp.exp(-_twice_u(z))
    total = 1 + decay
    return _gelu_tanh(x, scale), tangent / total * (scale * (1 + z * slope * (decay / total)))


def _twice_u(x: Array) -> Array:
    return math.sqrt(8 / math.pi) * x * (1 + 0.044715 * x * x)
