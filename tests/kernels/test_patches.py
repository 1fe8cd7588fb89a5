"""The gradient of 3x3 filters as one product is that of the convolution, and is taken where it pays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax
from support.networks import quick_jit

from nfnet.kernels import patches
from nfnet.kernels.conv import conv


def reference(x, w, stride, groups):
    return lax.conv_general_dilated(
        x, w, (stride, stride), "SAME", feature_group_count=groups, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@pytest.mark.usefixtures("x64")
@settings(max_examples=8, deadline=None)
@given(
    batch=st.integers(1, 3),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    stride=st.integers(1, 3),
    groups=st.integers(1, 3),
    channels=st.integers(1, 4),
    filters=st.integers(1, 4),
)
def test_is_the_gradient_of_the_convolution(batch, height, width, stride, groups, channels, filters):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((batch, height, width, groups * channels)))
    w = jnp.asarray(rng.standard_normal((3, 3, channels, groups * filters)))

    @quick_jit
    def both(x, w):
        y, pullback = jax.vjp(lambda w: reference(x, w, stride, groups), w)
        g = jnp.cos(y)
        return patches.weight_gradient(x, g, stride, groups), pullback(g)[0]

    actual, expected = both(x, w)
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("channels", "stride", "groups"), [(16, 1, 1), (16, 2, 1), (32, 2, 2)])
def test_a_convolution_takes_it(channels, stride, groups):
    x = jnp.ones((1, 8, 8, channels))
    w = jnp.ones((3, 3, channels // groups, channels))
    assert patches.pays(w.shape)

    def gradient(x, w):
        return jax.grad(lambda w: jnp.sum(conv(x, w, stride=stride, groups=groups)))(w)

    program = jax.jit(gradient).trace(x, w).lower(lowering_platforms=("cpu",)).as_text(debug_info=True)
    assert "patches/dot_general" in program


def test_is_taken_where_it_pays():
    assert patches.pays((3, 3, 32, 64))
    assert not patches.pays((3, 3, 3, 16))
    assert not patches.pays((5, 5, 32, 64))
