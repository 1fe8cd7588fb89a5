"""Files that are replaced whole, all of them or none."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from nfnet.errors import UserError, printable
from nfnet.files import replacing

__all__ = ["write_files"]


def write_files(contents: Mapping[Path, bytes]) -> None:
    """Writes all files; none is replaced before every one of them is complete. Folders are made when missing.

    Raises:
        UserError: If a folder cannot be made or written to.
    """
    with ExitStack() as stack:
        for path, content in contents.items():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(
                    f"{printable(path.parent)} cannot be made ({error.strerror}): choose another --out."
                ) from None
            file = stack.enter_context(replacing(path, "choose another --out"))
            file.write(content)
            file.close()  # here, since writing may fail until then
