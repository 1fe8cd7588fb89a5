"""Sphinx's settings; the pages are written by ``python -m tools.site``."""

import os
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
_REPOSITORY = _PROJECT["urls"].get("Repository", "")

project = _PROJECT["name"]
author = "The nfnet-companion authors"
release = _PROJECT["version"]
copyright = author
html_title = "NFNet companion"
html_last_updated_fmt = None  # the same sources make the same pages
language = "en"

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_files", "_download"]
root_doc = "index"

nb_execution_mode = "off"  # the stored outputs are the ones that the tests compare
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # they would come from elsewhere
myst_update_mathjax = False
nb_mime_priority_overrides = [("html", "text/markdown", 0)]
myst_enable_extensions = ["deflist", "html_image"]
myst_heading_anchors = 4
suppress_warnings = [
    "myst.header",  # headings of notebooks may jump
    "mystnb.unknown_mime_type",  # widgets have no page
    "ref.python",  # two modules may each have a type of the same name
]

autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
# Other projects' names have no page here, and their inventories would need the network.
nitpick_ignore_regex = [
    ("py:.*", r"(?!(nfnet|paper|figures)\.).*"),
    ("py:class", r"(nfnet|paper)\..*\.(Tree|T|R|Record|SmoothFit)"),  # type variables and aliases, which have no entry
]

html_theme = "sphinx_book_theme"
html_static_path = [os.environ.get("NFNET_SITE_STATIC", str(ROOT / "build" / "site-source" / "_static"))]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "navbar_persistent": [],  # the sidebar and the article have a search already
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_navbar_depth": 1,
    "show_toc_level": 2,
}
if _REPOSITORY:  # no buttons that lead nowhere
    html_theme_options |= {
        "repository_url": _REPOSITORY,
        "use_repository_button": True,
        "launch_buttons": {"binderhub_url": "https://mybinder.org", "colab_url": "https://colab.research.google.com"},
    }
