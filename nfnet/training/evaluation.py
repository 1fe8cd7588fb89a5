"""Loss and top-1 accuracy on a held-out split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from nfnet.data.pipeline import Batch, evaluation_batches
from nfnet.data.source import Source, check_readable
from nfnet.training.config import DataConfig
from nfnet.training.sharding import put_batch, replicate
from nfnet.training.splits import reading
from nfnet.training.state import EvaluationSums, Params


def on_device(mesh: Mesh, batch: Batch) -> dict[str, jax.Array]:
    """Moves what the steps need of this host's share of a batch to its devices."""
    arrays = {"image": batch["image"], "label": batch["label"], "weight": batch["weight"]}
    return put_batch(mesh, {**arrays, "unreadable": batch["unreadable"]})


@dataclass(frozen=True)
class Evaluation:
    """Result of an evaluation.

    Attributes:
        loss: mean over the examples.
        top1: share of the examples classified right.
        examples: how many could be read.
        size: side of the images in pixels.
    """

    loss: float
    top1: float
    examples: int
    size: int


def evaluate(
    params: Params,
    step: Callable[[Params, EvaluationSums, dict[str, jax.Array]], EvaluationSums],
    source: Source,
    data: DataConfig,
    batch_size: int,
    mesh: Mesh,
    on_batch: Callable[[], None] | None = None,
) -> Evaluation:
    """Evaluates parameters on a whole split.

    Args:
        params: what to evaluate.
        step: from `nfnet.training.step.make_evaluation_step`.
        source: the held-out data.
        data: image size and preprocessing.
        batch_size: of all devices together.
        mesh: the devices.
        on_batch: called after each batch.

    Raises:
        UserError: the split is empty, or none or too few of its images can be read; see `data.unreadable_share`.
    """
    check_readable(0, len(source), source.name)
    batches = evaluation_batches(source, batch_size, data.evaluation_size, data.evaluation_margin, reading(data))
    zero = jnp.zeros((), jnp.float32)
    sums = replicate(mesh, EvaluationSums(loss=zero, correct=zero, weight=zero))
    for batch in batches:
        sums = step(params, sums, on_device(mesh, batch))
        if on_batch is not None:
            on_batch()
    loss, correct, weight = (float(value) for value in jax.device_get(sums))
    check_readable(len(source) - int(weight), len(source), source.name, data.unreadable_share)
    return Evaluation(loss / weight, correct / weight, int(weight), data.evaluation_size)
