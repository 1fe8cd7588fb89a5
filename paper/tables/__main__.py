"""``python -m paper.tables``: writes the tables of the report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from nfnet.errors import UserError
from paper.commands import require_writable, run
from paper.provenance import DATA
from paper.tables import compose, write_all

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns 0, or 2 with one sentence on standard error."""
    parser = argparse.ArgumentParser(prog="python -m paper.tables", description="Write the tables of the report.")
    parser.add_argument("--out", type=Path, default=Path("build/tables"), help="folder to write to")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the data package")
    arguments = parser.parse_args(argv)
    from paper.study import Study

    try:
        require_writable(arguments.out)
        paths = write_all(compose(Study.load(arguments.data)), arguments.out)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    for path in paths:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
