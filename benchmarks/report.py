"""What the benchmarks' command lines share: progress, tables, JSON files, errors."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from nfnet.errors import UserError
from paper.files import write_files

__all__ = ["RESULTS", "emit", "parser", "positive", "run", "say", "write_json"]

RESULTS = Path(__file__).parent / "results"


def say(line: str) -> None:
    """Prints a line of progress."""
    print(line, file=sys.stderr, flush=True)


def parser(name: str, description: str) -> argparse.ArgumentParser:
    """Makes the parser of `python -m benchmarks.NAME`."""
    result = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description, allow_abbrev=False)
    result.add_argument("--out", type=Path, metavar="FILE", help="JSON file to write (benchmarks/results/NAME.json)")
    return result


def positive(text: str) -> int:
    """Parses a whole number above zero."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Replaces a file in one go.

    Raises:
        UserError: If it cannot be written.
    """
    text = json.dumps(record, indent=1, allow_nan=False) + "\n"
    write_files({path: text.encode()})


def emit(path: Path, record: dict[str, Any], columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Writes the JSON file and prints the table."""
    write_json(path, record)
    print(tabulate(rows, headers=columns, floatfmt=".4g", missingval="-"))
    say(f"{path}")


def run(main: Callable[[], int]) -> int:
    """Runs a command; bad input becomes one sentence on stderr and exit code 2."""
    try:
        return main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
