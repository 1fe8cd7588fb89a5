"""From TPU-v3 to TPU-v4: intervals hold their anchors, the route follows the rate, and no error is altered."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from paper.provenance.description import DataError
from paper.vits.conversion import (
    ACCOUNTINGS,
    COMPARABLE_RATE,
    FINETUNING_IMAGES,
    anchors,
    finetuning_flops,
    flops_rate,
    hours_ratio,
    relative_rates,
    sweep,
)


@pytest.fixture(scope="module")
def table(results):
    return anchors(results)


def test_anchors_are_those_that_were_published(results, table):
    by = table.set_index(["model", "accounting"])
    rates = by.rate.groupby("model").first() / 1e12
    assert round(rates["ViT-g/14"], 1) == 60.7
    assert round(rates["ViT-G/14"], 1) == 58.8
    assert round(rates["SoViT-400m/14"], 1) == 56.7
    assert round(by.ratio["ViT-g/14", "figure 2"], 3) == 0.461
    assert round(by.ratio["ViT-G/14", "figure 2"], 3) == 0.424
    for model in ("ViT-g/14", "SoViT-400m/14"):
        assert round(by.ratio[model, "reported"], 2) == 0.57
    assert by.tpu_v3_core_hours["ViT-g/14", "reported"] == 210_000
    assert set(by.index.get_level_values("model")) == set(results.vits.model)


@pytest.mark.parametrize("accounting", ACCOUNTINGS)
def test_interval_of_an_accounting_is_that_of_its_own_anchors(results, table, accounting):
    ratio, rate = hours_ratio(results, accounting), flops_rate(results)
    own = table[table.accounting == accounting]
    assert len(own) == 2
    assert (ratio.low, ratio.high) == (own.ratio_low.min(), own.ratio_high.max())
    assert ratio.mid == pytest.approx(np.sqrt(own.ratio.prod()))
    for row in own.itertuples():
        # Hours by hours, and hours by FLOPs, each against the estimate that was published.
        assert ratio.low * row.tpu_v3_core_hours <= row.tpu_v4_core_hours <= ratio.high * row.tpu_v3_core_hours
        assert row.flops / rate.high / 3600 <= row.tpu_v4_core_hours <= row.flops / rate.low / 3600
        # The rounding of the printed numbers lies inside as well.
        assert ratio.low <= row.ratio_low < row.ratio < row.ratio_high <= ratio.high
        assert rate.low <= row.rate_low < row.rate < row.rate_high <= rate.high


def test_factors_of_the_accountings_do_not_overlap(results):
    figure_2, reported = (hours_ratio(results, accounting) for accounting in ACCOUNTINGS)
    assert figure_2.high < reported.low
    assert figure_2.mid == pytest.approx(np.sqrt(0.4611 * 0.4242), abs=1e-4)
    assert reported.mid == pytest.approx(np.sqrt(0.5714 * 0.5652), abs=1e-4)
    assert flops_rate(results).mid / 1e12 == pytest.approx((60.65 * 58.84 * 56.67) ** (1 / 3), abs=0.01)


def test_interval_follows_the_anchors(results):
    text = results.text.copy()
    row = text.quantity == "vit.SoViT-400m.tpu_v4"
    text.loc[row, "value"] = 200_000.0
    altered = dataclasses.replace(results, text=text)
    assert hours_ratio(altered, "reported").high == pytest.approx(205_000 / 225_000)
    assert hours_ratio(altered, "figure 2") == hours_ratio(results, "figure 2")
    assert flops_rate(altered).low < 0.7 * flops_rate(results).low


def test_only_models_as_fast_as_the_anchors_are_converted_by_flops(results):
    rates = relative_rates(results)
    by_hours, by_flops = sweep(results, "hours"), sweep(results, "flops")
    changed = {str(model) for model in by_hours.model[by_hours.mid != by_flops.mid]}
    assert changed == {"ViT-B/16", "ViT-L/16", "ViT-g/14", "ViT-G/14"}
    assert all((rates[model] >= COMPARABLE_RATE) == (model in changed) for model in set(by_hours.model))
    assert rates["ViT-g/14"] == 1
    rate = flops_rate(results)
    large = by_flops[by_flops.model == "ViT-L/16"]
    np.testing.assert_allclose(large.low, large.flops / rate.high / 3600)
    np.testing.assert_allclose(large.high, large.flops / rate.low / 3600)


@pytest.mark.parametrize("route", ["hours", "flops"])
def test_sweep_holds_every_run_once_with_its_published_error(results, route):
    runs, source = sweep(results, route), results.vit_finetuning
    assert len(runs) == 261
    assert (runs.low < runs.mid).all()
    assert (runs.mid < runs.high).all()
    kept = source.loc[runs.index]
    assert source.drop(runs.index).tpu_v3_core_days_figure2.isna().all()
    pd.testing.assert_series_equal(runs.model, kept.model)
    np.testing.assert_allclose(runs.tpu_v3_core_hours, 24 * kept.tpu_v3_core_days_figure2)
    printed = kept.imagenet_top1_percent.notna()
    np.testing.assert_allclose(
        runs.imagenet_top1_error_percent[printed], 100 - kept.imagenet_top1_percent[printed], atol=1e-9
    )
    assert set(runs.model[~printed]) == {"ViT-g/14"}
    np.testing.assert_array_equal(
        runs.imagenet_top1_error_percent[~printed], kept.imagenet_top1_error_percent_figure2[~printed]
    )
    # Tables and Figure 2 are two sources of the same number.
    both = kept.imagenet_top1_error_percent_figure2.notna() & printed
    assert both.sum() > 200
    assert (runs.imagenet_top1_error_percent - kept.imagenet_top1_error_percent_figure2)[both].abs().max() < 0.06


def test_flops_are_three_forward_passes_of_every_image(results):
    runs = sweep(results).set_index(["model", "pretrain_dataset", "pretrain_steps"]).sort_index()
    row = runs.loc[("ViT-L/16", "JFT-3B", 1_200_000)]
    assert float(row.flops) == pytest.approx(3 * 122.9e9 * 1.2e6 * 4096)
    tuning = 3 * 382.8e9 * FINETUNING_IMAGES
    assert float(row.total_flops - row.flops) == pytest.approx(tuning)


def test_finetuning_at_an_unknown_resolution_is_named(results):
    later = finetuning_flops(results, pd.Series(["ViT-g/14"]), pd.Series([518]))
    assert float(later[0]) == pytest.approx(3 * 3208e9 * FINETUNING_IMAGES)
    with pytest.raises(DataError, match="no operations of ViT-L/16 at 999 px"):
        finetuning_flops(results, pd.Series(["ViT-L/16"]), pd.Series([999]))
