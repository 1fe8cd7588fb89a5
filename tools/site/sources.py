"""Who writes which pages."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from tools.site import api, bundle, claims, commands, configs, data, front, gallery, guides, interactive, notebooks
from tools.site.pages import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["write_sources"]


def write_sources(source: Path, made: Path) -> None:
    """Writes every page anew into the folder ``source``.

    Args:
        source: Where to write; what is there goes.
        made: What `make reproduce` wrote: figures, and what it remembers of fits.

    Raises:
        UserError: If there are no figures.
    """
    from paper.claims import evaluate
    from paper.keeping.memory import remembering
    from paper.study import Study

    gallery.require(made / "figures")
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(ROOT / "tools" / "site" / "static", source / "_static")
    with remembering(made / "memory"):
        study = Study.load()
        checked = evaluate(study)
        interactive.write_pages(source, study)
    front.write_pages(source, checked)
    claims.write_pages(source, checked)
    gallery.write_pages(source, made / "figures", checked)
    data.write_pages(source, study.results.package)
    bundle.write_bundle(source / "_static")
    writers: tuple[Callable[[Path], None], ...] = (
        notebooks.write_pages,
        guides.write_pages,
        api.write_pages,
        commands.write_pages,
        configs.write_pages,
    )
    for write_pages in writers:
        write_pages(source)
