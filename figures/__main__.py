"""``python -m figures [NAME ...]``: draws the figures from the logged results.

Exit codes: 0 done; 2 an unknown name or format, bad data or a folder that cannot be written (one sentence on standard
error); 130 interrupted; 141 nobody reads what is printed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from figures import registry, writing
from nfnet.errors import UserError
from nfnet.garbage import leave_garbage
from paper.commands import require_writable, run

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, registry.FIGURES))
    parser = argparse.ArgumentParser(
        prog="python -m figures",
        description="Draw the figures from the logged results; by default all of them.",
        epilog="figures:\n" + "\n".join(f"  {name:{width}}  {what}" for name, what in registry.FIGURES.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="figures to draw")
    parser.add_argument("--out", type=Path, default=Path("build/figures"), help="folder to write to (%(default)s)")
    parser.add_argument(
        "--format", default=",".join(writing.FORMATS), metavar="LIST", help="comma-separated formats (%(default)s)"
    )
    parser.add_argument("--data", type=Path, help="folder of the data package (the one that ships with the code)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    arguments = _parser().parse_args(argv)
    try:
        formats = writing.formats_of(arguments.format)
        names = tuple(dict.fromkeys(registry.check(name) for name in arguments.names)) or registry.names()
        require_writable(arguments.out)
        study = writing.study_of(arguments.data)
        writing.write(study, names, arguments.out, formats, report=lambda line: print(line, flush=True))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted; every file is either its old or its new self.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    leave_garbage()
    sys.exit(run(main))
