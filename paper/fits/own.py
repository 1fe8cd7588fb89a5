"""Anybody's own runs: read from a CSV or from the logs of a study, and analysed like the paper's.

What cannot be used is refused in one sentence that names file, line and remedy; what can, but changes what the fits
mean, is told in a note.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nfnet.errors import UserError, printable
from nfnet.files import read_text_file
from paper.fits.analysis import Analysis
from paper.fits.curves import curve_rows
from paper.fits.laws import frontier_mask
from paper.fits.runs import Runs

if TYPE_CHECKING:
    from nfnet.training.run_log import Metrics

__all__ = ["COLUMNS", "LEAST", "Own", "Row", "analyse", "read_csv", "read_seconds", "read_study"]

COLUMNS = ("compute", "loss", "error", "model", "parameters", "examples", "epochs", "learning_rate", "seed")
"""Columns of a CSV of runs: ``compute`` and one of ``loss`` and ``error``; the others where known."""
LEAST = 5
"""Fewest configurations that a law with an irreducible term can be judged by."""
_LARGEST = 2**24  # bytes
_MOST = 10_000  # runs
_APART = 1.1  # ratio of the compute of seeds of one configuration
_SIZES = ("parameters", "examples", "epochs")


@dataclass(frozen=True)
class Row:
    """One run.

    Attributes:
        where: Where it was read, such as ``line 4``.
        model: Its model, where told.
        seed: Its seed, where told.
        numbers: Those of its columns that hold numbers, where told.
    """

    where: str
    model: str
    seed: str
    numbers: Mapping[str, float]

    @property
    def configuration(self) -> tuple[object, ...]:
        """What two seeds of one configuration share: model, size and length where any is told, else the compute."""
        size = self.model or self.numbers.get("parameters")
        length = self.numbers.get("examples", self.numbers.get("epochs"))
        if size and length:
            return self.model, self.numbers.get("parameters"), length
        return self.model, self.numbers.get("parameters"), length, self.numbers["compute"]


@dataclass(frozen=True)
class Own:
    """Own runs, analysed.

    Attributes:
        source: The file or folder.
        analyses: Of ``loss`` and ``error``, those that were told.
        notes: What a reader of the fits should know.
        scatter: Root mean square over configurations of the seeds' standard deviation, in percent of the value, by
            quantity; without those that have one seed each.
    """

    source: str
    analyses: Mapping[str, Analysis]
    notes: tuple[str, ...]
    scatter: Mapping[str, float]


def read_csv(path: Path) -> tuple[list[Row], list[str]]:
    """Reads runs, one a line, and notes about columns.

    Raises:
        UserError: If the file cannot be read, lacks a column that is needed or names one twice, or a cell is no number
            or not above zero.
    """
    name = printable(path)
    reader = csv.reader(io.StringIO(read_text_file(path, _LARGEST).removeprefix("\ufeff")))
    try:
        lines = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise UserError(
            f"{name} is no CSV ({printable(error)}): separate cells by commas, runs by line ends."
        ) from None
    if not lines:
        raise UserError(f"{name} is empty: its first line names columns, at least compute and loss.")
    header = [cell.strip().lower() for cell in lines[0][1]]
    for column in set(header) & set(COLUMNS):
        if header.count(column) > 1:
            raise UserError(f"{name} has the column {column} twice: keep one.")
    if "compute" not in header or not {"loss", "error"} & set(header):
        missing = "compute" if "compute" not in header else "loss"
        if len(header) == 1 and (mark := next((one for one in ";\t|" if one in header[0]), None)):
            raise UserError(f"{name} separates its cells by {printable(repr(mark))}: separate them by commas.")
        raise UserError(
            f"{name} has no column {missing}: its first line must name compute and loss (or error); it reads "
            f"{printable(', '.join(header), 100)}."
        )
    if len(lines) > _MOST + 1:
        raise UserError(f"{name} has {len(lines) - 1:,} runs: give at most {_MOST:,}.")
    unused = [column for column in header if column not in COLUMNS]
    notes = (
        [f"Not used: column {', '.join(printable(column, 40) or 'without a name' for column in unused)}."]
        if unused
        else []
    )
    if len(lines) == 1:
        raise UserError(f"{name} has no runs: write one a line below its first, which names columns.")
    rows = []
    for number, cells in lines[1:]:
        if len(cells) != len(header):
            raise UserError(
                f"{name}, line {number}: {len(cells)} cells under {len(header)} columns; fill or drop some."
            )
        row = dict(zip(header, (cell.strip() for cell in cells), strict=True))
        numbers = {
            column: _number(f"{name}, line {number}", column, row[column])
            for column in COLUMNS
            if column not in ("model", "seed") and row.get(column)
        }
        if "compute" not in numbers:
            raise UserError(f"{name}, line {number}: compute is empty; fill it or drop the line.")
        rows.append(Row(f"line {number}", printable(row.get("model", ""), 60), row.get("seed", ""), numbers))
    return rows, notes


def _number(where: str, column: str, text: str) -> float:
    try:
        value = float(text.replace("_", "x"))
    except ValueError:
        remedy = "write the number alone, and its unit with --compute-unit" if column == "compute" else "write a number"
        raise UserError(f"{where}: {column} is {printable(text, 40)!r}; {remedy}.") from None
    if column in ("loss", "error") and not math.isfinite(value):
        return math.nan
    if not (math.isfinite(value) and value > 0):
        raise UserError(
            f"{where}: {column} is {printable(text, 40)}, but must be above zero: laws are fitted to logarithms."
        )
    if column == "error" and value > 100:
        raise UserError(f"{where}: error is {printable(text, 40)}, but is a percentage: write at most 100.")
    return value


def read_study(folder: Path, unit: str, seconds: Mapping[str, float] | None = None) -> tuple[list[Row], list[str]]:
    """Reads the finished runs of ``python -m nfnet.study`` below ``folder``: of each model and budget the best rate.

    Args:
        folder: The study's ``workdir``; a model's runs lie in one folder below it.
        unit: ``core hours`` or ``FLOPs``: what counts as compute.
        seconds: Core seconds of a training image of each model, measured apart; the logs' own by default. Where runs
            shared their cores with other work, their own clocks say little.

    Raises:
        UserError: If the folder has no log, a log is damaged, or ``unit`` is neither.
    """
    from nfnet.training.run_log import LOG, read_run_log

    if unit not in ("core hours", "FLOPs"):
        raise UserError(f"A study logs core hours and FLOPs: --compute-unit cannot be {printable(unit, 40)!r}.")
    paths = sorted(folder.rglob(LOG)) if folder.is_dir() else []
    if not paths:
        raise UserError(f"{printable(folder)} has no {LOG} below it: name the workdir of a study.")
    best: dict[tuple[object, ...], Row] = {}
    left, devices = [], set()
    for path in paths:
        log = read_run_log(path)
        parts = path.relative_to(folder).parts
        where = printable("/".join(parts[:-1]) or ".")
        loss = log.held_out_loss
        if not log.finished or loss is None or not (math.isfinite(loss) and loss > 0):
            left.append(where)
            continue
        last = log.metrics[-1]
        devices.add(log.header.device)
        numbers = {
            "compute": _compute(last, unit, seconds, parts[0], where),
            "loss": loss,
            "parameters": float(log.header.parameters),
            "examples": float(last.examples),
            "epochs": float(last.epochs),
        }
        if log.held_out_top1 is not None and log.held_out_top1 < 1:
            numbers["error"] = 100 * (1 - log.held_out_top1)
        row = Row(where, printable(parts[0], 60) if len(parts) > 2 else "", "", numbers)
        key = (row.model, log.header.parameters, f"{last.epochs:.6g}", log.header.seed)
        if key not in best or loss < best[key].numbers["loss"]:
            best[key] = Row(row.where, row.model, str(log.header.seed), numbers)
    notes = [f"Of {len(paths)} runs the best learning rate of each model and budget is used, {len(best)} in all."]
    if left:
        notes.append(f"Left out, unfinished or without a finite loss: {_listed(left)}.")
    if unit == "core hours" and len(devices) > 1:
        notes.append(
            f"Runs used {len(devices)} kinds of devices, whose core hours do not compare: try --compute-unit FLOPs."
        )
    return list(best.values()), notes


def read_seconds(path: Path) -> dict[str, float]:
    """Reads the core seconds of a training image of each model.

    Raises:
        UserError: If the file cannot be read, or a cell is no number above zero.
    """
    name = printable(path)
    try:
        rows = list(csv.DictReader(io.StringIO(read_text_file(path, _LARGEST))))
    except csv.Error as error:
        raise UserError(
            f"{name} is no CSV ({printable(error)}): separate cells by commas, models by line ends."
        ) from None
    if not rows or not {"model", "core_seconds_per_1000_images"} <= rows[0].keys():
        raise UserError(
            f"{name} has no rows with the columns model and core_seconds_per_1000_images: see "
            "paper/replication/speeds.csv."
        )
    found = {}
    for row in rows:
        try:
            seconds = float(row["core_seconds_per_1000_images"]) / 1000
        except (TypeError, ValueError):
            seconds = math.nan
        if not (math.isfinite(seconds) and seconds > 0):
            raise UserError(f"{name}: core_seconds_per_1000_images of {printable(row['model'], 40)} is no time.")
        if row["model"] in found:
            raise UserError(f"{name} has the model {printable(row['model'], 40)} twice: keep one.")
        found[row["model"]] = seconds
    return found


def _compute(last: Metrics, unit: str, seconds: Mapping[str, float] | None, model: str, where: str) -> float:
    if unit == "FLOPs":
        return last.flops
    if seconds is None:
        return last.core_seconds / 3600
    if model not in seconds:
        raise UserError(
            f"{where}: the core seconds of an image are not told for model {printable(model, 60)!r}, only for "
            f"{printable(', '.join(seconds), 100)}."
        )
    return last.examples * seconds[model] / 3600


def _listed(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def analyse(
    rows: Sequence[Row],
    notes: Sequence[str],
    source: str,
    *,
    compute_unit: str,
    loss_unit: str = "nats",
    limit: float | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Own:
    """Averages seeds, and makes an analysis of each quantity that was told.

    Args:
        rows: The runs.
        notes: Of the reader.
        source: File or folder, as messages name it.
        compute_unit: Unit of compute.
        loss_unit: Unit of the loss.
        limit: Compute up to which runs are fitted where dearer ones are predicted; by default what three quarters of
            the configurations cost at most.
        resamples: Bootstrap resamples.
        seed: Of the bootstrap.

    Raises:
        UserError: If rows contradict each other, or too few are left to fit anything.
    """
    told = list(notes)
    analyses, scatter = {}, {}
    for stream, (quantity, unit) in enumerate((("loss", loss_unit), ("error", "percent"))):
        having = [row for row in rows if quantity in row.numbers]
        finite = [row for row in having if math.isfinite(row.numbers[quantity])]
        if not having:
            continue
        kept = {id(row) for row in finite}
        lacking = [row.where for row in rows if id(row) not in kept]
        if lacking:
            told.append(f"Left out of the {quantity}, which is no finite number there: {_listed(lacking)}.")
        runs, spread = _configurations(finite, quantity, unit, compute_unit, source, told)
        beyond = float(np.quantile(runs.compute, 0.75)) if limit is None else limit
        analyses[quantity] = Analysis(runs, resamples, seed, stream, beyond)
        if np.isfinite(spread):
            scatter[quantity] = spread
        told += _notes(quantity, analyses[quantity])
        if quantity == "error" and analyses[quantity].runs.value.max() <= 1:
            told.append("Errors are read as percentages, and none is above 1: were they shares, multiply them by 100.")
    if not analyses:
        raise UserError(f"{source}: no run has a loss or an error: fill that column.")
    return Own(source, analyses, tuple(dict.fromkeys(told)), scatter)


def _configurations(
    rows: Sequence[Row], quantity: str, unit: str, compute_unit: str, source: str, notes: list[str]
) -> tuple[Runs, float]:
    """One run a configuration, of its best learning rate, its seeds averaged; and the spread of seeds in percent."""
    tried: dict[tuple[object, ...], dict[float | None, list[Row]]] = {}
    for row in rows:
        tried.setdefault(row.configuration, {}).setdefault(row.numbers.get("learning_rate"), []).append(row)
    if len(tried) < sum(map(len, tried.values())):
        notes.append(f"Of each configuration the learning rate of the lowest {quantity} counts, as in the paper.")
    groups = {
        configuration: min(rates.values(), key=lambda group: np.mean([row.numbers[quantity] for row in group]))
        for configuration, rates in tried.items()
    }
    for group in (group for rates in tried.values() for group in rates.values()):
        seeds = [row.seed for row in group]
        for name in set(seeds) - {""}:
            if seeds.count(name) > 1:
                twice = [row.where for row in group if row.seed == name]
                raise UserError(
                    f"{source}: {_listed(twice)} have one configuration and one seed, {printable(name, 20)}: drop one."
                )
        if len(group) > 1 and "" in seeds:
            notes.append(f"Averaged, being of one configuration: {_listed([row.where for row in group])}.")
        cost = [row.numbers["compute"] for row in group]
        if max(cost) > _APART * min(cost):
            notes.append(
                f"Averaged although their compute differs {max(cost) / min(cost):.2g}-fold: "
                f"{_listed([row.where for row in group])}; if they are no seeds of one configuration, name them apart."
            )
    several = [group for group in groups.values() if len(group) > 1]
    spreads = [np.std([np.log(row.numbers[quantity]) for row in group], ddof=1) for group in several]
    spread = 100 * float(np.sqrt(np.mean(np.square(spreads)))) if spreads else math.nan
    if spreads:
        notes.append(
            f"Seeds of one configuration are averaged: their {quantity} differs by {spread:.2g}% (standard deviation, "
            f"over {len(several)} configurations)."
        )
    if len(groups) < LEAST:
        raise UserError(
            f"{source} has {len(groups)} configurations with a {quantity}: a law can be judged from {LEAST} on."
        )
    mean = {
        name: np.array([np.mean([row.numbers.get(name, np.nan) for row in group]) for group in groups.values()])
        for name in ("compute", quantity, *_SIZES)
    }
    if mean["compute"].max() <= mean["compute"].min() * (1 + 1e-9):
        raise UserError(f"{source}: all runs have the same compute; a law needs runs of different cost.")
    first = [group[0] for group in groups.values()]
    parameters, examples, epoch = _sizes(mean, first, source, notes)
    model = _models(first, parameters, source)
    nothing = np.zeros(len(groups))
    runs = Runs(
        compute=mean["compute"],
        value=mean[quantity],
        compute_width=nothing,
        value_width=nothing,
        model=model,
        parameters=parameters,
        examples=examples,
        epoch=epoch,
        value_unit=unit,
        compute_unit=compute_unit,
    )
    return runs, spread


def _sizes(
    mean: Mapping[str, np.ndarray], first: Sequence[Row], source: str, notes: list[str]
) -> tuple[np.ndarray, np.ndarray, float]:
    """Parameters and examples of each configuration, empty where some lack them, and the examples of an epoch."""
    nothing = np.zeros(0)
    for name in _SIZES:
        lacking = [row.where for row in first if name not in row.numbers]
        if 0 < len(lacking) < len(first):
            notes.append(f"Not used: {name}, which {_listed(lacking)} {'lacks' if len(lacking) == 1 else 'lack'}.")
    usable = {name: bool(np.isfinite(mean[name]).all()) for name in _SIZES}
    epoch = math.nan
    if usable["examples"] and usable["epochs"]:
        each = mean["examples"] / mean["epochs"]
        epoch = float(np.exp(np.mean(np.log(each))))
        if np.abs(np.log(each / epoch)).max() > 0.02:
            where = first[int(np.abs(np.log(each / epoch)).argmax())].where
            raise UserError(
                f"{source}, {where}: examples and epochs give {each.min():.3g} to {each.max():.3g} examples an epoch; "
                "give one data set's runs at a time, or one of the two columns."
            )
    elif usable["epochs"]:
        epoch = 1.0
    length = mean["examples"] if usable["examples"] else mean["epochs"] if usable["epochs"] else nothing
    return (mean["parameters"] if usable["parameters"] else nothing), length, epoch


def _models(first: Sequence[Row], parameters: np.ndarray, source: str) -> tuple[str, ...]:
    """Each configuration's model: as named, else by its size; none where neither is told of all."""
    if all(row.model for row in first):
        model = tuple(row.model for row in first)
        for name, rows in curve_rows(model).items():
            if len(parameters) and parameters[rows].max() > parameters[rows].min() * 1.001:
                raise UserError(
                    f"{source}: model {name!r} has {parameters[rows].min():.6g} and {parameters[rows].max():.6g} "
                    "parameters; give each size a name of its own."
                )
        return model
    return tuple(f"{size:.6g}" for size in parameters)


def _notes(quantity: str, analysis: Analysis) -> list[str]:
    """What a reader of the fits should know of the runs."""
    runs, notes = analysis.runs, []
    on = int(frontier_mask(runs.compute, runs.value).sum())
    if not analysis.has_law:
        notes.append(f"No law of the {quantity}: only {on} of {len(runs)} configurations lie on the compute frontier.")
    tied = len(runs) - len(np.unique(runs.value))
    if tied:
        notes.append(f"{tied} configurations share their {quantity} with another: more digits would tell them apart.")
    ties = len(runs) - len(np.unique(runs.compute))
    if ties and not runs.has_surface:
        notes.append(f"{ties} configurations share their compute with another: the lower {quantity} is the frontier's.")
    if runs.model:
        rising = [
            name
            for name, rows in curve_rows(runs.model).items()
            if (np.diff(runs.value[rows][np.argsort(runs.compute[rows], kind="stable")]) > 0).any()
        ]
        if rising:
            notes.append(f"With more compute the {quantity} rises somewhere for {_listed(rising)}.")
        if len(curve_rows(runs.model)) == 1:
            notes.append("One model: nothing is said of the best size, and resampling models says nothing.")
    if not runs.has_surface:
        notes.append("Without parameters and examples (or epochs) of every run there is no surface and no optimum.")
    elif analysis.grow_together and len(runs) > 5:
        notes.append("No surface: size and examples grow together, so that their effects cannot be told apart.")
    elif not analysis.has_surface:
        notes.append("No surface: it needs more than five configurations, of three sizes and three lengths or more.")
    elif analysis.has_general and not analysis.has_optimum:
        notes.append(
            f"The fitted {quantity} does not fall with size and with examples alike: no split of compute between "
            "them is best, and none is told."
        )
    elif analysis.cost.rms_percent > 25:
        notes.append(
            f"Compute strays by {analysis.cost.rms_percent:.0f}% from what size and length make of it: have all "
            "runs the same units?"
        )
    return notes
