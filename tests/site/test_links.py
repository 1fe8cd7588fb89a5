"""Every link of the built site leads to a page, marks are not shown as text, and the site is small."""

import re
from html import unescape
from pathlib import Path
from urllib.parse import unquote

LIMIT = 12_000_000  # bytes


def test_size(site: Path) -> None:
    assert sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) < LIMIT


def test_links_lead_to_files_and_anchors(site: Path) -> None:
    texts = {path.resolve(): path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    anchors = {path: set(re.findall(r'\b(?:id|name)="([^"]*)"', text)) for path, text in texts.items()}
    broken = set()
    for path, text in texts.items():
        for target in re.findall(r'<(?:a|link|script|img)\b[^>]*?\b(?:href|src)="([^"]*)"', text):
            target = unescape(target)
            if re.match(r"[a-z]+:|//", target) or target in ("", "#"):
                continue
            name, _, anchor = target.partition("#")
            other = (path.parent / unquote(name.partition("?")[0])).resolve() if name else path
            if not other.is_file() or (anchor and other in anchors and unquote(anchor) not in anchors[other]):
                broken.add((path.relative_to(site.resolve()).as_posix(), target))
    assert not broken


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r'<(?:script|img|iframe)\b[^>]*\bsrc="(?:https?:)?//', text), path.name
        assert not re.search(r'<link\b(?=[^>]*rel="stylesheet")[^>]*href="(?:https?:)?//', text), path.name


def test_marks_are_not_shown_as_text(site: Path) -> None:
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert "<p>| " not in text, f"{path.name}: a table that is none"
        if path.is_relative_to(site / "reference" / "api"):
            assert "<blockquote>" not in text, f"{path.name}: code of a docstring that is a quotation"
            assert "<cite>" not in text, f"{path.name}: code of a docstring that is a title"
        assert str(Path(__file__).parents[2]) not in text, f"{path.name}: a folder of this machine"
