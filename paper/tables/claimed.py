"""The claims and their verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from paper.tables.table import Table

if TYPE_CHECKING:
    from paper.claims import Checked
    from paper.study import Study

__all__ = ["claims"]


def claims(study: Study, checked: Sequence[Checked] | None = None) -> Table:
    """Every claim with its computed verdict and the evidence."""
    import pandas as pd

    from paper.claims import evaluate

    rows = [
        {
            "id": item.claim.id,
            "section": item.claim.section,
            "origin": item.claim.origin,
            "statement": item.claim.statement,
            "verdict": str(item.outcome.verdict),
            "evidence": item.outcome.evidence,
            "caveat": item.claim.caveat,
            "notebook": item.claim.notebook,
        }
        for item in (evaluate(study) if checked is None else checked)
    ]
    return Table(
        "claims",
        "Claims of the paper, and statements of ours about its data, each checked against the logged results.",
        pd.DataFrame(rows),
        {
            "id": "Claim",
            "section": "Section",
            "origin": "Whose",
            "statement": "Statement (paraphrased)",
            "verdict": "Verdict",
            "evidence": "Evidence (computed)",
            "caveat": "Caveat",
            "notebook": "Notebook",
        },
    )
