"""The tables of the report, as Markdown, LaTeX and CSV.

Markdown and LaTeX hold formatted numbers; CSV holds the same table unrounded. Each module makes one group of tables
from the study; they may import all of ``paper`` but :mod:`paper.tamper`. ``python -m paper.tables`` writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from paper.files import write_files
from paper.tables.claimed import claims
from paper.tables.family import nfnet_family
from paper.tables.fitted import fits, surface_forms
from paper.tables.logged import runs
from paper.tables.table import Table
from paper.tables.vits import vit_comparison, vit_conversion, vit_scenarios, vit_sweep

if TYPE_CHECKING:
    from paper.claims import Checked
    from paper.study import Study

__all__ = [
    "TABLES",
    "Table",
    "claims",
    "compose",
    "fits",
    "nfnet_family",
    "runs",
    "surface_forms",
    "vit_comparison",
    "vit_conversion",
    "vit_scenarios",
    "vit_sweep",
    "write_all",
]

TABLES: Mapping[str, Callable[[Study], Table]] = {
    "runs": runs,
    "vit_comparison": vit_comparison,
    "vit_conversion": vit_conversion,
    "vit_sweep": vit_sweep,
    "vit_scenarios": vit_scenarios,
    "nfnet_family": nfnet_family,
    "fits": fits,
    "surface_forms": surface_forms,
    "claims": claims,
}


def compose(study: Study, checked: Sequence[Checked] | None = None) -> dict[str, str]:
    """Every table in every format: text by file name; ``checked`` are the claims where they are checked already."""
    texts = {}
    for name, make in TABLES.items():
        table = claims(study, checked) if name == "claims" else make(study)
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
