"""Writes the table of docs/models.md: ``python -m tools.model_table``; ``--check`` exits with 1 if it is out of date.

Names and published numbers are those of nfnet/weights/zoo.toml, parameters and multiply-adds are counted.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from nfnet.cost.cost import network_cost
from nfnet.files import replacing
from nfnet.weights.origins import BY_KEY
from nfnet.weights.zoo import ENTRIES, Entry
from tools.update_readme import filled

MODELS = Path(__file__).resolve().parent.parent / "docs" / "models.md"
_HEADER = ("name", "network", "origin", "licence", "trained on", "px", "parameters", "GMACs", "top-1", "digest")


def table() -> str:
    """Returns the table as Markdown; multiply-adds and top-1 are at the larger of its sizes, the test's."""
    lines = ["| " + " | ".join(_HEADER) + " |", "|:--|:--|:--|:--|:--|--:|--:|--:|--:|:--|"]
    lines += ["| " + " | ".join(_row(entry)) + " |" for entry in ENTRIES.values()]
    return "\n".join(lines)


def _row(entry: Entry) -> tuple[str, ...]:
    settings = {"head": "cls"} if entry.family == "vit" else {}
    cost = network_cost(entry.variant, entry.test_size, num_classes=entry.classes, **settings)
    where = entry.address if entry.url else f"https://huggingface.co/{entry.repo}"
    digest = "SHA-256" if entry.sha256 else "MD5" if entry.md5 else "none found"
    sizes = dict.fromkeys((entry.train_size, entry.test_size))
    return (
        f"[`{entry.name}`]({where})",
        {"nfnet": "NFNet-", "vit": "ViT-"}[entry.family] + entry.variant + (f", {entry.note}" if entry.note else ""),
        BY_KEY[entry.origin].name,
        entry.licence,
        entry.data,
        " / ".join(map(str, sizes)),
        f"{cost.parameters / 1e6:.1f} M",
        f"{cost.macs / 1e9:.1f}",
        "" if entry.top1 is None else f"{entry.top1:.1f}",
        digest,
    )


def sources() -> str:
    """Returns where the numbers were found, a line each."""
    found = dict.fromkeys(source for entry in ENTRIES.values() for source in entry.sources.values())
    return "\n".join(re.sub(r"^(https://[^\s,]+)", r"- <\1>", source) for source in found)


def updated(text: str) -> str:
    """Returns the document with its table and sources brought up to date."""
    return filled(text, {"zoo": table(), "sources": sources()})


def main() -> int:
    """Command line; returns 0, or 1 when ``--check`` finds the table out of date."""
    old = MODELS.read_text(encoding="utf-8")
    new = updated(old)
    if "--check" in sys.argv[1:]:
        return int(old != new)
    with replacing(MODELS) as file:
        file.write(new.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
