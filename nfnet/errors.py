"""Errors that a user can act on."""

import contextlib
import difflib
import sys
from collections.abc import Iterable, Iterator


class UserError(ValueError):
    """Bad input, said in one sentence that names the field or file and the remedy.

    Command lines print the sentence without a traceback and exit with code 2.
    """


def unknown_name(kind: str, name: object, known: Iterable[str]) -> UserError:
    """Returns the error for a name that is not among the known ones.

    Args:
        kind: What the name stands for, e.g. "variant".
        name: What was given.
        known: All valid names, in the order in which to list them.
    """
    names = list(known)
    # Case is the commonest slip, so compare without it and show the name as it is spelt.
    folded = {candidate.casefold(): candidate for candidate in names}
    nearest = difflib.get_close_matches(str(name).casefold(), folded, n=1, cutoff=0.0)
    hint = f"; the nearest is {folded[nearest[0]]!r}" if nearest else ""
    return UserError(f"unknown {kind} {name!r}: known are {', '.join(names)}{hint}.")


@contextlib.contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Turns a `UserError` inside a command line's main into its sentence on stderr and exit code 2."""
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
