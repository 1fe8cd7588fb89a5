"""Nonlinearities, each with the gain that preserves variance (Brock et al. 2021, Section 3)."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
from jax import Array

from nfnet.errors import unknown_name
from nfnet.kernels import gelu_tanh

Activation = Callable[[Array], Array]


class ScaledActivation(NamedTuple):
    """A nonlinearity and the gain that gives it unit variance on unit normal inputs."""

    function: Activation
    gain: float


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
