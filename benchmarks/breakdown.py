"""Where the time of our training step and forward pass goes on a CPU, by kind of operation.

    python -m benchmarks.breakdown [--variant F0] [--resolution 192] [--batch 8]

Steps run under JAX's profiler on one core, so that operations follow one another and their times add up to the
step's. Each is assigned to a kind by what its fused computation holds and by the shape that it yields.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.model import FLOPS_PER_MAC, MODES
from benchmarks.report import RESULTS, emit, parser, positive, run, say
from nfnet.errors import UserError

__all__ = ["KINDS", "classify", "durations", "kinds", "main", "profile"]

KINDS = {
    "convolution": "3x3 convolutions",
    "dot": "1x1 convolutions and dense layers",
    "winograd": "transforms and copies around the products of 3x3 convolutions",
    "reduce": "sums: statistics, norms, biases, gates",
    "transpose": "transposed copies, for gradients",
    "weights": "elementwise on weights: standardization, clipping, update",
    "activations": "elementwise on activations, slices of groups",
    "other": "what the program does not name",
}
_CONTAINERS = {"call", "conditional", "while"}  # what they hold is profiled too, and would count twice
_INSTRUCTION = re.compile(r"\s*(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\(")
_COMPUTATION = re.compile(r"(?:ENTRY )?%?([\w.\-]+) \(.*\{$")


def kinds(program: str, weights: frozenset[tuple[int, ...]]) -> dict[str, str]:
    """Returns the kind of every instruction of an optimised HLO module, "" for calls, conditions and loops.

    Args:
        program: The module's text.
        weights: Shapes of parameters of two and more axes, as they are and as matrices.
    """
    bodies: dict[str, list[re.Match[str]]] = {}
    body: list[re.Match[str]] = []
    for line in program.splitlines():
        if start := _COMPUTATION.match(line):
            body = bodies.setdefault(start[1], [])
        elif instruction := _INSTRUCTION.match(line):
            body.append(instruction)
    result = {}
    for instruction in (one for body in bodies.values() for one in body):
        name, shape, operation = instruction.groups()
        called = re.search(r"calls=%?([\w.\-]+)", instruction.string)
        operations = {one[3] for one in bodies[called[1]]} if called else {operation}
        kind = "" if operation in _CONTAINERS else classify(operations, shape, weights)
        if kind and re.search(r'op_name="[^"]*\b(winograd|patches)\b', instruction.string):  # named scopes
            kind = "convolution" if _is_large_product(operations, shape) else "winograd"
        result[name] = kind
    return result


def classify(operations: set[str], shape: str, weights: frozenset[tuple[int, ...]]) -> str:
    """Returns the kind of an instruction that computes `operations` and yields an array of a printed shape."""
    for operation in ("convolution", "dot"):
        if operation in operations:
            return operation
    if operations & {"reduce", "reduce-window"}:
        return "reduce"
    sizes = re.match(r"\(?\w+\[([\d,]*)\]", shape)
    dimensions = tuple(int(size) for size in sizes[1].split(",") if size) if sizes else ()
    if "transpose" in operations:
        return "transpose"
    return "weights" if dimensions in weights or len(dimensions) < 2 else "activations"


def _is_large_product(operations: set[str], shape: str) -> bool:
    """Tells the products of tiles and filters, of one matrix a group, from those by the matrices of the transforms."""
    return "dot" in operations and not re.match(r"\w+\[(9|16),\d+\]", shape)


def durations(folder: Path) -> Iterator[tuple[str, float]]:
    """Yields the name and seconds of every operation in a profiler's folder."""
    for path in folder.rglob("*.trace.json.gz"):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            events = json.load(file)["traceEvents"]
        for event in events:
            if event.get("ph") == "X" and "hlo_op" in event.get("args", {}):
                yield event["args"]["hlo_op"], event["dur"] / 1e6


def profile(step: Callable[[], object], kind: Mapping[str, str], steps: int) -> dict[str, float]:
    """Returns the seconds of each kind in a step, the mean of `steps`.

    Args:
        step: Takes a step and waits for it; called once before the profile.
        kind: Of every instruction, from `kinds`.
        steps: How many to profile.
    """
    import jax

    step()
    spent = dict.fromkeys(KINDS, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(steps):
                step()
        for name, seconds in durations(Path(folder)):
            if found := kind.get(name, "other"):
                spent[found] += seconds / steps
    return spent


def _profile_network(settings: Mapping[str, Any], steps: int) -> tuple[dict[str, float], dict[str, Any]]:
    import jax

    from benchmarks.worker_jax import compile_network

    step, description, compiled = compile_network(settings)
    images = (settings["batch"], settings["resolution"], settings["resolution"], 3)
    shapes = {leaf.shape for leaf in jax.tree.leaves(compiled.args_info) if len(leaf.shape) > 1} - {images}
    matrices = {(shape[0] * shape[1] * shape[2], shape[3]) for shape in shapes if len(shape) == 4}
    kind = kinds(compiled.as_text() or "", frozenset(shapes | matrices))
    return profile(step, kind, steps), description


def _main(arguments: Sequence[str] | None) -> int:
    line = parser("breakdown", "Measure where the time of a step goes, by kind of operation.")
    line.add_argument("--variant", default="F0", help="network (%(default)s)")
    line.add_argument("--resolution", type=positive, default=192, help="pixels (%(default)s)")
    line.add_argument("--batch", type=positive, default=8, help="images a step (%(default)s)")
    line.add_argument("--steps", type=positive, default=3, help="steps to take the mean of (%(default)s)")
    options = line.parse_args(arguments)
    from nfnet.compute import variant_cost

    variant_cost(options.variant, options.resolution)  # names an unknown variant before the work
    if not hasattr(os, "sched_setaffinity"):
        raise UserError("This system cannot keep a process on one core: run benchmarks.breakdown on Linux.")
    # Before JAX starts its threads: on one core nothing overlaps.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    from benchmarks.machine import describe
    from benchmarks.worker_jax import prepare

    settings = {"implementation": "ours", "network": options.variant, "classes": 1000, "dtype": "float32"}
    settings |= {"batch": options.batch, "resolution": options.resolution}
    _, matmul = prepare({"implementation": "matmul", "dtype": "float32"})
    results: list[dict[str, Any]] = []
    for mode in MODES:
        say(f"{mode}: compiling and profiling")
        spent, description = _profile_network({**settings, "mode": mode}, options.steps)
        macs = description["macs_per_image"] * options.batch
        floor = FLOPS_PER_MAC[mode] * macs / matmul["flops_per_s"]
        results.append({"mode": mode, "seconds": spent, "products_floor_s": floor})
    record = {
        "benchmark": "breakdown",
        "machine": describe() | {"device_kind": matmul["device_kind"]},
        "settings": {**settings, "steps": options.steps},
        "sgemm_flops": matmul["flops_per_s"],
        "results": results,
    }
    rows = [
        [one["mode"], KINDS[kind], seconds, seconds / sum(one["seconds"].values())]
        for one in results
        for kind, seconds in one["seconds"].items()
    ]
    rows += [[one["mode"], "floor of all products", one["products_floor_s"], None] for one in results]
    emit(options.out or RESULTS / "breakdown.json", record, ("mode", "kind", "seconds on one core", "share"), rows)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0, or 2 at bad input."""
    return run(lambda: _main(arguments))


if __name__ == "__main__":
    sys.exit(main())
