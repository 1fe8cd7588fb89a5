"""The notebooks as pages, from their stored outputs."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

from tools.site.pages import ROOT, toctree, write

FOLDER = ROOT / "notebooks"


@cache
def title_of(name: str) -> str:
    """Title of the notebook called ``name``: its first heading."""
    cells = json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    first = "".join(cells[0]["source"])
    return first.splitlines()[0].lstrip("# ").strip()


def write_pages(source: Path) -> None:
    """Writes notebooks/index.md and the notebooks, with links to where pages are in the site."""
    paths = sorted(FOLDER.glob("*.ipynb"))
    for path in paths:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            if cell["cell_type"] == "markdown":
                cell["source"] = _linked("".join(cell["source"]))
            for output in cell.get("outputs", ()):
                if "text/markdown" in (told := output.get("data", {})):
                    told["text/markdown"] = _linked("".join(told["text/markdown"]))
        write(source / "notebooks" / path.name, json.dumps(notebook, ensure_ascii=False))
    listed = "\n".join(f"{number}. [{title_of(path.stem)}]({path.name})" for number, path in enumerate(paths, start=1))
    head = "# Notebooks\n\nWith the outputs that are stored in them; `make lab` opens them to run."
    write(source / "notebooks" / "index.md", "\n\n".join([head, listed, toctree([path.stem for path in paths])]))


def _linked(text: str) -> str:
    text = text.replace("](../docs/", "](../guides/")
    text = re.sub(r"\$([^$\n]+)\$", _formula, text)
    # Jupyter keeps the capitals of an anchor, MyST does not.
    return re.sub(r"\]\(#([^)]*)\)", lambda match: f"](#{match[1].lower()})", text)


def _formula(match: re.Match[str]) -> str:
    """A short formula as HTML, since MathJax would come from elsewhere."""
    text = match[1].replace(r"\,", " ").replace("-", "−").replace("*", "&#42;")
    for name, letter in {"alpha": "α", "beta": "β", "gamma": "γ"}.items():
        text = text.replace(f"\\{name}", letter)
    raised = re.sub(r"\^(?:\{([^}]*)\}|(&#42;|\w))", lambda found: f"<sup>{found[1] or found[2]}</sup>", text)
    return f"<i>{raised}</i>"
