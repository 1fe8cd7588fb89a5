"""What the Python that runs us must not lack."""

import io
import sys

from nfnet.errors import UserError


def check_docstrings() -> None:
    """Raises UserError if Python runs without docstrings: Haiku edits some of its own when it is imported."""
    if sys.flags.optimize > 1:
        raise UserError("Python runs with -OO or PYTHONOPTIMIZE=2, but Haiku needs docstrings: use -O or neither.")


def spell_out() -> None:
    """Makes standard output write characters that its encoding lacks as escape sequences, as standard error does.

    Names of files and classes may hold any, and a terminal, or what a program reads, may be ASCII.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")
