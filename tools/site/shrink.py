"""Takes out of the built site what no reader of it sees."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

_UNUSED = ("*.map", "*webpack-macros.html", "*.mo", "*.po", "fa-brands-*.woff2", "fa-regular-*.woff2")
"""Files of the theme: helps to debug it, its templates, other languages, fonts of icons that no page has."""

_ICON = re.compile(
    r'(?:"(?P<quoted>[\w-]+)"|\b(?P<bare>[\w$]+))'  # name
    r':\[\d+,\d+,\[(?P<aliases>[^\]]*)\],"[0-9a-f]+",(?:"[^"]*"|\[[^\]]*\])\],?'  # size, other names, code point, paths
)
_PLAIN = re.compile(r'<span class="(?:pre|n|p|w)">([^<]*)</span>')
"""Names, punctuation and space in code, which have the colour of what is around them in both themes."""
_TITLE = re.compile(r'(<a class="reference internal" href="[^"]*") title="[^"]*"')
"""Names of what links of the reference lead to, which stand in their addresses."""
_INDENTED = re.compile(r"(<(pre|script|style|textarea)\b.*?</\2>)|\n\s+", re.DOTALL)
"""Line breaks with what follows, and first what keeps them."""


def shrink(site: Path, jobs: int) -> None:
    """Shrinks the site in the folder ``site``, with ``jobs`` threads.

    Pictures become lossless WebP, the icons' script keeps those that are used, and pages lose marks without effect.
    """
    static = site / "_static"
    for pattern in _UNUSED:
        for path in static.rglob(pattern):
            path.unlink()
    with ThreadPoolExecutor(jobs) as threads:
        list(threads.map(_to_webp, (site / "_images").glob("*.png")))
    used: set[str] = set()
    for path in site.rglob("*.html"):
        page = re.sub(r'(_images/[\w.-]+)\.png(?=")', r"\1.webp", path.read_text(encoding="utf-8"))
        page = _PLAIN.sub(r"\1", _TITLE.sub(r"\1", page))
        page = _INDENTED.sub(lambda found: found[1] or "\n", page)
        path.write_text(page, encoding="utf-8")
        used |= _icons(page)
    scripts = static / "scripts"
    for path in scripts.glob("*.js"):
        if path.name != "fontawesome.js":
            used |= _icons(path.read_text(encoding="utf-8"))
    icons = scripts / "fontawesome.js"
    icons.write_text(
        _ICON.sub(lambda found: found[0] if _names(found) & used else "", icons.read_text(encoding="utf-8"))
    )


def _to_webp(path: Path) -> None:
    with Image.open(path) as image:
        image.save(path.with_suffix(".webp"), lossless=True, method=4)
    path.unlink()


def _icons(text: str) -> set[str]:
    return set(re.findall(r"\bfa-([a-z][\w-]*)", text))


def _names(icon: re.Match[str]) -> set[str]:
    return {icon["quoted"] or icon["bare"], *re.findall(r'"([^"]+)"', icon["aliases"])}
