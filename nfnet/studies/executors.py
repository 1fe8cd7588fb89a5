"""Where the runs of a study are executed: in this process, in others, or on a Slurm cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nfnet.errors import UserError

OUTPUT = "output.txt"
_POLL = 0.1  # seconds between looks at processes
_POLL_JOBS = 5.0  # and at jobs, of which submitit asks Slurm less often still

# `nfnet.train.main`: takes the arguments of a run and returns its exit code.
Command = Callable[[Sequence[str]], int]
# Returns the arguments of the runs that can be started and have not been returned before. It is asked again whenever a
# run has ended, since the next runs of a search follow from those before.
Ready = Callable[[], Sequence[Sequence[str]]]
# Executes runs until there are none, and returns 0, or the exit code of one that a signal stopped.
Executor = Callable[[Ready], int]


def _workdir(arguments: Sequence[str]) -> Path:
    return Path(arguments[arguments.index("--workdir") + 1])


def in_process(train: Command) -> Executor:
    """Executes runs one after the other; stops at the first that a signal stopped."""

    def execute(ready: Ready) -> int:
        waiting = deque(ready())
        while waiting:
            if (code := train(waiting.popleft())) > 128:
                return code
            waiting.extend(ready())
        return 0

    return execute


def subprocesses(parallel: int) -> Executor:
    """Executes up to `parallel` runs at a time, each with its output in its folder's `OUTPUT`.

    SIGTERM and SIGINT are passed on; the runs then save and exit.
    """

    def execute(ready: Ready) -> int:
        waiting = deque(ready())
        running: list[subprocess.Popen[bytes]] = []
        stopped: list[int] = []

        def stop(number: int, _: Any) -> None:
            stopped.append(number)
            _tell(running, number)

        former = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            while running or (waiting and not stopped):
                while waiting and len(running) < parallel and not stopped:
                    running.append(_start(waiting.popleft()))
                    if stopped:  # before the new process was in the list
                        _tell(running[-1:], stopped[0])
                time.sleep(_POLL)
                ended = [process for process in running if process.poll() is not None]
                for process in ended:
                    running.remove(process)
                if ended and not stopped:
                    waiting.extend(ready())
        except BaseException:
            _tell(running, signal.SIGTERM)  # each is a session of its own, and would outlive this one
            for process in running:
                process.wait()
            raise
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)
        return 128 + stopped[0] if stopped else 0

    return execute


def _tell(processes: Sequence[subprocess.Popen[bytes]], number: int) -> None:
    for process in processes:
        process.send_signal(number)


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
    """Submits each run as a job as soon as it can start, and waits for all.

    Args:
        train: what a job calls.
        folder: for submitit's files.
        parameters: of submitit's executor, e.g. slurm_partition, timeout_min, nodes, tasks_per_node,
            gpus_per_node. With several tasks, their processes find each other through Slurm.
        cluster: "slurm", or submitit's "local" and "debug".
    """

    def execute(ready: Ready) -> int:
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
        waiting = deque(ready())
        jobs: list[tuple[Path, Any]] = []
        stopped = 0
        while waiting or jobs:
            jobs += [(_workdir(one), executor.submit(train, [*one, *extra])) for one in waiting]
            waiting.clear()
            ended = [job for job in jobs if job[1].done()]
            for workdir, job in ended:
                try:
                    code = max(job.results())
                except Exception as error:
                    print(f"{workdir}: job {job.job_id}: {error}", file=sys.stderr)
                    code = 1
                jobs.remove((workdir, job))
                stopped = stopped or (code if code > 128 else 0)
            if not ended:
                time.sleep(_POLL_JOBS)
            elif not stopped:  # after it, jobs that run are waited for, and no more submitted
                waiting.extend(ready())
        return stopped

    return execute
