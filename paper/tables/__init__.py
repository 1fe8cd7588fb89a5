"""The tables of the report, as Markdown, LaTeX and CSV.

Markdown and LaTeX hold formatted numbers; CSV holds the same table unrounded. Each module makes one group of tables
from the study; they may import all of ``paper`` but :mod:`paper.tamper`. ``python -m paper.tables`` writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from paper.files import write_files
from paper.tables.claimed import claims, own_statements, predictions
from paper.tables.family import nfnet_family
from paper.tables.fitted import (
    allocation,
    fits,
    frontier_laws,
    held_out,
    irreducible,
    regret,
    repeated_data,
    surface_forms,
)
from paper.tables.logged import runs
from paper.tables.replicated import own_answers, own_progress, own_runs
from paper.tables.table import Table
from paper.tables.vits import (
    vit_comparison,
    vit_conversion,
    vit_inference,
    vit_scenarios,
    vit_sensitivity,
    vit_sweep,
)

if TYPE_CHECKING:
    from paper.claims import Checked
    from paper.study import Study

__all__ = [
    "TABLES",
    "Table",
    "allocation",
    "claims",
    "compose",
    "fits",
    "frontier_laws",
    "held_out",
    "irreducible",
    "nfnet_family",
    "own_answers",
    "own_progress",
    "own_runs",
    "own_statements",
    "predictions",
    "regret",
    "repeated_data",
    "runs",
    "surface_forms",
    "vit_comparison",
    "vit_conversion",
    "vit_inference",
    "vit_scenarios",
    "vit_sensitivity",
    "vit_sweep",
    "write_all",
]

TABLES: Mapping[str, Callable[[Study], Table]] = {
    "runs": runs,
    "vit_comparison": vit_comparison,
    "vit_conversion": vit_conversion,
    "vit_sweep": vit_sweep,
    "vit_scenarios": vit_scenarios,
    "vit_sensitivity": vit_sensitivity,
    "vit_inference": vit_inference,
    "nfnet_family": nfnet_family,
    "fits": fits,
    "frontier_laws": frontier_laws,
    "surface_forms": surface_forms,
    "irreducible": irreducible,
    "allocation": allocation,
    "regret": regret,
    "held_out": held_out,
    "repeated_data": repeated_data,
    "own_progress": own_progress,
    "own_runs": own_runs,
    "own_answers": own_answers,
    "claims": claims,
    "own_statements": own_statements,
    "predictions": predictions,
}

CHECKED = {"claims": claims, "own_statements": own_statements, "predictions": predictions}
"""Those of the tables that take claims which are checked already."""


def compose(study: Study, checked: Sequence[Checked] | None = None) -> dict[str, str]:
    """Every table in every format: text by file name; ``checked`` are the claims where they are checked already."""
    texts = {}
    for name, make in TABLES.items():
        table = make(study) if name not in CHECKED else CHECKED[name](study, checked)
        texts[f"{table.name}.md"] = table.markdown()
        texts[f"{table.name}.tex"] = table.latex()
        texts[f"{table.name}.csv"] = table.csv()
    return texts


def write_all(texts: Mapping[str, str], directory: Path) -> list[Path]:
    """Writes what :func:`compose` returns to ``directory``, which is made when missing.

    Returns:
        The files, in order.

    Raises:
        UserError: If the folder cannot be written to.
    """
    contents = {directory / name: text.encode() for name, text in texts.items()}
    write_files(contents)
    return list(contents)
