"""Every statement of the paper that its data can decide, checked.

``python -m paper.claims`` prints each claim with the verdict that its check computes and the evidence, and exits with
1 when a computed verdict differs from the one recorded in ``claims.toml``. Ids and ``--section``, ``--origin`` and
``--verdict`` ask for some of them.
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
    "format_summary",
    "load_claims",
    "select",
    "tell",
]

CLAIMS = Path(__file__).with_name("claims.toml")

ORIGINS = ("paper", "ours")


@dataclass(frozen=True)
class Checked:
    """A claim with what its check found."""

    claim: Claim
    outcome: Outcome

    @property
    def agrees(self) -> bool:
        """Whether the computed verdict is the recorded one."""
        return self.outcome.verdict == self.claim.verdict


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
        fields: Values of ``section``, ``origin`` or ``verdict`` (the recorded one); None goes for any.

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
        raise UserError(f"{where}: origin {entry['origin']!r} is neither of {', '.join(ORIGINS)}.")
    if entry["verdict"] not in set(Verdict):
        raise UserError(f"{where}: unknown verdict {entry['verdict']!r}; known are {', '.join(Verdict)}.")
    if (entry["verdict"] != Verdict.HOLDS) != bool(entry.get("caveat")):
        raise UserError(f"{where}: a caveat goes with every verdict but 'holds', and with no other.")
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


@dataclass(frozen=True)
class Telling:
    """Checked claims as a notebook shows them: a list of statement, verdict and evidence."""

    checked: Sequence[Checked]

    def _repr_markdown_(self) -> str:
        return "\n".join(
            f"- {item.claim.statement} **{str(item.outcome.verdict).capitalize()}.** {item.outcome.evidence}"
            + (f" *{item.claim.caveat}*" if item.claim.caveat else "")
            for item in self.checked
        )

    def __repr__(self) -> str:
        return "\n".join(f"{item.claim.id}: {item.outcome.verdict}" for item in self.checked)


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


def format_summary(checked: Sequence[Checked]) -> str:
    """One line a verdict with its number of claims, the paper's own and ours apart."""
    lines = []
    for origin, title in zip(ORIGINS, ("claims of the paper", "statements of ours about its data"), strict=True):
        mine = [item for item in checked if item.claim.origin == origin]
        counts = ", ".join(f"{sum(item.outcome.verdict == v for item in mine)} {v}" for v in Verdict)
        lines.append(f"{len(mine)} {title}: {counts}")
    return "\n".join(lines)


def as_json(checked: Sequence[Checked]) -> str:
    """The checked claims as a JSON list."""
    rows = [
        {
            **asdict(item.claim),
            "computed": item.outcome.verdict,
            "evidence": item.outcome.evidence,
            "agrees": item.agrees,
        }
        for item in checked
    ]
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"


def _format_row(item: Checked) -> str:
    mark = " " if item.agrees else "!"
    text = f"{mark} {item.claim.id}  [{item.claim.section}]\n    {item.claim.statement}\n"
    text += f"    -> {item.outcome.verdict}: {item.outcome.evidence}"
    if item.claim.caveat:
        text += f"\n       {item.claim.caveat}"
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
    parser.add_argument("--origin", help=f"only claims of an origin: {' or '.join(ORIGINS)}")
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
            load_claims(), arguments.ids, section=arguments.section, origin=arguments.origin, verdict=arguments.verdict
        )
        checked = evaluate(Study.load(arguments.data), chosen)
        if arguments.json:
            with replacing(arguments.json, "choose another --json") as file:
                file.write(as_json(checked).encode())
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    for item in checked:
        print(_format_row(item))
    print(format_summary(checked))
    different = disagreements(checked)
    if different:
        names = ", ".join(item.claim.id for item in different)
        print(f"The computed verdict differs from the recorded one: {names}.", file=sys.stderr)
    return 1 if different else 0


if __name__ == "__main__":
    leave_garbage()
    sys.exit(run(main))
