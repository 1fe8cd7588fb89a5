"""Where the time of our training step and forward pass goes on a CPU, by kind of operation.

    python -m benchmarks.breakdown [--variant F0] [--resolution 192] [--batch 8]

Steps run under JAX's profiler on one core, so that operations follow one another and their times add up to the
step's. Each is assigned to a kind by what its fused computation holds and by the shape that it yields. Beside its time
stands the least that it could take: its products at the best rate that any product reached, or its bytes at the rate of
copies, whichever is longer.
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

from benchmarks.hlo import CONTAINERS, Work, parse, work
from benchmarks.model import FLOPS_PER_MAC, MODES
from benchmarks.report import RESULTS, emit, parser, positive, run, say
from nfnet.errors import UserError

__all__ = ["KINDS", "best_rate", "by_kind", "classify", "durations", "kinds", "least", "main", "profile"]

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
PRODUCTS = ("convolution", "dot")
_LARGE = 10**8  # operations of a product from which on its rate counts: shorter ones cannot be timed well


def kinds(program: str, weights: frozenset[tuple[int, ...]]) -> dict[str, str]:
    """Returns the kind of every instruction of an optimised HLO module, "" for calls, conditions and loops.

    Args:
        program: The module's text.
        weights: Shapes of parameters of two and more axes, as they are and as matrices.
    """
    computations = parse(program)
    result = {}
    for one in (one for body in computations.values() for one in body):
        operations = {each.operation for each in computations[one.called]} if one.called else {one.operation}
        kind = "" if one.operation in CONTAINERS else classify(operations, one.shape, weights)
        if kind and re.search(r'op_name="[^"]*\b(winograd|patches)\b', one.text):  # named scopes
            kind = "convolution" if _is_large_product(operations, one.shape) else "winograd"
        result[one.name] = kind
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


def durations(folder: Path) -> Iterator[tuple[str, str, float]]:
    """Yields the instruction, the name of what ran for it, and the seconds of all that a profiler's folder holds."""
    for path in folder.rglob("*.trace.json.gz"):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            events = json.load(file)["traceEvents"]
        for event in events:
            if event.get("ph") == "X" and "hlo_op" in event.get("args", {}):
                yield event["args"]["hlo_op"], event["name"], event["dur"] / 1e6


def profile(
    step: Callable[[], object], steps: int, key: Callable[[str, str], str] = lambda instruction, ran: instruction
) -> dict[str, float]:
    """Returns the seconds of each instruction in a step, the mean of `steps`.

    Args:
        step: Takes a step and waits for it; called once before the profile.
        steps: How many to profile.
        key: What times are added up by, given an instruction and the name of what ran for it.
    """
    import jax

    step()
    spent: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(steps):
                step()
        for instruction, ran, seconds in durations(Path(folder)):
            name = key(instruction, ran)
            spent[name] = spent.get(name, 0.0) + seconds / steps
    return spent


def by_kind(seconds: Mapping[str, float], kind: Mapping[str, str]) -> dict[str, float]:
    """Adds up the seconds of instructions by kind, those of calls, conditions and loops left out."""
    total = dict.fromkeys(KINDS, 0.0)
    for name, one in seconds.items():
        if found := kind.get(name, "other"):
            total[found] += one
    return total


def best_rate(seconds: Mapping[str, float], works: Mapping[str, Work], kind: Mapping[str, str]) -> float:
    """Returns the highest FLOP/s that a large product reached, 0 where there is none."""
    large = [name for name, one in works.items() if kind[name] in PRODUCTS and one.flops >= _LARGE]
    return max((works[name].flops / seconds[name] for name in large if seconds.get(name)), default=0.0)


def least(works: Mapping[str, Work], flops: float, bandwidth: float) -> dict[str, float]:
    """Returns the seconds that each instruction takes at least, at rates in FLOP/s and bytes/s."""
    return {name: max(one.flops / flops, one.bytes / bandwidth) for name, one in works.items()}


def _profile_network(settings: Mapping[str, Any], steps: int, matmul: float, bandwidth: float) -> dict[str, Any]:
    import jax

    from benchmarks.worker_jax import compile_network

    step, description, compiled = compile_network(settings)
    images = (settings["batch"], settings["resolution"], settings["resolution"], 3)
    shapes = {leaf.shape for leaf in jax.tree.leaves(compiled.args_info) if len(leaf.shape) > 1} - {images}
    matrices = {(shape[0] * shape[1] * shape[2], shape[3]) for shape in shapes if len(shape) == 4}
    program = compiled.as_text() or ""
    kind, works = kinds(program, frozenset(shapes | matrices)), work(program)
    seconds = profile(step, steps)
    macs = description["macs_per_image"] * settings["batch"]
    rate = max(matmul, best_rate(seconds, works, kind))
    return {
        "mode": settings["mode"],
        "seconds": by_kind(seconds, kind),
        "least_s": by_kind(least(works, rate, bandwidth), kind),
        "products_floor_s": FLOPS_PER_MAC[settings["mode"]] * macs / rate,
        "flops": sum(one.flops for one in works.values()),
        "bytes": sum(one.bytes for one in works.values()),
        "best_flops_per_s": rate,
    }


def _main(arguments: Sequence[str] | None) -> int:
    line = parser("breakdown", "Measure where the time of a step goes, by kind of operation.")
    line.add_argument("--variant", default="F0", help="network (%(default)s)")
    line.add_argument("--resolution", type=positive, default=192, help="pixels (%(default)s)")
    line.add_argument("--batch", type=positive, default=8, help="images a step (%(default)s)")
    line.add_argument("--steps", type=positive, default=3, help="steps to take the mean of (%(default)s)")
    options = line.parse_args(arguments)
    from nfnet.cost.cost import network_cost

    network_cost(options.variant, options.resolution)  # names an unknown variant before the work
    if not hasattr(os, "sched_setaffinity"):
        raise UserError("This system cannot keep a process on one core: run benchmarks.breakdown on Linux.")
    # Before JAX starts its threads: on one core nothing overlaps.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    from benchmarks.bandwidth import copy_rate
    from benchmarks.machine import describe
    from benchmarks.worker_jax import prepare

    settings = {"implementation": "ours", "network": options.variant, "classes": 1000, "dtype": "float32"}
    settings |= {"batch": options.batch, "resolution": options.resolution}
    _, matmul = prepare({"implementation": "matmul", "dtype": "float32"})
    bandwidth = copy_rate()
    results: list[dict[str, Any]] = []
    for mode in MODES:
        say(f"{mode}: compiling and profiling")
        results.append(_profile_network({**settings, "mode": mode}, options.steps, matmul["flops_per_s"], bandwidth))
    record = {
        "benchmark": "breakdown",
        "machine": describe() | {"device_kind": matmul["device_kind"]},
        "settings": {**settings, "steps": options.steps},
        "sgemm_flops": matmul["flops_per_s"],
        "copy_bytes_per_s": bandwidth,
        "results": results,
    }
    rows = [
        [one["mode"], KINDS[kind], seconds, seconds / sum(one["seconds"].values()), one["least_s"][kind]]
        for one in results
        for kind, seconds in one["seconds"].items()
    ]
    rows += [[one["mode"], "all products, computed directly", None, None, one["products_floor_s"]] for one in results]
    emit(
        options.out or RESULTS / "breakdown.json",
        record,
        ("mode", "kind", "seconds on one core", "share", "least"),
        rows,
    )
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0, or 2 at bad input."""
    return run(lambda: _main(arguments))


if __name__ == "__main__":
    sys.exit(main())
