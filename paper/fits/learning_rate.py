"""How many trials the paper's rule needs to find each optimal learning rate of Figure 3.

The rule: the optimal rate falls, slowly but monotonically, with model size and with epochs. For a new run the rule
therefore starts from the lowest optimum known among runs that are no larger and no longer, and goes down the grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from paper.results import MODELS

__all__ = ["Search", "in_paper_order", "in_random_orders", "optima_table"]


@dataclass(frozen=True)
class Search:
    """Outcome of tuning every run of Figure 3 by the rule.

    Attributes:
        runs: ``model``, ``epochs``, ``optimum``, ``first_guess`` and ``trials``: how many rates, from the first guess
            downwards, are tried until the optimum is among them; 0 where the rule starts below it and so misses it.
        limit: Number of trials allowed.
    """

    runs: pd.DataFrame
    limit: int

    @property
    def found(self) -> int:
        """Runs whose optimum is found within the limit."""
        return int(self.runs.trials.between(1, self.limit).sum())


def optima_table(learning_rates: pd.DataFrame) -> pd.DataFrame:
    """Figure 3 as a table: a row a model in order of size, a column an epoch budget."""
    order = [model for model in MODELS if model in set(learning_rates.model)]
    return learning_rates.pivot(index="model", columns="epochs", values="optimal_learning_rate").loc[order]


def _trials(
    steps: Int[np.ndarray, "m e"], ranks: Int[np.ndarray, "orders n"]
) -> tuple[Int[np.ndarray, "orders n"], Int[np.ndarray, "orders n"]]:
    """First guess and trials of each run when runs are tuned in the order of their ranks.

    Args:
        steps: Halvings of each run's optimum below the highest rate.
        ranks: When each run is tuned, a row an order; runs in row-major order of ``steps``.
    """
    optimum = steps.ravel()
    row, column = np.divmod(np.arange(steps.size), steps.shape[1])
    no_larger_no_longer = (row[None] <= row[:, None]) & (column[None] <= column[:, None])
    known = no_larger_no_longer & (ranks[:, None, :] < ranks[:, :, None])
    guess = np.where(known, optimum, 0).max(-1)
    return guess, np.maximum(optimum - guess + 1, 0)


def _steps(table: pd.DataFrame, factor: float) -> Int[np.ndarray, "m e"]:
    rates: Float[np.ndarray, "m e"] = table.to_numpy(float)
    return np.rint(np.log(rates.max() / rates) / np.log(factor)).astype(int)


def in_paper_order(learning_rates: pd.DataFrame, *, factor: float, limit: int = 2) -> Search:
    """Tunes from small to large models and from short to long budgets.

    Args:
        learning_rates: Figure 3.
        factor: Spacing of the learning-rate grid.
        limit: Trials allowed for each run.
    """
    table = optima_table(learning_rates)
    steps = _steps(table, factor)
    guesses, trials = _trials(steps, np.arange(steps.size)[None])
    runs = table.stack().rename("optimum").reset_index()  # type: ignore[call-overload]  # stack gives a Series here
    runs["first_guess"] = table.to_numpy().max() / factor ** guesses[0]
    runs["trials"] = trials[0]
    return Search(runs, limit)


def in_random_orders(
    learning_rates: pd.DataFrame, *, factor: float, limit: int = 2, orders: int = 1000, seed: int = 0
) -> Float[np.ndarray, " orders"]:
    """Share of runs found within ``limit`` trials when tuned in random order, for each of ``orders`` orders."""
    steps = _steps(optima_table(learning_rates), factor)
    ranks = np.random.default_rng(seed).permuted(np.tile(np.arange(steps.size), (orders, 1)), axis=1)
    _, trials = _trials(steps, ranks)
    return ((trials >= 1) & (trials <= limit)).mean(axis=1)
