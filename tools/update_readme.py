"""Brings the generated parts of README and docs/ up to date: pictures, verdicts, claims, times and speeds.

``python tools/update_readme.py`` draws the pictures into docs/ and fills the blocks between ``<!-- NAME -->`` and
``<!-- /NAME -->``; ``--check`` changes nothing and exits with 1 when a block is out of date. So no number in the README
is typed: verdicts come from the checks of the claims, times from docs/timings.json.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from paper.claims import Checked
    from paper.study import Study

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PERFORMANCE = DOCS / "performance.md"
FORMULATIONS = ROOT / "benchmarks" / "results" / "formulations.json"
BREAKDOWN = ROOT / "benchmarks" / "results" / "breakdown.json"
SCALING = ROOT / "benchmarks" / "results" / "scaling.json"

PICTURES = {
    "figure1": "matches-vits",
    "figure2": "loss-loglog-linear",
    "figure3": "learning-rate-two-trials",
}
"""The paper's figures, and the claim whose verdict stands beside each."""


def blocks(study: Study, checked: Sequence[Checked]) -> dict[str, str]:
    """The generated parts of the README, by name."""
    from paper.benchmarks import load_speeds
    from paper.claims import Verdict, format_summary

    by_id = {item.claim.id: item for item in checked}
    rows = ["| | |", "|:--|:--|"]
    for name, claim in PICTURES.items():
        item = by_id[claim]
        number = name.removeprefix("figure")
        words = f"**Figure {number}: {item.outcome.verdict}.** {item.claim.statement}"
        rows.append(f'| <img src="docs/{name}.png" width="420" alt="Figure {number} of the paper"> | {words} |')
    notable = [item for item in checked if item.outcome.verdict in (Verdict.CAVEAT, Verdict.FAILS)]
    shown = [
        f"- {item.claim.statement} *{str(item.outcome.verdict).capitalize()}.* {item.outcome.evidence}"
        for item in notable
    ]
    times = json.loads((DOCS / "timings.json").read_text(encoding="utf-8"))
    return {
        "figures": "\n".join(rows),
        "claims": format_summary(checked).replace("\n", "; ") + ".\n\n" + "\n".join(shown),
        "times": _times(times),
        "speed": speed(load_speeds()),
    }


def speed(speeds: pd.DataFrame) -> str:
    """The tables of measured speeds, one a file, or how to make them."""
    from paper.benchmarks import COMMAND

    if speeds.empty:
        return f"No speeds have been recorded; `{COMMAND}` measures them."
    parts = []
    for _, of_file in speeds.groupby("file", sort=True):
        first = of_file.iloc[0]
        lines = [
            f"{first.network}, {first.resolution} px, batch {first.batch}, {first['dtype']}"
            f"{', memory in large pages for all' if first.allocator == 'hugepages' else ''}; a speed-up is the "
            "median over interleaved rounds, with its range; memory and compilation are training's:",
            "",
            "| implementation | training step | speed-up | forward | speed-up | peak memory | compilation |",
            "|:--|--:|--:|--:|--:|--:|--:|",
        ]
        for name in dict.fromkeys(of_file.implementation):
            by_mode = {row["mode"]: row for _, row in of_file[of_file.implementation == name].iterrows()}
            cells = [text for mode in ("train", "forward") for text in _speed_cells(by_mode.get(mode))]
            train = by_mode.get("train")
            memory = "" if train is None else f"{train.peak_rss_bytes / 2**20:,.0f} MiB"
            compiling = "" if train is None or math.isnan(train.compile_s) else f"{train.compile_s:.1f} s"
            lines.append("| " + " | ".join([str(name), *cells, memory, compiling]) + " |")
        parts.append("\n".join([*lines, "", f"Measured on {first.machine}."]))
    return "\n\n".join(parts)


def formulations(path: Path = FORMULATIONS) -> str:
    """The table of formulations and what they leave as the floor of a step, or how to make them."""
    if not path.is_file():
        return "None has been recorded; `python -m benchmarks.formulations` measures them."
    from paper.benchmarks import machine_line

    record = json.loads(path.read_text(encoding="utf-8"))
    lines = [
        "| operation | pass | floor, ms | plain, ms | ours, ms | best other, ms | which |",
        "|:--|:--|--:|--:|--:|--:|:--|",
    ]
    operations: dict[tuple[str, str], dict[str, float]] = {}
    floors: dict[tuple[str, str], float] = {}
    for one in record["results"]:
        key = (one["operation"], one["pass"])
        floors[key] = 1e3 * one["floor_s"]
        operations.setdefault(key, {})[one["formulation"]] = 1e3 * one["seconds"]["median"]
    for key, times in operations.items():
        other = min((name for name in times if name not in ("plain", "ours")), key=times.__getitem__)
        numbers = (floors[key], times["plain"], times["ours"], times[other])
        lines.append("| " + " | ".join([*key, *(f"{number:.3g}" for number in numbers), other]) + " |")
    settings, floor = record["settings"], record["floor_s"]
    return "\n".join(
        [
            *lines,
            "",
            f"All products of NFNet-{settings['network']} at {settings['resolution']} px, batch {settings['batch']}, "
            f"take {floor['train']:.2f} s in a training step and {floor['forward']:.2f} s in a forward pass at "
            f"{record['sgemm_flops'] / 1e9:.0f} GFLOP/s, the best that XLA's products reached in this run: no "
            "formulation with as many operations is faster. Arrays are read and written at "
            f"{record['copy_bytes_per_s'] / 1e9:.0f} GB/s. Measured on {machine_line(record['machine'])}.",
        ]
    )


def breakdown(path: Path = BREAKDOWN) -> str:
    """The table of where a step's time goes, or how to make it."""
    if not path.is_file():
        return "None has been recorded; `python -m benchmarks.breakdown` measures it."
    from benchmarks.breakdown import KINDS
    from paper.benchmarks import machine_line

    record = json.loads(path.read_text(encoding="utf-8"))
    modes = {one["mode"]: one for one in record["results"]}
    totals = {mode: sum(one["seconds"].values()) for mode, one in modes.items()}
    lines = ["| kind | training step, ms | share | forward, ms | share |", "|:--|--:|--:|--:|--:|"]
    for kind, words in KINDS.items():
        times = {mode: modes[mode]["seconds"][kind] for mode in ("train", "forward")}
        cells = [f"{1e3 * time:.0f} | {time / totals[mode]:.1%}" for mode, time in times.items()]
        lines.append(f"| {words} | {cells[0]} | {cells[1]} |")
    floors = [f"{1e3 * modes[mode]['products_floor_s']:.0f} | " for mode in ("train", "forward")]
    lines.append(f"| floor of all products | {floors[0]}| {floors[1]}|")
    settings = record["settings"]
    return "\n".join(
        [
            *lines,
            "",
            f"NFNet-{settings['network']} at {settings['resolution']} px, batch {settings['batch']}, on one core, "
            f"where nothing overlaps; products reach {record['sgemm_flops'] / 1e9:.0f} GFLOP/s there. Measured on "
            f"{machine_line(record['machine'])}.",
        ]
    )


def scaling(path: Path = SCALING) -> str:
    """The table of how a step grows with each size, or how to make it."""
    if not path.is_file():
        return "None has been recorded; `python -m benchmarks.scaling` measures it."
    from benchmarks.timing import slope
    from paper.benchmarks import machine_line

    record = json.loads(path.read_text(encoding="utf-8"))
    lines = ["| sweep | sizes | step, ms | exponent of time | exponent of operations |", "|:--|:--|:--|--:|--:|"]
    sweeps: dict[str, list[dict[str, Any]]] = {}
    for one in record["results"]:
        sweeps.setdefault(one["sweep"], []).append(one)
    for sweep, found in sweeps.items():
        sizes = [one["size"] for one in found]
        times = [f"{1e3 * one['seconds']['median']:.3g}" for one in found]
        operations = slope(sizes, [one["macs"] for one in found])
        cells = [
            sweep,
            ", ".join(map(str, sizes)),
            ", ".join(times),
            f"{found[0]['exponent']:.2f}",
            f"{operations:z.2f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    settings = record["settings"]
    smallest = f"The small network's training step, from {settings['resolution']} px and batch {settings['batch']} on."
    return "\n".join([*lines, "", f"{smallest} Measured on {machine_line(record['machine'])}."])


def performance() -> dict[str, str]:
    """The generated parts of docs/performance.md."""
    return {"breakdown": breakdown(), "formulations": formulations(), "scaling": scaling()}


def _speed_cells(row: pd.Series | None) -> tuple[str, str]:
    if row is None:
        return "", ""
    ratio = "" if math.isnan(row.speedup) else f"{row.speedup:.2f}x ({row.speedup_low:.2f} to {row.speedup_high:.2f})"
    return f"{row.seconds:.3g} s", ratio


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
    parts = {README: blocks(study, evaluate(study)), PERFORMANCE: performance()}
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
        temporary = path.with_suffix(".tmp")
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
