"""Files that are replaced whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from nfnet.errors import UserError

__all__ = ["write_files"]


def write_files(contents: Mapping[Path, bytes]) -> None:
    """Writes all files; none is replaced before every one of them is on disk. Folders are made when missing.

    Raises:
        UserError: If a folder cannot be made or written to.
    """
    written: list[tuple[str, Path]] = []
    try:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
                written.append((file.name, path))
                file.write(content)
        for temporary, path in written:
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be written ({error.strerror}); choose another --out.") from None
    finally:
        for temporary, _ in written:
            Path(temporary).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
