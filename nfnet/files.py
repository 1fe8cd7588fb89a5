"""Files that come from elsewhere: read only if they are regular files of a size that is checked first."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from nfnet.errors import UserError, printable

LARGEST = 2**30
"""Bytes of the largest file that is read into memory at once, a few times what any data set here has."""


def local_path(text: str | os.PathLike[str], field: str) -> Path:
    """Returns the path that a user gave, with `~` expanded.

    Args:
        text: a path of this machine's file system.
        field: the setting or flag that it is of, for the message, e.g. "--workdir".

    Raises:
        UserError: it is an address such as gs://bucket/name, which would make a local folder of that name.
    """
    given = os.fspath(text)
    if scheme := re.match(r"[A-Za-z][A-Za-z0-9+.-]+(?=:/)", given):  # `Path` has made one slash of two
        raise UserError(
            f"{field} is {printable(given)}, but {scheme[0]}:// is not read or written here: "
            "give a path on this machine, e.g. one at which the storage is mounted."
        )
    path = Path(os.path.expanduser(given))
    if given.startswith("~") and str(path).startswith("~"):
        raise UserError(f"{field} is {printable(given)}, but there is no such home folder: write the path out.")
    return path


def open_file(path: Path, most: int = LARGEST) -> BinaryIO:
    """Opens a file for reading.

    Args:
        path: the file.
        most: bytes of the largest one that is accepted.

    Raises:
        FileNotFoundError: there is none.
        UserError: it cannot be opened, is no regular file (opening a pipe would wait for ever) or is too large.
    """
    name = printable(path)
    try:
        status = path.stat()
        file = path.open("rb") if stat.S_ISREG(status.st_mode) else None
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"{name} cannot be read ({error.strerror}): check the path and its permissions.") from None
    except ValueError as error:
        raise UserError(f"{name} cannot be a file's name ({error}): check the path.") from None
    if file is None:
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
        raise UserError(f"{name} cannot be read: it is {what}, so put the file itself there.")
    if status.st_size > most:
        file.close()
        raise UserError(f"{name} has {status.st_size} bytes, more than the {most} expected: check what it is.")
    return file


def read_file(path: Path, most: int = LARGEST) -> bytes:
    """Reads a file; see `open_file`."""
    try:
        with open_file(path, most) as file:
            content = file.read(most + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"{printable(path)} cannot be read ({error.strerror}): restore it.") from None
    if len(content) > most:  # it has grown, or the system gave no size
        raise UserError(f"{printable(path)} has more than the {most} bytes expected: check what it is.")
    return content


def read_text_file(path: Path, most: int = 2**26) -> str:
    """Reads a text in UTF-8, with or without a byte-order mark.

    Raises:
        UserError: it is missing, cannot be read, is too large or is no UTF-8.
    """
    try:
        return read_file(path, most).decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{printable(path)} cannot be read (No such file or directory): check the path.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{printable(path)} is no UTF-8 text (at byte {error.start}): save it as UTF-8.") from None


def reason(error: Exception) -> str:
    """Returns what a library says is wrong with a file, without the addresses of Python's objects."""
    text = str(error)
    return printable(type(error).__name__ if not text or " object at 0x" in text or "<_io." in text else text)


def list_folder(root: Path) -> list[os.DirEntry[str]]:
    """Lists a folder by name.

    Raises:
        UserError: it is missing, no folder, or cannot be read.
    """
    name = printable(root)
    try:
        with os.scandir(root) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        raise UserError(f"Missing data folder {name}: pass the data set's folder with --data.") from None
    except NotADirectoryError:
        raise UserError(f"{name} is a file, not a folder of images: pass the data set's folder.") from None
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{name} cannot be read ({said}): check the path and its permissions.") from None


def _refuse_folder(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))


def require_replaceable(path: Path, remedy: str = "choose another place") -> None:
    """Checks, before work is put into it, that `replacing` can write a file; leaves nothing.

    Raises:
        UserError: its folder is missing or takes no files, or it is a folder itself; the sentence ends with `remedy`.
    """
    try:
        _refuse_folder(path)
        # By trying, since permissions alone do not say that a disk is full or read-only.
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UserError(f"{printable(path)} cannot be written ({error.strerror or reason(error)}): {remedy}.") from None


@contextlib.contextmanager
def replacing(path: Path, remedy: str = "choose another place") -> Iterator[BinaryIO]:
    """Yields an empty file beside `path`, which takes its place, whole, when the context ends without an error.

    It gets the permissions that writing to `path` itself would leave; a link is replaced rather than followed. It is
    not forced to disk, which takes longer than writing it: what is written so can be computed again.

    Raises:
        UserError: it cannot be written; the sentence ends with `remedy`. Then, and after any other error, `path` is as
            it was and nothing lies beside it.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    try:
        _refuse_folder(path)  # here, so that of two files neither is replaced if the other cannot be
        with temporary.open("xb") as file:
            if path.exists():
                temporary.chmod(stat.S_IMODE(path.stat().st_mode))
            yield file
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{printable(path)} cannot be written ({error.strerror or reason(error)}): {remedy}.") from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
