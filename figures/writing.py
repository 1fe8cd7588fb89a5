"""Draws figures and writes them, a line of progress a file.

Where results are remembered (:mod:`paper.keeping.memory`), a figure is drawn once for the same code and data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import GenericAlias
from typing import TYPE_CHECKING

from figures import registry
from nfnet.errors import UserError, unknown_name
from paper.files import write_files
from paper.keeping.memory import is_kept, kept

if TYPE_CHECKING:
    from paper.study import Study

__all__ = ["FORMATS", "formats_of", "inputs_of", "is_drawn", "study_of", "write"]

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
            raise unknown_name("format", name, FORMATS)
    return wanted


def study_of(data: Path | None) -> Study:
    """Loads the study from the data package in folder ``data``, by default the one that ships with the code.

    Raises:
        DataError: If a file is missing, altered or malformed.
    """
    from paper.study import Study

    return Study.load() if data is None else Study.load(data)


def inputs_of(data: Path | None) -> bytes:
    """A digest of what the bytes of figures depend on beside :func:`paper.keeping.memory.circumstances`.

    That is the code that draws, the data package in folder ``data`` (by default the one that ships with the code), the
    recorded benchmarks and the logs of our own runs.

    Raises:
        UserError: If one of their files cannot be read.
    """
    from paper.benchmarks import RESULTS
    from paper.provenance import DATA
    from paper.replication.plan import FOLDER

    package = data or DATA
    groups = (
        Path(__file__).parent.rglob("*.py"),
        package.glob("*.json"),
        package.glob("*.csv"),
        RESULTS.glob("*.json"),
        FOLDER.rglob("*.jsonl"),
        FOLDER.rglob("*.toml"),
        FOLDER.glob("*.csv"),
    )
    digest = hashlib.sha256()
    for group in groups:
        for path in sorted(group):
            if path.is_file():
                try:
                    content = path.read_bytes()
                except OSError as error:
                    raise UserError(f"{path}: cannot be read ({error.strerror}); make it readable.") from None
                digest.update(f"{path.name} {hashlib.sha256(content).hexdigest()}\n".encode())
        digest.update(b"\n")
    return digest.digest()


def is_drawn(name: str, inputs: bytes) -> bool:
    """Whether the figure called ``name`` is remembered as drawn from ``inputs``, in all formats."""
    return is_kept(_kept_as(name, FORMATS), inputs, _bytes_of(FORMATS))


def _kept_as(name: str, formats: Sequence[str]) -> str:
    return f"figures.{name}.{'-'.join(formats)}"


def _bytes_of(formats: Sequence[str]) -> GenericAlias:
    """The type of what :func:`_rendered` returns: no name of a file is ever read from what is remembered."""
    return GenericAlias(tuple, (bytes,) * len(formats))


def write(
    study: Study,
    names: Sequence[str],
    directory: Path,
    formats: Sequence[str] = FORMATS,
    report: Callable[[str], None] = print,
    inputs: bytes | None = None,
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
        inputs: Of :func:`inputs_of`, for the data of ``study``; a figure that is remembered as drawn from them is not
            drawn again.

    Returns:
        The files, in order.

    Raises:
        UserError: If a name is unknown, before anything is written, or if a file cannot be written.
    """
    for name in names:
        registry.check(name)
    written: list[Path] = []
    for name in names:
        render = partial(_rendered, study, name, formats)
        rendered = render() if inputs is None else kept(_kept_as(name, formats), inputs, _bytes_of(formats), render)
        files = {directory / f"{name}.{format}": content for format, content in zip(formats, rendered, strict=True)}
        write_files(files)
        for path in files:
            report(f"{path}")
        written += files
    return written


def _rendered(study: Study, name: str, formats: Sequence[str]) -> tuple[bytes, ...]:
    """The bytes of one figure in each of ``formats``."""
    from figures import style

    figure = registry.draw(name, study)
    return tuple(style.render(figure, format) for format in formats)
