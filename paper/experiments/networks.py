"""Real networks that compute in seconds: how they are initialised and compiled for measurements.

A measurement compiles once and runs a few times, so that compiling takes nearly all of its time. Hence parameters come
from NumPy, since JAX would compile a generator for each of their shapes, and programs are compiled without
optimisation. Neither changes what is computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax import Array
from scipy.special import ndtr, ndtri

from nfnet.cost.counter import parameter_shapes
from nfnet.models.families import classifiers

__all__ = ["Params", "compiled", "initial_parameters"]

Params = Mapping[str, Mapping[str, np.ndarray]]
"""Parameters by module and name, as Haiku has them."""

CLASSIFIER_STD = 0.01
"""Standard deviation of the classifier's initial weights."""


def initial_parameters(
    function: Callable[[Array], Any], images: np.ndarray, rng: np.random.Generator, *, skip_gain: float = 0.0
) -> Params:
    """Draws a network's parameters from the distributions that its own initialisers draw from.

    Args:
        function: Builds a network and applies it, as would be given to ``hk.transform``.
        images: What it is applied to; only shape and type matter.
        rng: Where the weights come from.
        skip_gain: Value of all skip gains; the network's own is 0.
    """
    shapes = parameter_shapes(function, images)
    heads = classifiers(shapes)

    def value(module: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name == "w":
            std = CLASSIFIER_STD if module in heads else 1 / math.sqrt(math.prod(shape[:-1]))
            squeeze_excite = len(shape) == 2 and module not in heads
            draw = _truncated_normal(shape, rng) if squeeze_excite else rng.standard_normal(shape)
            return (std * draw).astype(np.float32)
        return np.full(shape, {"gain": 1.0, "skip_gain": skip_gain}.get(name, 0.0), np.float32)

    return {
        module: {name: value(module, name, leaf.shape) for name, leaf in group.items()}
        for module, group in shapes.items()
    }


def _truncated_normal(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Within two standard deviations and not rescaled, Haiku's default for linear layers."""
    return np.asarray(ndtri(rng.uniform(ndtr(-2), ndtr(2), shape)))


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """``jax.jit`` without LLVM's optimisation and without fused loops, in about a quarter of the time."""
    return jax.jit(
        function, compiler_options={"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
    )
