"""Would a changed digit be noticed? Every number of the four figure files is altered, one at a time.

``python -m paper.tamper`` prints, for each column, how many alterations are caught

* by the recorded hash, when the last printed digit is changed by one unit;
* by the raw readings, for the same change (they exist for Figures 1 and 2);
* by the science alone, when the number is changed by 2%: consistency checks and claims, with no hash, no schema and no
  raw reading to compare with.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nfnet.errors import UserError
from paper.commands import run
from paper.provenance import DATA

if TYPE_CHECKING:
    import pandas as pd

    from paper.results import Results
    from paper.verdicts import Claim

__all__ = [
    "Alteration",
    "Caught",
    "alterations",
    "caught_by_hash",
    "caught_by_readings",
    "caught_by_science",
    "explain",
    "report",
]

FILES = {
    "smith2023-figure1": "finetuning",
    "smith2023-figure1-vit": "vits",
    "smith2023-figure2": "pretraining",
    "smith2023-figure3": "learning_rates",
}
SHARE = 0.02
"""Relative size of the alterations that the science is asked to notice."""


@dataclass(frozen=True)
class Alteration:
    """One number of one file, changed.

    Attributes:
        resource: Name of the resource in ``datapackage.json``.
        row: Row of the table, from 0.
        field: Column.
        before: The cell as printed.
        after: The cell after the change.
    """

    resource: str
    row: int
    field: str
    before: str
    after: str


@dataclass(frozen=True)
class Caught:
    """An alteration and what noticed it; empty where nothing did."""

    alteration: Alteration
    by: str


def alterations(directory: Path, *, share: float | None = None) -> Iterator[Alteration]:
    """Every number of the four figure files, up and down.

    Args:
        directory: Folder of the data package.
        share: Relative size of the change; by default one unit of the last printed digit.
    """
    from paper.provenance.description import read_package, resource_of

    package = read_package(directory)
    for name in FILES:
        resource = resource_of(package, name)
        numeric = [f["name"] for f in resource["schema"]["fields"] if f["type"] in ("number", "integer")]
        text = (directory / resource["path"]).read_text(encoding="utf-8")
        for row, cells in enumerate(csv.DictReader(io.StringIO(text))):
            for field in numeric:
                value = Decimal(cells[field])
                # The exponent of the decimal is the place of its last printed digit.
                step = (
                    Decimal(1).scaleb(int(value.as_tuple().exponent)) if share is None else value * Decimal(str(share))
                )
                for changed in (value - step, value + step):
                    yield Alteration(name, row, field, cells[field], str(changed))


def caught_by_hash(directory: Path, scratch: Path, alteration: Alteration) -> bool:
    """Whether loading the altered file, written to ``scratch``, fails."""
    from paper.provenance.description import DataError, read_package, resource_of
    from paper.provenance.resources import read_resource

    resource = resource_of(read_package(directory), alteration.resource)
    with (directory / resource["path"]).open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    rows[alteration.row + 1][rows[0].index(alteration.field)] = alteration.after
    with (scratch / resource["path"]).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    try:
        read_resource(scratch, resource)
    except DataError:
        return True
    return False


def altered(results: Results, alteration: Alteration) -> Results:
    """``results`` with the change made, past schema and hash."""
    attribute = FILES[alteration.resource]
    table: pd.DataFrame = getattr(results, attribute).copy()
    table[alteration.field] = table[alteration.field].astype(float)
    table.loc[alteration.row, alteration.field] = float(alteration.after)
    changes: dict[str, Any] = {attribute: table}
    return dataclasses.replace(results, **changes)


def caught_by_readings(results: Results, alteration: Alteration) -> bool:
    """Whether the altered value is no longer its raw reading rounded."""
    from paper.checks.consistency import rounded_readings
    from paper.study import Study

    return bool(rounded_readings(Study.of(altered(results, alteration))))


def caught_by_science(results: Results, alteration: Alteration, claims: Sequence[Claim]) -> str:
    """Name of the first consistency check or claim that notices the alteration; empty where none does.

    Args:
        results: Unaltered results.
        alteration: The change.
        claims: Claims whose computed verdict may differ from the recorded one; those that need bootstrap intervals are
            left out, since an interval is no exact judge of a single digit.
    """
    from paper.checks.consistency import CHECKS
    from paper.claims import disagreements, evaluate
    from paper.study import Study

    study = Study.of(altered(results, alteration), resamples=0)
    for name, check in CHECKS.items():
        if check(study):
            return name
    for claim in claims:
        if not claim.resampled and disagreements(evaluate(study, [claim])):
            return f"claim {claim.id}"
    return ""


def report(results: Results, directory: Path, scratch: Path) -> pd.DataFrame:
    """Catch rates of each column.

    Args:
        results: The results loaded from ``directory``.
        directory: Folder of the data package.
        scratch: An empty folder for altered copies.

    Returns:
        One row a column of a file: ``resource``, ``field``, ``alterations``, ``by_hash``, ``by_readings`` (NaN where
        there are none), ``by_science`` (shares), ``noticed_by`` (what noticed how many) and ``escaped`` (numbers).
    """
    import pandas as pd

    from paper.claims import load_claims

    claims = load_claims()
    rows = []
    for one in alterations(directory):
        readings = one.resource in ("smith2023-figure1", "smith2023-figure2")
        rows.append(
            {
                "resource": one.resource,
                "field": one.field,
                "by_hash": float(caught_by_hash(directory, scratch, one)),
                "by_readings": float(caught_by_readings(results, one)) if readings else float("nan"),
            }
        )
    digits = pd.DataFrame(rows).groupby(["resource", "field"], sort=False).mean()
    noticed = [(one, caught_by_science(results, one, claims)) for one in alterations(directory, share=SHARE)]
    science = pd.DataFrame(
        {
            "resource": [one.resource for one, _ in noticed],
            "field": [one.field for one, _ in noticed],
            "by": [by for _, by in noticed],
        }
    )
    table = science.groupby(["resource", "field"], sort=False).by.agg(
        alterations="size",
        by_science=lambda by: float((by != "").mean()),
        noticed_by=lambda by: ", ".join(f"{name} {count}" for name, count in by[by != ""].value_counts().items()),
        escaped=lambda by: int((by == "").sum()),
    )
    columns = ["alterations", "by_hash", "by_readings", "by_science", "noticed_by", "escaped"]
    return table.join(digits)[columns].reset_index()


def format_report(table: pd.DataFrame) -> str:
    """The table and the overall rates as text."""
    weights = table.alterations
    lines = [
        f"{row['resource']:22} {row['field']:38} {row['alterations']:4d}  hash {row['by_hash']:4.0%}  "
        f"readings {'   -' if math.isnan(row['by_readings']) else format(row['by_readings'], '4.0%')}  "
        f"science {row['by_science']:4.0%}  {row['noticed_by']}"
        for row in table.to_dict("records")
    ]
    by_hash, by_science = (float((table[name] * weights).sum() / weights.sum()) for name in ("by_hash", "by_science"))
    lines.append(f"One unit of the last digit, {weights.sum()} alterations: {by_hash:.1%} caught by the hash.")
    lines.append(
        f"{SHARE:.0%} of the value, {weights.sum()} alterations: {by_science:.1%} caught by the science alone."
    )
    return "\n".join(lines)


def explain(results: Results, table: pd.DataFrame) -> list[str]:
    """Why the science alone misses some alterations: one sentence a column with escapes, with the scatter behind it."""
    from paper.checks.consistency import smooth_fit

    plain = results.finetuning[~results.finetuning.repeated_augmentation].reset_index(drop=True)
    curves = {
        "jft4b_val_loss": (results.pretraining, "pre-trained runs"),
        "imagenet_top1_error_percent": (plain, "fine-tuned runs"),
    }
    sentences = []
    for row in table[table.escaped > 0].to_dict("records"):
        field, escaped, total = row["field"], row["escaped"], row["alterations"]
        start = f"{row['resource']}, {field}: {escaped} of {total} alterations escape"
        if field in curves:
            runs, name = curves[field]
            fit = smooth_fit(runs, field)
            sentences.append(
                f"{start}; the {name} scatter by {100 * fit.scale:.1f}% about the smooth surface through the others, "
                f"so {SHARE:.0%} is {SHARE / fit.scale:.1f} of their standard deviations, less where the surface "
                "leans on the altered point itself."
            )
        else:
            stated = results.vits.tpu_v4_core_hours_text
            width = results.half_width("smith2023-figure1-vit", "tpu_v4_core_hours_text", stated) / stated
            sentences.append(
                f"{start}; nothing but the text's rounded number is there to compare with, and that leaves open "
                f"{width.min():.1%} to {width.max():.1%}."
            )
    return sentences


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns 0, 1 when the hash misses an alteration, 2 on bad input."""
    import tempfile

    from paper.results import load

    parser = argparse.ArgumentParser(
        prog="python -m paper.tamper", description="Alter every number; count what notices."
    )
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the data package")
    arguments = parser.parse_args(argv)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            results = load(arguments.data)
            table = report(results, arguments.data, Path(scratch))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(format_report(table))
    print("\n".join(explain(results, table)))
    return 0 if (table.by_hash == 1).all() else 1


if __name__ == "__main__":
    sys.exit(run(main))
