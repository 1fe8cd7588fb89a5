"""Batched least squares and the bootstrap against independent solvers and known answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, special

from paper.fits.fitting import Estimate, aicc, band, estimate, least_squares, resample_weights, weighted_line


def exponential(x):
    """Model ``exp(a) + exp(b - c x)`` in logarithms, with its Jacobian."""

    def model(theta, lanes):
        falling = theta[:, 1:2] - theta[:, 2:] * x
        prediction = np.logaddexp(theta[:, :1], falling)
        share = np.exp(falling - prediction)
        return prediction, np.stack([1 - share, share, -share * x], axis=2)

    return model


@given(
    slope=st.floats(-3, 3),
    intercept=st.floats(-5, 5),
    scale=st.floats(0.1, 100),
    seed=st.integers(0, 2**16),
)
def test_line_recovers_exact_data_whatever_the_weights(slope, intercept, scale, seed):
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(-1, 1, 8)) + np.arange(8)
    weights = scale * rng.uniform(0.1, 1, (3, 8))
    line = weighted_line(x[None], (intercept + slope * x)[None], weights)
    np.testing.assert_allclose(line.slope, slope, atol=1e-9)
    np.testing.assert_allclose(line.intercept, intercept, atol=1e-8)


def test_line_equals_polyfit_on_repeated_points():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=10), rng.normal(size=10)
    weights = resample_weights(rng, 10, 50)
    line = weighted_line(x[None], y[None], weights)
    for lane in range(50):
        repeated = np.repeat(np.arange(10), weights[lane].astype(int))
        slope, intercept = np.polyfit(x[repeated], y[repeated], 1)
        np.testing.assert_allclose([line.slope[lane], line.intercept[lane]], [slope, intercept], rtol=1e-9, atol=1e-9)


def test_resamples_draw_as_many_points_as_there_are():
    weights = resample_weights(np.random.default_rng(0), 24, 1000)
    assert (weights.sum(1) == 24).all()
    assert abs(weights.mean() - 1) < 0.01
    assert abs((weights == 0).mean() - (1 - 1 / 24) ** 24) < 0.01


@pytest.mark.parametrize("delta", [np.inf, 0.02])
def test_least_squares_equals_scipy_in_every_lane(delta):
    rng = np.random.default_rng(1)
    x = np.linspace(-2, 3, 30)
    truth = np.array([0.3, 0.7, 0.4])
    model = exponential(x)
    target = model(truth[None], np.zeros(1, int))[0][0] + 0.02 * rng.normal(size=30)
    weights = resample_weights(rng, 30, 20)
    theta, loss = least_squares(model, np.tile([0.0, 0.5, 0.5], (20, 1)), target[None], weights, delta=delta)
    for lane in range(20):

        def objective(t, lane=lane):
            return (
                float((weights[lane] * special.huber(delta, target - model(t[None], np.zeros(1, int))[0][0])).sum())
                * 1e4
            )

        found = optimize.minimize(objective, theta[lane], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12})
        assert loss[lane] * 1e4 <= found.fun * (1 + 1e-6)
        np.testing.assert_allclose(objective(theta[lane]), loss[lane] * 1e4, rtol=1e-9)


def test_a_lane_whose_model_is_flat_stays_where_it_is():
    """As of a power law that starts so steep that nothing is left of it at any point."""
    x, y = np.arange(1.0, 6.0), 3.0 * np.arange(1.0, 6.0)

    def model(theta, lanes):
        slope = np.where(lanes == 1, 0.0, 1.0)[:, None] * x
        return theta * slope, slope[:, :, None]

    theta, loss = least_squares(model, np.array([[1.0], [1.0]]), y[None], np.ones((2, 5)))
    assert theta[:, 0] == pytest.approx([3, 1])
    assert loss == pytest.approx([0, 0.5 * (y**2).sum()])


def test_interval_leaves_out_lanes_without_a_value():
    samples = np.concatenate([np.arange(1, 1001.0), [np.nan] * 5])
    found = estimate(500, samples, "nats")
    assert found.low == pytest.approx(25.975)
    assert found.high == pytest.approx(975.025)
    assert found.contains(26)
    assert not found.contains(25)
    assert f"{found:.0f}" == "500 [26, 975]"
    assert f"{Estimate(0.0432, 0.04, 0.05)}" == "0.0432 [0.04, 0.05]"


def test_aicc_prefers_the_smaller_model_at_equal_squares():
    assert aicc(1.0, 24, 2) < aicc(1.0, 24, 3)
    # 24 log(1/24) + 6 + 24/20 by hand
    assert aicc(1.0, 24, 2) == pytest.approx(24 * np.log(1 / 24) + 6 + 24 / 20)
    assert -np.inf < aicc(0.0, 24, 2) < aicc(1e-200, 24, 2)  # of data without noise


def test_aicc_of_too_few_points_says_so():
    assert aicc(1.0, 5, 3) == float("inf")
    assert np.isfinite(aicc(1.0, 6, 3))


def test_a_lane_without_points_has_no_line():
    line = weighted_line(np.arange(3.0)[None], np.arange(3.0)[None], np.array([[1.0, 1, 1], [0, 0, 0], [0, 2, 0]]))
    assert line.slope[0] == pytest.approx(1)
    assert np.isnan(line.slope[1:]).all()


def test_band_widens_by_the_scatter_and_only_by_it():
    curves = np.random.default_rng(0).normal(0, 0.1, (4000, 1)) + np.array([[1.0, 2.0]])
    low, high = band(curves)
    np.testing.assert_allclose(np.log(high / low), 2 * 1.96 * 0.1, rtol=0.05)
    low, high = band(curves, 0.2)
    np.testing.assert_allclose(np.log(high / low), 2 * 1.96 * np.hypot(0.1, 0.2), rtol=0.05)
    np.testing.assert_allclose(
        band(np.full((2000, 1), np.log(3.0)), 0.5), np.exp(np.log(3) + np.array([[-1], [1]]) * 0.98), rtol=0.02
    )
    assert np.isnan(band(np.full((5, 2), np.nan))).all()
