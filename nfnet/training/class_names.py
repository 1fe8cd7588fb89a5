"""The names of a run's classes, kept in its folder, so that predictions have names without the data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nfnet.errors import UserError, printable
from nfnet.files import read_text_file, replacing

CLASSES = "classes.txt"  # in the folder of a run
LONGEST = 4096  # characters of a name there


def write_class_names(workdir: Path, names: Sequence[str]) -> None:
    """Writes one name a line, in the order of the labels; the file suits `data.classes`.

    Raises:
        UserError: it cannot be written.
    """
    with replacing(workdir / CLASSES, "pass another --workdir") as file:
        # The line end of a folder's name would shift all that follow.
        file.write("".join(f"{printable(name, LONGEST)}\n" for name in names).encode())


def read_class_names(workdir: Path) -> tuple[str, ...] | None:
    """Returns the names of a run's classes, or None if it keeps none.

    Raises:
        UserError: the file cannot be read.
    """
    path = workdir / CLASSES
    if not path.exists():
        return None
    # Only line ends, not all that `splitlines` takes for one: a name may hold it. An editor may have added "\r".
    names = tuple(line.removesuffix("\r") for line in read_text_file(path).removesuffix("\n").split("\n"))
    if not all(names):
        raise UserError(f"{printable(path)} has an empty line: it lists the name of one class a line.")
    return names


def run_folder(path: Path) -> Path:
    """Returns the folder of the run that a path, of it or of one of its checkpoints, belongs to."""
    path = path.absolute()
    return next((one.parent for one in (path, path.parent) if one.name in ("checkpoints", "best")), path)
