"""Matched compute: who leads, on constructed data and on the logged results."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paper.claims import evaluate, load_claims
from paper.fits.laws import frontier_mask
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
    found = Advantage(
        np.array([1.0, 2, 3, 4, 5, 6]), np.array([9.0, 9, 9, 9, 9, 9]), np.array([np.nan, 10, 8, 8, 9, 8.5])
    )
    np.testing.assert_allclose(found.points, [np.nan, 1, -1, -1, 0, -0.5])
    assert found.share_led == 1 / 5
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
    for scenario in study.matched.scenarios[:13]:
        # Where frontiers are interpolated, later points (whose central hours are stated) change what lies between.
        moved_together = not (scenario.interpolated and scenario.name.startswith("with later"))
        if scenario.axis == "hours" and moved_together:
            low, mid, high = (study.matched.advantage(scenario, conversion).points for conversion in CONVERSIONS)
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
        assert scenario.stated == ("stated" in name)
        if "JFT-3B" in name:
            assert set(vits.pretrain_dataset) == {"JFT-3B"}
        if "384 px" in name:
            assert set(vits.resolution) == {384}
        if " without " not in name and "only" not in name:
            assert (~vits.later).sum() == 260
            assert vits.later.sum() in (0, 5)
            assert (~nfnets.repeated_augmentation).sum() == 25


def test_leaving_a_model_out_leaves_it_out_and_nothing_else(study):
    matched = study.matched
    vits = {str(model) for model in matched.vit_runs().model[~matched.vit_runs().later]}
    nfnets = set(matched.nfnet_runs.model)
    assert {name for scenario in matched.scenarios if (name := scenario.name).startswith("sweep without ")} == {
        f"sweep without {model}" for model in vits
    }
    for model in vits:
        _, left, mine = chosen(matched, f"sweep without {model}")
        assert set(left.model) == vits - {model}
        assert set(mine.model) == nfnets
    for model in nfnets:
        _, left, mine = chosen(matched, f"NFNets without {model}")
        assert set(left.model) == vits
        assert set(mine.model) == nfnets - {model}


def test_later_points_are_the_published_ones(study):
    runs = study.matched.vit_runs()
    later = runs[runs.later].set_index(["model", "resolution"]).sort_index()
    assert later.error.to_dict() == {
        ("SoViT-400m/14", 224): 11.1,
        ("SoViT-400m/14", 384): 10.0,
        ("SoViT-400m/14", 518): 9.7,
        ("ViT-G/14", 518): 9.55,
        ("ViT-g/14", 518): 9.8,
    }
    plotted = study.results.vits.set_index("model").tpu_v4_core_hours_plotted
    for (model, _), row in later.iterrows():
        assert row.mid == plotted[model]
        assert row.low < row.stated_low <= row.mid <= row.stated_high < row.high


def test_stated_hours_narrow_the_later_points_alone(study):
    matched = study.matched
    by_name = {scenario.name: scenario for scenario in matched.scenarios}
    stated, sweep = by_name["with later points, at stated hours"], by_name["Zhai et al.'s sweep"]
    for conversion in CONVERSIONS:  # every later model was dearer than any NFNet by that estimate
        np.testing.assert_array_equal(
            matched.advantage(stated, conversion).points, matched.advantage(sweep, conversion).points
        )
    beyond = np.array([126_000.0, 290_000.0])
    assert matched.advantage(stated, "low", beyond).vit.tolist() == [9.7, 9.55]
    assert matched.advantage(stated, "high", beyond).vit.tolist() == [9.8, 9.55]


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


CHANGES = {
    "g14-hours-credited-to-zhai": {"text": ("vit.g14.tpu_v3", "value", 260_000.0)},
    "conversion-routes-agree": {"vit_models": ("ViT-g/14", "gflops_224", 300.0)},
    "vits-lead-beyond-nfnets": {"vits": ("ViT-G/14", "imagenet_top1_accuracy_percent_text", 90.0)},
    "nfnets-lead-later-points-flops": {"sovit_table": ("SoViT-400m/14", "gflops_per_image_at_resolution", 50.0)},
}


@pytest.mark.parametrize("claim_id", list(CHANGES))
def test_a_check_notices_one_altered_number(study, claim_id):
    ((table, (key, column, value)),) = CHANGES[claim_id].items()
    frame = getattr(study.results, table).copy()
    rows = frame.iloc[:, 0] == key
    assert rows.any()
    frame[column] = frame[column].astype(float).mask(rows, value)
    study = Study.of(dataclasses.replace(study.results, **{table: frame}), resamples=50)
    (item,) = evaluate(study, [claim for claim in load_claims() if claim.id == claim_id])
    assert not item.agrees, item.outcome


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
    "no-single-model-decides",
    "fitted-frontiers-differ",
)


def test_leads_vanish_when_vision_transformers_are_better_and_are_plain_when_worse(study):
    claims = {claim.id: claim for claim in load_claims()}
    better = altered(study, vit_points=-2.0, resamples=200)
    for item in evaluate(better, [claims[name] for name in LEADS]):
        assert str(item.outcome.verdict) == "does not hold", item.outcome
    worse = altered(study, nfnet_points=-3.0, resamples=200)
    names = [*LEADS, "nfnets-lead-later-points", "fitted-frontiers-differ-flops"]
    for item in evaluate(worse, [claims[name] for name in names]):
        assert str(item.outcome.verdict) == "holds", item.outcome


def test_printed_law_claim_notices_another_law(study):
    laws = study.results.vit_laws.assign(exponent=study.results.vit_laws.exponent * 0.8)
    other = Study.of(dataclasses.replace(study.results, vit_laws=laws), resamples=50)
    (item,) = evaluate(other, [claim for claim in load_claims() if claim.id == "printed-law-of-sweep"])
    assert not item.agrees


@pytest.mark.parametrize("interpolated", [False, True])
def test_an_empty_choice_leads_nowhere(study, interpolated):
    nobody = Scenario("none", lambda runs: pd.Series(False, index=runs.index), interpolated=interpolated)
    found = study.matched.advantage(nobody, "mid", np.array([1000.0]))
    assert np.isnan(found.points).all()
    assert np.isnan(found.share_led)
    assert found.vit_leads == []
