"""Our own runs: which have ended, the best of each network and budget, and what they answer beside the paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from paper.tables.table import Table

if TYPE_CHECKING:
    from paper.study import Study

__all__ = ["own_answers", "own_progress", "own_runs"]

PAPER: Mapping[str, str] = {
    "own-log-log-law": "loss-loglog-linear",
    "own-both-grow": "size-grows",
    "own-same-rate": "same-rate",
    "own-one-epoch": "one-epoch-at-5k",
    "own-rate-falls": "learning-rate-falls-with-epochs",
    "own-two-trials": "learning-rate-two-trials",
    "own-swaps": "lowest-loss-not-best",
    "own-repeated-augmentation": "repeated-augmentation-helps",
    "own-convnets-match": "matches-vits",
}
"""The claim of the paper that a prediction of our own runs asks again, where there is one."""


def own_progress(study: Study) -> Table:
    """How many runs have ended, of how many."""
    return Table(
        "own_progress",
        "Our own runs by stage and family: how many have ended, and how many there are to be.",
        study.replication.progress,
        {"stage": "Stage", "family": "Family", "ended": "Ended", "planned": "Planned"},
    )


def own_runs(study: Study) -> Table:
    """Of each network and epoch budget the run with the better of two learning rates."""
    import pandas as pd

    runs = pd.concat([study.replication.tuned(family) for family in ("nfnets", "vits")], ignore_index=True)
    runs["top1_percent"] = 100 * runs.top1.astype(float)
    return Table(
        "own_runs",
        "Our own pre-training runs on Tiny-ImageNet at 32 px: of each network and epoch budget the better of two "
        "learning rates (paper/replication/runs).",
        runs,
        {
            "family": "Family",
            "model": "Model",
            "epochs": "Epochs",
            "learning_rate": "Learning rate",
            "parameters": "Parameters",
            "macs": "Multiply-adds an image",
            "flops": "Compute (FLOPs)",
            "core_hours": "Compute (core hours)",
            "loss": "Held-out loss (nats)",
            "top1_percent": "Held-out top-1 (%)",
            "log": "Log",
        },
        {
            "epochs": "g",
            "learning_rate": "g",
            "parameters": ",",
            "macs": ",",
            "flops": ".3g",
            "core_hours": ".3g",
            "loss": ".3f",
            "top1_percent": ".1f",
        },
    )


def own_answers(study: Study) -> Table:
    """What each prediction came to, beside the verdict on the paper's own claim."""
    import pandas as pd

    from paper.claims import evaluate, load_claims

    claims = {claim.id: claim for claim in load_claims()}
    asked = [claim for claim in claims.values() if claim.origin == "replication"]
    theirs = {item.claim.id: item for item in evaluate(study, [claims[name] for name in PAPER.values()])}
    rows = []
    for item in evaluate(study, asked):
        paper = theirs.get(PAPER.get(item.claim.id, ""))
        rows.append(
            {
                "prediction": item.claim.statement,
                "answer": str(item.outcome.verdict),
                "number": item.outcome.number,
                "paper": paper.claim.statement if paper else "",
                "verdict": str(paper.outcome.verdict) if paper else "",
            }
        )
    return Table(
        "own_answers",
        "Predictions of our own runs, what those that have ended say, and the claim of the paper that each asks again.",
        pd.DataFrame(rows),
        {
            "prediction": "Prediction of our runs",
            "answer": "Answer",
            "number": "Number",
            "paper": "The paper's claim",
            "verdict": "Verdict on it",
        },
    )
