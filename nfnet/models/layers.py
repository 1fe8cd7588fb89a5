"""The layers of NFNets, each usable alone: WSConv2D, Linear, SqueezeExcite, StochDepth.

Brock et al. 2021 (arXiv 2102.06171), Sections 3 and 5 and Appendix C. Parameters have the names of the
released checkpoints and are float32 whatever the type of the activations (float64 beside float64 ones).
"""

import math

import haiku as hk
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from nfnet.errors import UserError
from nfnet.kernels import Deferred, VarianceFloor, conv, product, standardize
from nfnet.models.precision import parameter_dtype


class WSConv2D(hk.Module):
    """Convolution with scaled weight standardization, SAME padding and a bias (Section 3, equation 1).

    Parameters: w [kernel, kernel, channels / groups, filters], gain [filters], bias [filters].
    """

    def __init__(
        self,
        filters: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        floor: VarianceFloor = "clamp",
        name: str | None = None,
    ):
        """Configures the convolution.

        Args:
            filters: Number of output channels.
            kernel: Side of the square filters.
            stride: Step of the filters in both directions.
            groups: Number of groups of channels.
            floor: See `standardize`.
            name: Haiku module name.

        Raises:
            UserError: If the filters are no multiple of the groups.
        """
        super().__init__(name=name)
        if filters % groups:
            raise UserError(f"{filters} filters cannot be divided into {groups} groups.")
        self.filters = filters
        self.kernel = kernel
        self.stride = stride
        self.groups = groups
        self.floor: VarianceFloor = floor

    def __call__(
        self, x: Float[Array, "batch height width channels"] | Deferred
    ) -> Float[Array, "batch out_height out_width filters"]:
        """Convolves images; ones of ceil(side / stride) pixels come out.

        Raises:
            UserError: If the channels are no multiple of the groups.
        """
        channels = x.shape[-1]
        if channels % self.groups:
            raise UserError(f"{channels} channels cannot be divided into {self.groups} groups.")
        dtype = parameter_dtype(x.dtype)
        shape = (self.kernel, self.kernel, channels // self.groups, self.filters)
        w = hk.get_parameter("w", shape, dtype, hk.initializers.VarianceScaling(1.0, "fan_in", "normal"))
        gain = hk.get_parameter("gain", (self.filters,), dtype, jnp.ones)
        bias = hk.get_parameter("bias", (self.filters,), dtype, jnp.zeros)
        # Standardized at full precision, then cast: bfloat16 would lose most of the variance's digits.
        w = standardize(w, gain, floor=self.floor, reader=x).astype(x.dtype)
        y = conv(x, w, stride=self.stride, groups=self.groups)
        # Added at the bias's precision, and so its gradient, a sum over the pixels of a batch: bfloat16 counts to 256.
        return (y + bias).astype(x.dtype)


class Linear(hk.Module):
    """A linear layer with the parameters of `hk.Linear`, w [channels, filters] and b [filters]."""

    def __init__(
        self,
        filters: int,
        *,
        w_init: hk.initializers.Initializer | None = None,
        b_init: hk.initializers.Initializer = jnp.zeros,
        name: str | None = None,
    ):
        """Configures the layer.

        Args:
            filters: Number of outputs.
            w_init: Initializer of w; as in `hk.Linear`, a truncated normal of variance 1 / channels by default.
            b_init: Initializer of b.
            name: Haiku module name.
        """
        super().__init__(name=name)
        self.filters = filters
        self.w_init = w_init
        self.b_init = b_init

    def __call__(self, x: Float[Array, "*axes channels"]) -> Float[Array, "*axes filters"]:
        """Returns x w + b."""
        channels = x.shape[-1]
        dtype = parameter_dtype(x.dtype)
        init = self.w_init or hk.initializers.TruncatedNormal(1 / math.sqrt(channels))
        w = hk.get_parameter("w", (channels, self.filters), dtype, init)
        b = hk.get_parameter("b", (self.filters,), dtype, self.b_init)
        y = product(x, w.astype(x.dtype))
        return (y + b).astype(x.dtype)  # as in WSConv2D: the bias's gradient is a sum at its own precision


class SqueezeExcite(hk.Module):
    """Per-channel gates in (0, 1) from the spatial mean (Hu et al. 2018; Appendix C).

    The hidden layer uses a plain ReLU, as the released code and weights do; the paper's text says GELU.
    Gates are computed at parameter precision: they see one pixel per image, so it costs nothing.
    """

    def __init__(self, channels: int, hidden: int, name: str | None = None):
        """Configures the two linear layers.

        Args:
            channels: Number of channels to gate.
            hidden: Width of the hidden layer.
            name: Haiku module name.
        """
        super().__init__(name=name)
        self.squeeze = Linear(hidden, name="linear")
        self.excite = Linear(channels, name="linear")

    def __call__(self, x: Float[Array, "batch height width channels"]) -> Float[Array, "batch 1 1 channels"]:
        """Returns the gates, at parameter precision, to be multiplied with x."""
        mean = spatial_mean(x)
        gates = jax.nn.sigmoid(self.excite(jax.nn.relu(self.squeeze(mean))))
        return gates[:, None, None, :]


class StochDepth(hk.Module):
    """Drops a residual branch for some examples of a batch in training (Huang et al. 2016).

    One draw per example. Survivors are not rescaled: the released networks are evaluated as they are.
    """

    def __init__(self, rate: float, name: str | None = None):
        """Configures the probability of dropping.

        Args:
            rate: Probability with which an example loses the branch, in [0, 1).
            name: Haiku module name.
        """
        super().__init__(name=name)
        self.rate = rate

    def __call__(self, x: Float[Array, "batch *axes"], is_training: bool) -> Float[Array, "batch *axes"]:
        """Returns x with the dropped examples set to zero; x itself in evaluation."""
        if not is_training or self.rate == 0:
            return x
        kept = jax.random.bernoulli(hk.next_rng_key(), 1 - self.rate, (x.shape[0],))
        return x * kept.astype(x.dtype).reshape(-1, *(1,) * (x.ndim - 1))


def average_pool(
    x: Float[Array, "batch height width channels"],
) -> Float[Array, "batch half_height half_width channels"]:
    """Averages 2x2 windows; at odd sides the last window averages the pixels that exist."""
    return hk.avg_pool(x, (1, 2, 2, 1), (1, 2, 2, 1), "SAME")


def spatial_mean(x: Float[Array, "batch height width channels"]) -> Float[Array, "batch channels"]:
    """Averages over pixels, accumulating and returning at least float32."""
    return jnp.mean(x, axis=(1, 2), dtype=parameter_dtype(x.dtype))


def check_images(images: Array) -> None:
    """Raises UserError unless an array can be the images of a batch: [batch, height, width, 3], of a floating type."""
    if images.ndim != 4 or images.shape[-1] != 3:
        raise UserError(f"images have shape {images.shape}, but need shape [batch, height, width, 3].")
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise UserError(f"images are {images.dtype}, but must be normalized to a floating type.")
