"""Fitted frontiers of both families: what resampling does, the sensitivity tree, and the cost of inference."""

import numpy as np
import pandas as pd
import pytest

from nfnet.cost.cost import network_cost
from paper.fits.laws import SaturatingLaw, frontier_mask
from paper.vits.frontiers import FittedAdvantage, frontier_points, sensitivity
from paper.vits.inference import evaluated


def runs(rng, count=60, scatter=0.02):
    compute = np.exp(rng.uniform(0, 8, count))
    error = (8 + 40 * compute**-0.4) * np.exp(scatter * np.abs(rng.standard_normal(count)))
    return compute, error, [f"m{number % 6}" for number in range(count)]


@pytest.mark.parametrize("resampled", ["fixed", "runs", "models"])
def test_lanes_hold_the_frontier_of_their_own_draw(resampled):
    compute, error, models = runs(np.random.default_rng(0))
    points = frontier_points(
        compute, error, models, 0.0, 40, np.random.default_rng(1), resampled=resampled, least=np.exp(2.0)
    )
    on = frontier_mask(np.exp(np.round(np.log(compute), 3)), error) & (compute >= np.exp(2.0))
    np.testing.assert_array_equal(points.compute, compute[on])
    for x, y, weights in zip(points.log_compute, points.log_value, points.weights, strict=True):
        x, y = x[weights > 0], y[weights > 0]
        assert (x >= 2.0 - 1e-3).all()
        order = np.argsort(x)
        assert (np.diff(y[order]) < 0).all()  # each dearer run is better
        if resampled == "fixed":
            assert set(np.round(x, 3)) <= set(np.round(np.log(compute[on]), 3))
    if resampled != "fixed":  # runs off the frontier as logged come onto that of some draw
        drawn = set(np.round(points.log_compute[points.weights > 0], 3))
        assert drawn - set(np.round(np.log(compute[on]), 3))


def test_whole_models_are_drawn():
    compute, error, models = runs(np.random.default_rng(0))
    owner = {round(float(np.log(c)), 3): model for c, model in zip(compute, models, strict=True)}
    points = frontier_points(compute, error, models, 0.0, 60, np.random.default_rng(2), resampled="models")
    for x, weights in zip(points.log_compute, points.weights, strict=True):
        count = {}
        for place, weight in zip(x[weights > 0], weights[weights > 0], strict=True):
            count.setdefault(owner[round(float(place), 3)], set()).add(weight)
        assert all(len(weights) == 1 for weights in count.values())


def test_laws_of_packed_lanes_are_those_of_their_points():
    compute, error, models = runs(np.random.default_rng(3), scatter=0.005)
    points = frontier_points(compute, error, models, 0.0, 25, np.random.default_rng(4))
    law = SaturatingLaw.fit(points, "percent")
    assert law.irreducible.value == pytest.approx(8, rel=0.05)
    assert law.irreducible.low < 8.4
    assert law.irreducible.high > 7.6


def test_shares_count_intervals_that_leave_zero_out():
    fitted = FittedAdvantage(
        np.arange(4.0), np.zeros(4), np.array([0.1, -0.1, -0.3, 0.2]), np.array([0.3, 0.1, -0.1, 0.4])
    )
    assert (fitted.share_apart, fitted.share_behind) == (0.5, 0.25)


def test_tree_holds_each_choice_once_and_follows_the_runs(study):
    matched = study.matched
    plain = matched.nfnet_runs[~matched.nfnet_runs.repeated_augmentation].reset_index(drop=True)
    tree = sensitivity(plain, matched.vit_runs(), 40, 0)
    assert not tree.duplicated(["runs", "axis", "largest", "cut_off", "resampled"]).any()
    assert len(tree) == 4 * 2 * 2 * 3
    assert (tree.low <= tree.high).all()
    # Resampling moves intervals, and not what they are intervals of.
    same = tree.groupby(["runs", "largest", "cut_off"]).points.agg(np.ptp)
    assert (same < 1e-9).all()
    worse = sensitivity(plain.assign(error=plain.error + 4), matched.vit_runs(), 40, 0)
    np.testing.assert_allclose(worse.points, tree.points - 4, atol=0.6)
    assert (worse.share_apart == 0).all()
    assert worse.share_behind.max() > 0.9
    again = sensitivity(plain, matched.vit_runs(), 40, 0)
    pd.testing.assert_frame_equal(again, tree)
    with_largest = tree[tree.runs == "sweep, FLOPs"].groupby("largest").points.first()
    assert with_largest[True] != with_largest[False]


def test_later_results_enter_the_tree_at_their_own_hours(study):
    matched = study.matched
    plain = matched.nfnet_runs[~matched.nfnet_runs.repeated_augmentation].reset_index(drop=True)
    vits = matched.vit_runs()
    cheaper = vits.copy()
    rows = cheaper.later & (cheaper.accounting == "reported")
    cheaper.loc[rows, ["low", "mid", "high"]] /= 3
    before, after = (sensitivity(plain, table, 4, 0).set_index("runs").points for table in (vits, cheaper))
    moved = {name for name in set(before.index) if not np.allclose(before[name], after[name])}
    assert moved == {"with later results, reported hours"}


def test_operations_are_twice_the_multiply_adds_for_both_families(study):
    table = study.matched.inference
    for row in table[table.family == "nfnet"].itertuples():
        assert row.resolution == 480
        assert row.gflops == pytest.approx(2 * network_cost(row.model, 480).macs / 1e9)
    names = {"L/16": ("ViT-L/16", 384), "g/14": ("ViT-g/14", 518), "G/14": ("ViT-G/14", 518)}
    names["So400m/14"] = ("SoViT-400m/14", 518)
    found = table.set_index(["model", "resolution"]).gflops.groupby(level=[0, 1]).first()
    for variant, key in names.items():
        assert found[key] == pytest.approx(2 * network_cost(variant, key[1]).macs / 1e9, rel=0.015)


def test_each_model_is_there_at_its_best_and_once(study):
    table = study.matched.inference
    keys = ["family", "model", "resolution", "later", "repeated_augmentation"]
    assert not table.duplicated(keys).any()
    runs = study.matched.vit_runs()
    for row in table[table.family == "vit"].itertuples():
        own = runs[(runs.model == row.model) & (runs.resolution == row.resolution) & (runs.later == row.later)]
        assert row.error == own.error.min()
    dearer = evaluated(study.results, study.matched.nfnet_runs, runs.assign(mid=runs.mid * 2))
    pd.testing.assert_frame_equal(dearer, table)  # hours play no part


def test_who_leads_at_equal_cost_of_inference(study):
    matched = study.matched
    costs = np.array([100.0, 200.0, 250.0, 400.0, 800.0, 1_100.0, 1_500.0, 6_000.0])
    found = matched.inference_advantage(later=True, costs=costs)
    np.testing.assert_array_equal(found.nfnet, [np.nan, 11.37, 11.37, 10.68, 10.18, 9.75, 9.75, 9.75])
    np.testing.assert_allclose(found.vit, [15.6, 13.2, 11.1, 11.1, 10.0, 10.0, 9.7, 9.55])
    alone = matched.inference_advantage(later=False, costs=costs)
    np.testing.assert_allclose(alone.vit, [15.6, 13.2, 13.2, 11.5, 11.5, 11.5, 11.5, 9.55])
    repeated = matched.inference_advantage(later=True, repeated=True, costs=costs)
    assert repeated.nfnet[-1] == 9.61
