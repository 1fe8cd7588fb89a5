"""Runs the replication's smallest point from end to end, on digits that scikit-learn ships, in minutes.

    python -m paper.replication.smoke --out build/replication

Decoding, the two trials of the smallest NFNet, fine-tuning of the better one, collection of the logs, and their
reading: all that the replication itself goes through, on data that nobody has to fetch. Its numbers mean nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nfnet.errors import UserError, printable
from nfnet.files import local_path
from paper.commands import require_writable, run
from paper.replication.collect import collect
from paper.replication.logs import Replication
from paper.replication.plan import CPU, fine_tuning
from paper.replication.prepare import FINETUNING_SIDE, PRETRAINING_SIDE

MODEL, EPOCHS = "S0", 1.0
SETTINGS = {"model.num_classes": 0, "training.batch_size": 32, "optimiser.warmup_steps": 5}
"""What differs from the replication's own runs: digits have fewer classes, and fewer images."""


def smoke(out: Path) -> Replication:
    """Runs everything below `out`; what is there already is not run again. Returns the runs as they are read.

    Raises:
        UserError: If a folder cannot be written, or a run failed.
    """
    from nfnet import finetune, train
    from nfnet.data.arrays import write_arrays
    from nfnet.data.sources import open_source
    from nfnet.studies.executors import in_process
    from nfnet.studies.sweep import best_trials, load_study, standing
    from nfnet.study import run_study

    data = out / "data"
    for split in ("train", "test"):
        digits = open_source("digits", "", split)
        if split == "train":
            write_arrays(data / "tiny_imagenet", split, digits, PRETRAINING_SIDE)
        write_arrays(data / "cifar10", split, digits, FINETUNING_SIDE)
    whole = load_study(CPU.studies["nfnets"])
    study = replace(
        whole,
        workdir=str(out / "nfnets"),
        models={MODEL: whole.models[MODEL]},
        epochs=(EPOCHS,),
        overrides={**whole.overrides, **SETTINGS, "data.path": str(data / "tiny_imagenet")},
    )
    if run_study(study, in_process(train.main)):
        raise UserError(f"{printable(out)}: a run failed; what it said stands above.")
    (best,) = best_trials(study, lambda trial: standing(study, trial).loss)
    tuned = fine_tuning(CPU.follows["nfnets"].config, study, best, "plain", {**SETTINGS, "training.epochs": EPOCHS})
    if finetune.main(tuned.arguments):
        raise UserError(f"{printable(out)}: fine-tuning failed; what it said stands above.")
    collect(out, out / "runs")
    return Replication.load(out / "runs")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns 0, or 2 on bad input or where a run failed."""
    parser = argparse.ArgumentParser(
        prog="python -m paper.replication.smoke", description="Run the replication's smallest point on digits."
    )
    parser.add_argument("--out", default="build/replication", help="where to write (%(default)s)")
    arguments = parser.parse_args(argv)
    try:
        out = local_path(arguments.out, "--out")
        require_writable(out, "--out")
        replication = smoke(out)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    columns = ["stage", "model", "epochs", "learning_rate", "end", "loss", "top1", "flops", "core_hours"]
    print(replication.runs[columns].to_string(index=False))
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
