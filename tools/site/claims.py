"""A page a claim, and the table that finds it."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from tools.site.links import claims_of_figures
from tools.site.notebooks import title_of
from tools.site.pages import ROOT, escaped, within, write

if TYPE_CHECKING:
    from paper.claims import Checked


def write_pages(source: Path, checked: Sequence[Checked]) -> None:
    """Writes claims/index.md and claims/ID.md."""
    from paper.claims import grouped

    shown: dict[str, list[str]] = {}
    for figure, ids in claims_of_figures().items():
        for name in ids:
            shown.setdefault(name, []).append(figure)
    cells = _cells()
    rows = []
    for title, items in grouped(checked).items():
        for item in items:
            rows.append(_row(item, title))
            page = _page(item, title, shown.get(item.claim.id, []), cells.get(item.claim.id))
            write(source / "claims" / f"{item.claim.id}.md", page)
    write(source / "claims" / "index.md", "\n\n".join([_INTRODUCTION, _table(rows, checked)]))


_INTRODUCTION = """# Claims

Statements of the paper that published numbers can decide, slips of its text, descriptions of its experiments,
statements of ours, and predictions of our own runs, each with the verdict that its check computes. A name leads to the
evidence and the check's code."""


def _table(rows: Sequence[str], checked: Sequence[Checked]) -> str:
    from paper.claims import GROUPS
    from paper.verdicts import Verdict

    verdicts = "".join(f'<option value="{verdict}">{verdict}</option>' for verdict in Verdict)
    kinds = "".join(f'<option value="{name}">{name}</option>' for _, name in GROUPS.values())
    count = len(checked)
    return f"""```{{raw}} html
<form class="claims-filter" role="search" aria-label="Find a claim" onsubmit="return false">
<label>Search <input type="search" id="claims-search" autocomplete="off"></label>
<label>Verdict <select id="claims-verdict"><option value="">any</option>{verdicts}</select></label>
<label>Kind <select id="claims-kind"><option value="">any</option>{kinds}</select></label>
</form>
<p id="claims-count" role="status" aria-live="polite">{count} of {count} claims</p>
<div class="claims-scroll" tabindex="0" role="region" aria-label="Table of claims">
<table id="claims-table" class="table">
<thead><tr><th scope="col">Claim</th><th scope="col">Statement</th><th scope="col">Verdict</th>
<th scope="col">Number</th></tr></thead>
<tbody>
{"".join(rows)}
</tbody></table></div>
<script src="../_static/claims.js"></script>
```"""


def _row(item: Checked, title: str) -> str:
    claim, verdict = item.claim, str(item.outcome.verdict)
    words = " ".join((claim.id, claim.statement, claim.section, item.outcome.evidence, item.caveat)).lower()
    return (
        f'<tr data-verdict="{within(verdict)}" data-kind="{within(title)}" data-words="{within(words)}">'
        f'<td><a href="{claim.id}.html">{claim.id}</a></td><td>{within(claim.statement)}</td>'
        f"<td>{_badge(verdict)}</td><td>{within(item.outcome.number)}</td></tr>\n"
    )


def _badge(verdict: str) -> str:
    return f'<span class="verdict verdict-{verdict.split()[-1]}">{verdict}</span>'


def _page(item: Checked, title: str, figures: Sequence[str], cell: tuple[str, str] | None) -> str:
    claim, outcome = item.claim, item.outcome
    module, _, function = claim.check.partition(".")
    check = getattr(import_module(f"paper.checks.{module}"), function)
    lines = [
        "---\norphan: true\n---",  # the table leads here; all claims in every page's margin are too many
        f"# {claim.id}",
        "[All claims](index.md)",
        f"{escaped(claim.statement)}",
        f"```{{raw}} html\n<p>{_badge(str(outcome.verdict))}</p>\n```",
        f"One of the {escaped(title)}; section: {escaped(claim.section)}. The statement is in our words.",
        "## Evidence",
        escaped(outcome.evidence),
    ]
    if claim.expected is not None:
        width = "" if claim.tolerance is None else f", within {claim.tolerance:g}"
        unit = "" if claim.unit == "1" else f" {claim.unit}"
        lines.append(f"Expected: {claim.expected:g}{escaped(unit)}{width}.")
    for heading, text in (
        ("Caveat", item.caveat),
        ("What would be seen if it were false", claim.null),
        ("The threshold, and why", claim.reason),
    ):
        if text:
            lines += [f"## {heading}", escaped(text)]
    if figures:
        lines += ["## Figures", "\n".join(f"- [{name}](../figures/{name}.md)" for name in figures)]
    if claim.notebook:
        words = f"[{escaped(title_of(claim.notebook))}](../notebooks/{claim.notebook}.ipynb)"
        lines += ["## Notebook", words]
        if cell is not None and cell[0] == claim.notebook:
            lines += ["It is told in this cell:", f"```python\n{cell[1]}\n```"]
    lines += [
        "## Check",
        escaped(item.statistic),
        f"`paper/checks/{module}.py`, function `{function}`:",
        f"```python\n{inspect.getsource(check).rstrip()}\n```",
        "Check it yourself:",
        f"```\npython -m paper.claims {claim.id}\n```",
    ]
    return "\n\n".join(lines)


def _cells() -> Mapping[str, tuple[str, str]]:
    """Notebook and source of the cell that tells each claim."""
    from paper.claims import load_claims

    names = [claim.id for claim in load_claims()]
    found: dict[str, tuple[str, str]] = {}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            text = "".join(cell["source"])
            if cell["cell_type"] == "code":
                for name in names:
                    if f'"{name}"' in text:
                        found.setdefault(name, (path.stem, text))
    return found
