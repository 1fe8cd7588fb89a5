"""Each claim is told by the notebook that it names; nbval runs the notebooks themselves."""

import ast
import json
from pathlib import Path

import pytest

from paper.claims import load_claims, tell

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


def test_every_claim_is_told_where_it_says():
    stories = {path.stem: told(path) for path in NOTEBOOKS.glob("*.ipynb")}
    for claim in load_claims():
        assert claim.id in stories.get(claim.notebook, set()), f"{claim.id} is not told in {claim.notebook}"


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_prose_states_no_measured_number(path):
    """Numbers in Markdown cells would not follow the data; years, arXiv numbers and figure numbers may stand."""
    import re

    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "markdown":
            text = re.sub(
                r"`[^`]*`|\$[^$]*\$|JFT-\dB|F\d\+?|Figures? \d|\(\d{4}\)|\b1000 classes|grows? with|v[34]\b",
                "",
                "".join(cell["source"]),
            )
            assert not re.search(r"\d", text), text


def test_tell_fails_when_a_verdict_differs(study, monkeypatch):
    from dataclasses import replace

    from paper import claims
    from paper.verdicts import Verdict

    altered = [replace(c, verdict=Verdict.FAILS) if c.id == "loss-falls" else c for c in load_claims()]
    monkeypatch.setattr(claims, "load_claims", lambda: altered)
    with pytest.raises(AssertionError, match="loss-falls: holds, but recorded as does not hold"):
        tell(study, "loss-falls")


def test_tell_shows_statement_verdict_and_evidence(study):
    telling = tell(study, "loss-falls", "same-rate")
    assert repr(telling).splitlines() == ["loss-falls: holds", "same-rate: holds with a caveat"]
    markdown = telling._repr_markdown_()
    assert markdown.count("- ") >= 2
    assert "**Holds.**" in markdown
    with pytest.raises(ValueError, match="unknown claim 'loss-fall'"):
        tell(study, "loss-fall")
