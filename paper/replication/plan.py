"""Everything that the replication runs, in order: the studies, then what follows from which of their runs were best.

`paper/replication/design.md` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from nfnet.studies.sweep import Standing, Study, Trial, best_trials, known_trials, run_arguments, standing
from paper.replication.prepare import FINETUNING_SIDE

FOLDER = Path(__file__).parent
STAGES = ("seeds", "fine-tuning", "grids")
"""What follows the studies; a folder each, beside theirs."""
ENDS = ("finished", "diverged")
"""How a run may end that is not run again."""
SEEDS = (1, 2)  # besides 0, that of the studies


@dataclass(frozen=True)
class Follow:
    """What follows a family's study.

    Attributes:
        noise: Models and epoch budgets that are run with further seeds.
        grid: Model whose whole grid of learning rates is run; empty for none.
        fine_tuned: Models, each with the budgets whose best checkpoints are fine-tuned.
        config: Configuration of fine-tuning.
        variants: What the network of lowest loss is fine-tuned with besides: the settings that each changes.
    """

    noise: tuple[tuple[str, float], ...]
    grid: str = ""
    fine_tuned: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    config: str = ""
    variants: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """The runs of both families on one kind of machine.

    Attributes:
        name: Of the plan.
        studies: The study of each family.
        runs: The logs of runs that have ended, which are committed; its folders are those of `working`.
        working: Folder of the runs themselves.
        follows: What follows each study.
    """

    name: str
    studies: Mapping[str, Path]
    runs: Path
    working: str
    follows: Mapping[str, Follow]


def _studies(folder: str) -> dict[str, Path]:
    return {path.stem: path for path in sorted((FOLDER / folder).glob("*.toml"))}


CPU = Plan(
    "cpu",
    _studies("studies"),
    FOLDER / "runs",
    "runs/replication",
    {
        "nfnets": Follow(
            noise=(("S0", 0.5), ("S0", 4), ("S1+", 0.5), ("S1+", 4)),
            grid="S0",
            fine_tuned={"S0": (1, 2, 4, 8), "S1+": (1, 2, 4, 8), "S1++": (2, 4)},
            config="cifar10_48_finetune",
            variants={
                "without_sam": {"optimiser.sam_rho": 0.0, "optimiser.sam_fraction": 1.0},
                "repeated": {"data.repeats": 4},  # at equal cost
            },
        ),
        "vits": Follow(
            noise=(("V0", 0.5), ("V0", 4), ("V1", 0.5), ("V1", 4)),
            grid="V0",
            fine_tuned={"V1": (2, 4, 8), "V5": (2, 4, 8)},
            config="cifar10_48_finetune_vit",
        ),
    },
)
"""The study of `design.md`."""
GPU = Plan(
    "gpu",
    _studies("studies_gpu"),
    FOLDER / "runs_gpu",
    "runs/replication_gpu",
    {
        "nfnets": Follow(noise=(("S1+", 0.5), ("S1+", 4), ("S1++", 0.5), ("S1++", 4))),
        "vits": Follow(noise=(("V1", 0.5), ("V1", 4), ("V5", 0.5), ("V5", 4))),
    },
)
"""The same study on a GPU, of larger networks; see the end of `design.md`."""
PLANS = {plan.name: plan for plan in (CPU, GPU)}


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


def fewest(follow: Follow, study: Study) -> dict[str, int]:
    """How many runs of each of `STAGES` follow a study at least.

    One more is fine-tuned if the best NFNet is none of those that are in any case.
    """
    tuned = sum(map(len, follow.fine_tuned.values())) + len(follow.variants)
    grids = 2 * len(study.epochs) if follow.grid else 0
    return {"seeds": len(SEEDS) * len(follow.noise), "fine-tuning": tuned, "grids": grids}


def planned(follow: Follow, study: Study) -> Iterator[Planned]:
    """Yields what follows a study, as far as its logs tell it.

    Args:
        follow: What there is to follow.
        study: The study, whose ``workdir`` ends in the family's name.
    """
    root, family = Path(study.workdir).parent, Path(study.workdir).name
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
        yield fine_tuning(follow.config, study, trial, "plain", {})
    complete = not [trial for trial in known_trials(study, loss) if loss(trial) is None]
    if follow.variants and complete and best:
        lowest = min(best.values(), key=lambda trial: loss(trial) or 0.0)
        if lowest not in tuned:
            yield fine_tuning(follow.config, study, lowest, "plain", {})
        for name, settings in follow.variants.items():
            yield fine_tuning(follow.config, study, lowest, name, settings)
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


def fine_tuning(config: str, study: Study, trial: Trial, name: str, settings: Mapping[str, float]) -> Planned:
    """The fine-tuning of a trial's network with some settings of its own, which a name tells apart."""
    folder, root = Path(study.workdir), Path(study.workdir).parent
    place = root / "fine-tuning" / folder.name / trial.name.rpartition("/")[0] / name
    size = {"data.image_size": FINETUNING_SIDE, "data.evaluation_size": FINETUNING_SIDE}
    return Planned(
        "fine-tuning",
        "finetune",
        (
            "--config",
            config,
            "--init",
            str(folder / trial.name),
            "--workdir",
            str(place),
            f"--config.data.path={root / 'data' / 'cifar10'}",
            *(f"--config.{key}={value}" for key, value in {**size, **settings}.items()),
        ),
    )
