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


def printable(text: object, limit: int = 200) -> str:
    r"""Returns what came from outside, e.g. a name found in a file, fit for one line of a terminal.

    Whatever does not print (line ends, terminal escapes, marks that reverse the direction of writing, lone
    surrogates) is shown as its escape sequence, such as ``\x1b``, so that no text moves the cursor or poses as
    another message.

    Args:
        text: What to show, as ``str`` gives it.
        limit: Most characters to return (at least 2); a longer text keeps its beginning and its end around an ellipsis.
    """
    shown = str(text)
    shortened = len(shown) > 2 * limit
    if shortened:  # before escaping, which is slow for a text of megabytes
        shown = shown[:limit] + shown[-limit:]
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shown)
    if len(shown) <= limit and not shortened:
        return shown
    end = (limit - 1) // 3
    return shown[: limit - 1 - end] + "…" + shown[len(shown) - end :]


@contextlib.contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Turns a `UserError` inside a command line's main into its sentence on stderr and exit code 2."""
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
