"""Clipping in NumPy is the optimiser's, and the training that shows it is what it says."""

import jax
import numpy as np
import optax
import pytest

from nfnet import NFNet
from nfnet.optim.masks import is_clipped
from nfnet.optim.sgd import agc_sgd
from paper.experiments import clipping as module
from paper.experiments.clipping import CLIPPING, EPS, LEARNING_RATE, clip, clipping, gratings, unit_norms, update
from paper.experiments.networks import compiled, initial_parameters


@pytest.fixture(scope="module")
def params():
    images = np.zeros((1, 16, 16, 3), np.float32)
    network = lambda x: NFNet(8, module.NETWORK)(x, is_training=False)  # noqa: E731
    return initial_parameters(network, images, np.random.default_rng(0))


def gradients_like(params, seed):
    """Gradients of all sizes, so that some units are clipped and some are not; some are zero."""
    rng = np.random.default_rng(seed)
    sizes = jax.tree.map(lambda value: 10.0 ** rng.uniform(-6, 1, value.shape[-1:]), params)
    return jax.tree.map(
        lambda value, size: (size * rng.choice([0, 1], size.shape) * rng.standard_normal(value.shape)).astype(
            np.float32
        ),
        params,
        sizes,
    )


def test_clip_is_that_of_the_optimiser(params):
    found = gradients_like(params, 1)
    reference = optax.masked(optax.adaptive_grad_clip(CLIPPING, EPS), is_clipped)
    expected, _ = compiled(reference.update)(found, reference.init(params), params)
    mine = clip(found, params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5), mine, dict(expected))
    changed = [not np.allclose(a, b) for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(found), strict=True)]
    assert 0 < sum(changed) < len(changed)


def test_steps_are_those_of_the_optimiser(params):
    reference = agc_sgd(LEARNING_RATE, weight_decay=0.0)
    step = compiled(reference.update)
    theirs, state = params, reference.init(params)
    mine, velocity = params, jax.tree.map(np.zeros_like, params)
    for seed in (1, 2, 3):
        found = gradients_like(params, seed)
        updates, state = step(found, state, theirs)
        theirs = optax.apply_updates(theirs, updates)
        mine, velocity = update(mine, velocity, clip(found, mine))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), mine, dict(theirs))


def test_without_limit_nothing_is_clipped(params):
    found = gradients_like(params, 1)
    jax.tree.map(np.testing.assert_array_equal, clip(found, params, np.inf), found)


def test_units_are_output_channels_or_whole_vectors():
    weight = np.arange(12.0).reshape(2, 3, 2)
    np.testing.assert_allclose(unit_norms(weight), np.linalg.norm(weight.reshape(6, 2), axis=0))
    assert unit_norms(np.array([3.0, 4.0])) == 5
    assert unit_norms(np.array(-2.0)) == 2


def test_units_are_clipped_above_the_threshold_and_the_classifier_is_not():
    units = clipping().units
    assert units.step.unique().tolist() == [1, module.STEPS]
    above = units.gradient > CLIPPING * np.maximum(units.norm, EPS)
    assert (units.clipped == (above & ~units.exempt)).all()
    assert set(zip(units.module[units.exempt], units.parameter[units.exempt], strict=True)) == {("NFNet/~/linear", "w")}
    first = units[units.step == 1]
    assert first[first.parameter == "skip_gain"].clipped.all()
    closed = first.module.str.contains("nf_block/~/conv0")
    assert (first.gradient[closed] == 0).all()  # a branch behind a skip gain of zero


def test_both_losses_start_together():
    losses = clipping().losses
    assert len(losses) == module.STEPS
    assert losses.with_clipping[0] == losses.without[0] == pytest.approx(np.log(8), abs=0.1)


def test_gratings_are_oriented_as_labelled():
    images, labels = gratings(64, np.random.default_rng(3))
    assert images.shape == (64, 16, 16, 3)
    assert images.std() == pytest.approx(1)
    down, right = np.gradient(images.mean(axis=-1), axis=(1, 2))
    tensor = [(a * b).mean(axis=(1, 2)) for a, b in ((right, right), (down, down), (right, down))]
    angle = np.arctan2(2 * tensor[2], tensor[0] - tensor[1]) / 2 % np.pi  # along which the image changes most
    off = np.abs(angle / np.pi * 8 - (labels + 0.5))
    assert np.minimum(off, 8 - off).max() < 0.75
