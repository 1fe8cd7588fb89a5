"""What is made of measured times."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TypedDict

import numpy as np

__all__ = ["Summary", "ratios", "slope", "summary"]


class Summary(TypedDict):
    """The middle of some numbers and their range."""

    median: float
    low: float
    high: float


def summary(values: Sequence[float]) -> Summary:
    """Returns median, smallest and largest of `values`."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def ratios(reference: Sequence[float], values: Sequence[float]) -> Summary:
    """Returns how many times as fast as the reference something is, round by round.

    Neighbours in time are compared, so that a machine that slows down meanwhile changes no ratio.

    Args:
        reference: Times of the reference, one a round.
        values: Times of the other in the same rounds.
    """
    return summary([first / second for first, second in zip(reference, values, strict=True)])


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Returns the exponent of the power law through the points, by least squares in logarithms."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])
