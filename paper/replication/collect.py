"""Collects the logs of runs that have ended, which are committed.

    python -m paper.replication.collect

A log is copied byte for byte from `runs/replication` to the same place below `paper/replication/runs`, or with
`--plan gpu` from `runs/replication_gpu` to `paper/replication/runs_gpu`; one that is
there already stays if the run is the same. Runs that diverged are kept like those that finished.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from nfnet.errors import UserError, printable
from nfnet.files import local_path
from paper.commands import require_writable, run
from paper.files import write_files
from paper.replication.plan import CPU, ENDS, PLANS, STAGES


def collect(source: Path, out: Path) -> list[Path]:
    """Copies the logs of ended runs from `source` to `out`; returns those that are new there.

    Raises:
        UserError: If there is no run, or a log is damaged, or differs from the one that was collected before.
    """
    from nfnet.training.run_log import LOG, read_run_log

    paths = [path for folder in (*CPU.studies, *STAGES) for path in sorted((source / folder).rglob(LOG))]
    if not paths:
        raise UserError(f"{printable(source)} has no {LOG} below it: name the folder of the replication's runs.")
    new: dict[Path, bytes] = {}
    for path in paths:
        log = read_run_log(path)
        if log.end not in ENDS:
            continue
        content, there = path.read_bytes(), out / path.relative_to(source)
        if not there.is_file():
            new[there] = content
        elif read_run_log(there).run != log.run:
            raise UserError(
                f"{printable(there)} is the log of another run than {printable(path)}: no run is replaced by a second "
                "try; remove one of them, and say why in design.md."
            )
    write_files(new)
    return list(new)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns 0, or 2 on bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m paper.replication.collect", description="Collect the logs of the runs that have ended."
    )
    parser.add_argument("source", nargs="?", help="folder of the runs (that of the plan)")
    parser.add_argument("--plan", choices=PLANS, default=CPU.name, help="whose runs they are (default: %(default)s)")
    parser.add_argument("--out", help="where to copy them (the package's folder)")
    arguments = parser.parse_args(argv)
    try:
        plan = PLANS[arguments.plan]
        out = local_path(arguments.out or plan.runs, "--out")
        require_writable(out, "--out")
        new = collect(local_path(arguments.source or plan.working, "SOURCE"), out)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{len(new)} new logs in {printable(out)}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
