"""What a run shows while it works: a progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from typing import Self, TextIO

from nfnet.training.run_log import Metrics


class Progress:
    """Shows the progress of a run; a context manager. This one shows nothing, as every process but the first does."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def message(self, text: str) -> None:
        """Shows a line of text."""

    def advance(self, step: int) -> None:
        """Tells how many steps are done."""

    def metrics(self, metrics: Metrics, images_per_second: float) -> None:
        """Shows a line of the run log as it is written."""


def _describe(metrics: Metrics) -> str:
    parts = [f"epoch {metrics.epochs:.2f}"]
    if metrics.train_loss is not None:
        parts.append(f"loss {metrics.train_loss:.4f}")
    if metrics.held_out_loss is not None and metrics.held_out_top1 is not None:
        parts.append(f"held-out loss {metrics.held_out_loss:.4f}, top-1 {100 * metrics.held_out_top1:.2f}%")
    return ", ".join(parts)


class Lines(Progress):
    """Plain lines, for files and pipes."""

    def __init__(self, total_steps: int, stream: TextIO):
        self._total, self._stream = total_steps, stream

    def message(self, text: str) -> None:
        """Prints a line."""
        print(text, file=self._stream, flush=True)

    def metrics(self, metrics: Metrics, images_per_second: float) -> None:
        """Prints a line."""
        rate = f"{images_per_second:,.0f} images/s"
        self.message(f"step {metrics.step}/{self._total}: {_describe(metrics)}, {rate}")


class Bar(Progress):
    """A progress bar with loss, images per second and the time left."""

    def __init__(self, total_steps: int, first_step: int):
        from rich import progress
        from rich.console import Console

        self._console = Console(stderr=True)
        # Together under 80 columns, so that nothing is cut off.
        bar, steps, left = progress.BarColumn(20), progress.MofNCompleteColumn(), progress.TimeRemainingColumn()
        texts = ("{task.fields[rate]}", "left", "{task.description}")
        self._bar = progress.Progress(bar, steps, *texts[:2], left, texts[2], console=self._console)
        self._task = self._bar.add_task("starting", total=total_steps, completed=first_step, rate="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def message(self, text: str) -> None:
        """Prints a line above the bar."""
        self._console.print(text, highlight=False, markup=False)

    def advance(self, step: int) -> None:
        """Moves the bar."""
        self._bar.update(self._task, completed=step)

    def metrics(self, metrics: Metrics, images_per_second: float) -> None:
        """Shows the metrics behind the bar; evaluations stay as lines above it."""
        rate = f"{images_per_second:,.0f} images/s"
        loss = f"loss {metrics.train_loss:.4f}" if metrics.train_loss is not None else ""
        self._bar.update(self._task, description=loss, rate=rate)
        if metrics.held_out_loss is not None:
            self.message(f"step {metrics.step}: {_describe(metrics)}")


def make_progress(total_steps: int, first_step: int, *, visible: bool) -> Progress:
    """Chooses a bar on a terminal, plain lines elsewhere, nothing if not `visible`."""
    if not visible:
        return Progress()
    if sys.stderr.isatty():
        return Bar(total_steps, first_step)
    return Lines(total_steps, sys.stderr)
