"""Runs a family's share of the replication, or goes on with it.

    python -m paper.replication nfnets --core 0 &
    python -m paper.replication vits --core 1

and on a GPU, larger networks:

    python -m paper.replication nfnets --plan gpu &
    python -m paper.replication vits --plan gpu

First the study (`nfnet study`), then what follows from it (`paper/replication/plan.py`). Ctrl-C saves and stops;
the same command goes on. The images must have been decoded: `python -m paper.replication.prepare FOLDER`, for a GPU
with `--out runs/replication_gpu/data`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial

from nfnet.errors import UserError
from paper.commands import run
from paper.replication.plan import CPU, PLANS, Plan


def replicate(plan: Plan, family: str) -> int:
    """Runs what is left of a family's runs; returns 0, 1 if some failed, or 128 + number after a signal."""
    from nfnet import finetune, study
    from nfnet.studies.executors import in_process
    from nfnet.studies.sweep import load_study
    from nfnet.training.run_log import LOG, read_run_log
    from paper.replication.plan import ENDS, Planned, planned

    def ended(run: Planned) -> bool:
        log = run.workdir / LOG
        return log.is_file() and read_run_log(log).end in ENDS

    described = load_study(plan.studies[family])
    executor = study.executor_of(described)
    if code := study.run_study(described, executor):
        return code
    left = [one for one in planned(plan.follows[family], described) if not ended(one)]
    for name, execute in (("train", executor), ("finetune", in_process(finetune.main))):
        runs = iter([[one.arguments for one in left if one.command == name]])
        if code := execute(partial(next, runs, [])):
            return code
    return int(not all(ended(one) for one in left))


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns 0, 1 if runs failed, 2 on bad input, 128 + number after a signal."""
    parser = argparse.ArgumentParser(
        prog="python -m paper.replication", description="Run a family's share of the replication, or go on with it."
    )
    parser.add_argument("family", choices=CPU.studies)
    parser.add_argument("--plan", choices=PLANS, default=CPU.name, help="for which machine (default: %(default)s)")
    parser.add_argument("--core", type=int, help="the processor core to run on (default: all)")
    arguments = parser.parse_args(argv)
    try:
        if arguments.core is not None:  # before JAX counts the cores
            if not hasattr(os, "sched_setaffinity"):
                raise UserError("--core cannot be set on this system: leave it out.")
            if arguments.core not in (cores := os.sched_getaffinity(0)):
                raise UserError(f"--core {arguments.core} is none of this process's: choose one of {sorted(cores)}.")
            os.sched_setaffinity(0, {arguments.core})
        return replicate(PLANS[arguments.plan], arguments.family)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(run(main))
