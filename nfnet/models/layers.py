"""The layers of NFNets, each usable alone: scaled activations, WSConv2D, SqueezeExcite, StochDepth.

Brock et al. 2021 (arXiv 2102.06171), Sections 3 and 5 and Appendix C. Parameters have the names of the
released checkpoints and are float32 whatever the type of the activations (float64 beside float64 ones).
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike
from jaxtyping import Float

from nfnet.errors import UserError, unknown_name
from nfnet.kernels.conv import conv, product
from nfnet.kernels.ordering import late

Activation = Callable[[Array], Array]
VarianceFloor = Literal["clamp", "add"]


class ScaledActivation(NamedTuple):
    """A nonlinearity and the gain that gives it unit variance on unit normal inputs."""

    function: Activation
    gain: float


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def gelu_tanh(x: Float[Array, "*shape"], scale: float = 1.0) -> Float[Array, "*shape"]:
    """Returns GELU in its tanh form, x / 2 (1 + tanh(u)) with u = sqrt(2 / pi) (x + 0.044715 x^3), times a scale.

    Value and derivative end with a division: XLA fuses a product into all operations that read it, which compute it
    again each, but it computes a quotient once. Transposed copies of it, which the gradients of weights need on CPUs,
    are then plain copies. The two exponentials differ in a bound: XLA would share equal ones, and keep them.
    """
    if x.dtype == jnp.float64:  # the type of comparisons: rounded as in the released code
        return scale * jax.nn.gelu(x, approximate=True)
    return scale * x / (1 + jnp.exp(-_twice_u(x)))


def _twice_u(x: Array) -> Array:
    return math.sqrt(8 / math.pi) * x * (1 + 0.044715 * x * x)


@gelu_tanh.defjvp
def _gelu_tanh_jvp(scale: float, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (tangent,) = primals, tangents
    slope = math.sqrt(8 / math.pi) * (1 + 3 * 0.044715 * x * x)  # of 2 u
    decay = jnp.exp(jnp.minimum(-_twice_u(x), math.log(jnp.finfo(x.dtype).max) - 1))  # finite
    total = 1 + decay
    return gelu_tanh(x, scale), tangent / total * (scale * (1 + x * slope * (decay / total)))


# The gains are those of the released code and weights, estimated there from samples; integration gives
# e.g. 1.70092 for GELU and 1.71286 for ReLU. The released weights were trained with the values below.
ACTIVATIONS = {
    "celu": ScaledActivation(jax.nn.celu, 1.270926833152771),
    "elu": ScaledActivation(jax.nn.elu, 1.2716004848480225),
    "gelu": ScaledActivation(gelu_tanh, 1.7015043497085571),
    "gelu_erf": ScaledActivation(lambda x: jax.nn.gelu(x, approximate=False), 1.7015043497085571),
    "identity": ScaledActivation(lambda x: x, 1.0),
    "leaky_relu": ScaledActivation(jax.nn.leaky_relu, 1.70590341091156),
    "log_sigmoid": ScaledActivation(jax.nn.log_sigmoid, 1.9193484783172607),
    "relu": ScaledActivation(jax.nn.relu, 1.7139588594436646),
    "relu6": ScaledActivation(jax.nn.relu6, 1.7131484746932983),
    "selu": ScaledActivation(jax.nn.selu, 1.0008515119552612),
    "sigmoid": ScaledActivation(jax.nn.sigmoid, 4.803835391998291),
    "silu": ScaledActivation(jax.nn.silu, 1.7881293296813965),
    "soft_sign": ScaledActivation(jax.nn.soft_sign, 2.338853120803833),
    "softplus": ScaledActivation(jax.nn.softplus, 1.9203323125839233),
    "tanh": ScaledActivation(jax.nn.tanh, 1.5939117670059204),
}


def scaled_activation(name: str, scale: float = 1.0) -> Activation:
    """Returns x -> scale * gain * f(x), for unit normal x of variance scale^2 (Section 3, gamma).

    Args:
        name: A key of `ACTIVATIONS`. "gelu" is the tanh form that the released weights were trained with,
            "gelu_erf" the exact form.
        scale: A further factor.

    Raises:
        UserError: If the name is unknown.
    """
    if name not in ACTIVATIONS:
        raise unknown_name("activation", name, ACTIVATIONS)
    function, gain = ACTIVATIONS[name]
    if function is gelu_tanh:
        return partial(gelu_tanh, scale=gain * scale)
    return lambda x: function(x) * (gain * scale)


def parameter_dtype(dtype: DTypeLike) -> jnp.dtype:
    """Returns the type of parameters beside activations of a type: at least float32."""
    return jnp.promote_types(dtype, jnp.float32)


def standardize(
    w: Float[Array, "*fan_in filters"],
    gain: Float[Array, " filters"],
    *,
    floor: VarianceFloor = "clamp",
) -> Float[Array, "*fan_in filters"]:
    """Standardizes each filter over its fan-in and scales it (Section 3, equation 1).

    Args:
        w: Filters, the last axis counting them.
        gain: One factor per filter.
        floor: How a vanishing variance is kept from dividing by zero: "clamp" takes
            max(variance * fan_in, 1e-4), as the released code does; "add" takes fan_in * (variance + 1e-5),
            as timm's port does.

    Returns:
        gain * (w - mean) / sqrt(variance * fan_in), floored.
    """
    # As a matrix: over several axes, the gradient's sums take XLA's CPU backend up to nine times as long.
    # As scale and shift: w - mean would be kept, a second copy of the weights, for both of its uses.
    rows = w.reshape(-1, w.shape[-1])
    fan_in = rows.shape[0]
    # From the mean square: XLA would write down all rows - mean for their squares. Weights have means of the order of
    # their deviation or less, so that the difference loses no more than a digit.
    mean = jnp.mean(rows, axis=0)
    square = fan_in * (jnp.mean(rows * rows, axis=0) - mean * mean)
    square = _at_least(square, 1e-4) if floor == "clamp" else _at_least(square, 0) + fan_in * 1e-5
    scale = _rsqrt(square) * gain
    return (rows * scale - mean * scale).reshape(w.shape)


def _at_least(x: Array, floor: float) -> Array:
    """Returns the larger of both, like jnp.maximum, whose derivative halves where they are equal, a longer program."""
    return jnp.where(x < floor, floor, x)


@jax.custom_jvp
def _rsqrt(x: Array) -> Array:
    """Returns x^(-1/2), with a derivative computed from the result alone: what led to x is not computed again."""
    return lax.rsqrt(x)


@_rsqrt.defjvp
def _rsqrt_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    y = _rsqrt(*primals)
    return y, -0.5 * y * y * y * tangents[0]


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
        self, x: Float[Array, "batch height width channels"], activation: Activation | None = None
    ) -> Float[Array, "batch out_height out_width filters"]:
        """Convolves x, or activation(x); images of ceil(side / stride) pixels come out.

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
        gain = late(gain, x)  # or all weights would be standardized at the start, and kept
        # Standardized at full precision, then cast: bfloat16 would lose most of the variance's digits.
        w = standardize(w, gain, floor=self.floor).astype(x.dtype)
        y = conv(x, w, stride=self.stride, groups=self.groups, activation=activation)
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
        *axes, channels = x.shape
        dtype = parameter_dtype(x.dtype)
        init = self.w_init or hk.initializers.TruncatedNormal(1 / math.sqrt(channels))
        w = hk.get_parameter("w", (channels, self.filters), dtype, init)
        b = hk.get_parameter("b", (self.filters,), dtype, self.b_init)
        y = product(x.reshape(-1, channels), w.astype(x.dtype)).reshape(*axes, self.filters)
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
