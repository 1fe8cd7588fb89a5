"""How-tos: the Markdown files of docs/ and those beside the code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from tools.site.pages import ROOT, toctree, write

GUIDES: Mapping[str, tuple[str, str]] = {
    "use": ("docs/use.md", "predict, fine-tune on your own folder, load in Python"),
    "models": ("docs/models.md", "weights by name"),
    "export": ("docs/export.md", "StableHLO, ONNX and others"),
    "faq": ("docs/faq.md", "questions about the networks"),
    "package": ("nfnet/README.md", "the rooms of nfnet/, and how to add to each"),
    "runs": ("docs/runs.md", "training, sweeps, fits of your own runs, and our own small replication"),
    "numbers": ("docs/numbers.md", "where a number comes from"),
    "performance": ("docs/performance.md", "measured speeds"),
    "contributing": ("CONTRIBUTING.md", "to add a layer, a figure or a claim"),
}


def write_pages(source: Path) -> None:
    """Writes guides/index.md and a page a file."""
    places = {(ROOT / path).resolve(): f"{name}.md" for name, (path, _) in GUIDES.items()}
    places |= {path.resolve(): f"../notebooks/{path.name}" for path in (ROOT / "notebooks").glob("*.ipynb")}
    places[(ROOT / "docs" / "claims.md").resolve()] = "../claims/index.md"
    listed = []
    for name, (path, words) in GUIDES.items():
        text = _linked((ROOT / path).read_text(encoding="utf-8"), (ROOT / path).parent, places)
        write(source / "guides" / f"{name}.md", text)
        title = re.search(r"^# (.+)$", text, re.MULTILINE)
        listed.append(f"- [{title[1] if title else name}]({name}.md): {words}")
    parts = ["# How to", "\n".join(listed), toctree(list(GUIDES))]
    write(source / "guides" / "index.md", "\n\n".join(parts))


def _linked(text: str, folder: Path, places: Mapping[Path, str]) -> str:
    """``text`` with links to where pages are in the site; a file that has no page is named instead."""

    def moved(match: re.Match[str]) -> str:
        words, target = match[1], match[2]
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        path, mark, anchor = target.partition("#")
        place = places.get((folder / path).resolve())
        return f"[{words}]({place}{mark}{anchor})" if place else words

    return re.sub(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)", moved, text)
