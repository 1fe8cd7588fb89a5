"""Everything that the replication runs, in order: the studies, then what follows from which of their runs were best.

`paper/replication/design.md` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from nfnet.studies.sweep import Standing, Study, Trial, best_trials, known_trials, run_arguments, standing
from paper.replication.prepare import FINETUNING_SIDE

FOLDER = Path(__file__).parent
STUDIES = {path.stem: path for path in sorted((FOLDER / "studies").glob("*.toml"))}
"""The study of each family."""
RUNS = FOLDER / "runs"
"""The logs of runs that have ended, which are committed; its folders are those below `runs/replication`."""
STAGES = ("seeds", "fine-tuning", "grids")
"""What follows the studies; a folder each, beside theirs."""
ENDS = ("finished", "diverged")
"""How a run may end that is not run again."""


@dataclass(frozen=True)
class Follow:
    """What follows a family's study.

    Attributes:
        noise: Models and epoch budgets that are run with further seeds.
        grid: Model whose whole grid of learning rates is run.
        fine_tuned: Models, each with the budgets whose best checkpoints are fine-tuned.
        config: Configuration of fine-tuning.
    """

    noise: tuple[tuple[str, float], ...]
    grid: str
    fine_tuned: Mapping[str, tuple[float, ...]]
    config: str


SEEDS = (1, 2)  # besides 0, that of the studies
FOLLOWS = {
    "nfnets": Follow(
        noise=(("S0", 0.5), ("S0", 4), ("S1+", 0.5), ("S1+", 4)),
        grid="S0",
        fine_tuned={"S0": (1, 2, 4, 8), "S1+": (1, 2, 4, 8), "S1++": (2, 4)},
        config="cifar10_48_finetune",
    ),
    "vits": Follow(
        noise=(("V0", 0.5), ("V0", 4), ("V1", 0.5), ("V1", 4)),
        grid="V0",
        fine_tuned={"V1": (2, 4, 8), "V5": (2, 4, 8)},
        config="cifar10_48_finetune_vit",
    ),
}
VARIANTS: Mapping[str, Mapping[str, float]] = {
    "without_sam": {"optimiser.sam_rho": 0.0, "optimiser.sam_fraction": 1.0},
    "repeated": {"data.repeats": 4},
}
"""What the best NFNet is fine-tuned with besides, and the settings that it changes; the cost of repeats is equal."""


@dataclass(frozen=True)
class Planned:
    """A run.

    Attributes:
        stage: One of `STAGES`.
        command: What runs it, `nfnet.train` or `nfnet.finetune`.
        arguments: Of the command.
    """

    stage: str
    command: Literal["train", "finetune"]
    arguments: tuple[str, ...]

    @property
    def workdir(self) -> Path:
        """Folder of the run."""
        return Path(self.arguments[self.arguments.index("--workdir") + 1])


def fewest(family: str, study: Study) -> dict[str, int]:
    """How many runs of each of `STAGES` follow a family's study at least.

    One more is fine-tuned if the best NFNet is none of those that are in any case.
    """
    follow = FOLLOWS[family]
    tuned = sum(map(len, follow.fine_tuned.values())) + (len(VARIANTS) if family == "nfnets" else 0)
    return {"seeds": len(SEEDS) * len(follow.noise), "fine-tuning": tuned, "grids": 2 * len(study.epochs)}


def planned(family: str, study: Study) -> Iterator[Planned]:
    """Yields what follows a family's study, as far as the logs of the study tell it.

    Args:
        family: ``nfnets`` or ``vits``.
        study: The study, whose ``workdir`` ends in the family's name.
    """
    follow, root = FOLLOWS[family], Path(study.workdir).parent
    loss = _losses(study)
    best = {(trial.model, trial.epochs): trial for trial in best_trials(study, loss)}
    for model, epochs in follow.noise:
        if (model, epochs) in best:
            for seed in SEEDS:
                place = root / "seeds" / family / f"seed_{seed}"
                again = replace(study, workdir=str(place), overrides={**study.overrides, "training.seed": seed})
                yield Planned("seeds", "train", tuple(run_arguments(again, best[model, epochs])))
    cells = [(model, epochs) for model, budgets in follow.fine_tuned.items() for epochs in budgets]
    tuned = [best[cell] for cell in cells if cell in best]
    for trial in tuned:
        yield fine_tuning(family, study, trial, "plain", {})
    complete = not [trial for trial in known_trials(study, loss) if loss(trial) is None]
    if family == "nfnets" and complete and best:
        lowest = min(best.values(), key=lambda trial: loss(trial) or 0.0)
        if lowest not in tuned:
            yield fine_tuning(family, study, lowest, "plain", {})
        for name, settings in VARIANTS.items():
            yield fine_tuning(family, study, lowest, name, settings)
    guesses: dict[float, float] = {}
    for trial in known_trials(study, loss):
        if trial.model == follow.grid:
            guesses.setdefault(trial.epochs, trial.learning_rate)
    grids = replace(study, workdir=str(root / "grids" / family))
    for epochs, guess in guesses.items():
        for factor in (2, 1 / 4):  # the study has tried the guess and its half
            yield Planned("grids", "train", tuple(run_arguments(grids, Trial(follow.grid, epochs, guess * factor))))


def _losses(study: Study) -> Callable[[Trial], float | None]:
    known: dict[Trial, Standing] = {}

    def loss(trial: Trial) -> float | None:
        if trial not in known:
            known[trial] = standing(study, trial)
        return known[trial].loss

    return loss


def fine_tuning(family: str, study: Study, trial: Trial, name: str, settings: Mapping[str, float]) -> Planned:
    """The fine-tuning of a trial's network with some settings of its own, which a name tells apart."""
    folder, root = Path(study.workdir), Path(study.workdir).parent
    place = root / "fine-tuning" / family / trial.name.rpartition("/")[0] / name
    size = {"data.image_size": FINETUNING_SIDE, "data.evaluation_size": FINETUNING_SIDE}
    return Planned(
        "fine-tuning",
        "finetune",
        (
            "--config",
            FOLLOWS[family].config,
            "--init",
            str(folder / trial.name),
            "--workdir",
            str(place),
            f"--config.data.path={root / 'data' / 'cifar10'}",
            *(f"--config.{key}={value}" for key, value in {**size, **settings}.items()),
        ),
    )
