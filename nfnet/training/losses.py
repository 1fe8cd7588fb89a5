"""Losses of single examples. Nothing here needs JAX until a loss is computed: libraries are imported inside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int

Loss = Callable[["Float[Array, 'batch classes']", "Float[Array, 'batch classes']"], "Float[Array, ' batch']"]


def softmax_cross_entropy(
    logits: Float[Array, "batch classes"], labels: Float[Array, "batch classes"]
) -> Float[Array, " batch"]:
    """Cross-entropy against a distribution over classes (NFNets)."""
    import optax

    losses: Array = optax.softmax_cross_entropy(logits, labels)
    return losses


def sigmoid_cross_entropy(
    logits: Float[Array, "batch classes"], labels: Float[Array, "batch classes"]
) -> Float[Array, " batch"]:
    """Binary cross-entropy summed over classes (Zhai et al. 2022)."""
    import optax

    losses: Array = optax.sigmoid_binary_cross_entropy(logits, labels).sum(-1)
    return losses


LOSSES: Mapping[str, Loss] = {"softmax": softmax_cross_entropy, "sigmoid": sigmoid_cross_entropy}


def smooth_labels(labels: Int[Array, " batch"], num_classes: int, smoothing: float) -> Float[Array, "batch classes"]:
    """One-hot labels of which a share `smoothing` is spread evenly over all classes."""
    import jax

    one_hot = jax.nn.one_hot(labels, num_classes, dtype="float32")
    return (1 - smoothing) * one_hot + smoothing / num_classes
