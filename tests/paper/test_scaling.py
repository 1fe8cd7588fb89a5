"""The scaling laws against independent fits, known answers and each other."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, special
from support.simulated import grid_of

from paper.fits.analysis import Analysis
from paper.fits.curves import roughness, smoothing
from paper.fits.laws import Points, PowerLaw, SaturatingLaw, frontier_mask, frontier_weights
from paper.fits.optimum import CostLine, envelope_lines, frontier_lines, isocompute_optima, profile_lines
from paper.fits.scaling import ScalingFits
from paper.fits.surface import HUBER_DELTA, fit_surface


def exact_points(compute, value, resamples=50):
    nothing = np.zeros(len(compute))
    return Points.draw(compute, value, (nothing, nothing), resamples, np.random.default_rng(0))


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=30))
def test_frontier_is_every_run_that_no_other_dominates(runs):
    compute, value = np.array(runs, dtype=float).T
    mask = frontier_mask(compute, value)
    for i in range(len(runs)):
        better = (compute <= compute[i]) & (value <= value[i]) & ((compute < compute[i]) | (value < value[i]))
        twins_before = [j for j in range(i) if runs[j] == runs[i]]
        assert mask[i] == (not better.any() and not twins_before)


def test_frontier_of_figure_2_has_the_running_minima(study):
    law = study.fits.loss_law
    assert len(law.compute) == 24
    # An independent fit over the running-minimum points: L = 3.85 C^-0.043.
    assert law.exponent.value == pytest.approx(0.043, abs=5e-4)
    assert law.coefficient.value == pytest.approx(3.85, abs=5e-3)
    slope, intercept = np.polyfit(np.log(law.compute), np.log(law.value), 1)
    assert law.exponent.value == pytest.approx(-slope, rel=1e-9)
    assert law.coefficient.value == pytest.approx(np.exp(intercept), rel=1e-9)
    low, high = law.band(np.array([400.0, 107_000.0]))
    assert (low < law.predict(np.array([400.0, 107_000.0]))).all()
    assert (high > law.predict(np.array([400.0, 107_000.0]))).all()


def test_intervals_hold_the_estimate_and_agree_with_ordinary_theory(study):
    law = study.fits.loss.law_fixed
    assert law.exponent.low < law.exponent.value < law.exponent.high
    x = np.log(law.compute)
    error = np.sqrt(np.sum(law.residuals**2) / (len(x) - 2) / np.sum((x - x.mean()) ** 2))
    assert (law.exponent.high - law.exponent.low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.25)


def test_same_seed_same_interval_and_other_seed_other_interval(results):
    first, again, other = (ScalingFits(results, 500, seed).loss_law.exponent for seed in (0, 0, 1))
    assert first == again
    assert first.value == other.value
    assert first.low != other.low


@given(exponent=st.floats(0.02, 0.5), coefficient=st.floats(0.5, 50))
def test_power_law_recovers_exact_data(exponent, coefficient):
    compute = np.geomspace(400, 107_000, 12)
    law = PowerLaw.fit(exact_points(compute, coefficient * compute**-exponent), "nats")
    assert law.exponent.value == pytest.approx(exponent, rel=1e-6)
    assert law.exponent.low == pytest.approx(exponent, rel=1e-6)
    assert law.r_squared == pytest.approx(1)


@pytest.mark.parametrize("irreducible", [0.5, 1.5])
def test_saturating_law_recovers_exact_data(irreducible):
    compute = np.geomspace(400, 107_000, 20)
    law = SaturatingLaw.fit(exact_points(compute, irreducible + 6 * compute**-0.2), "nats")
    assert law.irreducible.value == pytest.approx(irreducible, rel=1e-3)
    assert law.exponent.value == pytest.approx(0.2, rel=1e-3)
    assert law.coefficient.value == pytest.approx(6, rel=1e-3)


def test_saturating_law_of_figure_2_is_scipys_best(study):
    power, law = study.fits.loss_law, study.fits.loss_law_saturating
    x, y = np.log(power.compute), np.log(power.value)
    best, _ = optimize.curve_fit(lambda x, e, a, b: np.log(e + np.exp(a - b * x)), x, y, p0=[1, 1, 0.1])
    assert law.irreducible.value == pytest.approx(best[0], rel=1e-3)
    assert law.exponent.value == pytest.approx(best[2], rel=1e-3)
    assert 0 <= law.irreducible.low < law.irreducible.value < law.irreducible.high < power.value.min()


def test_surface_recovers_exact_data():
    runs = grid_of(1.7, 400 * 3e8**-0.35, 0.35, 410 * 8e9**-0.3, 0.3, 1.0)
    surface = fit_surface(runs, "additive", HUBER_DELTA, 20, (0, 0))
    assert surface.irreducible.value == pytest.approx(1.7, rel=1e-3)
    assert surface.size_exponent.value == pytest.approx(0.35, rel=1e-3)
    assert surface.size_coefficient.value == pytest.approx(400, rel=1e-2)
    assert surface.data_exponent.value == pytest.approx(0.3, rel=1e-3)
    assert surface.data_coefficient.value == pytest.approx(410, rel=1e-2)
    np.testing.assert_allclose(surface.predict(runs.parameters, runs.examples), runs.value, rtol=1e-6)


def test_resampled_surfaces_are_minima(study):
    """A sample of resamples is solved again by L-BFGS from the batched solver's answer; nothing better is found."""
    fits = study.fits
    runs = fits.pretraining
    surface = fits.surface
    assert surface.starts_at_optimum > 0.5
    residual = np.log(runs.jft4b_val_loss) - np.log(surface.predict(runs.parameters, runs.images))
    assert special.huber(HUBER_DELTA, residual).sum() == pytest.approx(surface.objective, rel=1e-6)

    def objective(theta):
        log_e, log_a, alpha, log_b, beta = theta
        terms = [
            log_e + 0 * np.log(runs.parameters),
            log_a - alpha * np.log(runs.parameters),
            log_b - beta * np.log(runs.images),
        ]
        residual = np.log(runs.jft4b_val_loss) - np.logaddexp(np.logaddexp(terms[0], terms[1]), terms[2])
        return special.huber(HUBER_DELTA, residual).sum() * 1e6

    start = np.array(
        [
            np.log(surface.irreducible.value),
            np.log(surface.size_coefficient.value),
            surface.size_exponent.value,
            np.log(surface.data_coefficient.value),
            surface.data_exponent.value,
        ]
    )
    better = optimize.minimize(objective, start, method="Nelder-Mead", options={"maxiter": 4000, "maxfev": 4000})
    assert better.fun >= surface.objective * 1e6 * (1 - 1e-3)


@pytest.mark.parametrize("method", ["surface", "general"])
def test_optima_of_surfaces_are_their_minima_along_equal_cost(study, method):
    loss = study.fits.loss
    route, cost = loss.optima[method], loss.cost
    surface = {"surface": loss.surface, "general": loss.general}[method]
    for budget in (2_000.0, 20_000.0):
        size = np.exp(route.size_line[0] + route.size_line[1] * np.log(budget))
        epochs = np.exp(route.epochs_line[0] + route.epochs_line[1] * np.log(budget))
        assert np.exp(cost.intercept) * size**cost.slope * epochs == pytest.approx(budget, rel=1e-6)

        def loss_of(log_size, budget=budget):
            per_epoch = np.exp(cost.intercept + cost.slope * log_size)
            return float(surface.predict(np.exp(log_size), budget / per_epoch * loss.runs.epoch))

        ends = np.log(1e6), np.log(1e10)
        found = optimize.minimize_scalar(loss_of, bounds=ends, method="bounded", options={"xatol": 1e-9})
        assert np.exp(found.x) == pytest.approx(size, rel=1e-3)


def test_all_routes_see_size_and_epochs_grow(study):
    assert list(study.fits.loss.optima) == ["frontier", "envelope", "profiles", "surface", "general"]
    for route in study.fits.loss.optima.values():
        assert route.size_exponent.low > 0
        assert route.epochs_exponent.low > 0
        assert route.difference.value == pytest.approx(route.size_exponent.value - route.epochs_exponent.value)


def valley(growth):
    """Runs whose best size at compute C is 1e8 (C / 100)^growth, on a smooth valley."""
    runs = grid_of(0, 1, 1, 1, 1, 1, models=6, budgets=9)
    hours = np.tile(np.geomspace(100, 10_000, 9), 6)
    parameters = np.repeat(np.geomspace(1e8, 1e9, 6), 9)
    value = np.exp(0.7 + 0.02 * np.log(parameters / (1e8 * (hours / 100) ** growth)) ** 2)
    return replace(runs, compute=hours, parameters=parameters, examples=hours / parameters, epoch=1.0, value=value)


def test_profiles_and_envelope_find_the_minimum_of_a_known_valley():
    runs = valley(0.5)
    budgets = np.array([400.0, 1_000.0, 3_000.0])
    optima = isocompute_optima(runs, budgets, np.log(runs.value)[None])
    np.testing.assert_allclose(np.exp(optima[0]), 1e8 * (budgets / 100) ** 0.5, rtol=0.05)
    cost = CostLine.fit(runs)
    assert cost.slope == pytest.approx(1)
    for lines in (profile_lines, envelope_lines):
        (_, size), (_, epochs) = lines(runs, cost, np.log(runs.value)[None])
        assert size[0] == pytest.approx(0.5, abs=0.06)
        assert epochs[0] == pytest.approx(0.5, abs=0.06)


def test_profiles_do_not_extrapolate():
    runs = valley(0.5).where(np.tile(np.arange(9) == 4, 6))
    budgets = runs.compute[:1] * np.array([0.9, 1.1])
    assert np.isnan(isocompute_optima(runs, budgets, np.log(runs.value)[None])).all()


@given(st.integers(0, 2**16))
def test_frontier_of_a_lane_is_that_of_its_runs(seed):
    rng = np.random.default_rng(seed)
    compute, value = rng.integers(1, 9, (2, 4, 12)).astype(float)
    weights = rng.integers(0, 3, (4, 12)).astype(float)
    found = frontier_weights(compute, value, weights)
    for lane in range(4):
        there = weights[lane] > 0
        mask = frontier_mask(compute[lane, there], value[lane, there])
        np.testing.assert_array_equal(found[lane, there], weights[lane, there] * mask)
        assert (found[lane, ~there] == 0).all()


def test_resampled_frontiers_are_found_anew_and_models_come_whole(study):
    runs = study.fits.loss.runs
    for resampled in ("runs", "models", "fixed"):
        points = Points.on_frontier(runs, 200, np.random.default_rng(0), resampled)
        np.testing.assert_array_equal(points.value, runs.value[frontier_mask(runs.compute, runs.value)])
        if resampled == "fixed":
            assert points.weights.shape[1] == len(points.compute)
            continue
        assert points.weights.shape[1] == len(runs)
        off = ~frontier_mask(runs.compute, runs.value)
        assert (points.weights[:, off] > 0).any()  # a run steps in for one that was not drawn
        if resampled == "models":
            drawn = [np.unique(lane[(runs.cluster == m) & (lane > 0)]) for lane in points.weights for m in range(6)]
            assert all(len(counts) <= 1 for counts in drawn)


def test_models_that_shift_together_widen_the_clustered_interval_alone():
    """Six models with an offset each: what a resample of runs takes for six independent readings is one."""
    runs = grid_of(0, 1, 1, 1, 1, 1, models=12, budgets=6)
    shift = np.repeat(np.random.default_rng(1).normal(0, 0.02, 12), 6)
    compute = np.geomspace(1, 1e4, 72)  # one after the other, so that every model lies on the frontier
    shifted = replace(runs, compute=compute, value=np.exp(-0.05 * np.log(compute) + shift))
    analysis = Analysis(shifted, 1000, 0, 0, 1e3)
    widths = [law.exponent.high - law.exponent.low for law in (analysis.law, analysis.law_clustered)]
    assert widths[1] > 1.5 * widths[0]


def test_frontier_lines_are_those_of_the_runs_on_it(study):
    runs = study.fits.loss.runs
    on = frontier_mask(runs.compute, runs.value)
    (intercept, slope), _ = frontier_lines(runs, np.log(runs.value)[None], np.ones((1, len(runs))))
    expected = np.polyfit(np.log(runs.compute[on]), np.log(runs.parameters[on]), 1)
    np.testing.assert_allclose([slope[0], intercept[0]], expected)


def test_prediction_band_holds_95_of_100_further_runs():
    """Laws fitted to 20 noisy points; a further point lies in the prediction band in 95% of cases, not the other."""
    rng = np.random.default_rng(0)
    compute, further, inside, confident = np.geomspace(400, 50_000, 20), np.array([107_000.0]), 0, 0
    for _ in range(400):
        noisy = 3.9 * compute**-0.043 * np.exp(0.01 * rng.standard_normal(20))
        law = PowerLaw.fit(Points.draw(compute, noisy, (compute * 0, compute * 0), 200, rng), "nats")
        value = 3.9 * further**-0.043 * np.exp(0.01 * rng.standard_normal(1))
        low, high = law.prediction_band(further)
        inside += bool(low[0] <= value[0] <= high[0])
        low, high = law.band(further)
        confident += bool(low[0] <= value[0] <= high[0])
    assert abs(inside / 400 - 0.95) < 0.05  # four and a half standard errors of 400 draws
    assert confident / 400 < 0.8


@pytest.mark.parametrize("irreducible", [0.0, 1.2])
def test_saturating_lanes_are_scipys_best(irreducible):
    """Also where the best irreducible term is zero."""
    rng = np.random.default_rng(3)
    compute = np.geomspace(400, 107_000, 24)
    value = (irreducible + 6 * compute**-0.2) * np.exp(0.01 * rng.standard_normal(24))
    points = Points.draw(compute, value, (compute * 0, compute * 0), 12, rng)
    law = SaturatingLaw.fit(points, "nats")
    for (log_e, log_a, a), weights in zip(law.samples, points.weights, strict=True):

        def squares(e, b, c, weights=weights):
            return float(np.sum(weights * (np.log(value) - np.log(e + np.exp(b - c * np.log(compute)))) ** 2))

        found = optimize.minimize(
            lambda t: squares(np.exp(t[0]), t[1], t[2]),
            [max(log_e, -3), log_a, a],
            method="Nelder-Mead",
            options={"maxiter": 3000, "maxfev": 3000, "xatol": 1e-8, "fatol": 1e-14},
        )
        assert squares(np.exp(log_e), log_a, a) <= found.fun * (1 + 1e-4)


def test_roughness_is_zero_for_parabolas_and_grows_with_a_kink():
    epochs = np.array([0.25, 0.5, 1, 2, 4, 8])
    smooth = np.exp(1 - 0.05 * np.log(epochs) + 0.004 * np.log(epochs) ** 2)
    runs = pd.DataFrame({"model": "F0", "epochs": epochs, "loss": smooth})
    assert roughness(runs, "loss")["F0"] == pytest.approx(0, abs=1e-9)
    kinked = runs.assign(loss=runs.loss.where(runs.epochs != 2, runs.loss * 1.01))
    assert roughness(kinked, "loss")["F0"] > 0.3
    hat = smoothing(["a"] * 6 + ["b"] * 3, np.log([*epochs, 1, 2, 4]))
    np.testing.assert_allclose(hat @ hat, hat, atol=1e-9)
    assert np.trace(hat) == pytest.approx(3 + 2)  # a parabola through six points, a line through three
    assert roughness(runs.iloc[:4], "loss").empty


def test_f7plus_is_the_roughest(study):
    assert study.fits.loss_roughness.idxmax() == "F7+"
