"""Figure 3 and what the text says of the optimal learning rate."""

from __future__ import annotations

import numpy as np
import pandas as pd

from paper.fits.learning_rate import in_paper_order, in_random_orders, optima_table
from paper.study import Study
from paper.verdicts import LEVEL, Claim, Outcome, verdict


def _factor(study: Study) -> float:
    return study.results.stated("pretrain.learning_rate_grid_factor").value


def _halvings(study: Study) -> pd.DataFrame:
    """Grid steps below the highest rate; a row a model, a column a budget."""
    table = optima_table(study.results.learning_rates)
    return np.log(table.to_numpy().max() / table) / np.log(_factor(study))


def small_budgets(claim: Claim, study: Study) -> Outcome:
    """The optimum of every model at budgets up to one epoch."""
    rates = study.results.learning_rates
    small = rates[rates.epochs <= 1]
    agree = int(sum(claim.agrees(rate) for rate in small.optimal_learning_rate))
    return Outcome(
        verdict(agree == len(small)),
        f"{agree} of {len(small)} runs of Figure 3 with at most one epoch have {claim.expected:g}.",
        number=f"{agree} of {len(small)} runs",
    )


def on_grid(claim: Claim, study: Study) -> Outcome:
    """Whether every optimum is a whole number of grid steps from the rate of small budgets."""
    highest = study.results.stated("pretrain.small_budget_optimal_learning_rate").value
    rates = study.results.learning_rates.optimal_learning_rate.to_numpy(float)
    steps = np.log(highest / rates) / np.log(_factor(study))
    on = int(np.sum(np.abs(steps - np.rint(steps)) < 1e-9))
    values = ", ".join(f"{rate:g}" for rate in np.unique(rates))
    found = f"{on} of {len(rates)} optima"
    return Outcome(verdict(on == len(rates)), f"{found} lie on the grid: {values}.", number=found)


def falls_with_epochs(claim: Claim, study: Study) -> Outcome:
    """Monotonicity along each curve, and the largest single step."""
    steps = _halvings(study)
    change = steps.diff(axis=1).iloc[:, 1:]
    falling = bool((change.to_numpy() >= -1e-9).all())
    slow = bool((change.to_numpy() <= 1 + 1e-9).all())
    total = ", ".join(f"{model} {_factor(study) ** row.iloc[-1]:g}-fold" for model, row in steps.iterrows())
    return Outcome(
        verdict(falling and slow),
        f"No curve rises and no doubling of epochs costs more than one grid step; over all budgets: {total}."
        if falling and slow
        else f"A curve rises, or falls by more than one grid step at once; over all budgets: {total}.",
        number=f"{change.to_numpy().min():.0f} to {change.to_numpy().max():.0f} grid steps a doubling",
    )


def falls_with_size(claim: Claim, study: Study) -> Outcome:
    """Monotonicity over models at equal epochs."""
    change = _halvings(study).diff().iloc[1:].to_numpy()
    lower = int(np.sum(change > 1e-9))
    rises = int(np.sum(change < -1e-9))
    chance = 0.5 ** (lower + rises)  # of no rise among those that differ, if rising and falling were alike
    return Outcome(
        verdict(rises == 0 and lower > 0, caveat=chance > LEVEL),
        f"At equal epochs a larger model's optimum is lower in {lower} and higher in {rises} of {change.size} pairs.",
        f"Were neither more likely, {lower} falls and no rise would be seen with probability {chance:.2g}."
        if rises == 0 and chance > LEVEL
        else "",
        number=f"{lower} lower, {rises} higher of {change.size}",
    )


def faster_for_large(claim: Claim, study: Study) -> Outcome:
    """Slope of each curve: grid steps per doubling of epochs, by least squares."""
    steps = _halvings(study)
    x = np.log2(steps.columns.to_numpy(float))
    table = steps.to_numpy(float)

    def slopes_of(table: np.ndarray) -> np.ndarray:
        return np.asarray(np.polyfit(x, table.T, 1)[0])

    def ordered(table: np.ndarray) -> bool:
        return bool((np.diff(slopes_of(table)) > 1e-9).all())

    slopes = pd.Series(slopes_of(table), steps.index)
    one_step = (
        step * (np.arange(table.size) == cell).reshape(table.shape) for cell in range(table.size) for step in (1, -1)
    )
    fragile = not all(ordered(table + moved) for moved in one_step)
    return Outcome(
        verdict(ordered(table), caveat=fragile),
        "Grid steps down per doubling of epochs: "
        + ", ".join(f"{model} {slope:.2f}" for model, slope in slopes.items())
        + ".",
        "One optimum that lay a step of the grid elsewhere would change the order."
        if fragile and ordered(table)
        else "",
        number=f"{slopes.iloc[0]:.2f} to {slopes.iloc[-1]:.2f} grid steps a doubling",
    )


def two_trials(claim: Claim, study: Study) -> Outcome:
    """Simulated tuning by the paper's rule."""
    limit = round(claim.expected or 0)
    search = in_paper_order(study.results.learning_rates, factor=_factor(study), limit=limit)
    random = in_random_orders(study.results.learning_rates, factor=_factor(study), limit=limit)
    tried = len(search.runs)
    return Outcome(
        verdict(search.found == tried, caveat=True),
        f"From small to large, {search.found} of {tried} optima are the rule's first or second guess "
        f"({int((search.runs.trials == 1).sum())} the first); in random order {random.mean():.0%} are.",
        number=f"{search.found} of {tried} optima",
    )
