"""Forms of the loss surface: they recover their own data, restrictions cost likelihood, and tell truths apart."""

import numpy as np
import pytest
from scipy.optimize import minimize

from paper.fits.forms import FORMS, fit_forms

GRID = [one.ravel() for one in np.meshgrid(np.geomspace(7e7, 9e8, 6), 4e9 * 2.0 ** np.arange(-2, 4))]


def made(irreducible, alpha, beta, gamma, noise=0.0):
    parameters, images = GRID
    inner = (parameters / 3e8) ** -alpha + 0.5 * (images / 8e9) ** -beta
    wobble = np.random.default_rng(0).standard_normal(inner.shape)
    return parameters, images, (irreducible + inner**gamma) * np.exp(noise * wobble)


def test_the_general_form_recovers_exact_data():
    general = fit_forms(*made(1.5, 0.6, 0.4, 0.5))["general"]
    expected = {"E": 1.5, "alpha": 0.6, "beta": 0.4, "gamma": 0.5}
    assert {name: general.values[name] for name in expected} == pytest.approx(expected, rel=1e-3)
    parameters, images, loss = made(1.5, 0.6, 0.4, 0.5)
    v = general.values
    fitted = v["E"] + (v["A"] / parameters ** v["alpha"] + v["B"] / images ** v["beta"]) ** v["gamma"]
    np.testing.assert_allclose(fitted, loss, rtol=1e-5)


@pytest.mark.parametrize(
    ("truth", "holds", "does_not"),
    [
        ((1.5, 0.6, 0.4, 0.4), "general", "additive"),
        ((1.5, 0.6, 0.3, 1.0), "additive", "general, equal rates"),
        ((1.5, 0.4, 0.4, 0.4), "general, equal rates", "additive"),
    ],
)
def test_restrictions_that_do_not_hold_are_told(truth, holds, does_not):
    forms = fit_forms(*made(*truth, noise=1e-3))
    assert list(forms) == list(FORMS)
    assert forms[holds].p_value > 1e-4  # less often by bad luck alone than once in ten thousand draws of the noise
    assert forms[does_not].p_value < 1e-4
    for form in forms.values():
        assert form.free == 6 - len(FORMS[form.name])
        assert form.ratio >= -1e-6


def test_no_other_optimiser_finds_a_better_surface(study):
    """From the optimum, a search without derivatives has nowhere to go."""
    runs = study.fits.pretraining
    parameters, images, loss = (runs[name].to_numpy(float) for name in ("parameters", "images", "jft4b_val_loss"))
    v = study.fits.surface_forms["general"].values

    def squares(theta):
        e, log_a, alpha, log_b, beta, gamma = theta
        terms = np.exp(log_a) * parameters**-alpha + np.exp(log_b) * images**-beta
        with np.errstate(invalid="ignore", over="ignore"):
            total = np.sum(np.log(loss / (e + terms**gamma)) ** 2)
        return total if np.isfinite(total) else np.inf

    start = [v["E"], np.log(v["A"]), v["alpha"], np.log(v["B"]), v["beta"], v["gamma"]]
    found = minimize(squares, start, method="Nelder-Mead", options={"maxiter": 4000, "xatol": 1e-9, "fatol": 1e-14})
    assert squares(start) == pytest.approx(study.fits.surface_forms["general"].squares, rel=1e-6)
    assert found.fun > squares(start) * (1 - 1e-3)


def test_exponents_are_those_of_the_minimum_along_equal_cost(study):
    form, slope = study.fits.surface_forms["general"], 0.9
    v = form.values
    sizes = np.geomspace(1e6, 1e12, 200_001)
    best = []
    for compute in (1e18, 1e19):
        images = compute / sizes**slope
        best.append(sizes[np.argmin(v["A"] * sizes ** -v["alpha"] + v["B"] * images ** -v["beta"])])
    size, epochs = form.exponents(slope)
    assert np.log10(best[1] / best[0]) == pytest.approx(size, abs=1e-3)
    assert slope * size + epochs == pytest.approx(1)
