"""Accuracies, and how sure they are."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int


def wilson(right: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Returns Wilson's interval of a share, which holds at small numbers too (Wilson 1927).

    Args:
        right: How many of the total.
        total: At least one.
        confidence: Of the interval.
    """
    from scipy.stats import binomtest

    interval = binomtest(right, total).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


@dataclass(frozen=True)
class Score:
    """Which images were classified right.

    Attributes:
        labels: Logit of each image's class.
        top1: Whether it was the largest.
        top5: Whether it was among the five largest.
    """

    labels: Int[np.ndarray, " images"]
    top1: Bool[np.ndarray, " images"]
    top5: Bool[np.ndarray, " images"]


def score(labels: Int[np.ndarray, " images"], best: Int[np.ndarray, "images top"]) -> Score:
    """Compares labels with the places of the largest logits, the largest first."""
    hit = best == labels[:, None]
    return Score(labels, hit[:, 0], hit[:, :5].any(axis=1))


def per_class(found: Score, names: Sequence[str]) -> str:
    """Returns a CSV of the classes that have images: class, name, images, top-1, its interval, and top-5."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("class", "name", "images", "top1", "low", "high", "top5"))
    for label in np.unique(found.labels):
        own = found.labels == label
        total, right = int(own.sum()), int(found.top1[own].sum())
        numbers = (right / total, *wilson(right, total), float(found.top5[own].mean()))
        table.writerow((int(label), names[label], total, *(f"{number:.6g}" for number in numbers)))
    return text.getvalue()
