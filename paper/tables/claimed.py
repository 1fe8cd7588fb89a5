"""The claims and their verdicts: the paper's own in one table, ours in another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from paper.tables.table import Table

if TYPE_CHECKING:
    from paper.claims import Checked
    from paper.study import Study

__all__ = ["claims", "own_statements", "predictions"]

HEADINGS = {
    "id": "Claim",
    "kind": "Kind",
    "section": "Section",
    "statement": "Statement (paraphrased)",
    "statistic": "Statistic",
    "null": "Against",
    "reason": "Threshold",
    "verdict": "Verdict",
    "evidence": "Evidence (computed)",
    "caveat": "Caveat",
    "notebook": "Notebook",
}


def claims(study: Study, checked: Sequence[Checked] | None = None) -> Table:
    """Every claim of the paper with its computed verdict and the evidence: statements, slips, descriptions."""
    caption = "Claims of the paper, each checked against the logged results: statements, slips, descriptions."
    return _table(study, checked, "claims", "paper", caption)


def own_statements(study: Study, checked: Sequence[Checked] | None = None) -> Table:
    """Every statement of ours about the paper's data, likewise."""
    caption = "Statements of ours about the data, which the paper does not make, each checked against them."
    return _table(study, checked, "own_statements", "ours", caption)


def predictions(study: Study, checked: Sequence[Checked] | None = None) -> Table:
    """Every prediction of our own runs, with the answer of those that have ended."""
    caption = "Predictions of our own runs, made before the first of them, each checked against those that have ended."
    return _table(study, checked, "predictions", "replication", caption)


def _table(study: Study, checked: Sequence[Checked] | None, name: str, origin: str, caption: str) -> Table:
    import pandas as pd

    from paper.claims import evaluate, grouped, load_claims

    if checked is None:
        checked = evaluate(study, [claim for claim in load_claims() if claim.origin == origin])
    rows = [
        {
            "id": item.claim.id,
            "kind": item.claim.kind,
            "section": item.claim.section,
            "statement": item.claim.statement,
            "statistic": item.statistic,
            "null": item.claim.null,
            "reason": item.claim.reason,
            "verdict": str(item.outcome.verdict),
            "evidence": item.outcome.evidence,
            "caveat": item.caveat,
            "notebook": item.claim.notebook,
        }
        for items in grouped(checked).values()
        for item in items
        if item.claim.origin == origin
    ]
    return Table(name, caption, pd.DataFrame(rows, columns=list(HEADINGS)), HEADINGS)
