"""What the Python that runs us must not lack."""

import sys

from nfnet.errors import UserError


def check_docstrings() -> None:
    """Raises UserError if Python runs without docstrings: Haiku edits some of its own when it is imported."""
    if sys.flags.optimize > 1:
        raise UserError("Python runs with -OO or PYTHONOPTIMIZE=2, but Haiku needs docstrings: use -O or neither.")
