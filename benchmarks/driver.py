"""Workers, one process each, that take single steps in turn.

A worker is a program that takes its settings as one JSON argument and speaks lines of JSON: first an object that
describes it (compile time and the like), then, for each line `step` on its standard input, `{"seconds": ...}`, for a
line `profile`, `{"kernels": ...}`, and when its input ends `{"peak_rss_bytes": ..., "peak_device_bytes": ...}`.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import IO, Any

from nfnet.errors import UserError

__all__ = ["Measured", "Worker", "environment", "interleave"]

ROOT = Path(__file__).resolve().parents[1]
HUGE_PAGES = "glibc.malloc.hugetlb=1"


def environment(allocator: str = "default", **settings: str) -> dict[str, str]:
    """Returns the environment that all workers of a comparison get alike."""
    # A shortened traceback would end in a remark, not in the error that is reported.
    result = {"JAX_TRACEBACK_FILTERING": "off", **os.environ, **settings}
    if allocator == "hugepages":
        result["GLIBC_TUNABLES"] = HUGE_PAGES
    return result


class Worker:
    """A running worker; a context manager that ends it.

    Attributes:
        name: What it is called in tables.
        info: How it described itself.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        settings: Mapping[str, Any],
        environment: Mapping[str, str],
        seconds: float | None = None,
    ) -> None:
        """Starts the process and waits for its description.

        Args:
            name: What it is called in tables.
            command: The program; its settings are appended.
            settings: What it is told, as JSON.
            environment: Of the process.
            seconds: Within which it must be ready, or it is killed; None waits.

        Raises:
            UserError: If it cannot be started, ends, or is killed before it answers.
        """
        self.name = name
        self._seconds = seconds
        self._expired = False
        self._errors: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                [*command, json.dumps(dict(settings))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                env=dict(environment),
                cwd=ROOT,
            )
        except OSError as error:
            raise UserError(f"{command[0]} cannot be run ({error.strerror}): pass another path for {name}.") from None
        self._timer = threading.Timer(seconds, self._expire) if seconds is not None else None
        if self._timer:
            self._timer.start()
        try:
            self.info = self._answer()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        if self._timer:
            self._timer.cancel()

    def _expire(self) -> None:
        self._expired = True
        self._process.kill()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        code = self._process.wait()
        if self._expired:
            raise UserError(f"The worker of {self.name} was not ready after {self._seconds:.0f} s.")
        self._errors.seek(0)
        lines = self._errors.read().split("\n")
        last = next((text.strip() for text in reversed(lines) if text.strip()), "no message")
        raise UserError(f"The worker of {self.name} ended with code {code} ({last[:300]}).")

    def step(self) -> float:
        """Takes one step and returns its seconds."""
        return float(self._ask("step")["seconds"])

    def profile(self) -> dict[str, float] | None:
        """Takes steps under a profiler and returns the seconds of each kind of operation, where the worker knows."""
        kernels: dict[str, float] | None = self._ask("profile")["kernels"]
        return kernels

    def _ask(self, line: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the missing answer says why
        return self._answer()

    def finish(self) -> dict[str, Any]:
        """Ends the worker's input and returns its last words."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        last = self._answer()
        self._process.wait()
        return last

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer:
            self._timer.cancel()
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None and not stream.closed:
                stream.close()


class Measured(dict[str, Any]):
    """What a worker told of itself, with `name` and `steps`, its times in seconds."""


def interleave(
    starts: Sequence[Callable[[], Worker]],
    rounds: int,
    say: Callable[[str], None],
    warm_up: int = 1,
    compilations: int = 1,
    profiled: bool = False,
) -> list[Measured]:
    """Starts all workers, then lets each take one step a round.

    Each compiles when it starts. Where that happens more than once, all are started in turn; `compile_s` is the median
    and `compilations` has all.

    Args:
        starts: Start one worker each.
        rounds: How many steps of each are kept.
        say: Called with lines of progress.
        warm_up: How many rounds before those are thrown away.
        compilations: How often each is started; the last ones take the steps.
        profiled: Whether each then takes steps under a profiler; `kernels` has what it told.
    """
    compiling: list[list[float | None]] = [[] for _ in starts]
    for number in range(1, compilations):
        for start, known in zip(starts, compiling, strict=True):
            with start() as worker:
                known.append(worker.info.get("compile_s"))
                say(f"compilation {number}/{compilations}: {worker.name} {_written(known[-1])}")
    with ExitStack() as stack:
        workers: list[Worker] = []
        for start, known in zip(starts, compiling, strict=True):
            worker = stack.enter_context(start())
            say(f"{worker.name}: ready")
            workers.append(worker)
            known.append(worker.info.get("compile_s"))
        times: list[list[float]] = [[] for _ in workers]
        for number in range(warm_up + rounds):
            took = [worker.step() for worker in workers]
            if number >= warm_up:
                for kept, seconds in zip(times, took, strict=True):
                    kept.append(seconds)
            label = f"round {number - warm_up + 1}/{rounds}" if number >= warm_up else "warm-up"
            say(f"{label}: " + ", ".join(f"{w.name} {t:.4g} s" for w, t in zip(workers, took, strict=True)))
        kernels = [{"kernels": worker.profile()} if profiled else {} for worker in workers]
        return [
            Measured(worker.info, name=worker.name, steps=kept, **_compiled(seconds), **found, **worker.finish())
            for worker, kept, seconds, found in zip(workers, times, compiling, kernels, strict=True)
        ]


def _written(seconds: float | None) -> str:
    return "does not compile" if seconds is None else f"{seconds:.4g} s"


def _compiled(seconds: Sequence[float | None]) -> dict[str, Any]:
    known = [one for one in seconds if one is not None]
    return {"compile_s": median(known) if known else None, "compilations": known}
