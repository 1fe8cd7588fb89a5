"""The rate of copies is that of arrays as large as a network's."""

import math
from types import SimpleNamespace

import jax
import pytest

from benchmarks import bandwidth


def test_the_best_of_all_sizes_and_rounds_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 2.0, 2.0, 3.0, 3.0, 7.0, 7.0, 9.0])  # two sizes, two rounds each: 2, 1, 4 and 2 s
    monkeypatch.setattr(bandwidth, "_MIB", (1, 2))
    monkeypatch.setattr(bandwidth, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    monkeypatch.setattr(jax, "block_until_ready", lambda array: array)
    # 1 MiB read and written in the shortest round of the first size, 2 MiB in 2 s at best of the second.
    assert math.isclose(bandwidth.copy_rate(rounds=2), 2 * 2**20)
