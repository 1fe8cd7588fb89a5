"""The simulation of tuning within two trials."""

import pandas as pd
import pytest

from paper.fits.learning_rate import in_paper_order, in_random_orders, optima_table


def figure3(rates: dict[str, list[float]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"model": model, "epochs": 2.0**step, "optimal_learning_rate": rate}
            for model, row in rates.items()
            for step, rate in enumerate(row)
        ]
    )


def test_table_is_in_order_of_size(results):
    table = optima_table(results.learning_rates)
    assert list(table.index) == ["F0", "F3", "F7+"]
    assert list(table.columns) == [0.25, 0.5, 1, 2, 4, 8]
    assert table.loc["F7+", 4] == 0.4


def test_published_optima_are_found_within_two_trials_and_match_their_runs(results):
    search = in_paper_order(results.learning_rates, factor=2)
    assert search.found == 18
    merged = search.runs.merge(results.learning_rates, on=["model", "epochs"])
    assert len(merged) == 18
    assert (merged.optimum == merged.optimal_learning_rate).all()
    assert (search.runs.first_guess >= search.runs.optimum).all()


def test_a_fall_by_two_steps_needs_three_trials():
    search = in_paper_order(figure3({"F0": [1.6, 0.4]}), factor=2)
    assert list(search.runs.trials) == [1, 3]
    assert search.found == 1
    assert in_paper_order(figure3({"F0": [1.6, 0.4]}), factor=2, limit=3).found == 2


def test_a_rise_is_missed():
    search = in_paper_order(figure3({"F0": [0.8, 1.6]}), factor=2)
    assert list(search.runs.trials) == [2, 0]


def test_random_orders_are_seeded_and_no_better(results):
    first = in_random_orders(results.learning_rates, factor=2, orders=50)
    assert (first == in_random_orders(results.learning_rates, factor=2, orders=50)).all()
    assert 0.5 < first.mean() <= 1
    assert in_random_orders(figure3({"F0": [1.6, 1.6]}), factor=2, orders=5) == pytest.approx(1)
