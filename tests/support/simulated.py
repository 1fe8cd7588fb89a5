"""Runs on a grid of sizes and lengths whose loss follows a known surface."""

import numpy as np

from paper.fits.runs import Runs

SIZE, EXAMPLES = 3e8, 8e9


def grid_of(irreducible, a, alpha, b, beta, gamma, noise=0.0, *, models=6, budgets=6, seed=0, cost=0.875):
    """Runs of ``E + (a / (N / 3e8)^alpha + b / (D / 8e9)^beta)^gamma`` with log-normal noise; an epoch costs N^cost."""
    sizes, epochs = np.geomspace(7e7, 9e8, models), 2.0 ** np.arange(-2, budgets - 2)
    parameters, epochs = np.repeat(sizes, budgets), np.tile(epochs, models)
    examples = 4e9 * epochs
    value = irreducible + (a * (parameters / SIZE) ** -alpha + b * (examples / EXAMPLES) ** -beta) ** gamma
    value = value * np.exp(noise * np.random.default_rng(seed).standard_normal(len(value)))
    return Runs(
        compute=1600 * epochs * (parameters / sizes[0]) ** cost,
        value=value,
        compute_width=np.zeros(len(value)),
        value_width=np.zeros(len(value)),
        model=tuple(f"m{i}" for i in np.repeat(np.arange(models), budgets)),
        parameters=parameters,
        examples=examples,
        epoch=4e9,
        value_unit="nats",
        compute_unit="core hours",
    )
