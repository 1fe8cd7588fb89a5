"""Fine-tuning: which arrays of a checkpoint start a new run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from nfnet.errors import UserError, printable
from nfnet.training.state import Params

HEADS = ("NFNet/~/linear", "ViT/~/head", "ViT/head")  # modules of the classifiers


@dataclass(frozen=True)
class Report:
    """What became of each array, by "module/name".

    Attributes:
        loaded: taken from the checkpoint.
        resized: position embeddings, interpolated to another number of patches.
        reset: the classifier, freshly initialised.
        skipped: freshly initialised because the checkpoint lacks them or has another shape.
        left_over: in the checkpoint but not in the network.
    """

    loaded: tuple[str, ...]
    resized: tuple[str, ...]
    reset: tuple[str, ...]
    skipped: tuple[str, ...]
    left_over: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{len(self.loaded)} arrays loaded"]
        for what in ("resized", "reset", "skipped", "left_over"):
            names = getattr(self, what)
            if names:
                shown = ", ".join(map(printable, names[:4])) + (", ..." if len(names) > 4 else "")
                lines.append(f"{len(names)} {what.replace('_', ' ')} ({shown})")
        return "; ".join(lines)


def transfer(fresh: Params, loaded: Params, *, partial: bool = False) -> tuple[Params, Report]:
    """Starts from a checkpoint's body and a fresh head.

    Args:
        fresh: freshly initialised parameters, which give names, shapes and the head.
        loaded: parameters of the checkpoint.
        partial: accept a checkpoint that does not fill the whole body.

    Raises:
        UserError: the checkpoint is of another model.
    """
    result: dict[str, dict[str, Any]] = {}
    what: dict[str, list[str]] = {key: [] for key in ("loaded", "resized", "reset", "skipped")}
    for module, arrays in fresh.items():
        result[module] = {}
        for name, array in arrays.items():
            value, kind = array, "skipped"
            stored = loaded.get(module, {}).get(name)
            if module in HEADS:
                kind = "reset"
            elif stored is not None and stored.shape == array.shape:
                value, kind = np.asarray(stored).astype(array.dtype), "loaded"
            elif stored is not None and name == "position_embedding" and _same_but_tokens(stored, array):
                value, kind = _resize(stored, array.shape[1], "cls_token" in arrays), "resized"
            result[module][name] = value
            what[kind].append(f"{module}/{name}")
    known = {f"{module}/{name}" for module, arrays in fresh.items() for name in arrays}
    stored_names = (f"{module}/{name}" for module, arrays in loaded.items() for name in arrays)
    left_over = tuple(name for name in stored_names if name not in known)
    report = Report(
        loaded=tuple(what["loaded"]),
        resized=tuple(what["resized"]),
        reset=tuple(what["reset"]),
        skipped=tuple(what["skipped"]),
        left_over=left_over,
    )
    if not report.loaded or (report.skipped and not partial):
        raise UserError(
            f"The checkpoint is of another model ({report}): pass the --config.model settings that it was "
            f"made with" + ("." if not report.loaded else ", or --partial to go on with what fits.")
        )
    return result, report


def _same_but_tokens(stored: Any, array: Any) -> bool:
    """Whether two position embeddings [1, tokens, width] differ in their number of tokens alone."""
    return stored.ndim == array.ndim == 3 and (stored.shape[0], stored.shape[2]) == (array.shape[0], array.shape[2])


def _resize(embedding: Any, tokens: int, with_class: bool) -> np.ndarray:
    from nfnet.weights.vit import resize_position_embedding

    side = math.isqrt(tokens - with_class)
    resized = resize_position_embedding(np.asarray(embedding), (side, side), with_class=with_class)
    return np.asarray(resized)
