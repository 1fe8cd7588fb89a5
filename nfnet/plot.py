"""Draws the losses of runs and studies.

    nfnet plot runs/digits runs/digits_vit --out losses.png
    nfnet plot digits --against core-hours --log

A RUN is a run's folder or log, a folder with runs below it, such as a study's, or a study: its file, or its name if it
is provided. Nothing is computed: all is in the run logs.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nfnet.errors import UserError, printable, unknown_name
from nfnet.files import local_path, replacing, require_replaceable
from nfnet.training import command_line
from nfnet.training.config_file import CONFIGS, find_provided
from nfnet.training.run_log import LOG, Metrics, RunLog, read_run_log

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
_INK = "#1a1a1a"
_DPI = 200


class Scale(NamedTuple):
    """What losses are drawn against: a label, and the value of a line of a log."""

    label: str
    value: Callable[[Metrics], float]


SCALES: Mapping[str, Scale] = {
    "steps": Scale("steps", lambda line: line.step),
    "images": Scale("training images", lambda line: line.examples),
    "epochs": Scale("epochs", lambda line: line.epochs),
    "core-hours": Scale("core hours", lambda line: line.core_seconds / 3600),
    "flops": Scale("FLOPs, forward and backward", lambda line: line.flops),
}
LOSSES: Mapping[str, str] = {"train_loss": "training loss", "held_out_loss": "held-out loss"}


def find_logs(text: str) -> list[Path]:
    """Returns the run logs that an argument stands for.

    Raises:
        UserError: it is no run and no study, or none of its runs has begun.
    """
    path = local_path(text, "RUN")
    if path.is_file() and path.suffix != ".toml":
        return [path]
    if not path.is_dir():
        from nfnet.studies.sweep import load_study

        path = Path(load_study(find_provided(text, "RUN", CONFIGS / "studies")).workdir)
    logs = [path / LOG] if (path / LOG).is_file() else sorted(path.rglob(LOG))
    if not logs:
        raise UserError(f"{printable(path)} holds no run log ({LOG}): name the --workdir of a run that has begun.")
    return logs


def labels_of(paths: Sequence[Path]) -> list[str]:
    """Returns a name for each run: its folder, without what all have in common."""
    folders = [path.resolve().parent if path.name == LOG else path.resolve() for path in paths]
    common = os.path.commonpath(folders)
    if len(set(folders)) == 1:
        return [printable(folder.name, 60) for folder in folders]
    names = [printable(folder.relative_to(common), 60) for folder in folders]
    numbers = {folder: number for number, folder in enumerate(dict.fromkeys(folders), start=1)}
    # Long names may be shortened to the same one, under which only the last run would be drawn.
    counts = Counter(dict(zip(folders, names, strict=True)).values())
    return [
        f"{name} ({numbers[folder]})" if counts[name] > 1 else name for folder, name in zip(folders, names, strict=True)
    ]


def literally(name: str) -> str:
    """Returns a name as Matplotlib shows it: no formula, nor left out of the legend as those that begin with _ are."""
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")


def series(log: RunLog, loss: str, scale: Scale) -> tuple[list[float], list[float]]:
    """Returns one of LOSSES against a scale, in the order of the log; lines without it are left out."""
    lines = [line for line in log.metrics if getattr(line, loss) is not None]
    return [scale.value(line) for line in lines], [getattr(line, loss) for line in lines]


def draw(
    logs: Mapping[str, RunLog],
    against: str = "steps",
    *,
    logarithmic: bool = False,
    make: Callable[..., Figure] | None = None,
) -> Figure:
    """Draws training and held-out losses.

    Args:
        logs: run logs by the names to call them.
        against: a key of SCALES.
        logarithmic: whether both axes are.
        make: makes a figure from `figsize` and `layout`; None makes one that belongs to no window.

    Returns:
        A figure of two axes that share the vertical one. Darker lines are later ones of `logs`; the last evaluation of
        a run is marked. Values that are not finite leave gaps.

    Raises:
        UserError: an unknown scale, or there is nothing to draw.
    """
    from matplotlib import colormaps, style
    from matplotlib.figure import Figure

    if against not in SCALES:
        raise unknown_name("--against", against, SCALES)
    scale = SCALES[against]
    found = {loss: {name: series(log, loss, scale) for name, log in logs.items()} for loss in LOSSES}
    if not any(values for runs in found.values() for _, values in runs.values()):
        raise UserError(f"The logs of {', '.join(logs)} hold no loss yet: wait for the first line of metrics.")
    shades = [colormaps["viridis"](0.85 * (1 - i / max(len(logs) - 1, 1))) for i in range(len(logs))]
    with style.context(["default", _style()]):
        columns = math.ceil(len(logs) / 12)  # of the legend
        figure = (make or Figure)(figsize=(7.2 + 1.6 * columns, 3.2), layout="constrained")
        for axes, (loss, title) in zip(figure.subplots(1, 2, sharex=True, sharey=True), LOSSES.items(), strict=True):
            for (name, (places, values)), shade in zip(found[loss].items(), shades, strict=True):
                last = [len(values) - 1] if loss == "held_out_loss" and values else []
                axes.plot(places, values, color=shade, label=literally(name), marker="o", markevery=last)
            axes.set(xlabel=scale.label, ylabel=title)
            axes.tick_params(labelleft=True)
            if logarithmic:
                axes.set(xscale="log", yscale="log")
        handles, names = axes.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside right upper", ncols=columns)
    return figure


def _style() -> dict[str, Any]:
    """The style of this project's figures: open frames, small type, the font that comes with matplotlib."""
    inks = dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color"), _INK)
    sizes = {"font.size": 8, "axes.labelsize": 9, "legend.fontsize": 8, "xtick.labelsize": 8, "ytick.labelsize": 8}
    frame = {"axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.7, "legend.frameon": False}
    lines = {"lines.linewidth": 1.4, "lines.markersize": 4.5, "font.family": "DejaVu Sans", "figure.dpi": _DPI}
    return {**inks, **sizes, **frame, **lines}


def save(figure: Figure, path: Path) -> None:
    """Writes a figure to a file whose suffix names the format; the same figure gives the same bytes.

    Raises:
        UserError: the format is none of FORMATS, or the file cannot be written.
    """
    format = path.suffix.removeprefix(".").lower()
    if format not in FORMATS:
        raise unknown_name("format", printable(format), FORMATS)
    from matplotlib import style

    undated = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[format]
    with style.context({"svg.hashsalt": "nfnet", "pdf.fonttype": 42}), replacing(path) as file:
        figure.savefig(file, format=format, metadata=undated, dpi=_DPI)


def _window() -> Callable[..., Figure]:
    """Returns what makes a figure in a window; raises UserError where none can be opened."""
    import matplotlib
    from matplotlib.backends.registry import BackendFilter, backend_registry

    if matplotlib.get_backend().lower() not in backend_registry.list_builtin(BackendFilter.INTERACTIVE):
        raise UserError("No window can be opened here: write a file with --out losses.png.")
    from matplotlib import pyplot

    return partial(pyplot.figure, dpi=100)


def _plot(arguments: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(
        prog="nfnet plot", description="Draws the losses of runs and studies.", allow_abbrev=False
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder or log, a folder of runs, or a study")
    parser.add_argument("--out", metavar="FILE", help=f"file to write ({', '.join(FORMATS)}) instead of a window")
    parser.add_argument("--against", default="steps", choices=tuple(SCALES), help="horizontal axis (default steps)")
    parser.add_argument("--log", action="store_true", help="make both axes logarithmic")
    options = parser.parse_args(arguments)
    out = None if options.out is None else local_path(options.out, "--out")
    if out is not None and (format := out.suffix.removeprefix(".").lower()) not in FORMATS:
        raise unknown_name("format of --out", printable(format), FORMATS)
    if out is not None:
        require_replaceable(out, "choose another --out")
    paths = list(dict.fromkeys(path for run in options.runs for path in find_logs(run)))
    logs = {name: read_run_log(path) for name, path in zip(labels_of(paths), paths, strict=True)}
    if out is None:
        draw(logs, options.against, logarithmic=options.log, make=_window())
        from matplotlib import pyplot

        pyplot.show()
    else:
        save(draw(logs, options.against, logarithmic=options.log), out)
        print(out)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code: 0, or 2 at bad input."""
    return command_line.run(lambda: _plot(arguments))


if __name__ == "__main__":
    sys.exit(main())
