"""The forward pass, as one would serve it: released, ours, ours folded, torch.compile, ONNX files under ONNX Runtime.

    python -m benchmarks.inference --released CHECKOUT --timm-python PYTHON

All compute the same parameters. timm's networks have another GELU and variance floor than the released ones; ours,
folded and exported, are measured in both forms, and logits are compared with the first of each form. Every
implementation runs in a process of its own, and they take single steps in turn.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.driver import ROOT, Worker, environment, interleave
from benchmarks.machine import describe
from benchmarks.report import RESULTS, emit, parser, positive, run, say
from benchmarks.timing import ratios, summary
from nfnet.errors import UserError
from nfnet.inference.export import check_installed

__all__ = ["main", "rows_of"]

_SCRIPT = str(ROOT / "benchmarks" / "inference_torch.py")
_COLUMNS: tuple[str, ...] = ("batch", "implementation", "network of", "median s", "min s", "max s")
_COLUMNS += (
    "x released",
    "low",
    "high",
    "x timm compile",
    "x timm ONNX",
    "logits differ by",
    "ready s",
    "peak RSS MiB",
)


def implementations(released: str | None, timm_python: str | None) -> list[tuple[str, str, dict[str, Any]]]:
    """Returns name, network and settings of each implementation that can be measured."""
    jax, files = "jax", "onnx"
    found: list[tuple[str, str, dict[str, Any]]] = []
    if released:
        found.append(("released", "released", {"kind": jax, "implementation": "released", "released": released}))
    for of in ("released", "timm"):
        found.append(("ours", of, {"kind": jax, "implementation": "ours"}))
        found.append(("ours folded", of, {"kind": jax, "implementation": "folded"}))
        if timm_python:
            found.append(("ours ONNX", of, {"kind": files, "file": f"ours_{of}.onnx"}))
    if timm_python:
        found.append(("timm compile", "timm", {"kind": "torch"}))
        found.append(("timm ONNX", "timm", {"kind": files, "file": "timm.onnx"}))
    return found


def _export(folder: Path, settings: Mapping[str, Any]) -> None:
    """Writes our ONNX files."""
    from benchmarks.inference_jax import network_config
    from nfnet.inference.fold import fold
    from nfnet.inference.onnx_graph import build, save
    from nfnet.weights.load import read_checkpoint

    params = read_checkpoint(folder / "timm.safetensors")
    for of in ("released", "timm"):
        config = network_config({**settings, "of": of})
        save(build(fold(params, config)[1], config, settings["resolution"]), folder / f"ours_{of}.onnx")


def compare(
    settings: Mapping[str, Any], released: str | None, timm_python: str, rounds: int, env: Mapping[str, str]
) -> dict[str, Any]:
    """Measures all implementations.

    Args:
        settings: `network`, `resolution`, `batches`, `classes`.
        released: Checkout of the released code, or None.
        timm_python: An interpreter with torch, timm and onnxruntime.
        rounds: Steps of each that are kept.
        env: Environment of all workers.
    """
    results: list[dict[str, Any]] = []
    versions: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        say("making weights, images and ONNX files")
        made = [timm_python, _SCRIPT, "make", str(folder), json.dumps(dict(settings))]
        if subprocess.run(made, env=dict(env), stdout=subprocess.DEVNULL).returncode:
            raise UserError(f"{timm_python} cannot export timm's network: install torch, timm, onnx and onnxscript.")
        _export(folder, settings)
        for batch in settings["batches"]:
            chosen = implementations(released, timm_python)
            starts = []
            for name, of, own in chosen:
                given = {**settings, **own, "of": of, "batch": batch, "folder": str(folder)}
                if own["kind"] == "jax":
                    command = [sys.executable, "-m", "benchmarks.inference_jax"]
                else:
                    command = [timm_python, _SCRIPT]
                    given |= {"onnx": str(folder / own["file"])} if own["kind"] == "onnx" else {}
                starts.append(partial(Worker, name, command, given, env))
            say(f"batch {batch}: starting {len(starts)} workers")
            measured = interleave(starts, rounds, say)
            steps = {one["name"]: one["steps"] for one in measured}
            reference: dict[str, np.ndarray] = {}
            for (name, of, _), one in zip(chosen, measured, strict=True):
                versions |= one.get("packages", {})
                logits = np.asarray(one["logits"])
                first = reference.setdefault(of, logits)
                results.append(
                    {
                        "batch": batch,
                        "implementation": name,
                        "network_of": of,
                        "seconds": summary(one["steps"]),
                        "speedup": {
                            other: ratios(steps[other], one["steps"])
                            for other in ("released", "timm compile", "timm ONNX")
                            if other in steps
                        },
                        "logits_differ_by": float(np.abs(logits - first).max() / first.std()),
                        "ready_s": one["compile_s"],
                        "peak_rss_bytes": one["peak_rss_bytes"],
                        "steps": one["steps"],
                    }
                )
    machine = describe(dict(env)) | {"device_kind": "cpu"}
    machine["packages"] |= versions
    shown = {**settings, "released": bool(released), "rounds": rounds}
    return {"benchmark": "inference", "machine": machine, "settings": shown, "results": results}


def rows_of(record: Mapping[str, Any]) -> list[list[Any]]:
    """Returns the table's rows."""
    rows = []
    for one in record["results"]:
        speedup = one["speedup"]
        against = speedup.get("released") or dict.fromkeys(("median", "low", "high"))
        row = [one["batch"], one["implementation"], one["network_of"], *one["seconds"].values()]
        row += [against[key] for key in ("median", "low", "high")]
        row += [speedup[other]["median"] if other in speedup else None for other in ("timm compile", "timm ONNX")]
        rows.append([*row, one["logits_differ_by"], one["ready_s"], one["peak_rss_bytes"] / 2**20])
    return rows


def _parser() -> argparse.ArgumentParser:
    result = parser("inference", "Measure the forward pass as one would serve it, on CPUs.")
    result.add_argument("--released", type=Path, metavar="FOLDER", help="checkout that holds the released nfnets/")
    result.add_argument(
        "--timm-python", metavar="PYTHON", required=True, help="interpreter with torch, timm, onnx, onnxruntime"
    )
    result.add_argument("--variant", default="F0", help="network (%(default)s)")
    result.add_argument("--resolution", type=positive, default=192, help="pixels (%(default)s)")
    result.add_argument("--batches", default="8,1", help="images of a pass (%(default)s)")
    result.add_argument("--rounds", type=positive, default=10, help="passes of each that are kept (%(default)s)")
    return result


def _main(arguments: Sequence[str] | None) -> int:
    options = _parser().parse_args(arguments)
    if options.released is not None and not (options.released / "nfnets" / "nfnet.py").is_file():
        raise UserError(f"--released {options.released} holds no nfnets/nfnet.py: pass the folder above nfnets/.")
    check_installed(".onnx")
    settings = {
        "network": options.variant,
        "resolution": options.resolution,
        "batches": [positive(text) for text in options.batches.split(",")],
        "classes": 1000,
    }
    released = None if options.released is None else str(options.released.resolve())
    record = compare(settings, released, options.timm_python, options.rounds, environment(JAX_PLATFORMS="cpu"))
    out = options.out or RESULTS / f"inference_{options.variant.lower()}.json"
    emit(out, record, _COLUMNS, rows_of(record))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0, or 2 at bad input."""
    return run(lambda: _main(arguments))


if __name__ == "__main__":
    sys.exit(main())
