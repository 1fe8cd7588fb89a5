"""Where the runs of a study are executed: in this process, in others, or on a Slurm cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nfnet.errors import UserError

OUTPUT = "output.txt"

# `nfnet.train.main`: takes the arguments of a run and returns its exit code.
Command = Callable[[Sequence[str]], int]
# Takes the arguments of several runs, and returns their exit codes.
Executor = Callable[[Sequence[Sequence[str]]], list[int]]


def _workdir(arguments: Sequence[str]) -> Path:
    return Path(arguments[arguments.index("--workdir") + 1])


def in_process(train: Command) -> Executor:
    """Executes runs one after the other; stops at the first that a signal stopped."""

    def execute(runs: Sequence[Sequence[str]]) -> list[int]:
        codes = []
        for arguments in runs:
            codes.append(train(arguments))
            if codes[-1] > 128:
                break
        return codes

    return execute


def subprocesses(parallel: int) -> Executor:
    """Executes up to `parallel` runs at a time, each with its output in its folder's `OUTPUT`.

    SIGTERM and SIGINT are passed on; the runs then save and exit.
    """

    def execute(runs: Sequence[Sequence[str]]) -> list[int]:
        waiting = list(enumerate(runs))
        running: dict[int, subprocess.Popen[bytes]] = {}
        codes: dict[int, int] = {}
        stopped: list[int] = []

        def stop(number: int, _: Any) -> None:
            stopped.append(number)
            for process in running.values():
                process.send_signal(number)

        former = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            while running or (waiting and not stopped):
                while waiting and len(running) < parallel and not stopped:
                    index, arguments = waiting.pop(0)
                    running[index] = _start(arguments)
                for index, process in list(running.items()):
                    if (code := process.poll()) is not None:
                        codes[index] = code
                        del running[index]
                time.sleep(0.1)
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)
        if stopped:
            codes[len(runs)] = 128 + stopped[0]
        return [codes[index] for index in sorted(codes)]

    return execute


def _start(arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    workdir = _workdir(arguments)
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / OUTPUT).open("ab") as output:
        # A session of its own: Ctrl-C reaches it once, through its parent, not twice.
        return subprocess.Popen(
            [sys.executable, "-m", "nfnet.train", *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(),
            start_new_session=True,
        )


def _environment() -> dict[str, str]:
    # The package need not be installed: a checkout that is run from is passed on.
    root = str(Path(__file__).resolve().parents[2])
    path = os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{path}" if path else root}


def slurm(train: Command, folder: Path, parameters: Mapping[str, Any], cluster: str = "slurm") -> Executor:
    """Submits each run as a job and waits for all.

    Args:
        train: what a job calls.
        folder: for submitit's files.
        parameters: of submitit's executor, e.g. slurm_partition, timeout_min, nodes, tasks_per_node,
            gpus_per_node. With several tasks, their processes find each other through Slurm.
        cluster: "slurm", or submitit's "local" and "debug".
    """

    def execute(runs: Sequence[Sequence[str]]) -> list[int]:
        import submitit

        try:
            executor = submitit.AutoExecutor(folder=str(folder), cluster=cluster)
            executor.update_parameters(**parameters)
        except (RuntimeError, NameError, ValueError, TypeError) as error:
            raise UserError(
                f"Slurm cannot be used ({error}): check the [slurm] settings, or use another executor."
            ) from error
        several = int(parameters.get("nodes", 1)) * int(parameters.get("tasks_per_node", 1)) > 1
        extra = ["--coordinator", "auto"] if several else []
        jobs = [executor.submit(train, [*arguments, *extra]) for arguments in runs]
        codes = []
        for job, arguments in zip(jobs, runs, strict=True):
            try:
                codes.append(max(job.results()))
            except Exception as error:
                print(f"{_workdir(arguments)}: job {job.job_id}: {error}", file=sys.stderr)
                codes.append(1)
        return codes

    return execute
