"""Vega, Vega-Lite and Vega-Embed in one file, so that the charts need no network."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any


def write_bundle(static: Path) -> None:
    """Writes ``vega.js``, which the wheel of vl-convert carries, into ``static``."""
    vl_convert: Any = import_module("vl_convert")  # not its stub, which requires a snippet where the code needs none
    # Its names are short ones, such as `n`, and must not become those of every script of the page.
    libraries = vl_convert.javascript_bundle()
    (static / "vega.js").write_text(f"(() => {{{libraries}}})();\n", encoding="utf-8")
