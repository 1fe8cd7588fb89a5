"""Run logs: JSON Lines that figures can use, append-only, safe against crashes, checked when read.

The first line is a header; metrics follow; a resumed run adds a `resume` line, and a run that stops says why
in an `end` line. Every line carries the run's identity and its own number, so that files that were cut,
joined or edited are recognised. Nothing here needs JAX.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nfnet.errors import UserError

FORMAT = 1
LOG = "log.jsonl"  # in the folder of a run


@dataclass(frozen=True)
class Header:
    """What was run, on what.

    Attributes:
        config: the complete settings.
        code: commit or version of this project.
        packages: versions of the packages that the result depends on.
        device: kind of accelerator.
        devices: number of them ("cores" in core-seconds).
        processes: number of hosts.
        seed: of the run.
        parameters: number of trained values.
        macs: multiply-adds of one forward pass of one training image.
        examples: size of the training split.
        total_steps: steps of a complete run.
    """

    config: Mapping[str, Any]
    code: str
    packages: Mapping[str, str]
    device: str
    devices: int
    processes: int
    seed: int
    parameters: int
    macs: int
    examples: int
    total_steps: int


@dataclass(frozen=True)
class Metrics:
    """Where a run stands after a step.

    Attributes:
        step: number of steps done.
        examples: training images processed so far.
        epochs: the same in units of the training split.
        core_seconds: seconds spent in train steps and waiting for data, times devices.
        flops: floating point operations so far, two a multiply-add, three forward passes a step (SAM's ascent
            added).
        unreadable: images skipped so far because they could not be decoded.
        learning_rate: of the last step.
        train_loss: mean objective since the previous line; None on lines that only evaluate.
        train_top1: share of training images classified right since the previous line.
        gradient_norm: of the last step.
        held_out_loss: None on lines without evaluation.
        held_out_top1: share of held-out images classified right.
    """

    step: int
    examples: int
    epochs: float
    core_seconds: float
    flops: float
    unreadable: int = 0
    learning_rate: float | None = None
    train_loss: float | None = None
    train_top1: float | None = None
    gradient_norm: float | None = None
    held_out_loss: float | None = None
    held_out_top1: float | None = None


@dataclass(frozen=True)
class RunLog:
    """A run log as read from a file.

    Attributes:
        path: the file.
        run: identity of the run.
        header: first line.
        metrics: in order of steps; what a resumed run did again replaces what it had done before.
        resumes: the steps at which the run was resumed.
        end: why the run stopped last ("finished", "diverged", a signal's name), or None if it was killed or
            runs yet.
    """

    path: Path
    run: str
    header: Header
    metrics: tuple[Metrics, ...]
    resumes: tuple[int, ...]
    end: str | None

    @property
    def finished(self) -> bool:
        """Whether all steps were done."""
        return self.end == "finished"

    @property
    def held_out_loss(self) -> float | None:
        """The last held-out loss."""
        values = [m.held_out_loss for m in self.metrics if m.held_out_loss is not None]
        return values[-1] if values else None

    @property
    def held_out_top1(self) -> float | None:
        """The last held-out top-1 accuracy, a share."""
        values = [m.held_out_top1 for m in self.metrics if m.held_out_top1 is not None]
        return values[-1] if values else None


def _finite(record: Mapping[str, Any]) -> dict[str, Any]:
    # JSON has no NaN; None would hide it, a string does not.
    return {
        key: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in record.items()
    }


class RunLogWriter:
    """Appends to a run log; each line is on disk before `write` returns. A context manager."""

    def __init__(self, path: Path, header: Header, resumed_at: int | None = None):
        """Starts a log, or continues the one of a resumed run.

        Args:
            path: the file.
            header: written to a new file only.
            resumed_at: the step that the run was resumed at; None starts a new log.

        Raises:
            UserError: a new log where one exists, a damaged log, or a full disk.
        """
        self._path = path
        if resumed_at is None:
            if path.exists() and path.stat().st_size:
                path.rename(_spare(path))  # of a run that was killed before its first checkpoint
            self._run, self._number = uuid.uuid4().hex[:12], 0
            self._file = path.open("ab")
            self._write("header", {"format": FORMAT, **asdict(header)})
        else:
            _cut_broken_line(path)
            lines = _parse(path)
            self._run, self._number = lines[0]["run"], len(lines)
            self._file = path.open("ab")
            self._write("resume", {"step": resumed_at, "device": header.device, "devices": header.devices})

    def _write(self, kind: str, record: Mapping[str, Any]) -> None:
        line = {"kind": kind, "run": self._run, "line": self._number, **_finite(record)}
        try:
            self._file.write(json.dumps(line, allow_nan=False).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            self.close()
            raise UserError(
                f"{self._path} cannot be written ({error.strerror}): free some space and run the same command again."
            ) from None
        self._number += 1

    def metrics(self, metrics: Metrics) -> None:
        """Appends one line of metrics, without the fields that are None."""
        self._write("metrics", {key: value for key, value in asdict(metrics).items() if value is not None})

    def end(self, reason: str, step: int) -> None:
        """Says why the run stops."""
        self._write("end", {"reason": reason, "step": step})

    def close(self) -> None:
        """Closes the file."""
        with contextlib.suppress(OSError):  # what a full disk left unwritten has been told already
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _spare(path: Path) -> Path:
    number = 1
    while (spare := path.with_name(f"{path.name}.{number}")).exists():
        number += 1
    return spare


def _cut_broken_line(path: Path) -> None:
    """Removes the line that a crash left incomplete at the end of a file."""
    if not path.exists():
        raise UserError(f"Missing {path} beside its checkpoints: restore it or start in an empty --workdir.")
    with path.open("r+b") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)


def _parse(path: Path) -> list[dict[str, Any]]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"The run log {path} cannot be read ({error.strerror}): check the path.") from None
    if not content:
        raise UserError(f"The run log {path} is empty: the run has not started or the file was lost.")
    if not content.endswith(b"\n"):
        raise UserError(f"The run log {path} is truncated in its last line: resume the run or copy the file again.")
    lines: list[dict[str, Any]] = []
    for number, text in enumerate(content.splitlines(), start=1):
        try:
            line = json.loads(text)
        except ValueError:
            line = None
        if not isinstance(line, dict) or not {"kind", "run", "line"} <= line.keys():
            raise UserError(f"{path}, line {number}: not a line of a run log: restore the file.")
        if number == 1 and line["kind"] != "header":
            raise UserError(f"{path} has no header: its start was cut off; copy the file again.")
        if line["run"] != (lines[0] if lines else line)["run"] or (number > 1 and line["kind"] == "header"):
            raise UserError(f"{path}, line {number}: belongs to another run: keep one file a run.")
        if line["line"] != number - 1:
            raise UserError(f"{path}, line {number}: lines are missing or out of order: copy the file again.")
        lines.append(line)
    if lines[0].get("format") != FORMAT:
        raise UserError(f"{path} has format {lines[0].get('format')!r}, but this version reads {FORMAT}.")
    return lines


def _build(kind: type[Any], line: Mapping[str, Any], path: Path) -> Any:
    names = [f.name for f in fields(kind)]
    values = {key: line[key] for key in names if key in line}
    # What `_finite` wrote as text.
    values = {key: float(v) if v in ("nan", "inf", "-inf") else v for key, v in values.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise UserError(f"{path}, line {line['line'] + 1}: {str(error).split('() ')[-1]}: restore it.") from None


def read_run_log(path: Path | str) -> RunLog:
    """Reads and checks a run log.

    Args:
        path: the file, usually WORKDIR/log.jsonl.

    Raises:
        UserError: the file is missing, empty, truncated, mixed from several runs, or not a run log.
    """
    path = Path(path)
    lines = _parse(path)
    metrics: list[Metrics] = []
    resumes: list[int] = []
    end: str | None = None
    for line in lines[1:]:
        end = None
        if line["kind"] == "metrics":
            metrics.append(_build(Metrics, line, path))
        elif line["kind"] == "resume":
            resumes.append(line["step"])
            metrics = [entry for entry in metrics if entry.step <= line["step"]]
        elif line["kind"] == "end":
            end = line["reason"]
        else:
            raise UserError(f"{path}, line {line['line'] + 1}: unknown kind {line['kind']!r}: update this package.")
    header = _build(Header, lines[0], path)
    return RunLog(path, lines[0]["run"], header, tuple(metrics), tuple(resumes), end)
