"""How variance travels through an NFNet at initialisation, beside what its beta expects.

Brock, De and Smith 2021 (arXiv 2101.08692) introduced the plots, Brock et al. 2021 (arXiv 2102.06171) the network. The
analysis behind beta takes every skip gain for 1, and knows neither average pooling nor padding, whose effects
are what the measurement adds.
"""

from __future__ import annotations

from functools import lru_cache

import haiku as hk
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import Array

from nfnet import NFNet, NFNetConfig
from nfnet.models.activations import scaled_activation
from nfnet.models.nfnet import BlockConfig, find_variant
from nfnet.models.signal import signal_propagation
from paper.experiments.networks import compiled, initial_parameters
from paper.keeping.memory import remembered

__all__ = ["INPUTS", "NETWORK", "expected_variance", "propagation", "scaling_orders", "transitions", "within_stages"]

NETWORK = NFNetConfig(widths=(32, 64, 192, 192), depths=(1, 2, 6, 3), group_width=(16, 32, 96, 96))
"""F0 with an eighth of its widths and one group a stage."""

INPUTS = {"uniform": None, "photograph": 1.0, "noise": 0.0}
"""Random inputs of the first block, and the power of the frequency with which their amplitude falls: uniform in space,
with the spectrum of photographs, and white noise."""

_SIDE, _BATCH, _SEED = 24, 32, 0


def expected_variance(config: NFNetConfig) -> np.ndarray:
    """The variance that the analysis expects of the stem's output and after each block, [1 + blocks]."""
    blocks = config.blocks()
    last = blocks[-1]
    before = 1.0 if last.has_projection else last.beta**-2
    return np.array([*(block.beta**-2 for block in blocks), before + last.alpha**2])


@lru_cache(maxsize=1)
@remembered
def propagation() -> pd.DataFrame:
    """Measures the signal along the blocks of :data:`NETWORK` at initialisation, with skip gains of 1.

    Inputs are what the analysis assumes of the stem's output, normal and independent between channels; only how smooth
    they are in space differs.

    Returns:
        One row for the input and for each block, for each kind of inputs: ``inputs``, ``block`` (0 for the input),
        ``stage`` (0 for the input), ``transition`` (whether the block's shortcut is a convolution), ``halves``
        (whether it halves the resolution), ``expected``, ``variance`` and ``square_mean`` (averages over channels),
        ``branch_variance`` (of the residual branch, nan for the input).
    """

    def blocks(x: Array) -> Array:
        for block in NFNet(1, NETWORK).blocks:
            x = block(x, is_training=False)
        return x

    def measure(params: hk.Params, x: Array) -> tuple[Array, Array, Array]:
        signal = signal_propagation(blocks, params, x)
        return signal.variance, signal.square_mean, signal.branch_variance

    rng = np.random.default_rng(_SEED)
    batches = {name: _inputs(power, rng) for name, power in INPUTS.items()}
    params = initial_parameters(blocks, batches["noise"], rng, skip_gain=1.0)
    run = compiled(measure)
    tables = []
    for name, x in batches.items():
        variance, square_mean, branch_variance = (np.asarray(part, float) for part in run(params, x))
        columns = {
            "inputs": name,
            "block": np.arange(1 + len(variance)),
            "stage": [0, *np.repeat(np.arange(len(NETWORK.depths)) + 1, NETWORK.depths)],
            "transition": [False, *(block.has_projection for block in NETWORK.blocks())],
            "halves": [False, *(block.stride > 1 for block in NETWORK.blocks())],
            "expected": expected_variance(NETWORK),
            "variance": [x.var(axis=(0, 1, 2)).mean(), *variance],
            "square_mean": [(x.mean(axis=(0, 1, 2)) ** 2).mean(), *square_mean],
            "branch_variance": [np.nan, *branch_variance],
        }
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def transitions(signal: pd.DataFrame) -> pd.DataFrame:
    """Variance before and after each transition block of :func:`propagation`'s table.

    Returns:
        Columns ``inputs``, ``stage``, ``halves``, ``expected_before``, ``expected_after``, ``before``, ``after``, and
        ``kept``: what the block leaves of the variance relative to the expected one.
    """
    before = signal.groupby("inputs", sort=False)[["expected", "variance"]].shift()
    rows = signal.transition
    table = pd.DataFrame(
        {
            "inputs": signal.inputs,
            "stage": signal.stage,
            "halves": signal.halves,
            "expected_before": before.expected,
            "expected_after": signal.expected,
            "before": before.variance,
            "after": signal.variance,
        }
    )[rows]
    return table.assign(kept=table.after / table.expected_after * table.expected_before / table.before).reset_index(
        drop=True
    )


def within_stages(signal: pd.DataFrame) -> pd.DataFrame:
    """Growth of the variance from a stage's first block to its last, for stages of several blocks.

    Returns:
        Columns ``inputs``, ``stage``, ``expected`` and ``growth``.
    """
    inside = signal[signal.stage > 0].groupby(["inputs", "stage"], sort=False)[["expected", "variance"]]
    ratios = (inside.last() / inside.first()).reset_index().rename(columns={"variance": "growth"})
    several = {stage for stage, depth in enumerate(NETWORK.depths, start=1) if depth > 1}
    return ratios[ratios.stage.isin(several)].reset_index(drop=True)


def scaling_orders(variant: str = "F7") -> pd.DataFrame:
    """Variance of a block's scaled activation under three ways to apply beta, for normal inputs of the expected std.

    By Gauss-Hermite quadrature, for the last block of each stage of ``variant``.

    Returns:
        Columns ``expected_std`` (which is 1 / beta) and the three ways, indexed by stage.
    """
    config = find_variant(variant)
    ends = np.cumsum(config.depths) - 1
    blocks: list[BlockConfig] = [config.blocks()[end] for end in ends]
    act = scaled_activation(config.activation)
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    weights = weights / weights.sum()

    def variance(values: np.ndarray) -> float:
        return float(weights @ values**2 - (weights @ values) ** 2)

    rows = []
    for block in blocks:
        x, beta = nodes / block.beta, block.beta
        ways = {"act(x) * beta": (1.0, beta), "act(x * beta)": (beta, 1.0), "act(x / beta)": (1 / beta, 1.0)}
        found = {way: variance(np.asarray(act(jnp.asarray(x * inner))) * outer) for way, (inner, outer) in ways.items()}
        rows.append({"expected_std": 1 / beta, **found})
    return pd.DataFrame(rows, index=pd.Index(range(1, len(rows) + 1), name="stage"))


def _inputs(power: float | None, rng: np.random.Generator) -> np.ndarray:
    """Unit-variance fields whose amplitude falls as ``power`` of the frequency, or uniform in space for None."""
    shape = (_BATCH, _SIDE, _SIDE, NETWORK.stem_channels[-1])
    if power is None:
        return np.broadcast_to(rng.standard_normal((_BATCH, 1, 1, shape[-1])), shape).astype(np.float32)
    frequency = np.hypot(np.fft.fftfreq(_SIDE)[:, None], np.fft.fftfreq(_SIDE))[None, :, :, None]
    frequency[0, 0, 0] = 1 / _SIDE  # the mean is as strong as the lowest frequency
    spectrum = np.fft.fft2(rng.standard_normal(shape), axes=(1, 2)) / frequency**power
    fields = np.fft.ifft2(spectrum, axes=(1, 2)).real
    return (fields / fields.std()).astype(np.float32)
