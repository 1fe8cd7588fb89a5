"""The replication's logged runs, as far as they have ended, as one bundle with what is computed from them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nfnet.errors import UserError, printable
from paper.fits.own import read_seconds
from paper.replication.plan import CPU, ENDS, FOLDER, STAGES, Plan, fewest, planned

if TYPE_CHECKING:
    from paper.fits.analysis import Analysis
    from paper.fits.own import Own

__all__ = ["AXES", "COLUMNS", "SPEEDS", "Replication"]

SPEEDS = FOLDER / "speeds.csv"
AXES = {"FLOPs": "FLOPs", "core seconds": "core hours"}
"""Both ways to count compute, and the unit of each."""
_STUDY = "study"
COLUMNS = (
    "stage", "family", "model", "epochs", "learning_rate", "seed", "variant", "end", "loss", "top1", "parameters",
    "macs", "examples", "flops", "core_hours", "code", "device", "log",
)  # fmt: skip
"""Columns of `Replication.runs`: loss in nats, infinite where a run diverged; top1 a share; core_hours from speeds."""
NUMBERS = ("epochs", "learning_rate", "loss", "top1", "flops", "core_hours")  # also where there is no row


@dataclass(frozen=True)
class Replication:
    """Logged runs of the replication.

    Attributes:
        plan: Which runs there are to be.
        folder: Where their logs lie.
        runs: A row a run, see :data:`COLUMNS`.
        seconds: Core seconds of a training image of each model; empty if compute is counted in FLOPs alone.
    """

    plan: Plan
    folder: Path
    runs: pd.DataFrame
    seconds: Mapping[str, float]

    @classmethod
    def load(cls, folder: Path | None = None, plan: Plan = CPU) -> Replication:
        """Reads the logs below a folder, that of the plan by default.

        Raises:
            UserError: If a log or the speeds are damaged.
        """
        from nfnet.training.run_log import LOG

        folder, seconds = folder or plan.runs, read_seconds(SPEEDS) if plan is CPU else {}
        rows = [
            row
            for family in plan.studies
            for top, stage in ((folder / family, _STUDY), *((folder / one / family, one) for one in STAGES))
            for path in sorted(top.rglob(LOG))
            if (row := _row(path, top, stage, family, seconds))
        ]
        runs = pd.DataFrame(rows, columns=list(COLUMNS))
        return cls(plan, folder, runs.astype(dict.fromkeys(NUMBERS, float)), seconds)

    @property
    def axes(self) -> Mapping[str, str]:
        """Those of :data:`AXES` in which these runs are counted."""
        return AXES if self.seconds else {"FLOPs": AXES["FLOPs"]}

    def of(self, stage: str, family: str) -> pd.DataFrame:
        """The runs of a stage, one of ``study``, ``seeds``, ``fine-tuning`` and ``grids``."""
        runs = self.runs
        return runs[(runs.stage == stage) & (runs.family == family)]

    def tuned(self, family: str) -> pd.DataFrame:
        """Of each model and budget of a study the run with the best rate, where both trials have ended."""
        runs = self.of(_STUDY, family)
        cells = runs.groupby(["model", "epochs"], sort=False)
        runs = runs[cells.loss.transform("size") >= 2]
        best = runs.groupby(["model", "epochs"], sort=False).loss.idxmin()
        return runs.loc[best.to_numpy(int)].sort_values(["macs", "epochs"], ignore_index=True)

    @cached_property
    def progress(self) -> pd.DataFrame:
        """How many runs of each stage and family have ended, and how many there are to be."""
        from nfnet.studies.sweep import load_study

        rows = []
        for family, path in self.plan.studies.items():
            study = replace(load_study(path), workdir=str(self.folder / family))
            follow = self.plan.follows[family]
            least = {_STUDY: 2 * len(study.models) * len(study.epochs), **fewest(follow, study)}
            follows = Counter(one.stage for one in planned(follow, study))
            numbers = {stage: max(number, follows[stage]) for stage, number in least.items()}
            rows += [
                {"stage": stage, "family": family, "ended": len(self.of(stage, family)), "planned": number}
                for stage, number in numbers.items()
                if number
            ]
        return pd.DataFrame(rows)

    def missing(self, *stages: str) -> int:
        """How many runs of some stages, of both families, have not ended."""
        chosen = self.progress[self.progress.stage.isin(stages)]
        return int((chosen.planned - chosen.ended).clip(lower=0).sum())

    def noise(self, family: str) -> float:
        """Standard deviation of the log loss over seeds, pooled over the points that have several; NaN without any."""
        seeds = self.of("seeds", family)
        points = pd.concat([seeds, self.of(_STUDY, family)]).groupby(["model", "epochs", "learning_rate"])
        spreads = [
            np.log(group.loss.to_numpy(float))
            for _, group in points
            if len(group) > 1 and np.isfinite(group.loss).all()
        ]
        freedom = sum(len(one) - 1 for one in spreads)
        return math.sqrt(sum(((one - one.mean()) ** 2).sum() for one in spreads) / freedom) if freedom else math.nan

    def analysis(self, family: str, axis: str) -> Analysis | None:
        """All fits of the loss of a study's tuned runs; None below five configurations."""
        own = self.own(family, axis)
        return own.analyses["loss"] if own else None

    def own(self, family: str, axis: str) -> Own | None:
        """A study's tuned runs, analysed as `paper.fit --study` does; None below five configurations.

        Args:
            family: ``nfnets`` or ``vits``.
            axis: One of :attr:`axes`.
        """
        return self._owns.get((family, axis))

    @cached_property
    def _owns(self) -> dict[tuple[str, str], Own]:
        from paper.fits.own import LEAST, analyse, read_study

        found = {}
        for family in self.plan.studies:
            if len(self.tuned(family)) < LEAST:
                continue
            for axis, unit in self.axes.items():
                rows, notes = read_study(self.folder / family, unit, self.seconds)
                limit = self._quarter(family, axis)
                found[family, axis] = analyse(rows, notes, family, compute_unit=unit, limit=limit)
        return found

    def _quarter(self, family: str, axis: str) -> float:
        column = "flops" if axis == "FLOPs" else "core_hours"
        return float(self.tuned(family)[column].max() / 4)


def _row(path: Path, top: Path, stage: str, family: str, seconds: Mapping[str, float]) -> dict[str, object] | None:
    """A row of the table; None for a run that has not ended."""
    from nfnet.training.run_log import read_run_log

    log = read_run_log(path)
    if log.end not in ENDS:
        return None
    parts = list(path.relative_to(top).parts)
    if stage == "seeds":
        parts = parts[1:]
    header, last = log.header, log.metrics[-1] if log.metrics else None
    settings = header.config
    if seconds and parts[0] not in seconds:
        raise UserError(f"{printable(path)}: {printable(parts[0], 40)} is no model of speeds.csv: restore either.")
    examples = last.examples if last else 0
    return {
        "stage": stage,
        "family": family,
        "model": parts[0],
        "epochs": float(parts[1].partition("_")[2]),
        "learning_rate": float(settings["optimiser"]["learning_rate"]),
        "seed": header.seed,
        "variant": parts[2] if stage == "fine-tuning" else "",
        "end": log.end,
        "loss": math.inf if log.end == "diverged" or log.held_out_loss is None else log.held_out_loss,
        "top1": math.nan if log.held_out_top1 is None else log.held_out_top1,
        "parameters": header.parameters,
        "macs": header.macs,
        "examples": examples,
        "flops": last.flops if last else 0.0,
        "core_hours": examples * seconds.get(parts[0], math.nan) / 3600,
        "code": header.code,
        "device": header.device,
        "log": path.relative_to(top.parent).as_posix(),
    }
