"""Formulations that are compared compute the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.formulations import POINTWISE, SPATIAL, STANDARDIZATION
from nfnet.kernels import standardize
from nfnet.kernels.conv import conv


def values_and_gradients(function, *operands):
    return jax.jit(jax.value_and_grad(lambda *args: jnp.sum(jnp.sin(function(*args))), argnums=(0, 1)))(*operands)


def close(function, reference, *operands):
    pairs = (jax.tree.leaves(values_and_gradients(f, *operands)) for f in (function, reference))
    for actual, expected in zip(*pairs, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def normal(*shape):
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)


STRIDED = [(name, stride) for name in SPATIAL for stride in (1, 2) if stride == 1 or not name.startswith("Winograd")]


@pytest.mark.parametrize(("name", "stride"), STRIDED)
def test_spatial(name, stride):
    form = SPATIAL[name]
    operands = normal(2, 6, 8, 8), 0.2 * normal(3, 3, 4, 8)
    close(
        lambda x, w: form(x, w, stride=stride, groups=2),
        lambda x, w: SPATIAL["plain"](x, w, stride=stride, groups=2),
        *operands,
    )


@pytest.mark.parametrize("name", POINTWISE)
def test_pointwise(name):
    close(POINTWISE[name], POINTWISE["plain"], normal(2, 3, 4, 8), normal(1, 1, 8, 4))


@pytest.mark.parametrize("name", STANDARDIZATION)
def test_standardization(name):
    close(STANDARDIZATION[name], STANDARDIZATION["plain"], normal(3, 3, 4, 8), normal(8))


def test_ours_are_the_network_s_own():
    assert SPATIAL["ours"] is POINTWISE["ours"] is conv
    assert STANDARDIZATION["ours"] is standardize
