"""Signal propagation: how the activations' mean and variance evolve through a network.

The plots of Brock, De and Smith 2021 (arXiv 2101.08692, Section 3) as numbers: at each block the average over
channels of the squared mean and of the variance, and the variance of the residual branch before its skip
gain. White noise loses variance at each average pooling; judge unit variance on smooth images.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import haiku as hk
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from nfnet.models.layers import StochDepth, WSConv2D
from nfnet.models.nfnet import NFBlock, NFNet


class Signal(NamedTuple):
    """Statistics along the depth of a network, over all images and pixels.

    Attributes:
        square_mean: Mean over channels of the squared mean, [1 + blocks]; the first is the stem's output.
        variance: Mean over channels of the variance, [1 + blocks].
        branch_variance: The same of each residual branch after squeeze-excite, [blocks].
    """

    square_mean: Float[Array, " depth"]
    variance: Float[Array, " depth"]
    branch_variance: Float[Array, " blocks"]


def signal_propagation(
    function: Callable[[Array], Any], params: hk.Params, images: Float[Array, "batch height width 3"]
) -> Signal:
    """Observes a network from outside while it classifies images.

    Args:
        function: Builds an NFNet without rematerialization and applies it in evaluation mode, as would be
            given to `hk.transform`.
        params: Its parameters.
        images: What it classifies.

    Returns:
        Statistics of arrays; to compile them, `jax.jit` a function of params and images that calls this one.
    """

    def observe(images: Array) -> Signal:
        states: list[Array] = []
        branches: list[Array] = []
        last: list[Array] = []  # output of the convolution before

        def record(next_function: Callable[..., Array], args: Any, kwargs: Any, context: hk.MethodContext) -> Array:
            output = next_function(*args, **kwargs)
            match context.module, context.method_name:
                case WSConv2D(), "__call__":
                    last[:] = [output]
                case StochDepth(), "__call__":
                    branches.append(output * last[0])  # gates, and what they are for
                case (NFBlock(), "__call__") | (NFNet(), "stem"):
                    states.append(output)
            return output

        with hk.intercept_methods(record):
            function(images)
        return Signal(
            square_mean=jnp.stack([_square_mean(state) for state in states]),
            variance=jnp.stack([_variance(state) for state in states]),
            branch_variance=jnp.stack([_variance(branch) for branch in branches]),
        )

    signal: Signal = hk.transform(observe).apply(params, None, images)
    return signal


def _square_mean(x: Float[Array, "batch height width channels"]) -> Float[Array, ""]:
    return jnp.mean(jnp.mean(x, axis=(0, 1, 2)) ** 2)


def _variance(x: Float[Array, "batch height width channels"]) -> Float[Array, ""]:
    return jnp.mean(jnp.var(x, axis=(0, 1, 2)))
