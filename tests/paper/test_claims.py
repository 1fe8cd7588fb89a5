"""Claims: each computed verdict is the recorded one, checks react to altered data, and bad files are named."""

import dataclasses
import json
from pathlib import Path

import pytest

from nfnet.errors import UserError
from paper import claims
from paper.checks.consistency import CHECKS, rounded_readings
from paper.claims import disagreements, evaluate, format_summary, grouped, load_claims
from paper.study import Study
from paper.verdicts import Claim, Outcome, Verdict, verdict


@pytest.fixture(scope="module")
def checked(study):
    return evaluate(study)


def test_every_computed_verdict_is_the_recorded_one(checked):
    assert [(item.claim.id, item.outcome) for item in disagreements(checked)] == []


def test_there_are_enough_claims_and_each_is_told_by_a_notebook(checked):
    paper = [item for item in checked if item.claim.origin == "paper"]
    assert len(paper) >= 28
    assert {item.outcome.verdict for item in paper} == set(Verdict) - {Verdict.UNDECIDED}
    for item in checked:
        assert item.claim.notebook
        for sentence in (item.claim.statement, item.outcome.evidence, item.statistic, item.claim.null):
            assert sentence.endswith("."), item.claim.id
        assert "nan" not in item.outcome.evidence.split()


def test_every_claim_says_what_it_is_compared_with_and_why_its_threshold_is_what_it_is(checked):
    for item in checked:
        claim = item.claim
        assert claim.null, claim.id
        thresholds = (claim.expected, claim.tolerance, None if claim.compute_factor == 1 else claim.compute_factor)
        if any(one is not None for one in thresholds):
            assert claim.reason.endswith("."), claim.id


def test_every_verdict_but_holds_is_shown_with_a_caveat(checked):
    for item in checked:
        if item.outcome.verdict == Verdict.HOLDS:
            assert not item.claim.caveat, item.claim.id
        else:
            assert item.caveat.endswith("."), item.claim.id
            assert item.caveat in claims.markdown_line(item)


def test_the_papers_claims_and_ours_and_their_kinds_are_never_in_one_list(checked):
    groups = grouped(checked)
    assert sum(map(len, groups.values())) == len(checked)
    for items in groups.values():
        assert len({(item.claim.origin, item.claim.kind) for item in items}) == 1
    told = claims.Telling(checked)._repr_markdown_().split("\n\n")
    assert len(told) == 2 * len(groups)
    assert [block.count("\n") - 1 for block in told[1::2]] == [len(items) for items in groups.values()]
    lines = format_summary(checked).splitlines()
    assert len(lines) == len(groups)
    for line, (title, items) in zip(lines, groups.items(), strict=True):
        assert line.startswith(f"{len(items)} {title}: ")


def test_a_telling_answers_first_and_folds_the_rest(checked):
    for item in checked:
        (row,) = claims.Telling([item])._repr_markdown_().splitlines()[4:]
        folded, after = row.split("<details>")[1].split("</details>")
        assert item.outcome.verdict.capitalize() in after
        assert row.replace("\\|", "").count("|") == 4, "a bar in a text ends no cell"
        assert claims._cell(item.outcome.evidence) in folded
        for name, text in (("Against", item.claim.null), ("Threshold", item.claim.reason), ("Caveat", item.caveat)):
            assert (f"<em>{name}:</em>" in folded) == bool(text), item.claim.id


def test_a_telling_shows_texts_as_they_are():
    claim = Claim("a", "", "paper", "Is 1 < 2 | 3?", "pretraining.loss_falls", Verdict.HOLDS)
    outcome = Outcome(Verdict.HOLDS, "A_b * c & $d$.", number="5%")
    (row,) = claims.Telling([claims.Checked(claim, outcome)])._repr_markdown_().splitlines()[4:]
    assert row == (
        "| Is 1 &lt; 2 \\| 3?<details><summary>Evidence</summary>A\\_b \\* c &amp; \\$d\\$."
        "</details> | **Holds** | 5% |"
    )


def test_a_recorded_caveat_goes_with_the_recorded_verdict_only(checked):
    item = next(item for item in checked if item.claim.id == "clipping-stabilises")
    assert item.caveat == item.claim.caveat
    failed = dataclasses.replace(item, outcome=Outcome(Verdict.FAILS, "E.", "Computed."))
    assert failed.caveat == "Computed."


def test_counts_are_grammatical(checked):
    one = [item for item in checked if item.outcome.verdict == Verdict.FAILS][:1]
    held = [item for item in checked if item.outcome.verdict == Verdict.HOLDS][:2]
    assert claims.format_count(one) == "1 does not hold"
    assert claims.format_count([*held, *one]) == "2 hold, 1 does not hold"


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
        ('origin = "paper"', 'origin = "hearsay"', "origin 'hearsay' is none of paper, ours, replication"),
        ('verdict = "holds"', 'verdict = "true"', "unknown verdict 'true'; known are holds, holds with a caveat"),
        ("loss_falls", "loss_rises", "no check 'pretraining.loss_rises'"),
        ("pretraining.", "nothing.", "no check 'nothing.loss_falls'"),
        ('verdict = "holds"', 'verdict = "holds"\ncolour = "red"', "unknown field 'colour'"),
        ('verdict = "holds"', 'verdict = "holds"\ncaveat = "But."', "a caveat goes with every verdict but 'holds'"),
        ('origin = "paper"', 'origin = "paper"\nkind = "rumour"', "kind 'rumour' is none of statement, erratum"),
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

    altered = [
        dataclasses.replace(claim, verdict=Verdict.FAILS) if claim.id == "loss-falls" else claim
        for claim in load_claims()
    ]
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
    assert {claim.kind for claim in claims.select(everything, kind="erratum")} == {"erratum"}
    with pytest.raises(UserError, match="No claim has all of loss-falls, Abstract"):
        claims.select(everything, ["loss-falls"], section="Abstract")


def test_command_line_checks_what_is_asked_for(tmp_path, capsys):
    assert claims.main(["loss-falls", "compute-range", "--json", str(tmp_path / "claims.json")]) == 0
    out = capsys.readouterr().out
    assert "compute-range  [Abstract]" in out
    assert "1 statement of the paper: 1 holds" in out
    assert "1 description of the paper's experiments: 1 holds" in out
    rows = json.loads((tmp_path / "claims.json").read_text())
    assert [row["id"] for row in rows] == ["loss-falls", "compute-range"]
    computed = {"group", "statistic", "computed", "number", "evidence", "computed_caveat", "agrees"}
    assert {*Claim.__dataclass_fields__, *computed} == set(rows[0])
    assert claims.main(["--kind", "description", "--origin", "paper", "compute-range"]) == 0
    assert "loss-falls" not in capsys.readouterr().out
    assert claims.main(["--verdict", "maybe"]) == 2
    assert "unknown verdict 'maybe'" in capsys.readouterr().err
