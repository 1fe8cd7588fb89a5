"""What command lines share: a reader that goes away, and a folder that cannot be written to."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from nfnet.errors import UserError, exit_on_user_error, printable
from nfnet.interpreter import check_docstrings, spell_out

__all__ = ["GONE", "require_writable", "run"]

GONE = 141
"""Exit code where nobody reads the output any longer, as in ``| head``: what a shell gives for SIGPIPE."""


def run(main: Callable[[], int]) -> int:
    """Runs a command; returns its exit code, or :data:`GONE`; exits with 2 where Python lacks what it needs."""
    with exit_on_user_error():
        check_docstrings()
    spell_out()
    try:
        try:
            return main()
        finally:
            sys.stdout.flush()  # here rather than when Python ends, which would complain
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is left to flush
        return GONE


def require_writable(folder: Path, option: str = "--out") -> None:
    """Checks that files can be written to ``folder``, which may be missing, before work is put into them.

    Args:
        folder: The folder; nothing is left in it.
        option: How the command line calls it.

    Raises:
        UserError: If it or what it would lie in is no folder, or cannot be written to.
    """
    found = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    where = f"{printable(folder)}: cannot be written"
    if not found.is_dir():
        raise UserError(f"{where} ({printable(found)} is no folder); choose another {option}.")
    try:
        # By trying, since permissions alone do not say that a disk is full or read-only.
        with tempfile.TemporaryFile(dir=found):
            pass
    except OSError as error:
        raise UserError(f"{where} ({error.strerror}); choose another {option}.") from None
