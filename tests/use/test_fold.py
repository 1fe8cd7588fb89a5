"""A folded network computes what the original does."""

import dataclasses
import functools

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.networks import TINY, quick_jit
from support.small_weights import perturbed, tiny

from nfnet import VIT_VARIANTS, UserError, ViT
from nfnet.inference import fold
from nfnet.inference.fold import ROOT, standardized
from nfnet.kernels import standardize
from nfnet.models.activations import ACTIVATIONS

IMAGES = np.random.default_rng(1).standard_normal((2, 32, 32, 3)).astype(np.float32)
ODD = np.random.default_rng(2).standard_normal((1, 37, 29, 3)).astype(np.float32)


@functools.cache
def compiled(network):
    return quick_jit(lambda params, images: network.apply(params, None, images, False))


def outputs(network, params, images):
    return compiled(network)(params, images)


def difference(ours, theirs):
    """Largest difference in standard deviations."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    return np.abs(ours - theirs).max() / theirs.std()


@pytest.mark.parametrize(
    ("activation", "floor", "images"),
    [("gelu", "clamp", ODD), ("gelu_erf", "add", IMAGES), pytest.param("silu", "add", IMAGES, marks=pytest.mark.slow)],
)
def test_logits_and_features_are_the_originals(activation, floor, images):
    config = dataclasses.replace(TINY, activation=activation, floor=floor)
    network, params = tiny(config)
    folded, plain = fold(params, config)
    theirs, ours = outputs(network, params, images), outputs(folded, plain, images)
    assert ours.keys() == theirs.keys() == {"logits", "pool"}
    for key in ours:
        assert difference(ours[key], theirs[key]) < 1e-4


def test_every_activation_is_folded_with_its_gain():
    x = jnp.linspace(-3, 3, 50)
    from nfnet.inference.fold import activation
    from nfnet.models.activations import scaled_activation

    for name, (_, gain) in ACTIVATIONS.items():
        np.testing.assert_allclose(gain * activation(name)(x), scaled_activation(name)(x), atol=2e-6)


def test_no_gain_is_left():
    _, plain = fold(tiny()[1], TINY)
    assert {key for group in plain.values() for key in group} == {"w", "b"}
    assert all(name.startswith(ROOT) for name in plain)


def test_an_undamped_branch_and_one_that_is_off():
    network, params = tiny()
    folded, _ = fold(params, TINY)
    for value in (0.0, 1e-30, -4.0):
        params["NFNet/~/nf_block_1"]["skip_gain"] = np.float32(value)
        _, plain = fold(params, TINY)
        assert all(np.isfinite(array).all() for group in plain.values() for array in group.values())
        theirs = outputs(network, params, IMAGES)["logits"]
        assert difference(outputs(folded, plain, IMAGES)["logits"], theirs) < 1e-4


def test_bfloat16_is_no_further_from_float32_than_the_original():
    network, params = tiny()
    exact = np.asarray(outputs(network, params, IMAGES)["logits"])
    images = jnp.asarray(IMAGES, jnp.bfloat16)
    ours = outputs(*fold(params, TINY, dtype=jnp.bfloat16), IMAGES)["logits"]
    assert ours.dtype == jnp.float32
    assert 0 < difference(ours, exact) < 2 * difference(outputs(network, params, images)["logits"], exact)


@pytest.mark.parametrize("floor", ["clamp", "add"])
def test_standardized_is_standardize(floor):
    w = np.random.default_rng(0).standard_normal((3, 3, 4, 6)).astype(np.float32)
    w[..., 0] = 0.25  # no variance: the floor decides
    gain = np.linspace(0.5, 2, 6).astype(np.float32)
    np.testing.assert_allclose(standardized(w, gain, floor), standardize(w, gain, floor=floor), atol=1e-5)


def test_a_nested_network_is_found():
    network, params = tiny()
    nested = {f"wrapper/~/{name}": group for name, group in params.items()} | {"other": {"w": np.zeros(3)}}
    ours = outputs(*fold(nested, TINY), IMAGES)["logits"]
    assert difference(ours, outputs(network, params, IMAGES)["logits"]) < 1e-4


@pytest.mark.parametrize("head", ["cls", "gap", "map"])
def test_a_vision_transformer_has_nothing_to_fold(head):
    network = hk.transform(lambda images, is_training=False: ViT(5, "micro/4", head=head)(images, is_training))
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), False))
    params = perturbed(shapes)
    config = VIT_VARIANTS["micro/4"]
    folded, plain = fold(params, config)
    assert jax.tree.all(jax.tree.map(np.array_equal, dict(plain), dict(params)))
    theirs = outputs(network, params, IMAGES)
    assert difference(outputs(folded, plain, IMAGES)["logits"], theirs["logits"]) < 1e-5


def test_what_cannot_be_folded_is_refused():
    _, params = tiny()
    with pytest.raises(UserError, match="are of 0 ViTs"):
        fold(params, VIT_VARIANTS["micro/4"])
    with pytest.raises(UserError, match="lack '~/nf_block_3"):
        fold(params, dataclasses.replace(TINY, depths=(1, 3)))
    folded, plain = fold(params, TINY)
    with pytest.raises(UserError, match="cannot be trained"):
        folded.apply(plain, None, IMAGES, is_training=True)
