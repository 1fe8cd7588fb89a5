"""Runs to which everything is fitted, whoever trained them: the paper's, or anybody's own."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

__all__ = ["Runs"]

_COLUMNS = ("compute", "value", "compute_width", "value_width", "parameters", "examples")


@dataclass(frozen=True)
class Runs:
    """Readings of one quantity, lower being better, with what each run cost and, where known, what it consisted of.

    Attributes:
        compute: Cost of each run.
        value: Loss or error of each run.
        compute_width: Half-width of each cost's reading.
        value_width: Half-width of each value's reading.
        model: Name of the model of each run; empty where unknown.
        parameters: Model size of each run; empty where unknown.
        examples: Examples seen by each run; empty where unknown.
        epoch: Examples of an epoch; NaN where it is unknown, and then no optimum is told in epochs.
        value_unit: Unit of the values.
        compute_unit: Unit of the costs.
    """

    compute: Float[np.ndarray, " n"]
    value: Float[np.ndarray, " n"]
    compute_width: Float[np.ndarray, " n"]
    value_width: Float[np.ndarray, " n"]
    model: tuple[str, ...]
    parameters: Float[np.ndarray, " s"]
    examples: Float[np.ndarray, " s"]
    epoch: float
    value_unit: str
    compute_unit: str

    def __len__(self) -> int:
        return len(self.compute)

    @property
    def has_surface(self) -> bool:
        """Whether size and examples of the runs are known."""
        return len(self.parameters) == len(self.examples) == len(self)

    @property
    def has_curves(self) -> bool:
        """Whether at least three models have a curve of three runs or more each, and no runs beside."""
        counts = np.bincount(self.cluster)
        return self.has_surface and bool(self.model) and len(counts) >= 3 and bool((counts >= 3).all())

    @property
    def epochs(self) -> Float[np.ndarray, " n"]:
        """Epochs of each run; the examples themselves where the size of an epoch is unknown."""
        return np.asarray(self.examples / (1.0 if np.isnan(self.epoch) else self.epoch))

    @property
    def cluster(self) -> Int[np.ndarray, " n"]:
        """Number of each run's model, in order of appearance; each run its own where models are unknown."""
        known = {name: number for number, name in enumerate(dict.fromkeys(self.model))}
        return np.array([known[name] for name in self.model]) if self.model else np.arange(len(self))

    def where(self, mask: Bool[np.ndarray, " n"]) -> Runs:
        """The runs that ``mask`` marks."""
        arrays = {name: getattr(self, name) for name in _COLUMNS}
        kept = {name: array[mask] if len(array) else array for name, array in arrays.items()}
        model = tuple(name for name, keep in zip(self.model, mask, strict=True) if keep) if self.model else ()
        return replace(self, **kept, model=model)
