"""The tables that README and docs/performance.md show of `benchmarks/results/`, or how to make what is missing."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.breakdown import KINDS
from benchmarks.gpu import KERNELS
from benchmarks.model import MODES
from benchmarks.timing import slope
from paper.benchmarks import COMMAND, RESULTS, load_speeds, machine_line

__all__ = ["accelerator", "breakdown", "formulations", "inference", "performance", "scaling", "speed", "speed_in_short"]

FORMULATIONS, BREAKDOWN, SCALING = (RESULTS / f"{name}.json" for name in ("formulations", "breakdown", "scaling"))


def speed(speeds: pd.DataFrame) -> str:
    """The tables of measured speeds, one a file, or how to make them."""
    if speeds.empty:
        return f"No speeds have been recorded; `{COMMAND}` measures them."
    parts = []
    for _, of_file in speeds.groupby("file", sort=True):
        first = of_file.iloc[0]
        lines = [
            f"**{first.cpu.removesuffix(' Processor')}.** "
            f"{first.network}{first['shape']}, {first.resolution} px, batch {first.batch}, {first['dtype']}"
            f"{', memory in large pages for all' if first.allocator == 'hugepages' else ''}; a speed-up is the "
            "median over interleaved rounds, with its range; memory and compilation are training's:",
            "",
            "| implementation | training step | speed-up | forward | speed-up | peak memory | compilation |",
            "|:--|--:|--:|--:|--:|--:|--:|",
        ]
        for cells, train in _speed_rows(of_file):
            memory = "" if train is None else f"{train.peak_rss_bytes / 2**20:,.0f} MiB"
            compiling = "" if train is None or math.isnan(train.compile_s) else f"{train.compile_s:.1f} s"
            lines.append("| " + " | ".join([*cells, memory, compiling]) + " |")
        parts.append("\n".join([*lines, "", f"Measured on {first.machine}."]))
    return "\n\n".join(parts)


def _speed_rows(of_file: pd.DataFrame) -> Iterator[tuple[list[str], pd.Series | None]]:
    """Each implementation's name and speeds as cells, and its measurement of training, if any."""
    for name in dict.fromkeys(of_file.implementation):
        by_mode = {row["mode"]: row for _, row in of_file[of_file.implementation == name].iterrows()}
        yield [str(name), *(text for mode in MODES for text in _speed_cells(by_mode.get(mode)))], by_mode.get("train")


def speed_in_short(speeds: pd.DataFrame) -> str:
    """One sentence with our speed on each processor, and the table of the first, or how to make them.

    F0 in default settings, measured at committed code: what else was measured is in docs/performance.md.
    """
    clean = speeds[~speeds.machine.str.contains("-dirty") & (speeds.allocator == "default")]
    chosen = clean[clean.network == "NFNet-F0"]
    if chosen.empty:
        return f"No speeds have been recorded; `{COMMAND}` measures them."
    ours = chosen[(chosen.implementation == "ours") & (chosen["mode"] == "train")]
    told = [
        f"{row.speedup:.2f} ({row.speedup_low:.2f} to {row.speedup_high:.2f}) times on "
        f"{str(row.cpu).removesuffix(' Processor')}"
        for _, row in ours.iterrows()
    ]
    _, table = next(iter(chosen.groupby("file", sort=True)))
    first = table.iloc[0]
    lines = [
        f"A training step of {first.network} is faster than the released code's by {' and '.join(told)}; "
        "[Performance](docs/performance.md) has forward passes, memory, other networks and GPUs.",
        "",
        "| implementation | training step | speed-up | forward | speed-up |",
        "|:--|--:|--:|--:|--:|",
    ]
    lines += ["| " + " | ".join(cells) + " |" for cells, _ in _speed_rows(table)]
    settings = f"{first.resolution} px, batch {first.batch}, {first['dtype']}"
    return "\n".join([*lines, "", f"{settings}; medians of interleaved rounds, and their range. On {first.machine}."])


_MODES = {"train": "training", "forward": "forward"}


def accelerator(path: Path) -> str:
    """What was measured on an accelerator: speeds, memory, where the time goes."""
    record = json.loads(path.read_text(encoding="utf-8"))
    lines = [
        "| network | mode | px | batch | implementation | images/s | utilisation | x released | compilation | memory |",
        "|:--|:--|--:|--:|:--|--:|--:|--:|--:|--:|",
    ]
    for one in record["results"]:
        name = one["implementation"] + (f", `{one['flags']}`" if one["flags"] else "")
        cells = [one["network"], _MODES[one["mode"]], str(one["resolution"]), str(one["batch"]), name]
        cells += [f"{one['images_per_s']:,.0f}", _share(one["utilisation"]), _range(one["speedup"])]
        cells += [f"{one['compile_s']:.0f} s", f"{one['peak_device_bytes'] / 2**30:.1f} GiB"]
        lines.append("| " + " | ".join(cells) + " |")
    profiled = [one for one in record["results"] if one["kernels_s"] and not one["flags"]]
    titles = [f"{one['network']} {_MODES[one['mode']]}, {one['implementation']}" for one in profiled]
    lines += ["", f"| ms a step | {' | '.join(titles)} |", f"|:--|{'--:|' * len(titles)}"]
    for kind, title in KERNELS.items():
        times = [f"{1e3 * one['kernels_s'][kind]:.1f}" for one in profiled]
        lines.append(f"| {title} | {' | '.join(times)} |")
    peak = record["peak_flops_per_s"]
    lines += [
        "",
        "Everything in bfloat16. Utilisation: the multiplications and additions of a step, six for each multiply-add "
        "of a forward pass in training and two in a forward pass, over the peak that the maker states, "
        f"{peak['stated'] / 1e12:,.0f} TFLOP/s; a product of random matrices of side {peak['side']} reached "
        f"{peak['measured'] / 1e12:,.0f}. Memory is the most that was in use at once. Times are medians of interleaved "
        "rounds; programs of a wave compiled side by side. All programs have "
        f"`{record['machine']['environment']['XLA_FLAGS']}`; what else they have is named. "
        f"Measured on {machine_line(record['machine'])}.",
    ]
    if record["pipeline"]:
        lines += [
            "",
            f"The input pipeline makes {record['pipeline']['images_per_s']:,.0f} images/s of JPEGs of 500 x 375 "
            f"pixels with {record['pipeline']['workers']} processes of that machine.",
        ]
    if record["unfinished"]:
        names = ", ".join(f"{one['case']} ({one['why']})" for one in record["unfinished"])
        lines += ["", f"What could not be measured in the time given: {names}."]
    return "\n".join(lines)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _range(speedup: dict[str, float] | None) -> str:
    return "" if speedup is None else f"{speedup['median']:.2f} ({speedup['low']:.2f} to {speedup['high']:.2f})"


def memory(variants: Sequence[str] = ("F0", "F1", "F3", "F7+"), resolution: int = 224) -> str:
    """The memory that training is expected to need, the largest batches, and what was measured."""
    from nfnet.cost.cost import largest_batch, network_cost, training_bytes

    measured: dict[str, list[str]] = {}
    for path in sorted(RESULTS.glob("gpu_*.json")):
        for one in json.loads(path.read_text(encoding="utf-8"))["results"]:
            if (one["mode"], one["implementation"], one["flags"], one["resolution"]) == (
                "train",
                "ours",
                "",
                resolution,
            ):
                expected = training_bytes(network_cost(one["network"], resolution), one["batch"])
                text = f"{one['peak_device_bytes'] / 2**30:.1f} GiB at {one['batch']}, {expected / 2**30:.1f} expected"
                measured.setdefault(one["network"], []).append(text)
    lines = [
        "| network | state | an image | rematerialized | batch in 80 GB | in 140 GB | measured |",
        "|:--|--:|--:|--:|--:|--:|:--|",
    ]
    for name in variants:
        cost = network_cost(name, resolution)
        state = training_bytes(cost, 0)
        images = [training_bytes(cost, 1, remat=remat) - state for remat in (False, True)]
        sizes = [f"{state / 2**30:.1f} GiB", *(f"{size / 2**20:.0f} MiB" for size in images)]
        batches = [
            f"{largest_batch(cost, size):,} ({largest_batch(cost, size, remat=True):,})" for size in (80e9, 140e9)
        ]
        lines.append("| " + " | ".join([name, *sizes, *batches, "; ".join(measured.get(name, []))]) + " |")
    return "\n".join([*lines, "", f"Training at {resolution} px in bfloat16; in brackets with blocks recomputed."])


def formulations(path: Path = FORMULATIONS) -> str:
    """The table of formulations and what they leave as the floor of a step, or how to make them."""
    if not path.is_file():
        return "None has been recorded; `python -m benchmarks.formulations` measures them."
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
    record = json.loads(path.read_text(encoding="utf-8"))
    modes = {one["mode"]: one for one in record["results"]}
    lines = [
        "| kind | training step, ms | share | least, ms | forward, ms | share | least, ms |",
        "|:--|--:|--:|--:|--:|--:|--:|",
    ]
    totals = {mode: sum(one["seconds"].values()) for mode, one in modes.items()}
    for kind, words in KINDS.items():
        cells = [
            f"{1e3 * modes[mode]['seconds'][kind]:.0f} | {modes[mode]['seconds'][kind] / totals[mode]:.1%} | "
            f"{1e3 * modes[mode]['least_s'][kind]:.0f}"
            for mode in MODES
        ]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    cells = [f"{1e3 * totals[mode]:.0f} | | {1e3 * sum(modes[mode]['least_s'].values()):.0f}" for mode in MODES]
    lines.append(f"| all | {' | '.join(cells)} |")
    cells = [f"| | {1e3 * modes[mode]['products_floor_s']:.0f}" for mode in MODES]
    lines.append(f"| all products, computed directly | {' | '.join(cells)} |")
    settings = record["settings"]
    rates = [f"{modes[mode]['best_flops_per_s'] / 1e9:.0f}" for mode in MODES]
    return "\n".join(
        [
            *lines,
            "",
            f"NFNet-{settings['network']} at {settings['resolution']} px, batch {settings['batch']}, on one core, "
            "where nothing overlaps. Least: each operation's products at the best rate that one reached "
            f"({rates[0]} GFLOP/s in training, {rates[1]} forward), or its bytes at the rate of copies "
            f"({record['copy_bytes_per_s'] / 1e9:.0f} GB/s), whichever is longer. Measured on "
            f"{machine_line(record['machine'])}.",
        ]
    )


def scaling(path: Path = SCALING) -> str:
    """The table of how a step grows with each size, or how to make it."""
    if not path.is_file():
        return "None has been recorded; `python -m benchmarks.scaling` measures it."
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


def inference(path: Path = RESULTS / "inference_f0.json") -> str:
    """The times of forward passes as one would serve them, or how to measure them."""
    if not path.is_file():
        return "None have been measured; `python -m benchmarks.inference` measures them."
    record = json.loads(path.read_text(encoding="utf-8"))
    rivals = ("released", "timm compile", "timm ONNX")
    lines = [
        f"| batch | implementation | GELU and floor of | median | {' | '.join(f'x {one}' for one in rivals)} | "
        "logits differ by | ready after |",
        "|--:|:--|:--|--:|--:|--:|--:|--:|--:|",
    ]
    for one in record["results"]:
        cells = [str(one["batch"]), one["implementation"], one["network_of"], f"{one['seconds']['median']:.3g} s"]
        cells += [_range(one["speedup"].get(rival)) for rival in rivals]
        cells += [f"{one['logits_differ_by']:.0e}", f"{one['ready_s']:.1f} s"]
        lines.append("| " + " | ".join(cells) + " |")
    settings = record["settings"]
    lines += [
        "",
        f"NFNet-{settings['network']} at {settings['resolution']} px, float32; x is how many times as fast, the median "
        f"over {settings['rounds']} interleaved rounds with its range, in which what else the machine does touches all "
        "alike. Logits differ, in their standard deviations, from those of the first row with the same batch, GELU and "
        f"floor. ONNX files run under ONNX Runtime. Measured on {machine_line(record['machine'])}.",
    ]
    return "\n".join(lines)


def performance() -> dict[str, str]:
    """The generated parts of docs/performance.md."""
    measured = [accelerator(path) for path in sorted(RESULTS.glob("gpu_*.json"))]
    parts = {"breakdown": breakdown(), "formulations": formulations(), "scaling": scaling(), "memory": memory()}
    parts |= {"inference": inference(), "speed": speed(load_speeds())}
    return {**parts, "gpu": "\n\n".join(measured) or "None has been measured; `python -m benchmarks.gpu` measures one."}


def _speed_cells(row: pd.Series | None) -> tuple[str, str]:
    if row is None:
        return "", ""
    ratio = "" if math.isnan(row.speedup) else f"{row.speedup:.2f}x ({row.speedup_low:.2f} to {row.speedup_high:.2f})"
    return f"{row.seconds:.3g} s", ratio
