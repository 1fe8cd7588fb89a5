"""Text that MyST reads as it is meant, and files of pages."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

__all__ = ["ROOT", "code", "escaped", "table", "toctree", "with_code", "within", "write"]

ROOT = Path(__file__).resolve().parents[2]
_MARKS = re.compile(r"[\\`*_{}\[\]<>$|~#]")


def write(path: Path, text: str) -> None:
    """Writes a page, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.rstrip() + "\n", encoding="utf-8")


def escaped(text: object) -> str:
    """Plain text as Markdown that shows it unchanged, on one line."""
    return _MARKS.sub(r"\\\g<0>", " ".join(str(text).split()))


def with_code(text: str) -> str:
    """A docstring's paragraph as Markdown: what stands in backticks is code, the rest is shown unchanged."""
    mark = re.compile(rf"(?P<ticks>`+)(?P<code>.+?)(?P=ticks)|{_MARKS.pattern}")
    return mark.sub(lambda found: code(found["code"]) if found["ticks"] else f"\\{found[0]}", " ".join(text.split()))


def within(text: object) -> str:
    """Plain text as HTML that shows it unchanged."""
    return html.escape(" ".join(str(text).split()))


def code(text: object) -> str:
    """Inline code that a table's cell may hold."""
    return "`" + str(text).replace("|", "\\|") + "`"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table of cells that are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def toctree(entries: Mapping[str, str] | Sequence[str], *, hidden: bool = True, caption: str = "") -> str:
    """The pages below this one, by document or by title."""
    named = [f"{title} <{name}>" for title, name in entries.items()] if isinstance(entries, Mapping) else list(entries)
    options = [":maxdepth: 1", *([":hidden:"] if hidden else []), *([f":caption: {caption}"] if caption else [])]
    return "\n".join(["```{toctree}", *options, "", *named, "```"])
