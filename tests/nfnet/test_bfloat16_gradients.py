"""Gradients beside bfloat16 activations are those of float32, for every parameter of both families."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import networks, vits
from support.networks import quick_jit

CLASSES = 5
SIDE = 16
BATCH = 128  # sums over the patches or pixels of a batch are longer than the 256 that bfloat16 counts to
ROUNDINGS = 2 * 3 * 12  # forwards and backwards, through two blocks and the ends, each of a dozen operations
# Roundings are independent and each within 2^-9 of a value: their sum is within some multiple of its expected size.
BOUND = 4 * math.sqrt(ROUNDINGS) * 2**-9


def build(family, dtype):
    if family == "nfnet":
        return networks.network(CLASSES, dataclasses.replace(networks.TINY, depths=(1, 1)), dtype=dtype)
    return vits.vit_network(CLASSES, vits.TINY, head=family, dtype=dtype)


def relative(gradient, exact):
    return {
        jax.tree_util.keystr(path): float(jnp.linalg.norm(one - full) / jnp.linalg.norm(full))
        for (path, full), one in zip(jax.tree_util.tree_leaves_with_path(exact), jax.tree.leaves(gradient), strict=True)
    }


def rounded(tree):
    return jax.tree.map(lambda x: x.astype(jnp.bfloat16).astype(jnp.float32), tree)


@pytest.mark.parametrize(
    "family", [one if one == "cls" else pytest.param(one, marks=pytest.mark.slow) for one in ("nfnet", *vits.HEADS)]
)
def test_gradients_beside_bfloat16_activations_are_near_those_in_float32(family):
    rng = np.random.default_rng(0)
    # Means that are not zero let the images' gradients add up, as the most frequent feature of real images would.
    images = jnp.asarray(1 + rng.standard_normal((BATCH, SIDE, SIDE, 3)), jnp.float32)
    shapes = networks.abstract_parameters(build(family, None), SIDE)
    params = jax.tree.map(
        lambda s: jnp.asarray(0.5 * (s.ndim < 2) + 0.3 * rng.standard_normal(s.shape), s.dtype), shapes
    )
    cotangent = jnp.asarray(rng.standard_normal(CLASSES), jnp.float32)

    def gradient_of(dtype):
        net = build(family, dtype)

        def loss(params, images):
            return jnp.sum(net.apply(params, None, images, False)["logits"] @ cotangent)

        return quick_jit(jax.grad(loss))

    in_float32 = gradient_of(jnp.float32)
    exact = in_float32(params, images)
    # No gradient nearly cancels: rounding all that goes in, and nothing else, changes it by little.
    sensitivity = relative(in_float32(rounded(params), rounded(images)), exact)
    assert max(sensitivity.values()) < BOUND / 2, sensitivity
    deviation = relative(gradient_of(jnp.bfloat16)(params, images), exact)
    assert max(deviation.values()) < BOUND, deviation
