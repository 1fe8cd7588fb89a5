"""What a run tells: to its log, to TensorBoard, on the terminal, and as the outcome of a command."""

from __future__ import annotations

import contextlib
import functools
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import numpy as np

from nfnet.data.source import Source
from nfnet.errors import UserError, printable
from nfnet.training.evaluation import Evaluation
from nfnet.training.output import told
from nfnet.training.progress import Progress, make_progress
from nfnet.training.run import Run
from nfnet.training.run_log import LOG, Metrics, RunLogWriter, read_run_log
from nfnet.training.state import StepMetrics

_AHEAD = 2  # steps dispatched before the host waits: enough to hide it, few enough to bound the batches in memory


@dataclass(frozen=True)
class Outcome:
    """How a call of `train` ended.

    Attributes:
        reason: "finished", or the name of the signal that stopped it.
        step: steps done.
        evaluation: the last one of this call, if any.
    """

    reason: str
    step: int
    evaluation: Evaluation | None

    def report(self) -> int:
        """Says on stderr how the run ended, unless another process does, and returns the exit code."""
        finished = self.reason == "finished"
        stopped = f"{self.reason}: saved at step {self.step}; run the same command to go on"
        if jax.process_index() == 0:
            print(f"finished after {self.step} steps" if finished else stopped, file=sys.stderr)
        return 0 if finished else 128 + signal.Signals[self.reason]


@dataclass
class Position:
    """Where a run stands; what a checkpoint holds besides arrays and the order of the data."""

    step: int = 0
    core_seconds: float = 0.0
    unreadable: int = 0


class Window:
    """Sums what steps report between two lines of the log, without making the devices wait."""

    def __init__(self) -> None:
        self._pending: list[StepMetrics] = []

    def add(self, metrics: StepMetrics) -> None:
        """Adds a step."""
        self._pending.append(metrics)
        if len(self._pending) > _AHEAD:
            jax.block_until_ready(self._pending[-1 - _AHEAD].loss)

    def take(self) -> tuple[dict[str, float], np.ndarray, np.ndarray]:
        """Returns fields of `Metrics` since the last call, and of each step the readable and the unreadable images."""
        fetched: list[StepMetrics] = jax.device_get(self._pending)
        self._pending = []
        readable = np.array([m.weight for m in fetched], np.float64)
        unreadable = np.array([m.unreadable for m in fetched], np.int64)
        if not fetched:
            return {}, readable, unreadable
        total = max(float(readable.sum()), 1.0)
        means = {
            "train_loss": float(np.dot(readable, [float(m.loss) for m in fetched]) / total),
            "train_top1": float(sum(float(m.correct) for m in fetched) / total),
            "gradient_norm": float(fetched[-1].gradient_norm),
        }
        return means, readable, unreadable


@dataclass(frozen=True)
class Report:
    """Where a run reports to: its log (of the first process only), TensorBoard, and the terminal."""

    run: Run
    log: RunLogWriter | None
    events: Callable[[Metrics], None]
    show: Progress

    def metrics(self, position: Position, values: Mapping[str, float], images_per_second: float) -> None:
        """Reports a line of metrics."""
        examples = self.run.images(position.step)
        line = Metrics(
            step=position.step,
            examples=examples,
            epochs=examples / self.run.schedule.examples,
            core_seconds=position.core_seconds,
            flops=self.run.flops_per_image * examples,
            unreadable=position.unreadable,
            learning_rate=float(self.run.learning_rate(position.step - 1)),
            **values,
        )
        if self.log is not None:
            self.log.metrics(line)
        self.events(line)
        self.show.metrics(line, images_per_second)

    def end(self, reason: str, step: int) -> None:
        """Says in the log why the run stops."""
        if self.log is not None:
            self.log.end(reason, step)


@contextlib.contextmanager
def reporting(run: Run, step: int, *, resumed: bool, visible: bool) -> Iterator[Report]:
    """Opens what a run reports to, and says what it is; `step` steps were done by an earlier call if `resumed`."""
    primary = jax.process_index() == 0
    with contextlib.ExitStack() as stack:
        header = run.header()
        log = RunLogWriter(run.workdir / LOG, header, step if resumed else None) if primary else None
        if log is not None:
            stack.enter_context(log)
        wanted = run.config.training.tensorboard and primary
        events = stack.enter_context(_tensorboard(run.workdir / "tensorboard", wanted))
        show = stack.enter_context(make_progress(run.schedule.steps, step, visible=visible and primary))
        model = run.config.model
        network = f"{model.family} of a shape of its own" if model.shape else model.variant
        show.message(
            f"{network}: {header.parameters:,} parameters, {run.macs / 1e9:.3g} GMACs an image; "
            f"{run.schedule.steps} steps on {header.devices} x {header.device}"
            + (f", resumed at step {step}" if resumed else "")
        )
        show.message(f"data: {_described(run.train, run.held_out)}")
        yield Report(run, log, events, show)


def _described(train: Source, held_out: Source) -> str:
    """Says in one line what is trained and evaluated on."""
    names = [printable(name, 40) for name in train.class_names]
    shown = ", ".join(names if len(names) <= 10 else [*names[:5], "...", names[-1]])
    return (
        f"{len(names)} classes ({shown}); {len(train):,} images to train on ({printable(train.name)}), "
        f"{len(held_out):,} held out ({printable(held_out.name)})"
    )


@contextlib.contextmanager
def _tensorboard(folder: Path, wanted: bool) -> Iterator[Callable[[Metrics], None]]:
    if not wanted:
        yield lambda metrics: None
        return
    from tensorboardX import SummaryWriter

    output = functools.partial(told, folder, "TensorBoard's events")
    with output():
        # Without a limit: a thread empties the queue, and if a full disk ends it, nobody must wait for it.
        writer = SummaryWriter(str(folder), max_queue=0)

    def write(metrics: Metrics) -> None:
        with output():
            for name, value in asdict(metrics).items():
                if value is not None and name != "step":
                    writer.add_scalar(name, value, metrics.step)
            writer.flush()  # the thread's errors are its own: this one is told

    try:
        yield write
    finally:
        with output():
            writer.close()


def finish_log(run: Run, step: int) -> None:
    """Adds what is missing from the log of a run that was killed after its last checkpoint."""
    path = run.workdir / LOG
    try:
        finished = read_run_log(path).finished
    except UserError:
        finished = False  # half a line, which the writer removes
    if not finished:
        with RunLogWriter(path, run.header(), step) as log:
            log.end("finished", step)
