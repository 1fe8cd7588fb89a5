"""A training step and a forward pass of ours, beside the released Haiku code and timm.

    python -m benchmarks.model --released CHECKOUT --timm-python PYTHON [--micro]

Every implementation runs in a process of its own, and they take single steps in turn, so that what else the machine
does touches all alike.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.driver import ROOT, Measured, Worker, environment, interleave
from benchmarks.machine import describe
from benchmarks.report import RESULTS, emit, parser, positive, run, say
from benchmarks.timing import ratios, summary
from nfnet.errors import UserError

__all__ = ["MICRO", "compare", "jax_worker", "known_peak", "main", "rows_of", "torch_worker"]

# Stage 1 has 16 channels between its projections, one group as in F0.
MICRO: dict[str, Any] = {"widths": [32, 64, 128, 128], "depths": [1, 2, 6, 3], "group_width": 16}
MODES = ("train", "forward")
FLOPS_PER_MAC = {"train": 6, "forward": 2}  # the backward pass costs two forward ones
PEAKS = {"NVIDIA H100": 989e12, "NVIDIA H200": 989e12}
"""Dense bfloat16 peaks that makers state, by the start of the device's kind, in FLOP/s."""

_COLUMNS: tuple[str, ...] = ("mode", "implementation", "median s", "min s", "max s", "x released", "low", "high")
_COLUMNS += ("images/s", "TFLOP/s", "share of peak", "compile s", "temp MiB", "peak RSS MiB")


def jax_worker(name: str, settings: Mapping[str, Any], env: Mapping[str, str], seconds: float | None = None) -> Worker:
    """Starts a worker of `benchmarks.worker_jax`; see `Worker`."""
    return Worker(name, [sys.executable, "-m", "benchmarks.worker_jax"], settings, env, seconds)


def torch_worker(
    python: str, name: str, settings: Mapping[str, Any], env: Mapping[str, str], seconds: float | None = None
) -> Worker:
    """Starts a worker of `benchmarks/worker_torch.py` by an interpreter that has torch and timm; see `Worker`."""
    return Worker(name, [python, str(ROOT / "benchmarks" / "worker_torch.py")], settings, env, seconds)


def known_peak(device_kind: str) -> float | None:
    """Returns the stated bfloat16 peak of an accelerator, where it is known."""
    return next((peak for kind, peak in PEAKS.items() if device_kind.startswith(kind)), None)


def compare(
    settings: Mapping[str, Any],
    modes: Sequence[str],
    timm_python: str | None,
    rounds: int,
    env: Mapping[str, str],
    compilations: int = 1,
) -> dict[str, Any]:
    """Measures all implementations.

    Args:
        settings: `network`, `resolution`, `batch`, `dtype`, `classes`, and `released`, a path or None.
        modes: "train" and "forward", either or both.
        timm_python: An interpreter with torch and timm, or None.
        rounds: Steps of each that are kept.
        env: Environment of all workers.
        compilations: How often each compiles its training step; the median is kept.
    """
    matmul = {"implementation": "matmul", "dtype": settings["dtype"]}
    (product,) = interleave([partial(jax_worker, "matmul", matmul, env)], rounds, say)
    measured_peak = 2 * product["side"] ** 3 / min(product["steps"])
    peak = {"measured": measured_peak, "side": product["side"], "stated": None}
    if settings["dtype"] == "bfloat16":
        peak["stated"] = known_peak(product["device_kind"])
    versions: dict[str, str] = {}
    results = []
    for mode in modes:
        starts: list[Callable[[], Worker]] = [
            partial(jax_worker, name, {**settings, "implementation": name, "mode": mode}, env)
            for name in (("released", "ours") if settings["released"] else ("ours",))
        ]
        for name in ("timm eager", "timm compile") if timm_python else ():
            one = {**settings, "implementation": name, "mode": mode}
            starts.append(partial(torch_worker, str(timm_python), name, one, env))
        say(f"{mode}: starting {len(starts)} workers")
        measured = interleave(starts, rounds, say, compilations=compilations if mode == "train" else 1)
        for one in measured:
            versions |= one.get("packages", {})
        results += [
            _result(mode, one, measured, settings["batch"], peak["stated"] or measured_peak) for one in measured
        ]
    machine = describe(dict(env))
    machine["packages"] |= versions
    return {
        "benchmark": "model",
        "machine": machine | {"device_kind": product["device_kind"]},
        "settings": {**settings, "released": bool(settings["released"]), "rounds": rounds},
        "peak_flops_per_s": peak,
        "results": results,
    }


def _result(mode: str, one: Measured, measured: Sequence[Measured], batch: int, peak: float) -> dict[str, Any]:
    released = next((other for other in measured if other["name"] == "released"), None)
    macs = next(other["macs_per_image"] for other in measured if other["name"] == "ours")
    seconds = summary(one["steps"])
    rate = FLOPS_PER_MAC[mode] * macs * batch / seconds["median"]
    return {
        "mode": mode,
        "implementation": one["name"],
        "seconds": seconds,
        "speedup": None if released is None else ratios(released["steps"], one["steps"]),
        "images_per_s": batch / seconds["median"],
        "flops_per_s": rate,
        "share_of_peak": rate / peak,
        "compile_s": one["compile_s"],
        "compilations": one["compilations"],
        "temp_bytes": one["temp_bytes"],
        "peak_rss_bytes": one["peak_rss_bytes"],
        "steps": one["steps"],
    }


def rows_of(record: Mapping[str, Any]) -> list[list[Any]]:
    """Returns the table's rows."""
    rows = []
    for one in record["results"]:
        speedup = one["speedup"] or dict.fromkeys(("median", "low", "high"))
        row = [one["mode"], one["implementation"], *one["seconds"].values()]
        row += [speedup[key] for key in ("median", "low", "high")]
        row += [one["images_per_s"], one["flops_per_s"] / 1e12, one["share_of_peak"], one["compile_s"]]
        row += [None if one[key] is None else one[key] / 2**20 for key in ("temp_bytes", "peak_rss_bytes")]
        rows.append(row)
    return rows


def _parser() -> argparse.ArgumentParser:
    result = parser("model", "Measure a training step and a forward pass, beside the released code and timm.")
    result.add_argument("--released", type=Path, metavar="FOLDER", help="checkout that holds the released nfnets/")
    result.add_argument("--timm-python", metavar="PYTHON", help="interpreter that has torch and timm")
    result.add_argument("--variant", default="F0", help="network (%(default)s)")
    result.add_argument("--micro", action="store_true", help="a small network at 32 px, 10 classes, batch 64")
    result.add_argument("--resolution", type=positive, help="pixels (192, micro 32)")
    result.add_argument("--batch", type=positive, help="images a step (8, micro 64)")
    result.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="images (%(default)s)")
    result.add_argument("--rounds", type=positive, default=10, help="steps of each that are kept (%(default)s)")
    result.add_argument(
        "--compilations", type=positive, default=3, help="of each training step; the median is kept (%(default)s)"
    )
    result.add_argument("--modes", default="train,forward", help="either or both of %(default)s")
    result.add_argument("--allocator", choices=("default", "hugepages"), default="default", help="of all workers alike")
    return result


def _main(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    modes = options.modes.split(",")
    if not set(modes) <= set(MODES):
        raise UserError(f"--modes is {options.modes!r}: give train, forward, or train,forward.")
    if options.released is not None and not (options.released / "nfnets" / "nfnet.py").is_file():
        raise UserError(f"--released {options.released} holds no nfnets/nfnet.py: pass the folder above nfnets/.")
    from nfnet.cost.cost import network_cost

    resolution = options.resolution or (32 if options.micro else 192)
    if not options.micro:
        network_cost(options.variant, resolution)  # names an unknown variant before any worker starts
    settings = {
        "network": MICRO if options.micro else options.variant,
        "resolution": resolution,
        "batch": options.batch or (64 if options.micro else 8),
        "dtype": options.dtype,
        "classes": 10 if options.micro else 1000,
        "allocator": options.allocator,
        "released": None if options.released is None else str(options.released.resolve()),
    }
    # timm's interpreter is a link into another installation: resolving it would lose its packages.
    record = compare(
        settings, modes, options.timm_python, options.rounds, environment(options.allocator), options.compilations
    )
    name = "model" + "_micro" * options.micro + "_hugepages" * (options.allocator == "hugepages")
    emit(options.out or RESULTS / f"{name}.json", record, _COLUMNS, rows_of(record))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0, or 2 at bad input."""
    return run(lambda: _main(arguments))


if __name__ == "__main__":
    sys.exit(main())
