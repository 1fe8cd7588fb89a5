"""Each claim is told by the notebook that it names; nbval runs the notebooks themselves."""

import ast
import json
import re
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from paper.claims import load_claims, tell
from paper.verdicts import Verdict

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def told(notebook: Path) -> set[str]:
    """Ids in the notebook's calls of ``tell``."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    code = "\n".join(line for source in sources for line in source.splitlines() if not line.startswith("%"))
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    return {
        argument.value
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id == "tell"
        for argument in call.args
        if isinstance(argument, ast.Constant)
    }


STORIES = (
    "01_scaling_law",
    "02_learning_rate",
    "03_finetune_vs_vit",
    "04_architecture",
    "05_vit_at_matched_compute",
)
"""Notebooks that tell claims: answer first, and no cell of code without a word before it."""


def cells_of(story: str) -> list[tuple[str, str, list[str]]]:
    """Kind, source and tags of each cell."""
    cells = json.loads((NOTEBOOKS / f"{story}.ipynb").read_text(encoding="utf-8"))["cells"]
    return [(cell["cell_type"], "".join(cell["source"]), cell["metadata"].get("tags", [])) for cell in cells]


@pytest.mark.parametrize("story", STORIES)
def test_a_story_explains_each_step(story):
    cells = cells_of(story)
    kinds = [kind for kind, _, _ in cells]
    assert kinds[0] == kinds[-1] == "markdown"
    assert ("code", "code") not in pairwise(kinds)
    code = [source for kind, source, _ in cells if kind == "code"]
    assert code[1].startswith("tell("), "the answer comes first"
    assert sum("tell(" in source for source in code) == 1
    assert any("knob(" in source for source in code)
    for (_, source, _), (_, after, _) in pairwise(cells):
        if source.startswith("draw("):
            look, means = re.split(r"(?<=[.?])\s", after.split("\n\n")[0], maxsplit=1)
            assert look.startswith("Look at ")
            assert means


@pytest.mark.parametrize("story", STORIES)
def test_a_story_ends_with_exercises_and_the_next(story):
    cells = cells_of(story)
    start = next(i for i, (_, source, _) in enumerate(cells) if "## Try it" in source)
    answers = [(source, tags) for kind, source, tags in cells[start:] if kind == "code"]
    assert 2 <= len(answers) <= 3
    assert all("answer(" in source and tags == ["hide-input"] for source, tags in answers)
    links = re.findall(r"\((\w+\.ipynb)\)", cells[-1][1])
    assert links
    assert all((NOTEBOOKS / link).is_file() for link in links)
    assert f"{story}.ipynb" not in links


@pytest.mark.parametrize("story", STORIES)
def test_a_story_that_opens_without_the_package_says_how_to_get_it(story, monkeypatch):
    source = next(source for kind, source, _ in cells_of(story) if kind == "code")
    assert source.startswith("%matplotlib inline\ntry:\n    from figures.notebook import ")
    monkeypatch.setitem(sys.modules, "figures.notebook", None)  # as if there were none
    with pytest.raises(ModuleNotFoundError, match=r"needs its repository: .*`%pip install .*run this cell again\.$"):
        exec(source.removeprefix("%matplotlib inline\n"), {})


@pytest.mark.parametrize("story", STORIES)
def test_each_decided_verdict_of_a_story_has_its_number(story, study):
    ids = [claim.id for claim in load_claims() if claim.notebook == story]
    for item in tell(study, *ids).checked:
        assert re.search(r"\d", item.outcome.number) or item.outcome.verdict == Verdict.OPEN, item.claim.id


def test_every_claim_is_told_where_it_says():
    stories = {path.stem: told(path) for path in NOTEBOOKS.glob("*.ipynb")}
    for claim in load_claims():
        assert claim.id in stories.get(claim.notebook, set()), f"{claim.id} is not told in {claim.notebook}"


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_prose_states_no_measured_number(path):
    """Numbers in Markdown cells would not follow the data; years, arXiv numbers and figure numbers may stand."""
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "markdown":
            text = re.sub(
                r"`[^`]*`|\]\([^)]*\)|\$[^$]*\$"  # code, addresses, formulas
                r"|JFT-\dB|F\d\+?|Figures? \d|\(\d{4}\)|\b1000 classes|grows? with|v[34]\b|\btop-1\b",
                "",
                "".join(cell["source"]),
            )
            assert not re.search(r"\d", text), text


def test_tell_fails_when_a_verdict_differs(study, monkeypatch):
    from dataclasses import replace

    from paper import claims

    altered = [replace(c, verdict=Verdict.FAILS) if c.id == "loss-falls" else c for c in load_claims()]
    monkeypatch.setattr(claims, "load_claims", lambda: altered)
    with pytest.raises(AssertionError, match="loss-falls: holds, but recorded as does not hold"):
        tell(study, "loss-falls")


def test_tell_shows_statement_verdict_and_evidence(study):
    telling = tell(study, "loss-falls", "same-rate")
    assert repr(telling).splitlines() == ["loss-falls: holds", "same-rate: holds with a caveat"]
    markdown = telling._repr_markdown_()
    assert "| **Holds** | 6 of 6 curves |" in markdown
    assert markdown.count("<details>") == 2
    with pytest.raises(ValueError, match="unknown claim 'loss-fall'"):
        tell(study, "loss-fall")
