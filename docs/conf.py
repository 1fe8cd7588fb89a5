"""Sphinx's settings; the pages are written by ``python -m tools.site``."""

import gc
import os
import sys
import tomllib
from pathlib import Path
from typing import Any

from sphinx import addnodes

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
gc.set_threshold(300_000, 20, 20)  # Sphinx's trees are large and live to the end: looking through them is in vain

_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
_REPOSITORY = _PROJECT["urls"].get("Repository", "")

project = _PROJECT["name"]
author = "The nfnet-companion authors"
release = _PROJECT["version"]
copyright = author
html_title = "NFNet companion"
html_last_updated_fmt = None  # the same sources make the same pages
default_role = "literal"  # docstrings write code in single backticks
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_files", "_download"]
root_doc = "index"

nb_execution_mode = "off"  # the stored outputs are the ones that the tests compare
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # they would come from elsewhere
nb_render_markdown_format = "myst"  # outputs hold tables
myst_update_mathjax = False
nb_mime_priority_overrides = [("html", "text/markdown", 0)]
myst_enable_extensions = ["deflist", "html_image"]
myst_heading_anchors = 4
suppress_warnings = [
    "myst.header",  # headings of notebooks may jump
    "mystnb.unknown_mime_type",  # widgets have no page
    "ref.python",  # two modules may each have a type of the same name
]

toc_object_entries = False  # a package has a hundred names; the search finds them
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_use_type_comments = False  # there are none
napoleon_numpy_docstring = False
napoleon_use_ivar = True
# Other projects' names have no page here, and their inventories would need the network.
nitpick_ignore_regex = [
    ("py:mod", r"paper\.checks\..*"),  # on the pages of the claims
    ("py:.*", r"(?!(nfnet|paper|figures)\.).*"),
    ("py:class", r"(nfnet|paper)\..*\.(Tree|T|R|Record|SmoothFit)"),  # type variables and aliases, which have no entry
]

html_theme = "sphinx_book_theme"
html_static_path = [os.environ.get("NFNET_SITE_STATIC", str(ROOT / "build" / "site-source" / "_static"))]
html_css_files = ["site.css"]
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system is
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "navbar_persistent": [],  # the sidebar and the article have a search already
    "use_download_button": False,
    "use_fullscreen_button": False,
    "collapse_navbar": True,  # not the links of all pages in every page
    "max_navbar_depth": 2,
    "show_navbar_depth": 1,
    "show_toc_level": 2,
}
if _REPOSITORY:  # no buttons that lead nowhere
    html_theme_options |= {
        "repository_url": _REPOSITORY,
        "use_repository_button": True,
        "launch_buttons": {"binderhub_url": "https://mybinder.org", "colab_url": "https://colab.research.google.com"},
    }


def setup(app: Any) -> None:
    """Connects what the settings cannot say."""
    app.connect("object-description-transform", _without_long_values)
    app.connect("autodoc-process-docstring", _with_code_as_code, priority=400)  # before Napoleon reads the sections


def _without_long_values(_app: Any, _domain: str, _kind: str, content: Any) -> None:
    """Names without their value where it is a table of a page's length, or a folder of the machine."""
    for node in list(content.parent.findall(addnodes.desc_annotation)):
        text = node.astext().strip()
        if text.startswith("=") and (len(text) > 60 or "Path(" in text):
            node.parent.remove(node)


def _with_code_as_code(_app: Any, _what: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    """Marks the indented blocks after a paragraph as code, which reST takes for quotations."""
    for i in range(len(lines) - 1, 1, -1):
        before = lines[i - 2]
        starts = lines[i].startswith("    ") and not lines[i - 1].strip()
        if starts and before.strip() and not before.startswith((" ", "-")) and not before.endswith("::"):
            lines[i - 1 : i] = ["", "::", ""]
