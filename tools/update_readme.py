"""Brings the generated parts of README and docs/ up to date: pictures, verdicts, claims, times and speeds.

``python tools/update_readme.py`` draws the pictures into docs/ and fills the blocks between ``<!-- NAME -->`` and
``<!-- /NAME -->``; ``--check`` changes nothing and exits with 1 when a block is out of date. So no number in the README
is typed: verdicts come from the checks of the claims, times from docs/timings.json.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nfnet.files import replacing
from tools.measurements import performance, speed

if TYPE_CHECKING:
    from paper.claims import Checked
    from paper.study import Study

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PERFORMANCE = DOCS / "performance.md"
CLAIMS = DOCS / "claims.md"

PICTURES = {
    "figure1": "matches-vits",
    "figure2": "loss-loglog-linear",
    "figure3": "learning-rate-two-trials",
}
"""The paper's figures, and the claim whose verdict stands beside each."""

DECISIVE = ("matches-vits", "nfnets-lead-sweep", "same-rate", "f7plus-250-hours-on-v3")
"""Claims that the README tells with their evidence; docs/claims.md has all."""


def claims(checked: Sequence[Checked]) -> dict[str, str]:
    """The generated part of docs/claims.md: every claim with verdict and evidence, by origin and kind."""
    from paper.claims import format_count, format_heading, grouped, markdown_line

    sections = []
    for title, items in grouped(checked).items():
        sections.append(f"## {format_heading(title, items)}: {format_count(items)}")
        sections.append("\n".join(markdown_line(item) for item in items))
    return {"claims": "\n\n".join(sections)}


def blocks(study: Study, checked: Sequence[Checked]) -> dict[str, str]:
    """The generated parts of the README, by name."""
    from paper.benchmarks import load_speeds
    from paper.claims import format_count, format_heading, grouped, markdown_line

    by_id = {item.claim.id: item for item in checked}
    rows = ["| | |", "|:--|:--|"]
    for name, claim in PICTURES.items():
        item = by_id[claim]
        number = name.removeprefix("figure")
        words = f"**Figure {number}: {item.outcome.verdict}.** {item.claim.statement}"
        rows.append(f'| <img src="docs/{name}.png" width="420" alt="Figure {number} of the paper"> | {words} |')
    verdicts = [
        f"- **{format_heading(title, items)}**: {format_count(items)}." for title, items in grouped(checked).items()
    ]
    decisive = [markdown_line(by_id[name]) for name in DECISIVE]
    times = json.loads((DOCS / "timings.json").read_text(encoding="utf-8"))
    return {
        "figures": "\n".join(rows),
        "claims": "\n".join([*verdicts, "", "Four that matter:", "", *decisive]),
        "times": _times(times),
        "speed": speed(load_speeds()),
    }


def _times(times: Mapping[str, object]) -> str:
    lines = ["| command | yields | first time | after that |", "|:--|:--|--:|--:|"]
    commands: list[dict[str, object]] = times["commands"]  # type: ignore[assignment]
    lines += [
        f"| `{c['command']}` | {c['yields']} | {c['install_s']} s to install, then {c['run_s']} s | {c['again_s']} s |"
        for c in commands
    ]
    return "\n".join([*lines, "", f"Measured on {times['machine']}."])


def filled(text: str, parts: Mapping[str, str]) -> str:
    """``text`` with every block replaced.

    Raises:
        ValueError: If a block's marks are not in the text exactly once.
    """
    for name, part in parts.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if len(pattern.findall(text)) != 1:
            raise ValueError(f"The text needs one block <!-- {name} --> ... <!-- /{name} -->.")
        text = pattern.sub(lambda match, part=part: f"{match[1]}{part}\n{match[2]}", text)  # type: ignore[misc]
    return text


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns 0, or 1 when ``--check`` finds the README out of date."""
    parser = argparse.ArgumentParser(description="Bring the README's generated parts up to date.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 when out of date")
    arguments = parser.parse_args(argv)

    from paper.claims import evaluate
    from paper.study import Study

    study = Study.load()
    checked = evaluate(study)
    parts = {README: blocks(study, checked), CLAIMS: claims(checked), PERFORMANCE: performance()}
    old = {path: path.read_text(encoding="utf-8") for path in parts}
    new = {path: filled(old[path], of_file) for path, of_file in parts.items()}
    if arguments.check:
        stale = [path.name for path in parts if new[path] != old[path]]
        if stale:
            print(f"{', '.join(stale)}: out of date; run `make readme`.", file=sys.stderr)
        return int(bool(stale))
    from figures.writing import write

    write(study, list(PICTURES), DOCS, ("png",))
    for path, text in new.items():
        with replacing(path) as file:
            file.write(text.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
