"""Errors of writing, as sentences: whatever library they come from, and before training where possible."""

from __future__ import annotations

import errno
import logging
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nfnet.errors import UserError, printable

# TensorStore says in words what went wrong, and only sometimes the number too.
_WORDS = {
    os.strerror(code)
    for code in (
        errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EIO,
        errno.ELOOP, errno.ENOENT, errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.EFBIG, errno.ENAMETOOLONG,
        errno.ENODEV, errno.ENXIO, errno.ETIMEDOUT, errno.EREMOTEIO, errno.ENOTCONN,
    )
}  # fmt: skip
_NUMBER = re.compile(r"os_error_code='(\d+)'")


def _reason(error: BaseException | None) -> str | None:
    """Returns what the operating system said, or None if the error is none of its own."""
    while error is not None:
        if isinstance(error, OSError):
            return error.strerror or str(error) or type(error).__name__
        number = _NUMBER.search(str(error))
        if number:
            return os.strerror(int(number[1]))
        words = [words for words in _WORDS if words in str(error)]
        if words:
            return max(words, key=len)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None


@contextmanager
def told(path: Path, what: str) -> Iterator[None]:
    """Turns errors of the operating system into one sentence.

    Args:
        path: the folder or file written to.
        what: is written there.

    Raises:
        UserError: in their place; other errors pass.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = _reason(error)
        if reason is None:
            raise
        raise UserError(
            f"{what} cannot be written to {path} ({printable(reason)}): mend that and run the same command again; "
            "what is complete there is intact."
        ) from error


def check_folder(path: Path, what: str) -> None:
    """Makes a folder and checks that files can be written in it.

    Raises:
        UserError: they cannot.
    """
    with told(path, what):
        if not path.is_dir() and os.path.lexists(path):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as probe:
            probe.write(bytes(4096))


def _not_from_orbax(record: logging.LogRecord) -> bool:
    return f"{os.sep}orbax{os.sep}" not in record.pathname


class _WithoutLateReads:
    """A hook for errors that nothing can catch, which drops those of reads that nobody waits for any more.

    At the first array that cannot be read Orbax closes the event loop to which the others will report.
    """

    def __init__(self, former: Callable[[sys.UnraisableHookArgs], Any]):
        self._former = former

    def __call__(self, problem: sys.UnraisableHookArgs) -> None:
        if not (isinstance(problem.exc_value, RuntimeError) and str(problem.exc_value) == "Event loop is closed"):
            self._former(problem)


def silence_orbax() -> None:
    """Keeps what Orbax prints of errors from burying their sentence: it raises them too, and they are told then."""
    logging.getLogger("absl").addFilter(_not_from_orbax)
    if not isinstance(sys.unraisablehook, _WithoutLateReads):
        sys.unraisablehook = _WithoutLateReads(sys.unraisablehook)
