"""The commands' help as pages."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

from nfnet.command import COMMANDS, usage
from tools.site.pages import toctree, write

WIDTH = "88"
"""Columns of the help, so that a page's code fits."""

MODULES: Mapping[str, str] = {
    "paper.claims": "check claims against the data",
    "paper.results": "check the data package",
    "paper.fit": "fit scaling laws to your own runs",
    "paper.tables": "write the tables",
    "figures": "draw figures",
    "figures.reproduce": "every figure, table and claim",
}
"""Commands that analyse, run as ``python -m``."""


def write_pages(source: Path) -> None:
    """Writes reference/commands/: a page a command."""
    folder, names = source / "reference" / "commands", []
    for name, command in COMMANDS.items():
        text = help_of(lambda module=command.module: importlib.import_module(module).main(["--help"]))  # type: ignore[misc]
        write(folder / f"{name}.md", f"# nfnet {name}\n\nTo {command.summary}.\n\n```text\n{text}\n```")
        names.append(name)
    for module, summary in MODULES.items():
        where = f"{module}.__main__" if _is_package(module) else module
        text = help_of(lambda where=where: importlib.import_module(where).main(["--help"]))  # type: ignore[misc]
        write(folder / f"{module}.md", f"# python -m {module}\n\nTo {summary}.\n\n```text\n{text}\n```")
        names.append(module)
    head = f"# Commands\n\n```text\n{usage()}\n```"
    write(folder / "index.md", "\n\n".join([head, toctree(names, hidden=False)]))


def _is_package(module: str) -> bool:
    return hasattr(importlib.import_module(module), "__path__")


def help_of(call: Callable[[], object]) -> str:
    """What ``--help`` prints."""
    printed, before = io.StringIO(), os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = WIDTH
    try:
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            call()
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
    return textwrap.dedent(printed.getvalue()).rstrip()
