"""Winograd's convolution is the direct one, in value and gradients, and is taken where it pays."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from support.networks import quick_jit

from nfnet.kernels import conv, deferred, gelu_tanh, winograd


def direct(x, w, groups):
    """Group by group, which takes CPUs a fraction of the time."""
    pairs = zip(jnp.split(x, groups, axis=3), jnp.split(w, groups, axis=3), strict=True)
    numbers = ("NHWC", "HWIO", "NHWC")
    one = partial(lax.conv_general_dilated, window_strides=(1, 1), padding="SAME", dimension_numbers=numbers)
    return jnp.concatenate([one(xg, wg) for xg, wg in pairs], axis=3)


def operands(batch, height, width, groups, channels, filters, dtype):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, height, width, groups * channels))
    w = rng.standard_normal((3, 3, channels, groups * filters))
    g = rng.standard_normal((batch, height, width, groups * filters))
    return tuple(jnp.asarray(one, dtype) for one in (x, w, g))


@pytest.mark.usefixtures("x64")
@settings(max_examples=6, deadline=None)
@given(
    batch=st.integers(1, 3),
    height=st.integers(1, 4).map(lambda half: 2 * half),
    width=st.integers(1, 4).map(lambda half: 2 * half),
    groups=st.integers(1, 3),
    channels=st.integers(1, 5),
    filters=st.integers(1, 5),
)
def test_is_the_direct_convolution(batch, height, width, groups, channels, filters):
    x, w, g = operands(batch, height, width, groups, channels, filters, jnp.float64)

    @quick_jit
    def both(x, w, g):
        expected, pullback = jax.vjp(partial(direct, groups=groups), x, w)
        gradients = winograd.input_gradient(g, w, groups), winograd.weight_gradient(x, g, groups)
        return (winograd.convolve(x, w, groups), *gradients), (expected, *pullback(g))

    for actual, expected in zip(*both(x, w, g), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("batch", "side", "groups"), [(4, 32, 1), (16, 16, 2)])
@pytest.mark.slow
def test_layers_of_a_network_stay_within_rounding(batch, side, groups):
    """At these sizes conv takes it."""
    assert winograd.pays((batch, side, side, groups * 128), (3, 3, 128, groups * 128), groups, jnp.float32)
    x, w, g = operands(batch, side, side, groups, 128, 128, jnp.float32)
    value, pullback = jax.vjp(lambda x, w: conv(deferred(gelu_tanh)(x), w, groups=groups), x, w)
    exact = [one.astype(np.float64) for one in map(np.asarray, (x, w, g))]
    with jax.enable_x64(True):
        expected, exact_pullback = jax.vjp(lambda x, w: direct(gelu_tanh(x), w, groups), *map(jnp.asarray, exact[:2]))
        gradients = exact_pullback(jnp.asarray(exact[2]))
    for actual, true in zip((value, *jax.jit(pullback)(g)), (expected, *gradients), strict=True):
        assert actual.dtype == jnp.float32
        assert np.max(np.abs(actual - np.asarray(true))) < 5e-6 * np.max(np.abs(true))


def test_is_taken_where_it_pays():
    pays = winograd.pays
    assert pays((8, 48, 48, 128), (3, 3, 128, 128), 1, jnp.float32)
    assert pays((8, 24, 24, 256), (3, 3, 128, 256), 2, jnp.float32)
    # Few tiles, odd sides, few channels, short types.
    assert not pays((8, 12, 12, 768), (3, 3, 128, 768), 6, jnp.float32)
    assert not pays((8, 47, 48, 128), (3, 3, 128, 128), 1, jnp.float32)
    assert not pays((8, 96, 96, 64), (3, 3, 32, 64), 1, jnp.float32)
    assert not pays((8, 48, 48, 128), (3, 3, 128, 128), 1, jnp.bfloat16)
    assert pays((8, 12, 12, 768), (3, 3, 128, 768), 6, jnp.float32, of_weights=True)
    assert pays((8, 6, 6, 768), (3, 3, 128, 768), 6, jnp.float32, of_weights=True)
    assert not pays((4, 6, 6, 768), (3, 3, 128, 768), 6, jnp.float32, of_weights=True)
