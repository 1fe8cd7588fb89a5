"""Plans agree with the regret and the optimum that are computed elsewhere, and with a search along equal cost."""

import numpy as np
import pytest

from paper.fits.plan import plan
from paper.fits.regret import regret


@pytest.mark.parametrize("compute", [400.0, 5_000.0, 107_000.0])
def test_a_plan_is_the_optimum_and_its_rule_the_one_whose_regret_is_told(study, compute):
    loss = study.fits.loss
    surface, cost, epoch = loss.general, loss.cost, loss.runs.epoch
    best, rule = plan(surface, cost, epoch, compute, loss.anchor)
    told = regret(surface, cost, epoch, np.array([compute]), loss.anchor)
    assert 100 * (rule.loss / best.loss - 1) == pytest.approx(told.percent[0])

    sizes = np.geomspace(best.parameters / 3, best.parameters * 3, 2001)
    epochs = compute / np.exp(cost.intercept) / sizes**cost.slope
    assert best.loss == pytest.approx(surface.predict(sizes, epochs * epoch).min(), rel=1e-6)
    for one in (best, rule):  # both spend the budget
        assert np.exp(cost.intercept) * one.parameters**cost.slope * one.epochs == pytest.approx(compute)


def test_the_rule_starts_at_the_optimum_and_grows_both_alike(study):
    loss = study.fits.loss
    best, start = plan(loss.general, loss.cost, loss.runs.epoch, 1000.0, 1000.0)
    assert start.parameters == pytest.approx(best.parameters)
    _, grown = plan(loss.general, loss.cost, loss.runs.epoch, 64_000.0, 1000.0)
    assert grown.parameters / start.parameters == pytest.approx(grown.epochs / start.epochs)
