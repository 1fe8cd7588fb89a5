"""Draws figures and writes them, a line of progress a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from figures import registry
from nfnet.errors import UserError

if TYPE_CHECKING:
    from paper.study import Study

__all__ = ["FORMATS", "formats_of", "study_of", "write"]

FORMATS = ("pdf", "svg", "png")


def formats_of(text: str) -> tuple[str, ...]:
    """Parses a comma-separated list of formats, e.g. ``"pdf,png"``; repeats count once.

    Raises:
        UserError: If one is unknown, or none is given.
    """
    wanted = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
    if not wanted:
        raise UserError(f"--format names no format; known are {', '.join(FORMATS)}.")
    for name in wanted:
        if name not in FORMATS:
            raise UserError(registry.unknown("format", name, FORMATS))
    return wanted


def study_of(data: Path | None) -> Study:
    """Loads the study from the data package in folder ``data``, by default the one that ships with the code.

    Raises:
        DataError: If a file is missing, altered or malformed.
    """
    from paper.study import Study

    return Study.load() if data is None else Study.load(data)


def write(
    study: Study,
    names: Sequence[str],
    directory: Path,
    formats: Sequence[str] = FORMATS,
    report: Callable[[str], None] = print,
) -> list[Path]:
    """Writes the figures called ``names`` to ``directory/NAME.FORMAT``.

    A figure's files are replaced once all of them are rendered, so that an error or an interrupt leaves none half
    written.

    Args:
        study: Logged results and fits.
        names: Names from :func:`figures.registry.names`.
        directory: Where to; made when missing.
        formats: Any of :data:`FORMATS`.
        report: Called with each path written.

    Returns:
        The files, in order.

    Raises:
        UnknownFigureError: If a name is unknown; nothing is written then.
        UserError: If a file cannot be written.
    """
    from figures import style

    for name in names:
        registry.check(name)
    written: list[Path] = []
    for name in names:
        paths = [directory / f"{name}.{format}" for format in formats]
        style.save_all(registry.draw(name, study), paths)
        for path in paths:
            report(f"{path}")
        written += paths
    return written
