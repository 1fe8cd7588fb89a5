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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

from nfnet.errors import UserError, printable
from nfnet.training.output import told
from nfnet.training.stored import build, parse_json, read_file

FORMAT = 1
LOG = "log.jsonl"  # in the folder of a run
_REMEDY = "restore the file from a copy"
_UNBOUNDED = ("learning_rate", "train_loss", "gradient_norm", "held_out_loss")  # a run that diverges logs them too


@dataclass(frozen=True)
class Header:
    """What was run, on what.

    Attributes:
        config: the complete settings.
        code: commit or version of this project.
        packages: versions of the packages that the result depends on.
        device: kind of accelerator.
        devices: number of them, as JAX counts.
        processes: number of hosts.
        seed: of the run.
        parameters: number of trained values.
        macs: multiply-adds of one forward pass of one training image.
        examples: size of the training split.
        total_steps: steps of a complete run.
        cores_per_device: cores of a device; 1 in logs of earlier versions, which counted devices.
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
    cores_per_device: int = 1


@dataclass(frozen=True)
class Metrics:
    """Where a run stands after a step.

    Attributes:
        step: number of steps done.
        examples: training images processed so far.
        epochs: the same in units of the training split.
        core_seconds: seconds spent in train steps and waiting for data, times the cores of all devices.
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
        end: why the run stopped last ("finished", "diverged", "unreadable", a signal's name), or None if it was killed
            or runs yet.
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
            UserError: a log that is damaged, lost or another program's, or that cannot be written.
        """
        self._path = path
        content = _content(path)
        if resumed_at is None:
            self._run, self._number = uuid.uuid4().hex[:12], 0
            keep = 0 if _is_half_header(content) else len(content)
            if keep:  # of a run that was killed before its first checkpoint
                with told(path, "The run log"):
                    path.rename(_spare(path))
            self._file = self._opened(keep, len(content))
            self._write("header", {"format": FORMAT, **asdict(header)})
        else:
            whole = _whole_lines(path, content)
            log, self._number = _judged(path, whole)
            self._run = log.run
            # Only what has been judged to be a log of this package is cut: a crash left its last line incomplete.
            self._file = self._opened(len(whole), len(content))
            kept = {key: getattr(header, key) for key in ("device", "devices", "cores_per_device")}
            self._write("resume", {"step": resumed_at, **kept})

    def _opened(self, keep: int, size: int) -> BinaryIO:
        with told(self._path, "The run log"):
            file = self._path.open("ab")
            if keep < size:
                file.truncate(keep)
        return file

    def _write(self, kind: str, record: Mapping[str, Any]) -> None:
        line = {"kind": kind, "run": self._run, "line": self._number, **_finite(record)}
        try:
            with told(self._path, "The run log"):
                self._file.write(json.dumps(line, allow_nan=False).encode() + b"\n")
                self._file.flush()
                os.fsync(self._file.fileno())
        except UserError:
            self.close()
            raise
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

    def __exit__(self, *_: object) -> None:
        self.close()


def _spare(path: Path) -> Path:
    number = 1
    while (spare := path.with_name(f"{path.name}.{number}")).exists():
        number += 1
    return spare


def check_log(path: Path) -> None:
    """Checks that a log can be read and written, before anything else is; changes nothing.

    Raises:
        UserError: it is a folder, a pipe or a loop of links, or its permissions or its disk forbid it.
    """
    if _content(path):
        with told(path, "The run log"), path.open("ab"):
            pass


def _content(path: Path) -> bytes:
    """Returns what a log holds; nothing if there is none yet."""
    with told(path, "The run log"):
        if not path.is_symlink() and not path.exists():
            return b""
        try:
            return b"" if path.is_char_device() else read_file(path)
        except FileNotFoundError:  # a link to where the log will be
            return b""


def _is_half_header(content: bytes) -> bool:
    """Whether a run was killed while it wrote the first line of its log; such a line is no JSON yet."""
    start = b'{"kind": "header", "run": "'
    if b"\n" in content or not (content.startswith(start) or start.startswith(content)):
        return False
    try:
        parse_json(content)
    except ValueError:
        return True
    return False


def _whole_lines(path: Path, content: bytes) -> bytes:
    """Returns a log that a checkpoint goes with, without the line that a crash left incomplete at its end."""
    if not os.path.lexists(path):
        raise UserError(f"Missing {path} beside its checkpoints: restore it or start in an empty --workdir.")
    whole = content[: content.rfind(b"\n") + 1]
    if not whole:
        raise UserError(f"{path} has no complete line, but checkpoints beside it: {_REMEDY} or start elsewhere.")
    return whole


@dataclass(frozen=True)
class _Line:
    """What every line has."""

    kind: str
    run: str
    line: int


@dataclass(frozen=True)
class _Resume:
    """A line of a resumed run."""

    step: int


@dataclass(frozen=True)
class _End:
    """A line of a run that stops."""

    reason: str
    step: int


def _parse(path: Path, content: bytes) -> list[dict[str, Any]]:
    if not content:
        raise UserError(f"The run log {path} is empty: the run has not started or the file was lost.")
    if not content.endswith(b"\n"):
        raise UserError(f"The run log {path} is truncated in its last line: resume the run or copy the file again.")
    lines: list[dict[str, Any]] = []
    run: str | None = None
    for number, text in enumerate(content.splitlines()):
        where = f"{path}, line {number + 1}"
        try:
            line = parse_json(text)
        except ValueError:
            line = None
        if not isinstance(line, dict) or not {"kind", "run", "line"} <= line.keys():
            raise UserError(f"{where}: not a line of a run log: {_REMEDY}.")
        common = build(_Line, line, where, _REMEDY)
        if not lines:
            _check_start(path, line)
        run = run or common.run
        if common.run != run or (lines and common.kind == "header"):
            raise UserError(f"{where}: belongs to another run: keep one file a run.")
        if common.line != number:
            raise UserError(f"{where}: lines are missing or out of order: copy the file again.")
        lines.append(line)
    return lines


def _check_start(path: Path, line: Mapping[str, Any]) -> None:
    if line["kind"] != "header":
        raise UserError(f"{path} has no header: its start was cut off; copy the file again.")
    version = line.get("format")
    if type(version) is not int or version != FORMAT:
        raise UserError(f"{path} has format {printable(repr(version), 60)}, but this version reads {FORMAT}.")


def _judged(path: Path, content: bytes) -> tuple[RunLog, int]:
    """Checks a whole log; returns it and its number of lines."""
    lines = _parse(path, content)
    header = build(Header, lines[0], f"{path}, line 1", _REMEDY)
    metrics: list[Metrics] = []
    resumes: list[int] = []
    end: str | None = None
    step = 0
    for line in lines[1:]:
        where, kind, former = f"{path}, line {line['line'] + 1}", line["kind"], step
        end = None
        if kind == "metrics":
            metrics.append(build(Metrics, line, where, _REMEDY, unbounded=_UNBOUNDED))
            step = metrics[-1].step
        elif kind == "resume":
            step = former = build(_Resume, line, where, _REMEDY).step
            resumes.append(step)
            metrics = [entry for entry in metrics if entry.step <= step]
        elif kind == "end":
            last = build(_End, line, where, _REMEDY)
            end, step = last.reason, last.step
        else:
            raise UserError(f"{where}: unknown kind {printable(repr(kind), 60)}: update this package.")
        if step < former:
            raise UserError(f"{where}: 'step' goes back from {former} to {step}: {_REMEDY}.")
    return RunLog(path, lines[0]["run"], header, tuple(metrics), tuple(resumes), end), len(lines)


def read_run_log(path: Path | str) -> RunLog:
    """Reads and checks a run log.

    Args:
        path: the file, usually WORKDIR/log.jsonl.

    Raises:
        UserError: the file is missing, empty, truncated, mixed from several runs, or not a run log.
    """
    path = Path(path)
    try:
        content = read_file(path)
    except OSError as error:
        raise UserError(f"The run log {path} cannot be read ({error.strerror}): check the path.") from None
    return _judged(path, content)[0]
