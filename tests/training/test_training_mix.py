import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfnet.data.mix import mix

KEY = jax.random.key(0)


def batch(n: int = 16):
    # Image i is constant i, so that a pixel tells which image it is from.
    images = jnp.broadcast_to(jnp.arange(n, dtype=jnp.float32)[:, None, None, None], (n, 12, 10, 3))
    return images, jax.nn.one_hot(jnp.arange(n), n), jnp.ones(n)


def shares(labels: jax.Array) -> tuple[np.ndarray, np.ndarray]:
    """Shares of each example's own label and of its neighbour's."""
    own = np.diag(np.asarray(labels))
    other = np.asarray(labels)[np.arange(len(own)), np.arange(len(own)) ^ 1]
    return own, other


def test_mixup_blends_images_as_labels():
    images, labels, weights = batch()
    mixed, targets = mix(KEY, images, labels, weights, 0.4, 0.0)
    own, other = shares(targets)
    np.testing.assert_allclose(own + other, 1, rtol=1e-6)
    index = np.arange(16)
    expected = own * index + other * (index ^ 1)
    np.testing.assert_allclose(mixed[:, 3, 4, 1], expected, rtol=1e-5)
    assert (np.ptp(np.asarray(mixed), axis=(1, 2, 3)) < 1e-5).all()
    assert (own < 1 - 1e-3).sum() >= 4


def test_cutmix_labels_are_the_share_of_pixels():
    images, labels, weights = batch()
    mixed, targets = mix(KEY, images, labels, weights, 0.0, 1.0)
    own, other = shares(targets)
    np.testing.assert_allclose(own + other, 1, rtol=1e-6)
    index = np.arange(16)[:, None, None, None]
    pixels = np.asarray(mixed)
    assert np.isin(pixels, np.arange(16)).all()
    np.testing.assert_allclose((pixels == index).mean((1, 2, 3)), own, atol=1e-6)
    np.testing.assert_allclose((pixels == index ^ 1).mean((1, 2, 3)), other, atol=1e-6)
    rectangle = pixels[..., 0] != index[..., 0]
    for mask in rectangle:
        assert mask.sum() == mask.any(0).sum() * mask.any(1).sum()
    assert (other > 0.05).sum() >= 4


def test_both_methods_take_half_each():
    images, labels, weights = batch()
    mixed, _ = mix(KEY, images, labels, weights, 1.0, 1.0)
    constant = np.ptp(np.asarray(mixed), axis=(1, 2, 3)) < 1e-5
    assert constant[np.arange(16) % 4 < 2].all()
    assert (~constant[np.arange(16) % 4 >= 2]).sum() >= 4


def test_weightless_neighbours_are_not_mixed_in():
    images, labels, weights = batch()
    weights = weights.at[3].set(0).at[6].set(0)
    mixed, targets = mix(KEY, images, labels, weights, 1.0, 1.0)
    for index in (2, 7):
        np.testing.assert_array_equal(mixed[index], images[index])
        np.testing.assert_array_equal(targets[index], labels[index])


def test_nothing_is_mixed_without_being_asked_for():
    images, labels, weights = batch()
    same_images, same_labels = mix(KEY, images, labels, weights, 0.0, 0.0)
    np.testing.assert_array_equal(same_images, images)
    np.testing.assert_array_equal(same_labels, labels)


def test_odd_batches_are_refused():
    with pytest.raises(ValueError, match="multiple of 4, not 6"):
        mix(KEY, *batch(6), 0.2, 1.0)
