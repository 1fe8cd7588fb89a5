"""Measures what a training image costs each network of the replication, before its first run.

    python -m paper.replication.speeds --out paper/replication/speeds.csv

Runs share their cores with other work, so their own clocks say little. Compute is counted as the paper counted its
own, images times the cost of one (Section 2), and that cost is measured here, on one idle core (small networks waste a
second one): processor seconds of the compiled training step, the median of several blocks, with their range. The blocks
of all networks are interleaved, so that a slow minute of the machine meets all of them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from nfnet.errors import UserError
from nfnet.files import local_path, replacing
from paper.commands import require_writable, run

STUDIES = Path(__file__).parent / "studies"
BLOCKS = 5
BLOCK_SECONDS = 3.0


def _stepper(study: Any, model: str) -> tuple[Callable[[int], float], float, int, int]:
    """Compiles a network's training step.

    Returns:
        What runs some steps on one batch and returns the processor seconds that they took; the processor seconds of the
        compilation; multiply-adds of an image's forward pass; images a batch.
    """
    import jax
    import jax.numpy as jnp

    from nfnet.studies.sweep import Trial, run_arguments
    from nfnet.training.config_file import load_config
    from nfnet.training.evaluation import on_device
    from nfnet.training.run import assemble
    from nfnet.training.step import make_train_step

    arguments = run_arguments(study, Trial(model, study.epochs[0], study.learning_rates.centre))
    config = load_config(study.config, [one for one in arguments if one.startswith("--config.")])
    with tempfile.TemporaryDirectory() as folder:
        made = assemble(config, Path(folder))
    state: Any = jax.jit(lambda: made.begin(made.init()))()
    with contextlib.closing(made.batches()) as batches:
        batch = on_device(made.mesh, next(batches))
    key, rate = made.key(1), jnp.float32(0.01)
    began = time.process_time()
    step = make_train_step(made.network.forward, made.optimiser, made.steps, made.mesh, state)
    step = step.lower(state, batch, key, rate).compile()
    compiled = time.process_time() - began

    def steps(number: int) -> float:
        nonlocal state
        began = time.process_time()
        for _ in range(number):
            state, _ = step(state, batch, key, rate)
        jax.block_until_ready(state)
        return time.process_time() - began

    steps(2)
    return steps, compiled, made.macs, made.schedule.batch_size


def measure(folder: Path = STUDIES) -> list[dict[str, Any]]:
    """Measures the networks of all studies in a folder; a row each, in the order of the columns of `speeds.csv`."""
    import jax

    from nfnet.studies.sweep import load_study

    studies = {path.stem: load_study(path) for path in sorted(folder.glob("*.toml"))}
    made = {}
    for name, study in studies.items():
        for model in study.models:
            print(f"compiling {name} {model}", file=sys.stderr, flush=True)
            made[name, model] = _stepper(study, model)
    sizes = {which: max(2, round(BLOCK_SECONDS / (steps(4) / 4))) for which, (steps, *_) in made.items()}
    times: dict[tuple[str, str], list[float]] = {which: [] for which in made}
    for block in range(BLOCKS):
        print(f"block {block + 1} of {BLOCKS}", file=sys.stderr, flush=True)
        for which, (steps, _, _, batch) in made.items():
            times[which].append(1000 * steps(sizes[which]) / (sizes[which] * batch))
    return [
        {
            "study": name,
            "model": model,
            "macs": macs,
            "core_seconds_per_1000_images": f"{statistics.median(times[name, model]):.4g}",
            "least": f"{min(times[name, model]):.4g}",
            "most": f"{max(times[name, model]):.4g}",
            "compile_core_seconds": f"{compiled:.3g}",
            "batch": batch,
            "jax": jax.__version__,
        }
        for (name, model), (_, compiled, macs, batch) in made.items()
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns 0, or 2 on bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m paper.replication.speeds",
        description="Measure what a training image costs each network, on one idle core.",
    )
    parser.add_argument("--out", required=True, help="CSV file to write")
    arguments = parser.parse_args(argv)
    try:
        out = local_path(arguments.out, "--out")
        require_writable(out.parent, "--out")
        if hasattr(os, "sched_setaffinity"):  # before JAX counts the cores
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        rows = measure()
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    with replacing(out) as file:
        file.write(pd.DataFrame(rows).to_csv(index=False, lineterminator="\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
