"""``python -m figures.reproduce``: every figure, table and verdict from the logged results.

Work is shared by ``--jobs`` processes. Fits, costs, measurements and figures go through :mod:`paper.keeping.memory` in
``OUT/memory``, so that none is computed twice, be it by two processes or by two runs of the same code on the same data.

Exit codes: 0 done; 1 a computed verdict differs from the recorded one; 2 bad data or a folder that cannot be written
(one sentence on standard error); 130 interrupted; 141 nobody reads what is printed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from figures import registry, writing
from nfnet.errors import UserError
from nfnet.garbage import leave_garbage
from paper.commands import require_writable, run

if TYPE_CHECKING:
    from paper.study import Study
    from paper.verdicts import Claim

__all__ = ["main"]

MEASURED = "architecture."
"""Checks of what is measured on real networks; they wait for the process that measures."""


def _say(line: object = "") -> None:
    print(line, flush=True)


@contextmanager
def _helpers(count: int) -> Iterator[Executor | None]:
    """``count`` processes beside this one, or None without any.

    They start anew rather than fork, since JAX and BLAS have threads; they import while this process does.
    """
    if count < 1:
        yield None
        return
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _start)
    try:
        for _ in range(count):
            pool.submit(_import)
        yield pool
    except BrokenExecutor:
        raise UserError("A process that helps was ended from outside; run it again, or with --jobs 1.") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _start() -> None:
    """In a helper: leaves interrupts to the process that started it, and does not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    leave_garbage()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _import() -> None:
    """Imports what measuring and drawing need."""
    for name in ("figures.style", "paper.experiments.clipping", "paper.experiments.propagation", "paper.study"):
        import_module(name)


def _measure(memory: Path) -> None:
    """Measures the real networks; the results are found in ``memory``."""
    from paper.experiments.clipping import clipping
    from paper.experiments.propagation import propagation
    from paper.keeping.memory import remembering

    with remembering(memory):
        propagation()
        clipping()


@lru_cache(maxsize=1)
def _study(data: Path | None) -> Study:
    return writing.study_of(data)


def _draw(name: str, out: Path, data: Path | None, inputs: bytes) -> list[Path]:
    """In a helper: draws one figure."""
    from paper.keeping.memory import remembering

    with remembering(out / "memory"):
        return writing.write(_study(data), [name], out / "figures", report=lambda _: None, inputs=inputs)


@contextmanager
def _drawing(
    study: Study, helpers: Executor | None, count: int, out: Path, data: Path | None, inputs: bytes
) -> Iterator[Callable[[], dict[str, list[Path]]]]:
    """Draws figures in ``count`` helpers meanwhile.

    Yields a function that draws here what they have not begun, waits for them and returns all figures' files.
    """
    left = deque(registry.names())
    drawn: dict[str, list[Path]] = {}

    def beside() -> None:
        assert helpers is not None
        for name in _taken(left.popleft):
            drawn[name] = helpers.submit(_draw, name, out, data, inputs).result()
            for path in drawn[name]:
                _say(path)

    def here() -> dict[str, list[Path]]:
        for name in _taken(left.pop):  # helpers draw from the other end
            drawn[name] = writing.write(study, [name], out / "figures", report=_say, inputs=inputs)
        for helping in keeping_busy:
            helping.result()
        return drawn

    with ThreadPoolExecutor(count + 1) as threads:
        keeping_busy = [threads.submit(beside) for _ in range(count)]
        try:
            yield here
        finally:
            left.clear()


def _taken(take: Callable[[], str]) -> Iterator[str]:
    """What is taken until nothing is left; several threads may take."""
    while True:
        try:
            name = take()
        except IndexError:
            return
        yield name


def _run(out: Path, data: Path | None, jobs: int) -> int:
    from paper.keeping.memory import is_private, remembering

    for folder in (out / "figures", out / "tables"):
        require_writable(folder)
    if os.path.lexists(out / "memory") and not is_private(out / "memory"):
        print(
            f"{out / 'memory'} is not used: it is no folder that you alone can write to; remove it to save time.",
            file=sys.stderr,
        )
    inputs = writing.inputs_of(data)
    with remembering(out / "memory"):
        if all(writing.is_drawn(name, inputs) for name in registry.names()):
            jobs = 1  # what is left takes less time than a process to start
        with _helpers(jobs - 1) as helpers:
            study = writing.study_of(data)
            from paper import claims, tables

            measured = helpers.submit(_measure, out / "memory") if helpers else None

            def in_order() -> Iterator[Claim]:
                for claim in claims.load_claims():
                    if measured and claim.check.startswith(MEASURED):
                        measured.result()
                    yield claim

            with _drawing(study, helpers, max(0, jobs - 1), out, data, inputs) as draw:
                checked = claims.evaluate(study, in_order())
                texts = tables.compose(study, checked)
                drawn = draw()
        written = tables.write_all(texts, out / "tables")
    for path in written:
        _say(path)
    _say()
    _say(claims.format_summary(checked))
    _say()
    files = sum(map(len, drawn.values()))
    _say(f"{out / 'figures'}: {files} files, each figure as {', '.join(writing.FORMATS)}")
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
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the work (%(default)s)")
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
    leave_garbage()
    sys.exit(run(main))
