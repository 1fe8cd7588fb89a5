"""Matched compute: who leads, on constructed data and on the logged results."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paper.claims import evaluate, load_claims
from paper.fits.laws import frontier_mask
from paper.noise import INTERVAL, difference_error
from paper.study import Study
from paper.vits.advantage import CONVERSIONS, Advantage, Scenario, best_within, interpolated_within

positive = st.floats(0.1, 1e6, allow_nan=False)
runs_of = st.lists(st.tuples(positive, st.floats(1, 60)), min_size=1, max_size=30)


def arrays(runs):
    compute, error = np.array(runs, float).T
    return compute, error


@given(runs_of, st.lists(positive, min_size=1, max_size=20))
def test_best_within_is_an_affordable_run_and_none_is_better(runs, budgets):
    compute, error = arrays(runs)
    best = best_within(np.array(budgets), compute, error)
    for budget, found in zip(budgets, best, strict=True):
        affordable = error[compute <= budget]
        if len(affordable) == 0:
            assert np.isnan(found)
        else:
            assert found in affordable
            assert (affordable >= found).all()


@given(runs_of, runs_of)
def test_more_budget_or_more_runs_never_hurt(runs, others):
    compute, error = arrays(runs)
    budgets = np.sort(compute)
    best = best_within(budgets, compute, error)
    assert (np.diff(best) <= 0).all()
    more = best_within(budgets, *arrays(runs + others))
    assert (more <= best).all()
    dearer = best_within(budgets, 2 * compute, error)
    assert (np.nan_to_num(dearer, nan=np.inf) >= best).all()


@given(runs_of)
def test_interpolation_meets_the_frontier_and_never_lies_above_the_steps(runs):
    compute, error = arrays(runs)
    budgets = np.maximum(np.geomspace(compute.min(), compute.max(), 40), compute.min())
    steps, between = best_within(budgets, compute, error), interpolated_within(budgets, compute, error)
    assert (between <= steps * (1 + 1e-9)).all()
    on = frontier_mask(compute, error)
    np.testing.assert_allclose(interpolated_within(compute, compute, error)[on], error[on])
    assert np.isnan(interpolated_within(np.array([compute.min() / 2]), compute, error)).all()


def test_signs_and_ranges_of_an_advantage():
    found = Advantage(np.array([1.0, 2, 3, 4, 5, 6]), np.full(6, 9.0), np.array([np.nan, 10, 8, 8, 9, 8.9]), 50_000)
    np.testing.assert_allclose(found.points, [np.nan, 1, -1, -1, 0, -0.1])
    assert found.share_led == 1 / 5
    assert found.share_beyond == 1 / 5
    assert found.share_behind == 2 / 5
    few = dataclasses.replace(found, images=500)
    assert (few.share_led, few.share_beyond, few.share_behind) == (1 / 5, 0, 0)
    assert found.vit_leads == [(3, 4), (6, 6)]
    leading = dataclasses.replace(found, vit=np.full(6, 10.0))
    assert leading.share_led == 1
    assert leading.vit_leads == []


def altered(study, *, vit_points=0.0, nfnet_points=0.0, resamples=50):
    """The study with every error of one family moved by so many points."""
    results = study.results
    vits, nfnets = results.vit_finetuning.copy(), results.finetuning.copy()
    vits["imagenet_top1_percent"] -= vit_points
    vits["imagenet_top1_error_percent_figure2"] += vit_points
    nfnets["imagenet_top1_error_percent"] += nfnet_points
    return Study.of(dataclasses.replace(results, vit_finetuning=vits, finetuning=nfnets), resamples=resamples)


def test_moving_a_family_moves_the_advantage_by_as_much(study):
    sweep = study.matched.scenarios[0]
    before = study.matched.advantage(sweep)
    worse = altered(study, nfnet_points=4.0).matched
    np.testing.assert_allclose(worse.advantage(sweep).points, before.points - 4.0)
    assert worse.advantage(sweep).share_led == 0
    better = altered(study, vit_points=2.0).matched
    np.testing.assert_allclose(better.advantage(sweep).points, before.points + 2.0)
    assert better.advantage(sweep).share_led == 1


def test_dearer_vision_transformers_never_do_better(study):
    for scenario in study.matched.scenarios:
        if scenario.axis == "hours":
            low, mid, high = (study.matched.advantage(scenario, conversion).points for conversion in CONVERSIONS)
            low, mid, high = (points[np.isfinite(high)] for points in (low, mid, high))
            assert (low <= mid).all(), scenario.name
            assert (mid <= high).all(), scenario.name


def constructed(study, nfnet, vit, *, resamples=300):
    """The study with each family's errors on a law of TPU-v4 core hours (central conversion)."""
    results = study.results
    days = results.vit_finetuning.tpu_v3_core_days_figure2
    vit_error = vit(days * 24 * study.matched.ratio.mid)
    vits = results.vit_finetuning.assign(
        imagenet_top1_percent=100 - vit_error, imagenet_top1_error_percent_figure2=vit_error
    )
    nfnets = results.finetuning.assign(imagenet_top1_error_percent=nfnet(results.finetuning.tpu_v4_core_hours))
    return Study.of(dataclasses.replace(results, vit_finetuning=vits, finetuning=nfnets), resamples=resamples)


def test_fitted_difference_recovers_constructed_laws(study):
    def nfnet(hours):
        return 7 + 30 * hours**-0.2

    def vit(hours):
        return 8 + 60 * hours**-0.3

    matched = constructed(study, nfnet, vit).matched
    assert matched.nfnet_law().irreducible.value == pytest.approx(7, abs=0.01)
    assert matched.vit_law().irreducible.value == pytest.approx(8, abs=0.01)
    assert matched.vit_law().exponent.value == pytest.approx(0.3, abs=0.002)
    fitted = matched.fitted
    np.testing.assert_allclose(fitted.points, vit(fitted.budgets) - nfnet(fitted.budgets), atol=0.005)
    assert (fitted.low < fitted.points).all()
    assert (fitted.points < fitted.high).all()
    # The interval is the conversion's: runs without scatter add next to nothing.
    ratio = matched.ratio
    ends = [vit(fitted.budgets * ratio.mid / end) - nfnet(fitted.budgets) for end in (ratio.low, ratio.high)]
    assert (fitted.low > ends[0] - 0.05).all()
    assert (fitted.high < ends[1] + 0.05).all()
    equal = constructed(study, nfnet, nfnet).matched.fitted
    np.testing.assert_allclose(equal.points, 0, atol=0.005)
    assert (equal.low < 0).all()


def test_laws_by_flops_use_the_frontier_of_flops(study):
    matched = Study.of(study.results, resamples=50).matched
    runs = matched.vit_runs()[lambda table: ~table.later]
    law = matched.vit_law("flops")
    assert law.compute.max() == runs.flops[runs.model == "ViT-G/14"].item()
    best = best_within(law.compute, runs.flops.to_numpy(float), runs.error.to_numpy(float))
    np.testing.assert_array_equal(law.value, best)
    assert law.compute.min() >= matched.nfnet_runs.flops.min() / 2
    fitted = matched.fitted_flops
    np.testing.assert_allclose(
        fitted.points, law.predict(fitted.budgets) - matched.nfnet_law("flops").predict(fitted.budgets)
    )


def chosen(matched, name):
    scenario = next(scenario for scenario in matched.scenarios if scenario.name == name)
    vits, nfnets = matched.vit_runs(scenario.route), matched.nfnet_runs
    return scenario, vits[scenario.vits(vits)], nfnets[scenario.nfnets(nfnets)]


def test_scenarios_select_what_they_say(study):
    matched = study.matched
    names = [scenario.name for scenario in matched.scenarios]
    assert len(set(names)) == len(names)
    for name in names:
        scenario, vits, nfnets = chosen(matched, name)
        assert vits.later.any() == name.startswith("with later")
        assert nfnets.repeated_augmentation.any() == ("repeated augmentation" in name)
        assert (scenario.axis != "hours") == ("FLOPs" in name and "large models" not in name)
        assert (scenario.route == "flops") == ("large models by FLOPs" in name)
        assert scenario.interpolated == ("interpolated" in name)
        for accounting in ("figure 2", "reported", "stated"):
            if f"{accounting.capitalize()} hours" in name or f"{accounting} hours" in name:
                assert set(vits.accounting[vits.later]) == {accounting}
        if "JFT-3B" in name:
            assert set(vits.pretrain_dataset) == {"JFT-3B"}
        if "384 px" in name:
            assert set(vits.resolution) == {384}
        if " without " not in name and "only" not in name:
            assert (~vits.later).sum() == 261
            assert vits.later.sum() in (0, 2, 5)
            assert set(vits.accounting[~vits.later]) == {"figure 2"}
            assert (~nfnets.repeated_augmentation).sum() == 25


def test_only_models_that_can_shorten_the_lead_are_left_out(study):
    matched = study.matched
    nfnets = set(matched.nfnet_runs.model)
    left_out = {name for scenario in matched.scenarios if "without" in (name := scenario.name)}
    assert left_out == {f"NFNets without {model}" for model in matched.decisive}
    sweep = matched.advantage(matched.scenarios[0])
    for model in nfnets:
        alone = Scenario(
            model,
            matched.scenarios[0].vits,
            lambda runs, left=model: ~runs.repeated_augmentation & (runs.model != left),
        )
        changed = np.nan_to_num(matched.advantage(alone).nfnet, nan=99.0) > sweep.nfnet
        assert changed.any() <= (model in matched.decisive)
    for name in left_out:
        _, vits, mine = chosen(matched, name)
        assert len(vits) == 261
        assert set(mine.model) == nfnets - {name.removeprefix("NFNets without ")}
    plain = matched.nfnet_runs[~matched.nfnet_runs.repeated_augmentation]
    worse = matched.results.finetuning.assign(
        imagenet_top1_error_percent=lambda t: t.imagenet_top1_error_percent + 5 * (t.model == "F3")
    )
    assert "F3" in matched.decisive
    assert "F3" not in Study.of(dataclasses.replace(study.results, finetuning=worse), resamples=0).matched.decisive
    assert len(plain) == 25


def test_later_results_are_the_published_ones_in_each_accounting(study):
    runs = study.matched.vit_runs()
    errors = {
        ("SoViT-400m/14", 224): 11.1,
        ("SoViT-400m/14", 384): 10.0,
        ("SoViT-400m/14", 518): 9.7,
        ("ViT-G/14", 518): 9.55,
        ("ViT-g/14", 518): 9.8,
    }
    for accounting, later in runs[runs.later].groupby("accounting"):
        found = later.set_index(["model", "resolution"]).error.to_dict()
        assert found == {key: error for key, error in errors.items() if accounting != "figure 2" or "So" not in key[0]}
        assert (later.low < later.mid).all()
        assert (later.mid < later.high).all()
    bounds = runs[runs.lower_bound]
    assert set(zip(bounds.model, bounds.accounting, strict=True)) == {("ViT-G/14", "reported")}


def test_no_factor_crosses_accountings(study):
    """Another anchor of one accounting moves the hours of that accounting and of no other."""
    from paper.vits.runs import vit_runs

    def hours(results, accounting):
        runs = vit_runs(results)
        return runs[runs.accounting == accounting][["low", "mid", "high"]].to_numpy(float)

    compute = study.results.sovit_compute
    reported = dataclasses.replace(
        study.results, sovit_compute=compute.assign(tpu_v3_core_hours=compute.tpu_v3_core_hours // 2)
    )
    rates = study.results.vit_rates
    figure_2 = dataclasses.replace(
        study.results, vit_rates=rates.assign(final_million_steps=rates.final_million_steps * 1.3)
    )
    for altered, moved in ((reported, {"reported"}), (figure_2, {"figure 2"})):
        for accounting in ("figure 2", "reported", "stated"):
            same = np.allclose(hours(altered, accounting), hours(study.results, accounting))
            assert same == (accounting not in moved), (accounting, moved)


def test_no_later_result_was_as_cheap_as_the_dearest_nfnet(study):
    matched = study.matched
    by_name = {scenario.name: scenario for scenario in matched.scenarios}
    sweep = by_name["sweep"]
    for accounting in ("Figure 2", "reported", "stated"):
        scenario = by_name[f"with later results, {accounting} hours"]
        for conversion in CONVERSIONS:
            np.testing.assert_array_equal(
                matched.advantage(scenario, conversion).points, matched.advantage(sweep, conversion).points
            )
    beyond = np.array([126_000.0, 290_000.0])
    stated = by_name["with later results, stated hours"]
    assert matched.advantage(stated, "low", beyond).vit.tolist() == [9.7, 9.55]
    assert matched.advantage(stated, "high", beyond).vit.tolist() == [9.8, 9.55]


def test_largest_model_is_one_of_the_sweep(study):
    runs = study.matched.vit_runs()
    largest = runs[~runs.later & (runs.model == "ViT-G/14")].iloc[0]
    assert (largest.error, largest.source, largest.accounting) == (9.55, "Table 1", "figure 2")
    law = study.matched.vit_law()
    assert law.value.min() == 9.55
    assert largest.low == pytest.approx(275_000, rel=1e-3)


def test_cost_of_finetuning_counts_for_both_families(study):
    nfnets, vits = study.matched.nfnet_runs, study.matched.vit_runs()
    for runs in (nfnets, vits):
        extra = runs.total_flops - runs.flops
        assert (extra > 0).all()
        assert (extra.groupby(runs.model).nunique() >= 1).all()
    hours = study.results.stated("finetune.f7plus_8_epochs.compute").value
    dearest = nfnets[nfnets.hours == nfnets.hours.max()].iloc[0]
    share = (dearest.total_flops - dearest.flops) / dearest.flops
    # Stated: 1.6k of 110k hours. Two gradients a step are the dearest reading.
    assert share / 2 <= hours / dearest.hours <= share * 1.5


def test_printed_law_at_the_markers_of_its_figure(study):
    matched = study.matched
    days = np.array([10844.4733, 0.267])
    error = matched.printed_law(days * 24)
    assert error[0] == pytest.approx(9 + 26 * 10844.4833**-0.35)
    runs = study.results.vit_finetuning
    longest = runs[runs.model == "ViT-g/14"].sort_values("tpu_v3_core_days_figure2").iloc[-1]
    assert error[0] == pytest.approx(longest.imagenet_top1_error_percent_figure2, rel=0.02)
    shortest = runs[runs.tpu_v3_core_days_figure2.round(3) == 0.267]
    assert error[1] == pytest.approx(shortest.imagenet_top1_error_percent_figure2.min(), rel=0.03)
    fewshot = study.results.vit_fewshot.sort_values("tpu_v3_core_days_figure2").iloc[-1]
    law = matched.printed_law(np.array([fewshot.tpu_v3_core_days_figure2 * 24]), "10-shot")
    assert law[0] == pytest.approx(100 - fewshot.imagenet_10shot_percent, rel=0.06)


def test_best_within_the_budgets_of_the_facts(study):
    matched = study.matched
    runs = matched.vit_runs()[lambda table: ~table.later]
    sweep = matched.advantage(matched.scenarios[0], "mid", np.array([26_700.0, 107_000.0]))
    assert sweep.nfnet.tolist() == [10.53, 9.75]
    assert sweep.vit[0] == 11.47
    assert sweep.vit[1] == runs.error[runs.mid <= 107_000].min()


LEADS = (
    "nfnets-lead-sweep",
    "nfnets-lead-sweep-jft-3b",
    "nfnets-lead-sweep-384",
    "nfnets-lead-sweep-flops",
    "nfnets-lead-sweep-total-flops",
    "nfnets-lead-sweep-interpolated",
    "nfnets-lead-later-points-stated",
    "nfnets-lead-later-points-384",
    "nfnets-lead-later-points-flops",
    "fitted-frontiers-differ",
)


def test_leads_vanish_when_vision_transformers_are_better_and_are_plain_when_worse(study):
    claims = {claim.id: claim for claim in load_claims()}
    better = altered(study, vit_points=-2.0, resamples=200)
    for item in evaluate(better, [claims[name] for name in LEADS]):
        assert str(item.outcome.verdict) == "does not hold", item.outcome
    worse = altered(study, nfnet_points=-3.0, resamples=200)
    dearer = {"nfnets-lead-later-points", "nfnets-lead-later-points-stated", "nfnets-lead-later-points-384"}
    for item in evaluate(worse, [claims[name] for name in {*LEADS, *dearer, "fitted-frontiers-differ-flops"}]):
        # That no later result was as cheap as an NFNet, and that these were evaluated at higher resolution, are caveats
        # however large the lead is.
        expected = "holds with a caveat" if item.claim.id in {*dearer, "nfnets-lead-sweep-384"} else "holds"
        assert str(item.outcome.verdict) == expected, item.outcome


def test_printed_range_is_that_of_rounded_coefficients(study):
    hours = np.geomspace(1e3, 6e5, 7)
    low, high = study.matched.printed_range(hours)
    printed = study.matched.printed_law(hours)
    assert (low < printed).all()
    assert (printed < high).all()
    law = study.results.vit_laws.set_index("law").loc["finetune"]
    days = hours / 24 + law.shift_core_days
    np.testing.assert_allclose(high, 100 * (0.095 + 0.265 * days**-0.345))
    np.testing.assert_allclose(low, 100 * (0.085 + 0.255 * days**-0.355))


def not_inferior(study, points):
    """Verdicts of the three claims of equal performance with the NFNets' errors moved by so many points."""
    claims = {claim.id: claim for claim in load_claims()}
    names = ("matches-vits", "matches-vits-without-repeated-augmentation", "competitive-with-G14")
    moved = altered(study, nfnet_points=points, resamples=0)
    return [str(item.outcome.verdict) for item in evaluate(moved, [claims[name] for name in names])]


def test_equal_performance_is_one_sided_and_counts_noise(study):
    assert not_inferior(study, -5.0) == ["holds"] * 3  # far better is no failure
    assert not_inferior(study, 0.2) == ["holds with a caveat"] * 3
    assert not_inferior(study, 1.0) == ["does not hold"] * 3
    # From where on the interval of one gap ends at the margin: 0.3 points, SoViT's gain from 384 to 518 px.
    edge = 9.70 + 0.30 - 1.6448536 * float(difference_error(9.85, 9.70, 50_000))
    best = study.results.finetuning.imagenet_top1_error_percent.min()
    assert not_inferior(study, edge - best - 0.005)[0] == "holds"
    assert not_inferior(study, edge - best + 0.005)[0] == "holds with a caveat"


def test_a_lead_within_noise_is_called_so(study):
    claims = {claim.id: claim for claim in load_claims()}
    ahead = []
    for points in (0.1, 1.0):
        moved = altered(study, nfnet_points=-points, resamples=0)
        (item,) = evaluate(moved, [claims["nfnets-lead-sweep"]])
        ahead.append((str(item.outcome.verdict), item.outcome.caveat))
        assert "beyond the noise of the test set" in item.outcome.evidence
    assert ahead[0][0] == "holds with a caveat"
    assert "within the noise" in ahead[0][1]
    assert ahead[1] == ("holds", "")
    assert INTERVAL * float(difference_error(9.75, 9.75, 50_000)) == pytest.approx(0.37, abs=0.005)


@pytest.mark.parametrize("interpolated", [False, True])
def test_an_empty_choice_leads_nowhere(study, interpolated):
    nobody = Scenario("none", lambda runs: pd.Series(False, index=runs.index), interpolated=interpolated)
    found = study.matched.advantage(nobody, "mid", np.array([1000.0]))
    assert np.isnan(found.points).all()
    assert np.isnan(found.share_led)
    assert found.vit_leads == []
