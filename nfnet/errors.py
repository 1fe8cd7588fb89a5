"""Errors that a user can act on."""

import contextlib
import sys
from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher


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
    given = str(name)

    def similarity(candidate: str) -> tuple[float, float, str]:
        # Case is the commonest slip, so it only decides between names that differ in nothing else (ViT-g, ViT-G);
        # among equals the last in the alphabet, so that F8 leads to F7.
        folded = SequenceMatcher(None, given.casefold(), candidate.casefold()).ratio()
        return folded, SequenceMatcher(None, given, candidate).ratio(), candidate

    hint = f"; the nearest is {max(names, key=similarity)!r}" if names else ""
    return UserError(f"unknown {kind} {name!r}: known are {', '.join(names)}{hint}.")


@contextlib.contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Turns a `UserError` inside a command line's main into its sentence on stderr and exit code 2."""
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
