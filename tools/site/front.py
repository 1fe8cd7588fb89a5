"""The first page: the answer to the paper's question, from the checks, and where to go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tools.site.pages import toctree, write
from tools.update_readme import ANSWER, answer

if TYPE_CHECKING:
    from paper.claims import Checked

SECTIONS = {
    "Claims": ("claims/index", "every statement with its verdict, evidence and check; search and filter"),
    "Play": ("interactive/index", "turn the conversion, the runs and the compute, and see who leads"),
    "Notebooks": ("notebooks/index", "the whole argument, to read"),
    "Figures": ("figures/index", "each with its code, its data and the claims it shows"),
    "Data": ("data/index", "every number, its unit, its uncertainty and how it was read"),
    "Use": ("guides/index", "predict, fine-tune, export, models, speed, questions"),
    "Reference": ("reference/index", "functions, commands and configurations"),
}


def write_pages(source: Path, checked: Sequence[Checked]) -> None:
    """Writes index.md."""
    from paper.claims import format_count, format_heading, grouped

    by_id = {item.claim.id: item for item in checked}
    told = ", ".join(f"[{name}](claims/{name}.md)" for name in ANSWER)
    counts = [f"- {format_heading(title, items)}: {format_count(items)}." for title, items in grouped(checked).items()]
    goto = [f"- [{title}]({name}.md): {words}." for title, (name, words) in SECTIONS.items()]
    text = [
        "# ConvNets Match Vision Transformers at Scale",
        "The companion of [the paper](https://arxiv.org/abs/2310.16764) of Smith, Brock, Berrada and De: do NFNets "
        "match Vision Transformers of equal compute? Every number here is computed from what was published or what our "
        "own runs logged.",
        f"{answer(by_id)} The claims: {told}.",
        "[![Error of NFNets and of every Vision Transformer against compute](_figures/nfnet_vs_vit.png)]"
        "(figures/nfnet_vs_vit.md)",
        "## Where to go",
        "\n".join(goto),
        "## Verdicts",
        "\n".join(counts),
        toctree({title: name for title, (name, _) in SECTIONS.items()}),
    ]
    write(source / "index.md", "\n\n".join(text))
