"""The figures, each with its code, data files and the claims that it shows."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from figures.registry import FIGURES
from nfnet.errors import UserError
from tools.site.links import claims_of_figures, data_of_figures, docstring_of
from tools.site.pages import ROOT, escaped, toctree, with_code, write

if TYPE_CHECKING:
    from paper.claims import Checked


def require(drawn: Path) -> None:
    """Requires that every figure was drawn.

    Raises:
        UserError: If one is missing.
    """
    for name in FIGURES:
        if not (drawn / f"{name}.png").is_file():
            raise UserError(f"{drawn / name}.png: not there; run `make reproduce` before `make site`.")


def write_pages(source: Path, drawn: Path, checked: Sequence[Checked]) -> None:
    """Writes figures/index.md and figures/NAME.md, with the pictures beside them."""
    by_id = {item.claim.id: item for item in checked}
    shown = claims_of_figures()
    (source / "_figures").mkdir(parents=True)
    tiles = []
    for name, caption in FIGURES.items():
        shutil.copy(drawn / f"{name}.png", source / "_figures")  # half the size of the SVG
        (source / "_download").mkdir(exist_ok=True)
        shutil.copy(drawn / f"{name}.pdf", source / "_download")
        lines = [
            f"# {name}",
            f"![{escaped(caption)}](../_figures/{name}.png)",
            escaped(caption[0].upper() + caption[1:]) + ".",
            f"{{download}}`PDF <../_download/{name}.pdf>`",
            "## What it is drawn from",
            with_code(docstring_of(name)),
        ]
        if files := data_of_figures(name):
            lines.append("\n".join(f"- [{file}](../data/{Path(file).stem}.md)" for file in files))
        if ids := shown.get(name):
            lines.append("## Claims that it shows")
            lines.append(
                "\n".join(
                    f"- [{one}](../claims/{one}.md): **{by_id[one].outcome.verdict}.** "
                    f"{escaped(by_id[one].claim.statement)}"
                    for one in ids
                )
            )
        code = (ROOT / "figures" / f"{name}.py").read_text(encoding="utf-8").rstrip()
        lines += ["## Code", f"`figures/{name}.py`; draw it alone with `python -m figures {name}`."]
        lines.append(f"```python\n{code}\n```")
        write(source / "figures" / f"{name}.md", "\n\n".join(lines))
        tiles.append(f"### [{name}]({name}.md)\n\n![{escaped(caption)}](../_figures/{name}.png)\n\n{escaped(caption)}")
    head = "# Figures\n\n`make reproduce` draws them all, as PDF, SVG and PNG."
    write(source / "figures" / "index.md", "\n\n".join([head, *tiles, toctree(list(FIGURES))]).replace("### ", "## "))
