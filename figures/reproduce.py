"""``python -m figures.reproduce``: every figure, table and verdict from the logged results, in one process.

Exit codes: 0 done; 1 a computed verdict differs from the recorded one; 2 bad data or a folder that cannot be written
(one sentence on standard error); 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from figures import registry, writing
from nfnet.errors import UserError

__all__ = ["main"]


def _say(line: str = "") -> None:
    print(line, flush=True)


def _run(out: Path, data: Path | None) -> int:
    study = writing.study_of(data)
    from paper import claims, tables

    checked = claims.evaluate(study)
    drawn = writing.write(study, registry.names(), out / "figures", report=_say)
    written = tables.write_all(study, out / "tables")
    for path in written:
        _say(f"{path}")
    _say()
    _say(claims.format_summary(checked))
    _say()
    _say(f"{out / 'figures'}: {len(drawn)} files, each figure as {', '.join(writing.FORMATS)}")
    _say(f"{out / 'tables'}: {len(written)} files, each table as Markdown, LaTeX and CSV")
    _say("python -m paper.claims: every claim with its verdict and the evidence")
    disagreements = claims.disagreements(checked)
    if disagreements:
        print(
            f"{len(disagreements)} of {len(checked)} claims have another verdict than the recorded one; "
            "see `python -m paper.claims`.",
            file=sys.stderr,
        )
        return 1
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m figures.reproduce",
        description="Write every figure and table, and check every claim, from the logged results.",
    )
    parser.add_argument("--out", type=Path, default=Path("build"), help="folder to write to (%(default)s)")
    parser.add_argument("--data", type=Path, help="folder of the data package (the one that ships with the code)")
    arguments = parser.parse_args(argv)
    try:
        return _run(arguments.out, arguments.data)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted; every figure file is either its old or its new self.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
