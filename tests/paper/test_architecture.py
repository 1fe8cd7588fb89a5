"""Checks of the architecture react to altered tables and measurements; parts of a network sum up to it."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from nfnet.cost.cost import network_cost
from paper.checks import architecture
from paper.claims import evaluate, load_claims
from paper.experiments.clipping import clipping
from paper.experiments.propagation import propagation
from paper.family import family_parts, imagenet_variants
from paper.study import Study
from paper.verdicts import Verdict


def outcome(study, claim_id):
    claim = next(claim for claim in load_claims() if claim.id == claim_id)
    (item,) = evaluate(study, [claim])
    return item


def altered(results, table, changes):
    """A study whose ``table`` has other values; ``changes`` maps (row, column) to the new one."""
    frame = getattr(results, table).copy()
    for (row, column), value in changes.items():
        frame[column] = frame[column].astype(float)
        frame.loc[row, column] = value
    return Study.of(dataclasses.replace(results, **{table: frame}), resamples=0)


@pytest.mark.parametrize(
    ("claim_id", "table", "changes"),
    [
        ("table3-counts", "nfnet_imagenet", {(0, "params_m"): 71.6}),
        ("table3-counts", "nfnet_imagenet", {(7, "gmacs_at_test"): 377.29}),
        ("plus-is-published-width", "nfnet_extra_data", {(0, "gmacs"): 368.0}),
        ("plus-is-published-width", "nfnet_extra_data", {(0, "gmacs"): 333.0, (0, "params_m"): 525.0}),
        ("accuracy-grows-with-latency", "nfnet_imagenet", {(3, "imagenet_top1_percent"): 85.0}),
        ("accuracy-grows-with-latency", "nfnet_imagenet", {(4, "v100_train_ms"): 500.0}),
        ("accuracy-grows-with-latency", "nfnet_imagenet", {(7, "imagenet_top1_percent"): 86.2}),
    ],
)
def test_a_check_notices_data_against_its_claim(results, claim_id, table, changes):
    assert outcome(altered(results, table, {}), claim_id).agrees
    item = outcome(altered(results, table, changes), claim_id)
    assert item.outcome.verdict == Verdict.FAILS


@pytest.mark.parametrize(("factor", "reading"), [(1.1, "released"), (1.25, "published")])
def test_utilisation_would_decide_if_one_reading_alone_fitted(results, factor, reading):
    runs = results.pretraining
    plus = runs.index[runs.model.str.endswith("+")]
    changes = {(row, "tpu_v4_core_hours"): factor * runs.tpu_v4_core_hours[row] for row in plus}
    item = outcome(altered(results, "pretraining", changes), "utilisation-decides-plus")
    assert item.outcome.verdict == Verdict.HOLDS
    assert f"only the {reading} reading fits" in item.outcome.evidence


def test_utilisation_leaves_both_readings_open(study):
    item = outcome(study, "utilisation-decides-plus")
    assert item.outcome.verdict == Verdict.OPEN
    shares = study.utilisation[study.utilisation.model.str.endswith("+")]
    assert f"{shares.published.min():.2f} to {shares.published.max():.2f} published" in item.outcome.evidence


@pytest.mark.parametrize(
    ("claim_id", "inputs", "block", "factor"),
    [
        ("variance-grows-within-stages", "uniform", 9, 1.8),
        ("variance-grows-within-stages", "uniform", 9, 0.8),
        ("pooling-takes-noise", "noise", 4, 2.5),
        ("pooling-takes-noise", "uniform", 10, 0.5),
    ],
)
def test_a_check_notices_a_signal_against_its_claim(study, monkeypatch, claim_id, inputs, block, factor):
    signal = propagation().copy()
    signal.loc[(signal.inputs == inputs) & (signal.block == block), "variance"] *= factor
    monkeypatch.setattr(architecture, "propagation", lambda: signal)
    assert outcome(study, claim_id).outcome.verdict == Verdict.FAILS


def test_the_variance_would_be_as_expected_if_nothing_took_any(study, monkeypatch):
    signal = propagation()
    monkeypatch.setattr(architecture, "propagation", lambda: signal.assign(variance=signal.expected))
    assert outcome(study, "variance-as-expected").outcome.verdict == Verdict.HOLDS


@pytest.mark.parametrize(
    "alter",
    [
        lambda losses: losses.assign(without=1.0),
        lambda losses: losses.assign(with_clipping=losses.with_clipping.iloc[0]),
        lambda losses: losses.assign(with_clipping=losses.with_clipping.where(losses.step != 3)),
    ],
    ids=["stable without", "no progress", "not finite"],
)
def test_a_check_notices_training_against_its_claim(study, monkeypatch, alter):
    result = dataclasses.replace(clipping(), losses=alter(clipping().losses))
    monkeypatch.setattr(architecture, "clipping", lambda: result)
    assert outcome(study, "clipping-stabilises").outcome.verdict == Verdict.FAILS


def test_parts_sum_up_to_every_variant():
    parts = family_parts(224)
    totals = parts.groupby(["variant", "plus_width"])[["parameters", "macs"]].sum()
    assert len(totals) == 24
    for (variant, plus_width), row in totals.iterrows():
        cost = network_cost(variant, 224, plus_width=plus_width)
        assert (row.parameters, row.macs) == (cost.parameters, cost.macs)


def test_variants_of_table_3(results):
    table = imagenet_variants(results.nfnet_imagenet)
    assert table.variant.tolist() == ["F0", "F1", "F2", "F3", "F4", "F5", "F5", "F6"]
    assert table.variant[table.sam].tolist() == ["F5", "F6"]
    made_up = imagenet_variants(pd.DataFrame({"model": ["NFNet-F1"]}))
    assert made_up.variant.tolist() == ["F1"]
    assert not np.any(made_up.sam)
