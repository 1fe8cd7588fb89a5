"""The README's generated parts are those that the code generates now."""

import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from figures.writing import write
from nfnet.cost.cost import network_cost
from paper.benchmarks import load_speeds
from paper.claims import evaluate, load_claims
from paper.verdicts import Verdict
from tools.measurements import breakdown, formulations, performance, scaling, speed, speed_in_short
from tools.update_readme import (
    ANSWER,
    CLAIMS,
    DOCS,
    PERFORMANCE,
    PICTURES,
    README,
    answer,
    blocks,
    claims,
    filled,
)


def test_blocks_are_up_to_date(study):
    checked = evaluate(study)
    for path, parts in ((README, blocks(study, checked)), (CLAIMS, claims(checked))):
        text = path.read_text(encoding="utf-8")
        assert filled(text, parts) == text, "run `make readme`"


def test_tables_of_measurements_are_up_to_date():
    text = PERFORMANCE.read_text(encoding="utf-8")
    assert filled(text, performance()) == text, "run `make readme`"


def test_a_measurement_that_is_missing_says_how_to_take_it(tmp_path):
    assert "python -m benchmarks.formulations" in formulations(tmp_path / "none.json")
    assert "python -m benchmarks.breakdown" in breakdown(tmp_path / "none.json")
    assert "python -m benchmarks.scaling" in scaling(tmp_path / "none.json")


def test_pictures_are_those_that_the_code_draws(study, tmp_path):
    for new in write(study, list(PICTURES), tmp_path, ("png",), report=lambda line: None):
        stored, drawn = (np.asarray(Image.open(path).convert("RGB"), float) for path in (DOCS / new.name, new))
        assert stored.shape == drawn.shape
        # Rounding differs by a level between builds of NumPy; a moved marker changes far more.
        assert np.abs(stored - drawn).mean() < 0.05, f"{new.name}: run `make readme`"


def test_links_lead_somewhere():
    text = README.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    local = [target for target in targets if not target.startswith("https://")]
    assert len(local) >= 6
    for target in local:
        assert (README.parent / target).exists(), target


def test_it_is_read_in_three_screens():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 130


def test_what_left_it_has_a_page():
    """Each page that the README hands on to, and what is to be found there."""
    for page, words in {
        "numbers.md": "datapackage.json",
        "runs.md": "bit for bit",
        "performance.md": "<!-- speed -->",
        "claims.md": '<a id="matches-vits"></a>',
    }.items():
        assert f"docs/{page}" in README.read_text(encoding="utf-8")
        assert words in (DOCS / page).read_text(encoding="utf-8")


def test_links_between_pages_lead_somewhere():
    for page in DOCS.glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name}: {target}"


def test_links_to_claims_name_claims():
    ids = set(re.findall(r"docs/claims\.md#([\w.+-]+)", README.read_text(encoding="utf-8")))
    assert ids
    assert ids <= set(re.findall(r'<a id="([^"]+)">', CLAIMS.read_text(encoding="utf-8")))


def test_the_answer_has_its_numbers_and_fails_where_its_words_do_not_fit(study):
    chosen = [claim for claim in load_claims() if claim.id in ANSWER]
    by_id = {item.claim.id: item for item in evaluate(study, chosen)}
    text = answer(by_id)
    assert not re.search(r"\. [A-Z]", text), "one sentence"
    assert all(item.outcome.number in text for item in by_id.values())
    wrong = replace(by_id["matches-vits"], outcome=replace(by_id["matches-vits"].outcome, verdict=Verdict.FAILS))
    with pytest.raises(ValueError, match="worded for 'matches-vits' as holds"):
        answer({**by_id, "matches-vits": wrong})


def test_speeds_in_short_are_of_committed_code():
    speeds = load_speeds()
    assert speeds.machine.str.contains("-dirty").any(), "nothing to leave out"
    text = speed_in_short(speeds)
    assert "-dirty" not in text
    assert len(re.findall(r"^\| (?:released|ours|timm \w+) \|", text, re.MULTILINE)) == 4
    for row in re.findall(r"^\| .* \|", text, re.MULTILINE)[1:]:
        assert row[:-2] in speed(speeds)
    assert "`python -m benchmarks.model" in speed_in_short(speeds.iloc[:0])
    assert "`python -m benchmarks.model" in speed_in_short(speeds[speeds.machine.str.contains("-dirty")])


def test_a_missing_mark_is_named():
    with pytest.raises(ValueError, match="needs one block <!-- claims -->"):
        filled("nothing", {"claims": "x"})


@pytest.mark.slow
def test_python_example_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    names: dict = {}
    exec(example, names)
    printed = capsys.readouterr().out
    assert printed == f"{network_cost('F0', 192).parameters:,} parameters\n(2, 1000)\n"
