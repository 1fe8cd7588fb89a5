"""Claims: each computed verdict is the recorded one, checks react to altered data, and bad files are named."""

import dataclasses
import json
from pathlib import Path

import pytest

from nfnet.errors import UserError
from paper import claims
from paper.checks.consistency import CHECKS, rounded_readings
from paper.claims import CLAIMS, disagreements, evaluate, format_summary, load_claims
from paper.study import Study
from paper.verdicts import Claim, Verdict, verdict


@pytest.fixture(scope="module")
def checked(study):
    return evaluate(study)


def test_every_computed_verdict_is_the_recorded_one(checked):
    assert [(item.claim.id, item.outcome) for item in disagreements(checked)] == []


def test_there_are_enough_claims_and_each_is_told_by_a_notebook(checked):
    paper = [item for item in checked if item.claim.origin == "paper"]
    assert len(paper) >= 28
    assert {item.outcome.verdict for item in paper} == set(Verdict)
    for item in checked:
        assert item.claim.notebook
        assert item.claim.statement.endswith(".")
        assert item.outcome.evidence.endswith(".")
        assert "nan" not in item.outcome.evidence


def test_claims_that_need_no_resamples_do_not_draw_any(results):
    """The mark `resampled` is honest: with resampling made impossible, all other checks still agree."""
    study = Study.of(results, resamples=0)
    plain = [claim for claim in load_claims() if not claim.resampled]
    assert disagreements(evaluate(study, plain)) == []


@pytest.mark.parametrize("name", list(CHECKS))
def test_logged_results_are_consistent(study, name):
    assert CHECKS[name](study) == []


def test_rounded_values_are_the_readings_rounded(study):
    assert rounded_readings(study) == []


def change(study, table, row, column, value):
    frame = getattr(study.results, table).copy()
    frame[column] = frame[column].astype(type(value))
    frame.loc[row, column] = value
    return Study.of(dataclasses.replace(study.results, **{table: frame}), resamples=200)


@pytest.mark.parametrize(
    ("claim_id", "table", "row", "column", "value"),
    [
        ("compute-range", "pretraining", 35, "tpu_v4_core_hours", 147_000.0),
        ("epoch-budgets", "pretraining", 3, "epochs", 3.0),
        ("compute-doubles", "pretraining", 3, "tpu_v4_core_hours", 4_200.0),
        ("compute-rounded", "pretraining", 3, "tpu_v4_core_hours", 3_210.0),
        ("utilisation-constant", "pretraining", 3, "tpu_v4_core_hours", 4_200.0),
        ("loss-falls", "pretraining", 3, "jft4b_val_loss", 2.84),
        ("loss-loglog-linear", "pretraining", 0, "jft4b_val_loss", 3.9),
        ("f7plus-not-smooth", "pretraining", 3, "jft4b_val_loss", 2.70),
        ("learning-rate-small-budgets", "learning_rates", 1, "optimal_learning_rate", 0.8),
        ("learning-rate-grid", "learning_rates", 5, "optimal_learning_rate", 0.9),
        ("learning-rate-falls-with-epochs", "learning_rates", 3, "optimal_learning_rate", 0.4),
        ("learning-rate-falls-with-size", "learning_rates", 17, "optimal_learning_rate", 0.8),
        ("learning-rate-falls-faster-for-large", "learning_rates", 5, "optimal_learning_rate", 0.1),
        ("learning-rate-two-trials", "learning_rates", 17, "optimal_learning_rate", 0.05),
        ("same-compute-in-figures-1-and-2", "finetuning", 3, "tpu_v4_core_hours", 6_000.0),
        ("top1-improves-with-compute", "finetuning", 3, "imagenet_top1_error_percent", 13.5),
        ("f7plus-90.3", "finetuning", 24, "imagenet_top1_error_percent", 9.5),
        ("f7plus-90.4-repeated-augmentation", "finetuning", 25, "imagenet_top1_error_percent", 9.75),
        ("repeated-augmentation-helps", "finetuning", 25, "imagenet_top1_error_percent", 9.8),
        ("better-than-without-extra-data", "text", 20, "value", 91.0),
        ("vit-text-against-plot-compute", "vits", 0, "tpu_v4_core_hours_plotted", 150_000.0),
        ("vit-text-against-plot-accuracy", "vits", 0, "imagenet_top1_error_percent_plotted", 9.7),
        ("matches-vits", "vits", 0, "imagenet_top1_error_percent_plotted", 9.0),
        ("matches-vits-without-repeated-augmentation", "vits", 0, "imagenet_top1_error_percent_plotted", 9.0),
        ("competitive-with-G14", "vits", 1, "imagenet_top1_error_percent_plotted", 9.0),
        ("no-strong-evidence-for-vits", "vits", 0, "imagenet_top1_error_percent_plotted", 9.0),
        ("nfnets-better-on-v4", "vits", 0, "tpu_v3_core_hours_text", 400_000.0),
        ("finetuning-cost", "text", 17, "value", 16_000.0),
        ("v4-doubles-v3", "hardware", 0, "peak_bf16_tflops_per_chip", 275.0),
    ],
)
def test_a_check_notices_data_against_its_claim(study, claim_id, table, row, column, value):
    claim = next(claim for claim in load_claims() if claim.id == claim_id)
    (item,) = evaluate(change(study, table, row, column, value), [claim])
    assert not item.agrees, item.outcome


def test_text_rows_that_the_test_above_alters(results):
    assert results.text.quantity[20] == "finetune.best_nfnet_without_extra_data.top1"
    assert results.text.quantity[17] == "finetune.f7plus_8_epochs.compute"


def test_verdicts():
    assert verdict(True) == Verdict.HOLDS
    assert verdict(True, caveat=True) == Verdict.CAVEAT
    assert verdict(False, caveat=True) == Verdict.FAILS


GOOD = """
[[claim]]
id = "a"
section = "Abstract"
origin = "paper"
statement = "S."
check = "pretraining.loss_falls"
verdict = "holds"
"""


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('section = "Abstract"\n', "", "field 'section' is missing"),
        ('origin = "paper"', 'origin = "hearsay"', "origin 'hearsay' is neither of paper, ours"),
        ('verdict = "holds"', 'verdict = "true"', "unknown verdict 'true'; known are holds, holds with a caveat"),
        ("loss_falls", "loss_rises", "no check 'pretraining.loss_rises'"),
        ("pretraining.", "nothing.", "no check 'nothing.loss_falls'"),
        ('verdict = "holds"', 'verdict = "holds"\ncolour = "red"', "unknown field 'colour'"),
        ('verdict = "holds"', 'verdict = "holds"\ncaveat = "But."', "a caveat goes with every verdict but 'holds'"),
        ('verdict = "holds"', 'verdict = "does not hold"', "a caveat goes with every verdict but 'holds'"),
        ("[[claim]]", "[[claim", "not a list of [[claim]] tables"),
        (GOOD, GOOD + GOOD, "its id is used twice"),
    ],
)
def test_bad_claims_files_are_named(tmp_path, old, new, expected):
    path = tmp_path / "claims.toml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(UserError) as caught:
        load_claims(path)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_claims_file_and_missing_expectation(tmp_path):
    with pytest.raises(UserError, match="not found"):
        load_claims(tmp_path / "claims.toml")
    claim = Claim("a", "", "paper", "S.", "pretraining.loss_falls", Verdict.HOLDS)
    with pytest.raises(UserError, match="needs `expected` and `tolerance`"):
        claim.agrees(1.0)


def test_command_line_agrees_writes_json_and_reports_a_difference(loaded, checked, tmp_path, monkeypatch, capsys):
    path = tmp_path / "claims.json"
    assert claims.main(["--json", str(path)]) == 0
    rows = json.loads(path.read_text())
    assert len(rows) == len(load_claims())
    assert all(row["agrees"] for row in rows)
    assert format_summary(checked) in capsys.readouterr().out

    other = tmp_path / "claims.toml"
    other.write_text(
        CLAIMS.read_text().replace(
            'check = "pretraining.loss_falls"\nverdict = "holds"',
            'check = "pretraining.loss_falls"\nverdict = "does not hold"\ncaveat = "x"',
        )
    )
    altered = load_claims(other)
    monkeypatch.setattr(claims, "load_claims", lambda: altered)
    assert claims.main([]) == 1
    output = capsys.readouterr()
    assert "differs from the recorded one: loss-falls." in output.err
    assert "RECORDED: does not hold" in output.out


@pytest.mark.usefixtures("loaded")
def test_command_line_on_bad_input(tmp_path, capsys):
    path = tmp_path / "claims.json"
    path.write_text("kept")
    assert claims.main(["--data", str(tmp_path / "nowhere"), "--json", str(path)]) == 2
    assert path.read_text() == "kept"
    assert claims.main(["--json", str(tmp_path / "no" / "folder.json")]) == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"claim = 1", b"claim = [1]", b"claim = [" + b"[" * 5000 + b"]" * 5000 + b"]", b"x ="]
)
def test_a_file_that_holds_no_claims_is_told(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "claims.toml"
    path.write_bytes(content)
    with pytest.raises(UserError, match="not a list of"):
        load_claims(path)
    with pytest.raises(UserError):
        load_claims(tmp_path)


def test_claims_are_selected_by_id_and_field():
    everything = load_claims()
    assert claims.select(everything) == everything
    assert [claim.id for claim in claims.select(everything, ["loss-falls"])] == ["loss-falls"]
    failing = claims.select(everything, origin="paper", verdict="does not hold")
    assert failing
    assert all(claim.origin == "paper" and claim.verdict == Verdict.FAILS for claim in failing)
    with pytest.raises(UserError, match=r"unknown claim 'loss-fall'.*nearest is 'loss-falls'"):
        claims.select(everything, ["loss-fall"])
    with pytest.raises(UserError, match=r"unknown section 'Pretraining'.*nearest is 'Pre-training'"):
        claims.select(everything, section="Pretraining")
    with pytest.raises(UserError, match="No claim has all of loss-falls, Abstract"):
        claims.select(everything, ["loss-falls"], section="Abstract")


def test_command_line_checks_what_is_asked_for(tmp_path, capsys):
    assert claims.main(["loss-falls", "compute-range", "--json", str(tmp_path / "claims.json")]) == 0
    out = capsys.readouterr().out
    assert "compute-range  [Abstract]" in out
    assert "2 claims of the paper" in out
    rows = json.loads((tmp_path / "claims.json").read_text())
    assert [row["id"] for row in rows] == ["compute-range", "loss-falls"]
    assert {*Claim.__dataclass_fields__, "computed", "evidence", "agrees"} == set(rows[0])
    assert claims.main(["--verdict", "maybe"]) == 2
    assert "unknown verdict 'maybe'" in capsys.readouterr().err
