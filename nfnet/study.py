"""Runs a study: the product of models, epoch budgets and learning rates.

    nfnet study digits
    nfnet study digits --status

Runs that are finished are left alone and interrupted ones are resumed, so the command can be repeated at
will.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from nfnet import train
from nfnet.interpreter import check_docstrings
from nfnet.studies.executors import OUTPUT, Executor, in_process, slurm, subprocesses
from nfnet.studies.sweep import (
    Study,
    Trial,
    best_trials,
    known_trials,
    load_study,
    next_trials,
    run_arguments,
    standing,
)
from nfnet.training import command_line
from nfnet.training.config_file import CONFIGS, find_provided


def _loss_of(study: Study, trial: Trial) -> float | None:
    return standing(study, trial).loss


def status(study: Study) -> str:
    """Returns a table of how all runs stand; a star marks the best one of each model and budget."""
    from tabulate import tabulate

    loss = partial(_loss_of, study)

    best = set(best_trials(study, loss))
    rows = []
    for trial in known_trials(study, loss):
        now = standing(study, trial)
        progress = f"{now.step}/{now.total_steps}" if now.total_steps else ""
        state = now.state + (" *" if trial in best else "")
        top1 = None if now.top1 is None else 100 * now.top1
        rows.append((trial.model, trial.epochs, trial.learning_rate, state, progress, now.loss, top1, now.core_hours))
    columns = ["model", "epochs", "learning rate", "state", "steps", "held-out loss", "top-1 %", "core hours"]
    table: str = tabulate(rows, headers=columns, floatfmt=("", "g", "g", "", "", ".4f", ".2f", ".3g"), missingval="")
    return table


def executor_of(study: Study) -> Executor:
    """Returns the executor that a study names."""
    if study.executor == "subprocess":
        return subprocesses(study.parallel)
    if study.executor == "slurm":
        return slurm(train.main, Path(study.workdir) / "slurm", study.slurm)
    return in_process(train.main)


def run_study(study: Study, executor: Executor, extra: Sequence[str] = ()) -> int:
    """Runs what is left of a study.

    Args:
        study: The study.
        executor: Where its runs are executed.
        extra: Arguments that every run gets besides its own.

    Returns:
        0 when the study is complete, 1 if a run failed (the others are done first), or the code of a run that
        a signal stopped.
    """
    loss = partial(_loss_of, study)

    started: set[Trial] = set()  # one that failed is not tried again before the command is repeated

    def ready() -> list[list[str]]:
        trials = [trial for trial in next_trials(study, loss) if trial not in started]
        started.update(trials)
        return [[*run_arguments(study, trial), *extra] for trial in trials]

    if code := executor(ready):
        return code
    failed = [trial for trial in started if loss(trial) is None]
    for trial in failed:
        folder = Path(study.workdir) / trial.name
        print(f"failed: {folder}{_last_line(folder / OUTPUT)}", file=sys.stderr)
    return 1 if failed else 0


def _last_line(output: Path) -> str:
    lines = output.read_text(errors="replace").splitlines() if output.is_file() else []
    return f" ({lines[-1]})" if lines else ""


def _study(arguments: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(
        prog="nfnet study",
        description="Runs a study: the product of models, epoch budgets and learning rates.",
        allow_abbrev=False,
    )
    parser.add_argument("study", help="name of a provided study, e.g. digits, or a TOML file")
    parser.add_argument("--status", action="store_true", help="print how all runs stand, and run nothing")
    command_line.add_cache_argument(parser)
    options = parser.parse_args(arguments)
    check_docstrings()  # or each of its runs would end in it
    study = load_study(find_provided(options.study, "the study", CONFIGS / "studies"))
    extra = [command_line.NO_CACHE] if options.no_compilation_cache else []
    code = 0 if options.status else run_study(study, executor_of(study), extra)
    print(status(study))
    return code


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code.

    0, 1 if a run failed, 2 at bad input, 128 + number after a signal.
    """
    return command_line.run(lambda: _study(arguments))


if __name__ == "__main__":
    sys.exit(main())
