"""Fits anybody's own runs like the paper's.

    python -m paper.fit RUNS.csv --compute-unit FLOPs --out FOLDER
    python -m paper.fit --study FOLDER

``RUNS.csv`` has a line a run, with columns ``compute``, ``loss`` (and, or instead, ``error`` in percent), and where
known ``model``, ``parameters``, ``examples``, ``epochs`` and ``seed``. What is printed are the laws of the compute
frontier; with sizes and lengths also the loss surface, the compute-optimal size, what each route to it is worth on
these runs, and what equal rates cost; and how well the cheaper runs predict the dearer ones. ``python -m figures.fit``
takes the same and draws the figure too.

Exit codes: 0 done; 2 bad input or a folder that cannot be written (one sentence on standard error); 141 nobody reads
what is printed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nfnet.errors import UserError, printable
from nfnet.files import local_path
from paper.commands import require_writable, run
from paper.files import write_files

if TYPE_CHECKING:
    from paper.fits.own import Own
    from paper.tables.table import Table

__all__ = ["arguments_of", "as_json", "contents", "main", "own_of", "parser", "report", "resamples_of", "tables"]

_LONG = 500_000
"""Runs times resamples from which on a command that is silent would seem to hang."""


def parser(prog: str, description: str) -> argparse.ArgumentParser:
    """The command line that this command and ``python -m figures.fit`` share."""
    made = argparse.ArgumentParser(prog=prog, description=description, allow_abbrev=False)
    made.add_argument(
        "runs",
        nargs="?",
        metavar="RUNS.csv",
        help="columns compute, loss; optional error, model, parameters, examples, epochs, learning_rate, seed",
    )
    made.add_argument(
        "--study", type=Path, metavar="FOLDER", help="workdir of `python -m nfnet.study` instead of a CSV"
    )
    made.add_argument(
        "--compute-unit", metavar="UNIT", help="unit of compute; of a study `core hours` (default) or `FLOPs`"
    )
    made.add_argument(
        "--core-seconds",
        type=Path,
        metavar="CSV",
        help="for a study whose runs shared their cores, what an image costs each model, measured apart: columns "
        "model, core_seconds_per_1000_images",
    )
    made.add_argument("--loss-unit", default="nats", metavar="UNIT", help="unit of the loss (%(default)s)")
    made.add_argument(
        "--fit-up-to",
        type=float,
        metavar="COMPUTE",
        help="predict the runs beyond it from those up to it (by default what three quarters of the runs cost at most)",
    )
    made.add_argument(
        "--resamples", type=int, metavar="N", help="bootstrap resamples (2000; by default fewer for over 1000 runs)"
    )
    made.add_argument("--seed", type=int, default=0, metavar="N", help="of the bootstrap (%(default)s)")
    made.add_argument("--out", type=Path, metavar="FOLDER", help="write the tables there: Markdown, LaTeX and CSV")
    made.add_argument("--json", action="store_true", help="print JSON instead of tables")
    return made


def arguments_of(made: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Parses and checks the command line.

    Raises:
        UserError: If it names no runs, or two sources of them, or a number out of range.
    """
    found = made.parse_args(argv)
    if (found.runs is None) == (found.study is None):
        raise UserError("Name either a CSV of runs or --study with its folder.")
    if found.core_seconds is not None and (found.study is None or found.compute_unit not in (None, "core hours")):
        raise UserError("--core-seconds counts the core hours of a --study: leave it out.")
    if found.resamples is not None and not 100 <= found.resamples <= 20_000:
        raise UserError(f"--resamples is {found.resamples}, but must lie between 100 and 20,000.")
    if not 0 <= found.seed < 2**32:
        raise UserError(f"--seed is {found.seed}, but must lie between 0 and 2^32 - 1.")
    if found.fit_up_to is not None and not found.fit_up_to > 0:
        raise UserError(f"--fit-up-to is {found.fit_up_to:g}, but must be above zero.")
    for name, option in (
        ("runs", "RUNS.csv"),
        ("study", "--study"),
        ("core_seconds", "--core-seconds"),
        ("out", "--out"),
    ):
        if (given := getattr(found, name)) is not None:
            setattr(found, name, local_path(given, option))
    if found.out is not None:
        require_writable(found.out)
    return found


def own_of(arguments: argparse.Namespace) -> Own:
    """Reads and analyses the runs that the command line names.

    Raises:
        UserError: If they cannot be read or used.
    """
    from paper.fits.own import analyse, read_csv, read_seconds, read_study

    unit = printable(arguments.compute_unit, 40) if arguments.compute_unit else None
    if arguments.study is not None:
        unit, source = unit or "core hours", arguments.study
        seconds = read_seconds(arguments.core_seconds) if arguments.core_seconds else None
        rows, notes = read_study(source, unit, seconds)
    else:
        source = Path(arguments.runs)
        rows, notes = read_csv(source)
        if unit is None:
            notes.append("The unit of compute is unknown: name it with --compute-unit.")
    resamples = arguments.resamples or resamples_of(max(1, len(rows)))
    if len(rows) * resamples >= _LONG:
        print(f"fitting {len(rows):,} runs in {resamples:,} resamples; this takes a while", file=sys.stderr, flush=True)
    return analyse(
        rows,
        notes,
        printable(source),
        compute_unit=unit or "units of compute",
        loss_unit=printable(arguments.loss_unit, 40),
        limit=arguments.fit_up_to,
        resamples=resamples,
        seed=arguments.seed,
    )


def resamples_of(runs: int) -> int:
    """Bootstrap resamples by default: 2,000; for over 1,000 runs as many fewer as there are more runs, down to 100.

    Intervals of many runs are narrow, and time and memory grow with runs times resamples.
    """
    return int(min(2_000, max(100, 2_000_000 // runs)))


def tables(own: Own) -> list[Table]:
    """The tables that these runs allow, as the paper's runs have them."""
    from paper.tables import analysed

    found = [entry for quantity, analysis in own.analyses.items() for entry in analysed.entries(quantity, analysis)]
    first = next(iter(own.analyses.values()))
    made = []
    if found:
        caption = (
            f"Fitted numbers of {len(first.runs)} configurations with 95% intervals of {first.resamples:,} bootstrap "
            f"resamples (seed {first.seed}; at most 1,000 for surfaces). Resamples find frontiers anew. C in "
            f"{first.runs.compute_unit}, N in parameters, D in examples seen."
        )
        made.append(analysed.numbers("fits", caption, found))
    lawful = {quantity: analysis for quantity, analysis in own.analyses.items() if analysis.has_law}
    if lawful:
        made.append(analysed.frontier_laws(lawful))
    if first.has_general:
        made.append(analysed.forms(first))
    if first.has_optimum:
        made += [analysed.allocation(first), analysed.regret(first)]
    if any(analysis.held_out for analysis in own.analyses.values()):
        made.append(analysed.held_out(own.analyses))
    return made


def report(own: Own) -> str:
    """What the command prints: the frontier's runs, notes and tables."""
    lines = [f"{own.source}"]
    lines += [f"- {note}" for note in own.notes]
    for quantity in own.analyses:
        lines.append(f"- Frontier of the {quantity}: {', '.join(_frontier(own, quantity))}.")
    return "\n".join(lines) + "\n\n" + "\n".join(table.markdown() for table in tables(own))


def _frontier(own: Own, quantity: str) -> list[str]:
    import numpy as np

    from paper.fits.laws import frontier_mask

    runs = own.analyses[quantity].runs
    on = np.flatnonzero(frontier_mask(runs.compute, runs.value))
    on = on[np.argsort(runs.compute[on])]
    return [f"{runs.value[i]:.4g} at {runs.compute[i]:.4g}" + (f" ({runs.model[i]})" if runs.model else "") for i in on]


def as_json(own: Own) -> str:
    """Notes and unrounded tables as JSON; what is no number is null."""
    import numpy as np

    def plain(value: Any) -> Any:
        if isinstance(value, float | np.floating):
            return float(value) if np.isfinite(value) else None
        return value.item() if isinstance(value, np.generic) else value

    content = {
        "source": own.source,
        "notes": list(own.notes),
        "seed_scatter_percent": dict(own.scatter),
        "tables": {
            table.name: [{key: plain(cell) for key, cell in row.items()} for row in table.frame.to_dict("records")]
            for table in tables(own)
        },
    }
    return json.dumps(content, indent=2, allow_nan=False)


def contents(own: Own, folder: Path) -> dict[Path, bytes]:
    """The tables' files, by path below ``folder``."""
    files = {}
    for table in tables(own):
        for ending, text in (("md", table.markdown()), ("tex", table.latex()), ("csv", table.csv())):
            files[folder / f"{table.name}.{ending}"] = text.encode()
    return files


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns 0, or 2 with one sentence on standard error."""
    try:
        arguments = arguments_of(parser("python -m paper.fit", "Fit your own runs like the paper's."), argv)
        own = own_of(arguments)
        files = contents(own, arguments.out) if arguments.out else {}
        text = as_json(own) if arguments.json else report(own)
        write_files(files)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
