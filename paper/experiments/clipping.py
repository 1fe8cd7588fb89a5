"""Adaptive gradient clipping on real gradients: which units of a small NFNet are clipped, and what that prevents.

Brock et al. 2021 (arXiv 2102.06171), Section 4. The network learns the orientation of noisy gratings by SGD with
Nesterov momentum, in NumPy but for the gradients: ``nfnet.optim.sgd`` builds the same optimiser from optax, which
the analysis does not need. A test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import Array

from nfnet import NFNet, NFNetConfig
from nfnet.models.families import classifiers
from paper.experiments.networks import Params, compiled, initial_parameters
from paper.keeping.memory import remembered

__all__ = ["CLIPPING", "EPS", "LEARNING_RATE", "Clipping", "clip", "clipping", "gratings", "unit_norms", "update"]

NETWORK = NFNetConfig(widths=(64,), depths=(2,), strides=(2,), group_width=32, stem_widths=(16,), stem_strides=(2, 1))
"""A transition block and an identity block."""

CLIPPING, EPS = 0.01, 1e-3
"""Lambda and epsilon of Brock et al. 2021."""

LEARNING_RATE, MOMENTUM, STEPS = 0.2, 0.9, 40
"""A rate at which training diverges unless gradients are clipped."""

_CLASSES, _SIDE, _BATCH, _BATCHES, _SEED = 8, 16, 32, 8, 1


@dataclass(frozen=True)
class Clipping:
    """Training with and without clipping.

    Attributes:
        units: One row a unit at the first and at the last step, before clipping: ``step``, ``module``, ``parameter``,
            ``norm`` (of its weights), ``gradient`` (norm of its gradient), ``exempt`` (whether it belongs to the
            classifier's weight, which is not clipped) and ``clipped``.
        losses: One row a step: ``step`` and the training loss (nats) ``with_clipping`` and ``without``, which is nan
            once it is not finite.
    """

    units: pd.DataFrame
    losses: pd.DataFrame


def unit_norms(value: np.ndarray) -> np.ndarray:
    """Norm of each unit: an output channel of a weight, or the whole of a vector or scalar."""
    return np.sqrt(np.sum(value**2, axis=tuple(range(value.ndim - 1)) if value.ndim > 1 else None))


def clip(gradients: Params, params: Params, clipping: float = CLIPPING, eps: float = EPS) -> Params:
    """Scales each unit's gradient down to ``clipping * max(norm of its weights, eps)`` (equation 3)."""
    heads = classifiers(params)
    return {
        module: {
            name: gradient
            if module in heads and name == "w"
            else gradient * _factor(gradient, params[module][name], clipping, eps)
            for name, gradient in group.items()
        }
        for module, group in gradients.items()
    }


def update(params: Params, velocity: Params, gradients: Params) -> tuple[Params, Params]:
    """One step of SGD with Nesterov momentum; returns parameters and velocity after it."""
    velocity = jax.tree.map(lambda v, g: MOMENTUM * v + g, velocity, gradients)
    moved = jax.tree.map(lambda p, v, g: p - LEARNING_RATE * (g + MOMENTUM * v), params, velocity, gradients)
    return moved, velocity


@lru_cache(maxsize=1)
@remembered
def clipping() -> Clipping:
    """Trains :data:`NETWORK` twice from the same parameters on the same batches, with and without clipping."""

    def network(images: Array) -> Array:
        return NFNet(_CLASSES, NETWORK)(images, is_training=False)["logits"]

    def loss(params: hk.Params, images: Array, labels: Array) -> Array:
        logits = hk.transform(network).apply(params, None, images)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1))

    rng = np.random.default_rng(_SEED)
    images, labels = gratings(_BATCH * _BATCHES, rng)
    initial = initial_parameters(network, images[:_BATCH], rng)
    value_and_grad = compiled(jax.value_and_grad(loss))
    units, losses = [], {}
    for name, threshold in (("with_clipping", CLIPPING), ("without", np.inf)):
        params: Params = initial
        velocity: Params = {module: {k: np.zeros_like(v) for k, v in group.items()} for module, group in params.items()}
        losses[name] = np.full(STEPS, np.nan)
        for step in range(STEPS):
            batch = slice(_BATCH * (step % _BATCHES), _BATCH * (step % _BATCHES + 1))
            found, gradients = jax.device_get(value_and_grad(params, images[batch], labels[batch]))
            if not np.isfinite(found):
                break
            losses[name][step] = found
            if name == "with_clipping" and step in (0, STEPS - 1):
                units.append(_units(gradients, params).assign(step=step + 1))
            with np.errstate(over="ignore", invalid="ignore"):  # what diverges is seen in the next loss
                params, velocity = update(params, velocity, clip(gradients, params, threshold))
    return Clipping(
        units=pd.concat(units, ignore_index=True),
        losses=pd.DataFrame({"step": np.arange(STEPS) + 1, **losses}),
    )


def gratings(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draws noisy sinusoidal gratings, [count, side, side, 3], and which of equal ranges their orientations lie in."""
    labels = rng.integers(_CLASSES, size=count)
    angle = np.pi * (labels + rng.uniform(0.1, 0.9, count)) / _CLASSES
    frequency = 2 * np.pi / rng.uniform(5, 9, count)
    phase = rng.uniform(0, 2 * np.pi, count)
    rows, columns = np.mgrid[:_SIDE, :_SIDE]
    along = np.multiply.outer(np.cos(angle), columns) + np.multiply.outer(np.sin(angle), rows)
    waves = np.sin(frequency[:, None, None] * along + phase[:, None, None])
    images = waves[..., None] + 0.5 * rng.standard_normal((count, _SIDE, _SIDE, 3))
    return (images / images.std()).astype(np.float32), labels


def _factor(gradient: np.ndarray, value: np.ndarray, clipping: float, eps: float) -> np.ndarray:
    norm = np.maximum(unit_norms(gradient), np.finfo(np.float32).tiny)
    return np.minimum(1, clipping * np.maximum(unit_norms(value), eps) / norm).astype(np.float32)


def _units(gradients: Params, params: Params) -> pd.DataFrame:
    tables, heads = [], classifiers(params)
    for module, group in gradients.items():
        for name, gradient in group.items():
            norm, found = (np.atleast_1d(unit_norms(value)).astype(float) for value in (params[module][name], gradient))
            exempt = module in heads and name == "w"
            clipped = (found > CLIPPING * np.maximum(norm, EPS)) & (not exempt)
            columns = {"norm": norm, "gradient": found, "exempt": exempt, "clipped": clipped}
            tables.append(pd.DataFrame({"module": module, "parameter": name, **columns}))
    return pd.concat(tables, ignore_index=True)
