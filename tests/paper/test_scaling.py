"""The scaling laws against independent fits, known answers and each other."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, special

from paper.fits.curves import roughness, smooth_curves
from paper.fits.laws import Points, PowerLaw, SaturatingLaw, frontier_mask
from paper.fits.optimum import isocompute_optima
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
    law = study.fits.loss_law
    assert law.exponent.low < law.exponent.value < law.exponent.high
    x = np.log(law.compute)
    error = np.sqrt(np.sum(law.residuals**2) / (len(x) - 2) / np.sum((x - x.mean()) ** 2))
    assert (law.exponent.high - law.exponent.low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.25)
    runs = study.fits.loss_law_all_resampled
    assert runs.low < law.exponent.value < runs.high


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
    size, data = (a.ravel() for a in np.meshgrid(np.geomspace(7e7, 8e8, 6), np.geomspace(1e9, 3.2e10, 6)))
    loss = 1.7 + 400 * size**-0.35 + 410 * data**-0.3
    surface = fit_surface(size, data, loss, np.zeros(36), 20, np.random.default_rng(0))
    assert surface.irreducible.value == pytest.approx(1.7, rel=1e-2)
    assert surface.size_exponent.value == pytest.approx(0.35, rel=2e-2)
    assert surface.data_exponent.value == pytest.approx(0.3, rel=2e-2)
    np.testing.assert_allclose(surface.predict(size, data), loss, rtol=1e-5)


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


def test_optima_agree_on_growth_and_the_surface_formula(study):
    for route in study.fits.optima:
        assert route.size_exponent.low > 0
        assert route.epochs_exponent.low > 0
        assert route.one_epoch.low < 5000 < route.one_epoch.high * 1.3
    route, surface, cost = study.fits.optimum_by_surface, study.fits.surface, study.fits.cost
    budget = 20_000.0
    size = np.exp(route.size_line[0] + route.size_line[1] * np.log(budget))
    epochs = np.exp(route.epochs_line[0] + route.epochs_line[1] * np.log(budget))
    assert np.exp(cost.intercept) * size**cost.slope * epochs == pytest.approx(budget, rel=1e-6)
    images = study.results.stated("pretrain.images").value

    def loss_of(log_size):
        hours_per_epoch = np.exp(cost.intercept + cost.slope * log_size)
        return float(surface.predict(np.exp(log_size), budget / hours_per_epoch * images))

    found = optimize.minimize_scalar(
        loss_of, bounds=(np.log(1e6), np.log(1e10)), method="bounded", options={"xatol": 1e-9}
    )
    assert np.exp(found.x) == pytest.approx(size, rel=1e-3)


def test_profiles_find_the_minimum_of_a_known_valley():
    sizes = np.geomspace(1e8, 1e9, 6)
    rows = [
        {"model": f"m{i}", "parameters": size, "tpu_v4_core_hours": hours}
        for i, size in enumerate(sizes)
        for hours in np.geomspace(100, 10_000, 9)
    ]
    runs = pd.DataFrame(rows)
    best = 1e8 * (runs.tpu_v4_core_hours / 100) ** 0.5
    value = 0.7 + 0.02 * np.log(runs.parameters / best) ** 2
    budgets = np.array([400.0, 1_000.0, 3_000.0])
    optima = isocompute_optima(runs, "parameters", budgets, value.to_numpy()[None])
    np.testing.assert_allclose(np.exp(optima[0]), 1e8 * (budgets / 100) ** 0.5, rtol=0.05)
    with pytest.raises(KeyError):
        isocompute_optima(runs, "nothing", budgets, value.to_numpy()[None])


def test_profiles_do_not_extrapolate():
    runs = pd.DataFrame(
        {"model": ["a", "b", "c", "d"], "parameters": [1.0, 2.0, 3.0, 4.0], "tpu_v4_core_hours": [10.0] * 4}
    )
    assert np.isnan(isocompute_optima(runs, "parameters", np.array([20.0]), np.zeros((1, 4)))).all()


def test_roughness_is_zero_for_parabolas_and_grows_with_a_kink():
    epochs = np.array([0.25, 0.5, 1, 2, 4, 8])
    smooth = np.exp(1 - 0.05 * np.log(epochs) + 0.004 * np.log(epochs) ** 2)
    runs = pd.DataFrame({"model": "F0", "epochs": epochs, "loss": smooth})
    assert roughness(runs, "loss")["F0"] == pytest.approx(0, abs=1e-9)
    kinked = runs.assign(loss=runs.loss.where(runs.epochs != 2, runs.loss * 1.01))
    assert roughness(kinked, "loss")["F0"] > 0.3
    fitted, residual = smooth_curves(kinked, "loss")
    np.testing.assert_allclose(fitted + residual, np.log(kinked.loss))
    assert roughness(runs.iloc[:4], "loss").empty


def test_f7plus_is_the_roughest(study):
    assert study.fits.loss_roughness.idxmax() == "F7+"
