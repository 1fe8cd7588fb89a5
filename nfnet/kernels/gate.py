"""Products with factors that are small beside the array they meet."""

from functools import reduce
from operator import mul

from jax import Array
from jaxtyping import Float

from nfnet.kernels.ordering import once


def gate(x: Float[Array, "*batch channels"], *factors: Array) -> Float[Array, "*batch channels"]:
    """Returns the product of images and factors, in the images' type.

    The factors meet before the pixels do: one product, and one sum over pixels for the gradients of all of them. It is
    computed at the factors' precision, for the sake of that sum: bfloat16 counts to 256.

    Args:
        x: Images.
        factors: Numbers, or arrays that broadcast to the images, such as [batch, 1, 1, channels].
    """
    return (once(reduce(mul, factors)) * x).astype(x.dtype)
