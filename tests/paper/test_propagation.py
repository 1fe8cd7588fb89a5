"""Signal propagation: the analysis by hand, the tables on made-up signals, parameters as the networks draw them."""

import haiku as hk
import jax
import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from nfnet import VARIANTS, NFNet, NFNetConfig
from nfnet.models.activations import scaled_activation
from paper.experiments.networks import compiled, initial_parameters
from paper.experiments.propagation import (
    INPUTS,
    NETWORK,
    expected_variance,
    propagation,
    scaling_orders,
    transitions,
    within_stages,
)


def test_expected_variance_grows_by_alpha_squared_and_starts_anew_in_each_stage():
    grown = 1 + 0.04 * np.arange(1, 7)
    by_hand = [1, *grown[:1], *grown[:2], *grown[:6], *grown[:3]]
    np.testing.assert_allclose(expected_variance(VARIANTS["F0"]), by_hand)
    np.testing.assert_allclose(expected_variance(NETWORK), by_hand)
    ends_anew = NFNetConfig(widths=(32, 64), depths=(1, 1), strides=(1, 2), group_width=16)
    np.testing.assert_allclose(expected_variance(ends_anew), [1, 1.04, 1.04])


def test_measured_signal_starts_at_one_and_covers_every_block():
    signal = propagation()
    assert set(signal.inputs) == set(INPUTS)
    for _, rows in signal.groupby("inputs"):
        assert rows.block.tolist() == list(range(13))
        assert rows.stage.tolist() == [0, 1, 2, 2, 3, 3, 3, 3, 3, 3, 4, 4, 4]
        assert rows.block[rows.transition].tolist() == [1, 2, 4, 10]
        assert rows.block[rows.halves].tolist() == [2, 4, 10]
        assert rows.variance.iloc[0] + rows.square_mean.iloc[0] == pytest.approx(1, abs=0.05)
        assert rows.branch_variance.isna().tolist() == [True] + 12 * [False]


def test_blocks_add_alpha_squared_times_their_branch():
    """What is measured apart fits together, since a branch is uncorrelated with its shortcut."""
    signal = propagation()
    before = signal.groupby("inputs").variance.shift()
    identity = ~signal.transition & (signal.block > 0)
    added = (signal.variance - before)[identity]
    branch = NETWORK.alpha**2 * signal.branch_variance[identity]
    np.testing.assert_allclose(added, branch, atol=0.02)
    assert added.sum() == pytest.approx(branch.sum(), rel=0.15)


@pytest.fixture
def made_up() -> pd.DataFrame:
    """A stage of one block, and one of three that halves the resolution."""
    return pd.DataFrame(
        {
            "inputs": "noise",
            "block": range(5),
            "stage": [0, 1, 2, 2, 2],
            "transition": [False, True, True, False, False],
            "halves": [False, False, True, False, False],
            "expected": [1.0, 2.0, 2.0, 3.0, 4.0],
            "variance": [1.0, 1.0, 0.25, 0.5, 0.75],
        }
    )


def test_transitions_are_relative_to_what_was_expected(made_up):
    table = transitions(made_up)
    assert table.before.tolist() == [1.0, 1.0]
    assert table.after.tolist() == [1.0, 0.25]
    assert table.kept.tolist() == [0.5, 0.25]
    assert table.halves.tolist() == [False, True]


def test_growth_is_counted_in_stages_of_several_blocks(made_up):
    table = within_stages(made_up)
    assert table.stage.tolist() == [2]
    assert table.growth.tolist() == [3.0]
    assert table.expected.tolist() == [2.0]


def test_scaling_orders_agree_with_integration():
    table = scaling_orders("F7")
    assert table.index.tolist() == [1, 2, 3, 4]
    assert table.expected_std[3] == pytest.approx(np.sqrt(1 + 0.04 * 47))
    act, std = scaled_activation("gelu"), float(table.expected_std[3])

    def variance(function):
        mean, square = (quad(lambda z, p=p: function(z) ** p * norm.pdf(z), -9, 9)[0] for p in (1, 2))
        return square - mean**2

    for way, function in (
        ("act(x) * beta", lambda z: float(act(std * z)) / std),
        ("act(x * beta)", lambda z: float(act(z))),
        ("act(x / beta)", lambda z: float(act(std * std * z))),
    ):
        assert table[way][3] == pytest.approx(variance(function), rel=1e-4)


def test_parameters_are_drawn_as_the_networks_draw_them():
    config = NFNetConfig(
        widths=(64,), depths=(1,), strides=(2,), group_width=16, stem_widths=(32,), stem_strides=(2, 1)
    )

    def network(x):
        return NFNet(10, config)(x, False)["logits"]

    x = np.zeros((1, 16, 16, 3), np.float32)
    mine = initial_parameters(network, x, np.random.default_rng(0))
    theirs = jax.device_get(compiled(hk.transform(network).init)(jax.random.key(0), x))
    assert {m: set(group) for m, group in mine.items()} == {m: set(group) for m, group in theirs.items()}
    for module, group in mine.items():
        for name, value in group.items():
            other = theirs[module][name]
            assert value.dtype == other.dtype
            assert value.shape == other.shape
            if name == "w":
                assert value.std() == pytest.approx(other.std(), rel=0.1)
                assert abs(value.mean()) < 0.2 * value.std()
            else:
                np.testing.assert_array_equal(value, other)
    opened = initial_parameters(network, x, np.random.default_rng(0), skip_gain=1.0)
    assert [float(group["skip_gain"]) for group in opened.values() if "skip_gain" in group] == [1.0]
