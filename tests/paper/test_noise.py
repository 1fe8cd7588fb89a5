"""Noise of a finite test set, against draws of it."""

import dataclasses

import numpy as np
import pytest

from nfnet.errors import UserError
from paper.noise import INTERVAL, difference_error, difference_z, standard_error, validation_images


def test_standard_error_is_that_of_simulated_test_sets():
    rng = np.random.default_rng(0)
    errors = 100 * rng.binomial(50_000, 0.1, 20_000) / 50_000
    assert float(standard_error(10.0, 50_000)) == pytest.approx(errors.std(), rel=0.02)
    assert float(standard_error(10.0, 50_000)) == pytest.approx(0.134, abs=0.001)
    others = 100 * rng.binomial(50_000, 0.12, 20_000) / 50_000
    assert float(difference_error(10.0, 12.0, 50_000)) == pytest.approx((errors - others).std(), rel=0.02)
    again = 100 * rng.binomial(50_000, 0.1, 20_000) / 50_000
    z = difference_z(errors, again, 50_000)
    assert float((np.abs(z) > INTERVAL).mean()) == pytest.approx(0.05, abs=0.01)


def test_errors_on_the_same_images_differ_by_less():
    rng = np.random.default_rng(0)
    hard = rng.random((2_000, 1_000)) < 0.1  # images that both models get wrong, but for their own slips
    first, second = (100 * (hard ^ (rng.random(hard.shape) < 0.02)).mean(1) for _ in range(2))
    assert (first - second).std() < 0.8 * float(difference_error(first.mean(), second.mean(), 1_000))


def test_no_error_and_all_errors_have_no_noise():
    np.testing.assert_array_equal(standard_error(np.array([0.0, 100.0]), 50_000), [0, 0])
    assert float(difference_z(9.0, 10.0, 50_000)) < 0


def test_images_come_from_the_data(results):
    assert validation_images(results.datasets) == 50_000
    without = dataclasses.replace(results, datasets=results.datasets[results.datasets.split != "validation"])
    with pytest.raises(UserError, match=r"datasets\.csv: no row of ImageNet-1k's validation split"):
        validation_images(without.datasets)
