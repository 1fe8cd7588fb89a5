"""Brings the generated parts of README, docs/ and notebooks up to date: pictures, verdicts, claims, times and speeds.

``python tools/update_readme.py`` draws the pictures into docs/ and fills the blocks between ``<!-- NAME -->`` and
``<!-- /NAME -->``; ``--check`` changes nothing and exits with 1 when a file is out of date. So no number in the README
is typed: verdicts come from the checks of the claims, times from docs/timings.json, speeds from benchmarks/results/.
The notebooks' first cells follow the repository's address (:mod:`tools.address`); no cell is executed.
.zenodo.json follows CITATION.cff.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from figures.registry import FIGURES
from nfnet.files import replacing
from paper.verdicts import Verdict
from tools.address import links, pages, repository, with_links
from tools.measure_times import COMMANDS, read, sentence
from tools.measurements import performance, speed_in_short
from tools.release import ZENODO, read_citation, zenodo
from tools.site.links import claims_of_figures

if TYPE_CHECKING:
    from paper.claims import Checked
    from paper.study import Study

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PERFORMANCE = DOCS / "performance.md"
CLAIMS = DOCS / "claims.md"

NOTEBOOKS = ROOT / "notebooks"

FIRST = "nfnet_vs_vit"
"""The picture that the README opens with: both families at matched compute."""

THUMBNAILS = {
    "figure1": "matches-vits",
    "figure2": "loss-loglog-linear",
    "figure3": "learning-rate-two-trials",
}
"""The paper's figures, and the claim whose verdict stands below each."""

PICTURES = (FIRST, *THUMBNAILS)

DECISIVE = ("nfnets-lead-sweep", "same-rate", "f7plus-250-hours-on-v3")
"""Claims that the README tells beside the answer; docs/claims.md has all."""

ANSWER = {
    "matches-vits": Verdict.HOLDS,
    "nfnets-lead-sweep": Verdict.CAVEAT,
    "same-pretraining-data": Verdict.FAILS,
    "vits-lead-beyond-nfnets": Verdict.OPEN,
}
"""The claims whose numbers the answer names, each with the verdict that its words are made for."""


def claims(checked: Sequence[Checked]) -> dict[str, str]:
    """The generated part of docs/claims.md: every claim with verdict, evidence, check, notebook and figures."""
    from paper.claims import format_count, format_heading, grouped, markdown_line

    def entry(item: Checked) -> str:
        claim = item.claim
        shown = [f"[{name}](../figures/{name}.py)" for name, ids in claims_of_figures().items() if claim.id in ids]
        figures = f"; figure: {', '.join(shown)}" if shown else ""
        module, _, function = claim.check.partition(".")
        line = markdown_line(item).removeprefix("- ")
        return (
            f'- <a id="{claim.id}"></a>`{claim.id}` ({claim.section}). {line} Check: '
            f"[{module}](../paper/checks/{module}.py), `{function}`; "
            f"notebook: [{claim.notebook}](../notebooks/{claim.notebook}.ipynb){figures}."
        )

    sections = []
    for title, items in grouped(checked).items():
        sections.append(f"## {format_heading(title, items)}: {format_count(items)}")
        sections.append("\n".join(map(entry, items)))
    return {"claims": "\n\n".join(sections)}


def blocks(study: Study, checked: Sequence[Checked]) -> dict[str, str]:
    """The generated parts of the README, by name."""
    from paper.benchmarks import load_speeds

    by_id = {item.claim.id: item for item in checked}
    return {
        "badges": links(repository()),
        "answer": f"{answer(by_id)}\n\n{_go_on(repository())}",
        "figures": f"{_picture(FIRST)}\n\n{_thumbnails(by_id)}",
        "verdicts": f"{_verdicts(checked)}\n\n{_decisive(by_id)}",
        "times": _times(read()),
        "speed": speed_in_short(load_speeds()),
    }


def answer(by_id: Mapping[str, Checked]) -> str:
    """The answer to the paper's question in one sentence, with its numbers and what is held against it.

    Raises:
        ValueError: If a verdict is another than the sentence was written for.
    """
    for name, verdict in ANSWER.items():
        if by_id[name].outcome.verdict != verdict:
            raise ValueError(
                f"The answer is worded for {name!r} as {verdict!s}: write it anew in {Path(__file__).name}."
            )
    numbers = {name: by_id[name].outcome.number for name in ANSWER}
    return (
        "**Do ConvNets match Vision Transformers at scale? Yes, as far as published numbers tell:** the best NFNet's "
        "ImageNet error is level with that of the Vision Transformers of comparable compute (higher by "
        f"{numbers['matches-vits']}), and NFNets lead the whole sweep of Zhai et al. at {numbers['nfnets-lead-sweep']} "
        f"of the test set; but the two were pre-trained on different data ({numbers['same-pretraining-data']}), and at "
        "the largest compute, which no NFNet was given, the lower error of the best Vision Transformer "
        f"({numbers['vits-lead-beyond-nfnets']}) decides nothing."
    )


def _go_on(address: str) -> str:
    """Where to read on."""
    site = f"[site]({pages(address)}) · " if pages(address) else ""
    notebooks = " · ".join(
        f"[{path.stem[:2]}](notebooks/{path.name})" for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    )
    paper = "[paper](https://arxiv.org/abs/2310.16764)"
    rest = "[claims](docs/claims.md) · [models](docs/models.md) · [speed](docs/performance.md)"
    return f"Read on: {paper} · {site}notebooks {notebooks} · {rest}"


def _picture(name: str) -> str:
    words = FIGURES[name]
    return f'[<img src="docs/{name}.png" width="640" alt="{words}">](notebooks/05_vit_at_matched_compute.ipynb)'


def _thumbnails(by_id: Mapping[str, Checked]) -> str:
    """The paper's figures in a row, each a link to the notebook that tells it."""
    pictures, words = [], []
    for name, claim in THUMBNAILS.items():
        item = by_id[claim]
        number = name.removeprefix("figure")
        image = f'<img src="docs/{name}.png" width="260" alt="Figure {number} of the paper">'
        pictures.append(f"[{image}](notebooks/{item.claim.notebook}.ipynb)")
        words.append(f"**Figure {number}: {item.outcome.verdict}.** {item.claim.statement}")
    return "\n".join([f"| {' | '.join(pictures)} |", f"|{':--|' * len(pictures)}", f"| {' | '.join(words)} |"])


def _verdicts(checked: Sequence[Checked]) -> str:
    """How many claims of each kind have which verdict."""
    from paper.claims import grouped

    found = [verdict for verdict in Verdict if any(item.outcome.verdict == verdict for item in checked)]
    lines = [f"| claims | {' | '.join(found)} |", f"|:--|{'--:|' * len(found)}"]
    for title, items in grouped(checked).items():
        counts = [sum(item.outcome.verdict == verdict for item in items) for verdict in found]
        lines.append(f"| {title} | {' | '.join(str(count) if count else '' for count in counts)} |")
    return "\n".join(lines)


def _decisive(by_id: Mapping[str, Checked]) -> str:
    lines = []
    for name in DECISIVE:
        item = by_id[name]
        line = f"- {item.claim.statement} **{str(item.outcome.verdict).capitalize()}** ({item.outcome.number})."
        lines.append(f"{line} {item.caveat} [More](docs/claims.md#{name})".replace("  ", " "))
    return "\n".join(lines)


def _times(record: Mapping[str, Any]) -> str:
    lines = ["| command | yields | first time | after that |", "|:--|:--|--:|--:|"]
    lines += [
        f"| `{one['command']}` | {command.yields} | {one['install_s']} s to install, then {one['run_s']} s "
        f"| {one['again_s']} s |"
        for one, command in zip(record["commands"], COMMANDS, strict=True)
    ]
    return "\n".join([*lines, "", sentence(record)])


def notebooks(address: str) -> dict[Path, str]:
    """The text of each notebook, with what follows from the repository's address; outputs stay as they are."""
    import nbformat

    texts = {}
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        with_links(notebook, path.stem, address)
        texts[path] = str(nbformat.writes(notebook, version=4)) + "\n"
    return texts


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
    new = {path: filled(path.read_text(encoding="utf-8"), of_file) for path, of_file in parts.items()}
    new |= notebooks(repository())
    new[ZENODO] = zenodo(read_citation())
    old = {path: path.read_text(encoding="utf-8") if path.is_file() else "" for path in new}
    if arguments.check:
        stale = [path.name for path in new if new[path] != old[path]]
        if stale:
            print(f"{', '.join(stale)}: out of date; run `make readme`.", file=sys.stderr)
        return int(bool(stale))
    from figures.writing import write

    write(study, list(PICTURES), DOCS, ("png",))
    for path, text in new.items():
        if text == old[path]:
            continue
        with replacing(path) as file:
            file.write(text.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
