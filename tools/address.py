"""Links that need the repository's public address: badges, "open in Binder" and "open in Colab", how to clone it.

The address is ``Repository`` of ``[project.urls]`` in pyproject.toml, such as ``https://github.com/OWNER/NAME``. Where
it is not set, :func:`links` gives nothing, so that nobody is led to a page that does not exist. `make readme` writes
what these functions give into the README and into the first cells of the notebooks.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nfnet.errors import UserError

__all__ = ["guard", "links", "pages", "repository", "with_links"]

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = ROOT / "pyproject.toml"

# Binder, Colab and the badge of the workflow are addressed by owner and name on GitHub.
GITHUB = re.compile(r"https://github\.com/(?P<owner>[\w-]+)/(?P<name>[\w.-]+?)")
EXTRAS = {"06_use_nfnets": "train"}
"""Extras of pyproject.toml that a notebook needs beside the default install."""

# The line that with_links puts below a notebook's title, to find it again.
OPEN = re.compile(r"\n\n\[!\[Open in Binder\].*(?=\n|$)")
GUARD = re.compile(r"(raise ModuleNotFoundError\(\n).*?(\n    \) from None)", re.DOTALL)


def _project(pyproject: Path) -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    return project


def repository(pyproject: Path = PYPROJECT) -> str:
    """The repository's address, without a slash at its end; empty where none is set.

    Raises:
        UserError: If it is no address of a repository on GitHub.
    """
    address: str = _project(pyproject).get("urls", {}).get("Repository", "").rstrip("/")
    if address and not GITHUB.fullmatch(address):
        raise UserError(
            f"pyproject.toml: Repository is {address!r}, but badges need https://github.com/OWNER/NAME: set that, or "
            "leave it out."
        )
    return address


def _owner_and_name(address: str) -> tuple[str, str]:
    match = GITHUB.fullmatch(address)
    assert match is not None
    return match["owner"], match["name"]


def pages(address: str, pyproject: Path = PYPROJECT) -> str:
    """The site's address: ``Documentation`` of pyproject.toml, or GitHub Pages of ``address``; empty without either."""
    set_one: str = _project(pyproject).get("urls", {}).get("Documentation", "")
    if set_one or not address:
        return set_one
    owner, name = _owner_and_name(address)
    return f"https://{owner.lower()}.github.io/{name}/"


def _badge(words: str, picture: str, target: str) -> str:
    return f"[![{words}]({picture})]({target})"


def links(address: str, notebook: str = "", pyproject: Path = PYPROJECT) -> str:
    """The line of badges, each a link; empty where there is no address.

    Args:
        address: From :func:`repository`.
        notebook: Stem of a notebook, for its two buttons; empty for the README's badges.
        pyproject: Where Python's versions and the licence are read.
    """
    if not address:
        return ""
    owner, name = _owner_and_name(address)
    file = f"notebooks/{notebook or '01_scaling_law'}.ipynb"
    opened = [
        _badge(
            "Open in Binder",
            "https://mybinder.org/badge_logo.svg",
            f"https://mybinder.org/v2/gh/{owner}/{name}/HEAD?urlpath={quote(f'lab/tree/{file}', safe='')}",
        ),
        _badge(
            "Open in Colab",
            "https://colab.research.google.com/assets/colab-badge.svg",
            f"https://colab.research.google.com/github/{owner}/{name}/blob/main/{file}",
        ),
    ]
    if notebook:
        return " ".join(opened)
    project = _project(pyproject)
    versions = re.findall(r"Python :: (3\.\d+)", " ".join(project["classifiers"]))
    python, licence = (
        # shields.io parts its words by single hyphens
        f"https://img.shields.io/badge/{key}-{quote(value.replace('-', '--'))}-blue"
        for key, value in (("python", f"{versions[0]} to {versions[-1]}"), ("licence", project["license"]))
    )
    workflow = f"{address}/actions/workflows/test.yml"
    return " ".join(
        [
            _badge("CI", f"{workflow}/badge.svg", workflow),
            _badge(f"Python {versions[0]} to {versions[-1]}", python, "pyproject.toml"),
            _badge(f"Licence {project['license']}", licence, "LICENSE"),
            *opened,
            _badge("Docs", "https://img.shields.io/badge/docs-site-blue", pages(address, pyproject)),
        ]
    )


def guard(address: str, extra: str = "") -> str:
    """What a notebook says that was opened without its repository, as on Colab, or without an extra of it.

    A clone is installed, editable: a wheel holds ``nfnet`` alone, and notebooks need ``paper`` and ``figures`` too.
    """
    folder = _owner_and_name(address)[1] if address else "FOLDER"
    wanted = f"'{folder}[{extra}]'" if extra else folder
    told = "" if address else ", with the repository's address and the folder that it makes (or that of a copy)"
    return (
        f"This notebook needs its repository: `!git clone {address or 'ADDRESS'}` and "
        f"`%pip install --editable {wanted}`{told}; then restart the kernel and run this cell again."
    )


def _wrapped(text: str, width: int = 104) -> str:
    """A string as adjacent literals of at most ``width`` characters, indented as an argument of the guard's raise."""
    rows = [""]
    for word in text.split(" "):
        if rows[-1] and len(rows[-1]) + len(word) + 1 > width:
            rows.append("")
        rows[-1] += f"{word} "
    rows[-1] = rows[-1].removesuffix(" ")
    return "\n".join(f'        "{row}"' for row in rows)


def with_links(notebook: dict[str, Any], stem: str, address: str) -> None:
    """Brings a notebook's first two cells up to date, in place: buttons below the title, and what the guard says.

    Args:
        notebook: In nbformat 4, with sources as strings.
        stem: The file's name without its ending.
        address: From :func:`repository`.

    Raises:
        ValueError: If the first cell has no title, or the first cell of code has no guard.
    """
    first = next(cell for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    code = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    title, line, rest = OPEN.sub("", first["source"]).partition("\n")
    if not title.startswith("# "):
        raise ValueError(f"{stem}: the first cell needs a title.")
    buttons = links(address, stem)
    first["source"] = f"{title}\n\n{buttons}{line}{rest}" if buttons else f"{title}{line}{rest}"
    sentence = _wrapped(guard(address, EXTRAS.get(stem, "")))
    code["source"], found = GUARD.subn(lambda match: f"{match[1]}{sentence}{match[2]}", code["source"], count=1)
    if not found:
        raise ValueError(f"{stem}: the first cell of code needs `raise ModuleNotFoundError(...) from None`.")
