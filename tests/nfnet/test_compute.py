"""Counted parameters and multiply-adds against the released counter and the printed tables."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from support import golden
from support.networks import MICRO, TINY, abstract_parameters, network

from nfnet import UserError
from nfnet.cost.cost import network_cost
from nfnet.cost.counter import Work, count, count_parameters
from nfnet.kernels.conv import conv

MACS = golden.read_json("macs_official_counter_1000_classes.json")
COUNTS = golden.read_json("manifests/counts.json")


def array(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


@pytest.mark.parametrize("name", golden.NETWORKS)
def test_parameters_and_macs_are_those_of_the_released_counter(name):
    variant, reading, _ = golden.NETWORKS[name]
    assert network_cost(variant, 224, plus_width=reading).parameters == COUNTS[name]["params"]
    sides = ("64", "192", "224", "256", "384", "480")
    macs = {side: network_cost(variant, int(side), plus_width=reading).macs for side in sides}
    assert macs == {side: MACS[name][side] for side in sides}


@pytest.mark.parametrize("side", MACS["micro"])
def test_macs_of_a_configuration(side):
    assert network_cost(MICRO, int(side)).macs == MACS["micro"][side]


# Brock et al. 2021, Table 3: FLOPs [1e9] at the test resolution and parameters [1e6].
@pytest.mark.parametrize(
    ("variant", "resolution", "gmacs", "millions"),
    [
        ("F0", 256, 12.38, 71.5),
        ("F1", 320, 35.54, 132.6),
        ("F2", 352, 62.59, 193.8),
        ("F3", 416, 114.76, 254.9),
        ("F4", 512, 215.24, 316.1),
        ("F5", 544, 289.76, 377.2),
        ("F6", 576, 377.28, 438.4),
    ],
)
def test_table_3_of_brock_et_al_to_the_printed_digit(variant, resolution, gmacs, millions):
    cost = network_cost(variant, resolution)
    assert round(cost.macs / 1e9, 2) == gmacs
    assert round(cost.parameters / 1e6, 1) == millions


@pytest.mark.parametrize(("variant", "gmacs", "millions"), [("F4", 215, 316), ("F4+", 367, 527)])
def test_table_5_of_brock_et_al_to_the_printed_digit(variant, gmacs, millions):
    cost = network_cost(variant, 512)
    assert round(cost.macs / 1e9) == gmacs
    assert round(cost.parameters / 1e6) == millions


def test_the_released_reading_of_plus_contradicts_table_5():
    cost = network_cost("F4+", 512, plus_width="released")
    assert (round(cost.macs / 1e9), round(cost.parameters / 1e6)) == (333, 525)


@pytest.mark.parametrize(
    ("variant", "side", "reading"),
    [("F0", 97, "published"), pytest.param("F1+", 64, "released", marks=pytest.mark.slow), (MICRO, 40, "published")],
)
def test_parts_sum_up_to_the_whole_network(variant, side, reading):
    net = network(10, variant, plus_width=reading)
    params = abstract_parameters(net)
    whole = count(lambda p, x: net.apply(p, None, x, False), params, array(1, side, side, 3))
    cost = network_cost(variant, side, plus_width=reading, num_classes=10)
    assert Work(cost.macs, cost.activations) == whole
    assert cost.parameters == count_parameters(params)
    for field in ("parameters", "macs", "activations"):
        assert sum(getattr(stage, field) for stage in cost.stages) == getattr(cost, field)


def test_cost_does_not_depend_on_rates_or_rematerialization():
    net = network(10, TINY, remat=True)
    params = abstract_parameters(net)
    whole = count(lambda p, r, x: net.apply(p, r, x, True), params, jax.random.key(0), array(1, 32, 32, 3))
    assert whole.macs == network_cost(TINY, 32, num_classes=10).macs


def test_bytes_follow_the_type_and_rematerialization_saves():
    half, full = network_cost("F3", 224), network_cost("F3", 224, dtype="float32")
    assert full.activation_bytes == 2 * half.activation_bytes == 4 * full.activations
    assert full.remat_bytes < full.activation_bytes / 2


@pytest.mark.parametrize("groups", [1, 4])
def test_a_convolution_counts_as_the_plain_operation(groups):
    """However the platform at hand computes it, and whatever it is mapped over."""
    x, w = array(2, 8, 8, 16), array(3, 3, 16 // groups, 32)

    def run(x, w):
        return conv(x, w, groups=groups)

    outputs = 2 * 8 * 8 * 32
    once = Work(outputs * 3 * 3 * 16 // groups, outputs)
    assert count(run, x, w) == once
    assert count(jax.vmap(run, (0, None)), array(5, 2, 8, 8, 16), w) == once * 5
    assert count(jax.grad(lambda x, w: jnp.sum(run(x, w) ** 2), (0, 1)), x, w).macs == 3 * once.macs


def test_count_follows_jax_transformations():
    x, w = array(5, 7), array(7, 3)
    once = Work(5 * 7 * 3, 5 * 3)
    assert count(jnp.dot, x, w) == once
    assert count(jax.jit(jnp.dot), x, w) == once
    assert count(jax.checkpoint(jnp.dot), x, w) == once
    assert count(jax.vmap(jnp.dot, (0, None)), array(4, 5, 7), w) == once * 4
    assert count(lambda x, w: lax.scan(lambda c, _: (c, x @ w), 0, length=6), x, w) == once * 6
    assert count(lambda p, x, w: lax.cond(p, lambda: x @ w, lambda: 0 * x[:, :3]), True, x, w) == once
    assert count(lambda x: jax.nn.gelu(x) + 1, x) == Work(0, 0)
    # A loss's gradient needs two more products of the same size, one for each operand.
    assert count(jax.grad(lambda x, w: jnp.sum(jnp.dot(x, w) ** 2), (0, 1)), x, w).macs == 3 * once.macs


def test_count_refuses_loops_of_unknown_length():
    with pytest.raises(NotImplementedError, match="trip count"):
        count(lambda x: lax.while_loop(lambda c: c[0, 0] < 1, lambda c: c @ c, x), array(3, 3))


def test_too_small_a_resolution_is_refused():
    with pytest.raises(UserError, match=r"resolution is 16.*at least 17"):
        network_cost("F0", 16)
