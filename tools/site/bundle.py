"""Vega, Vega-Lite and Vega-Embed in one file, so that the charts need no network."""

from __future__ import annotations

from pathlib import Path


def write_bundle(static: Path) -> None:
    """Writes ``vega.js``, which the wheel of vl-convert carries, into ``static``."""
    import vl_convert

    # Its names are short ones, such as `n`, and must not become those of every script of the page.
    libraries = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its stub requires a snippet, the code none
    (static / "vega.js").write_text(f"(() => {{{libraries}}})();\n", encoding="utf-8")
