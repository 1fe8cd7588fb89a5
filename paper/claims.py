"""Every statement of the paper that its data can decide, checked.

``python -m paper.claims`` prints each claim with the verdict that its check computes and the evidence, and exits with
1 when a computed verdict differs from the one recorded in ``claims.toml``. Ids and ``--section``, ``--origin``,
``--kind`` and ``--verdict`` ask for some of them. The paper's claims and ours, and statements, slips and descriptions,
are never mixed in one list: :func:`grouped` keeps them apart wherever they are shown.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nfnet.errors import UserError, printable, unknown_name
from nfnet.files import replacing
from nfnet.garbage import leave_garbage
from paper.commands import require_writable, run
from paper.provenance import DATA
from paper.verdicts import Claim, Outcome, Verdict

if TYPE_CHECKING:
    from paper.study import Study

__all__ = [
    "CLAIMS",
    "Checked",
    "Telling",
    "disagreements",
    "evaluate",
    "format_count",
    "format_heading",
    "format_summary",
    "grouped",
    "load_claims",
    "markdown_line",
    "select",
    "tell",
]

CLAIMS = Path(__file__).with_name("claims.toml")

ORIGINS = ("paper", "ours", "replication")
KINDS = ("statement", "erratum", "description")

GROUPS: Mapping[tuple[str, str], tuple[str, str]] = {
    ("paper", "statement"): ("statement of the paper", "statements of the paper"),
    ("paper", "erratum"): (
        "suspected slip in the paper's text",
        "suspected slips in the paper's text (held: no slip)",
    ),
    ("paper", "description"): (
        "description of the paper's experiments",
        "descriptions of the paper's experiments",
    ),
    ("ours", "statement"): ("statement of ours about the data", "statements of ours about the data"),
    ("ours", "erratum"): ("suspected slip in our text", "suspected slips in our text (held: no slip)"),
    ("ours", "description"): ("description of ours", "descriptions of ours"),
    ("replication", "statement"): ("prediction of our own runs", "predictions of our own runs"),
}
"""What one claim, and several, of each origin and kind are called, in the order in which lists show them."""


@dataclass(frozen=True)
class Checked:
    """A claim with what its check found."""

    claim: Claim
    outcome: Outcome

    @property
    def agrees(self) -> bool:
        """Whether the computed verdict is the recorded one."""
        return self.outcome.verdict == self.claim.verdict

    @property
    def caveat(self) -> str:
        """What is held against a plain verdict: what the check computed, then what is recorded with that verdict."""
        recorded = self.claim.caveat if self.agrees else ""
        return " ".join(part for part in (self.outcome.caveat, recorded) if part)

    @property
    def statistic(self) -> str:
        """What the check computes: the first paragraph of its docstring."""
        text = _find_check(self.claim.id, self.claim.check).__doc__ or ""
        return " ".join(text.split("\n\n")[0].split())


Check = Callable[[Claim, "Study"], Outcome]


def load_claims(path: Path = CLAIMS) -> list[Claim]:
    """Reads and validates the claims file.

    Raises:
        UserError: If the file is missing or malformed, or a claim lacks a field, has an unknown one, repeats an id,
            or names a verdict, origin or check that does not exist.
    """
    import tomllib

    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))["claim"]
    except FileNotFoundError:
        raise UserError(f"{path}: not found; restore it from version control.") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:  # no TOML, no UTF-8, no tables
        raise UserError(f"{path.name}: not a list of [[claim]] tables ({printable(error)}).") from None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(f"{path.name}: not a list of [[claim]] tables.")
    claims: list[Claim] = []
    for number, entry in enumerate(entries, start=1):
        where = f"{path.name}, claim {entry.get('id', number)!r}"
        claim = _claim(where, entry)
        if any(claim.id == other.id for other in claims):
            raise UserError(f"{where}: its id is used twice; choose another.")
        claims.append(claim)
    return claims


def select(claims: Sequence[Claim], ids: Sequence[str] = (), **fields: str | None) -> list[Claim]:
    """Returns the claims that have one of the ids, if any are given, and all the given values of fields.

    Args:
        claims: Where to look.
        ids: Ids of claims.
        fields: Values of ``section``, ``origin``, ``kind`` or ``verdict`` (the recorded one); None goes for any.

    Raises:
        UserError: If no claim has such an id or value, or none has all of them.
    """
    wanted = {name: value for name, value in fields.items() if value is not None}
    for name, value in [*(("id", one) for one in ids), *wanted.items()]:
        known = list(dict.fromkeys(str(getattr(claim, name)) for claim in claims))
        if value not in known:
            raise unknown_name("claim" if name == "id" else name, value, known)
    found = [
        claim
        for claim in claims
        if (not ids or claim.id in ids) and all(getattr(claim, name) == value for name, value in wanted.items())
    ]
    if not found:
        raise UserError(f"No claim has all of {', '.join([*ids, *wanted.values()])}: ask for less at a time.")
    return found


def _claim(where: str, entry: Mapping[str, Any]) -> Claim:
    fields = Claim.__dataclass_fields__
    for name in ("id", "section", "origin", "statement", "check", "verdict"):
        if name not in entry:
            raise UserError(f"{where}: field {name!r} is missing.")
        if not isinstance(entry[name], str):
            raise UserError(f"{where}: field {name!r} is no text.")
    for name in entry:
        if name not in fields:
            raise UserError(f"{where}: unknown field {name!r}; known are {', '.join(fields)}.")
    if entry["origin"] not in ORIGINS:
        raise UserError(f"{where}: origin {entry['origin']!r} is none of {', '.join(ORIGINS)}.")
    if entry.get("kind", KINDS[0]) not in KINDS:
        raise UserError(f"{where}: kind {entry['kind']!r} is none of {', '.join(KINDS)}.")
    if entry["verdict"] not in set(Verdict):
        raise UserError(f"{where}: unknown verdict {entry['verdict']!r}; known are {', '.join(Verdict)}.")
    if entry["verdict"] == Verdict.HOLDS and entry.get("caveat"):
        raise UserError(f"{where}: a caveat goes with every verdict but 'holds'; remove it, or change the verdict.")
    _find_check(where, entry["check"])
    return Claim(**{**entry, "verdict": Verdict(entry["verdict"])})


def _find_check(where: str, name: str) -> Check:
    module, _, function = name.partition(".")
    try:
        check: Check = getattr(importlib.import_module(f"paper.checks.{module}"), function)
    except (ImportError, AttributeError):
        raise UserError(f"{where}: no check {name!r}; write it as a function in paper/checks/{module}.py.") from None
    return check


def evaluate(study: Study, claims: Iterable[Claim] | None = None) -> list[Checked]:
    """Runs the check of every claim (of ``claims.toml`` by default) on ``study``."""
    claims = load_claims() if claims is None else claims
    return [Checked(claim, _find_check(claim.id, claim.check)(claim, study)) for claim in claims]


def grouped(checked: Iterable[Checked]) -> dict[str, list[Checked]]:
    """The claims by origin and kind, in the order of :data:`GROUPS`: a title such as "statements of the paper" each."""
    items = list(checked)
    return {
        titles[1]: mine
        for (origin, kind), titles in GROUPS.items()
        if (mine := [item for item in items if (item.claim.origin, item.claim.kind) == (origin, kind)])
    }


@dataclass(frozen=True)
class Telling:
    """Checked claims as a notebook shows them, answer first: a table of verdicts for each group.

    A row has the statement, the verdict and the one number that decides; evidence, null, threshold and caveat unfold
    below the statement.
    """

    checked: Sequence[Checked]

    def _repr_markdown_(self) -> str:
        tables = []
        for title, items in grouped(self.checked).items():
            rows = "\n".join(_table_row(item) for item in items)
            tables.append(f"**{title[0].upper()}{title[1:]}**\n\n| Claim | Verdict | Number |\n|:--|:--|:--|\n{rows}")
        return "\n\n".join(tables)

    def __repr__(self) -> str:
        return "\n".join(f"{item.claim.id}: {item.outcome.verdict}" for item in self.checked)


def _table_row(item: Checked) -> str:
    beside = {"Against": item.claim.null, "Threshold": item.claim.reason, "Caveat": item.caveat}
    told = "<br>".join(
        [_cell(item.outcome.evidence), *(f"<em>{name}:</em> {_cell(text)}" for name, text in beside.items() if text)]
    )
    verdict = str(item.outcome.verdict).capitalize()
    return (
        f"| {_cell(item.claim.statement)}<details><summary>Evidence</summary>{told}</details> "
        f"| **{verdict}** | {_cell(item.outcome.number)} |"
    )


def _cell(text: str) -> str:
    """A text that Markdown and HTML leave as it is, for a cell of a table."""
    for mark, written in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("*", "\\*"), ("_", "\\_"), ("$", "\\$")):
        text = text.replace(mark, written)
    return text


def markdown_line(item: Checked) -> str:
    """A claim with its verdict, evidence and caveat as an item of a Markdown list."""
    line = f"- {item.claim.statement} **{str(item.outcome.verdict).capitalize()}.** {item.outcome.evidence}"
    return f"{line} *{item.caveat}*" if item.caveat else line


def tell(study: Study, *ids: str) -> Telling:
    """Checks the claims called ``ids``, for a notebook to show.

    Raises:
        UserError: If there is no such claim.
        AssertionError: If a computed verdict differs from the recorded one.
    """
    claims = {claim.id: claim for claim in load_claims()}
    for name in ids:
        if name not in claims:
            raise unknown_name("claim", name, claims)
    checked = evaluate(study, [claims[name] for name in ids])
    for item in checked:
        if not item.agrees:  # said also where Python leaves out assertions
            raise AssertionError(f"{item.claim.id}: {item.outcome.verdict}, but recorded as {item.claim.verdict}")
    return Telling(checked)


def disagreements(checked: Sequence[Checked]) -> list[Checked]:
    """The claims whose computed verdict is not the recorded one."""
    return [item for item in checked if not item.agrees]


_PLURALS: Mapping[Verdict, str] = {
    Verdict.HOLDS: "hold",
    Verdict.CAVEAT: "hold with a caveat",
    Verdict.FAILS: "do not hold",
    Verdict.OPEN: "cannot be decided from what was published",
    Verdict.UNDECIDED: "are not decided by the runs so far",
}


def format_count(checked: Sequence[Checked]) -> str:
    """How many claims have which verdict, e.g. ``3 hold, 1 does not hold``."""
    counts = {verdict: sum(item.outcome.verdict == verdict for item in checked) for verdict in Verdict}
    return ", ".join(
        f"{count} {verdict if count == 1 else _PLURALS[verdict]}" for verdict, count in counts.items() if count
    )


def format_heading(title: str, items: Sequence[Checked]) -> str:
    """How many claims a group of :func:`grouped` has, e.g. ``1 statement of the paper``."""
    singular = {several: one for one, several in GROUPS.values()}
    return f"{len(items)} {singular[title] if len(items) == 1 else title}"


def format_summary(checked: Sequence[Checked]) -> str:
    """A line a group of claims, the paper's own and ours apart, with how many have which verdict."""
    return "\n".join(
        f"{format_heading(title, items)}: {format_count(items)}" for title, items in grouped(checked).items()
    )


def as_json(checked: Sequence[Checked]) -> str:
    """The checked claims as a JSON list, grouped: every field of the claim, and all that was computed."""
    rows = [
        {
            **asdict(item.claim),
            "group": title,
            "statistic": item.statistic,
            "computed": item.outcome.verdict,
            "number": item.outcome.number,
            "evidence": item.outcome.evidence,
            "computed_caveat": item.outcome.caveat,
            "agrees": item.agrees,
        }
        for title, items in grouped(checked).items()
        for item in items
    ]
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"


def _format_row(item: Checked) -> str:
    mark = " " if item.agrees else "!"
    text = f"{mark} {item.claim.id}  [{item.claim.section}]\n    {item.claim.statement}\n"
    text += f"    -> {item.outcome.verdict}: {item.outcome.evidence}"
    if item.caveat:
        text += f"\n       Caveat: {item.caveat}"
    if item.claim.null:
        text += f"\n       Against: {item.claim.null}"
    if item.claim.reason:
        text += f"\n       Threshold: {item.claim.reason}"
    if not item.agrees:
        text += f"\n       RECORDED: {item.claim.verdict}"
    return text


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns 0, 1 when a verdict differs from the recorded one, 2 on bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m paper.claims", description="Check claims against the data: all, or those that are asked for."
    )
    parser.add_argument("ids", nargs="*", metavar="ID", help="id of a claim in paper/claims.toml")
    parser.add_argument("--section", help="only claims of a section of the paper, such as Pre-training")
    parser.add_argument("--origin", help=f"only claims of an origin: {', '.join(ORIGINS)}")
    parser.add_argument("--kind", help=f"only claims of a kind: {', '.join(KINDS)}")
    parser.add_argument("--verdict", help=f"only claims of a recorded verdict, such as '{Verdict.FAILS}'")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the table as JSON")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the data package")
    arguments = parser.parse_args(argv)
    from paper.study import Study

    try:
        if arguments.json:
            require_writable(arguments.json.parent, "--json")
            if arguments.json.is_dir():
                raise UserError(f"{arguments.json}: cannot be written (it is a folder); choose another --json.")
        chosen = select(
            load_claims(),
            arguments.ids,
            section=arguments.section,
            origin=arguments.origin,
            kind=arguments.kind,
            verdict=arguments.verdict,
        )
        checked = evaluate(Study.load(arguments.data), chosen)
        if arguments.json:
            with replacing(arguments.json, "choose another --json") as file:
                file.write(as_json(checked).encode())
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    for title, items in grouped(checked).items():
        print(f"{title[0].upper()}{title[1:]}\n")
        for item in items:
            print(_format_row(item))
        print()
    print(format_summary(checked))
    different = disagreements(checked)
    if different:
        names = ", ".join(item.claim.id for item in different)
        print(f"The computed verdict differs from the recorded one: {names}.", file=sys.stderr)
    return 1 if different else 0


if __name__ == "__main__":
    leave_garbage()
    sys.exit(run(main))
