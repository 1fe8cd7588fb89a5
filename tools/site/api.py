"""The public functions and classes of nfnet and paper, by package, for autodoc to fill in."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from pathlib import Path

from tools.site.pages import toctree, write

PACKAGES = ("nfnet", "paper")
LEFT_OUT = ("nfnet.configs", "paper.replication.studies", "paper.checks.")
"""Configurations, and the checks that claims show: both have pages of their own."""


def write_pages(source: Path) -> None:
    """Writes reference/index.md and reference/api/: a page a package, with a section a module."""
    pages: dict[str, list[str]] = {}
    for name in PACKAGES:
        pages[name] = []
        for module in pkgutil.walk_packages(import_module(name).__path__, f"{name}."):
            if module.name.startswith(LEFT_OUT) or module.name.endswith("__main__"):
                continue
            if module.ispkg:
                pages[module.name] = []
            else:
                pages[module.name.rpartition(".")[0]].append(module.name)
    for package, modules in pages.items():
        # A package only hands on names, which are documented where they are defined.
        parts = [f"# {package}", _auto(package, members=False)]
        parts += [f"## {module}\n\n{_auto(module, members=True)}" for module in modules]
        write(source / "reference" / "api" / f"{package}.md", "\n\n".join(parts))
    inside = {"Commands": "commands/index", "Configurations": "configs/index", "API": "api/index"}
    listed = "\n".join(f"- [{title}]({name}.md)" for title, name in inside.items())
    write(source / "reference" / "index.md", "\n\n".join(["# Reference", listed, toctree(inside)]))
    head = "# API\n\nPublic names, a page a package. The search on top of each page finds a function by its name."
    write(source / "reference" / "api" / "index.md", "\n\n".join([head, toctree(list(pages), hidden=False)]))


def _auto(module: str, *, members: bool) -> str:
    options = "\n:members:\n:member-order: bysource" if members else ""
    return (
        f"````{{eval-rst}}\n.. automodule:: {module}\n"
        + "".join(f"   {line}\n" for line in options.splitlines() if line)
        + "````"
    )
