"""``python -m figures.reproduce``: every figure, table and verdict from the logged results, in one process.

Exit codes: 0 done; 1 a computed verdict differs from the recorded one; 2 bad data or a folder that cannot be written
(one sentence on standard error); 130 interrupted.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from figures import registry, writing
from nfnet.errors import UserError

__all__ = ["main"]

MEASURED = ("signal_propagation", "agc_at_work")
"""Figures of what the claims measure on a real network, hence drawn in the process that checks the claims."""


def _say(line: str = "") -> None:
    print(line, flush=True)


def _others() -> tuple[str, ...]:
    return tuple(name for name in registry.names() if name not in MEASURED)


@contextmanager
def _drawing(names: Sequence[str], directory: Path, data: Path | None) -> Iterator[Callable[[], list[Path]]]:
    """Draws the figures called ``names`` in another process meanwhile; yields a function that waits for their paths."""
    if not names:
        yield list
        return
    command = [sys.executable, "-m", "figures", *names, "--out", str(directory)]
    command += [] if data is None else ["--data", str(data)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def paths() -> list[Path]:
        out, error = process.communicate()
        if process.returncode:
            raise UserError(error.strip() or f"Drawing {', '.join(names)} ended with code {process.returncode}.")
        _say(out.rstrip())
        return [Path(line) for line in out.splitlines()]

    try:
        yield paths
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def _run(out: Path, data: Path | None, jobs: int) -> int:
    study = writing.study_of(data)
    from paper import claims, tables

    names, others = (MEASURED, _others()) if jobs > 1 else (registry.names(), ())
    with _drawing(others, out / "figures", data) as paths:
        checked = claims.evaluate(study)
        drawn = writing.write(study, names, out / "figures", report=_say)
        written = tables.write_all(study, out / "tables")
        drawn += paths()
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
    parser.add_argument("--jobs", type=int, default=1, help="processes; with 2, most figures are drawn beside the rest")
    arguments = parser.parse_args(argv)
    try:
        return _run(arguments.out, arguments.data, arguments.jobs)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted; every figure file is either its old or its new self.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
