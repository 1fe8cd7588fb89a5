"""Sweeps: which runs a study consists of, how they stand, and which to do next.

A study is the product of models, epoch budgets and learning rates on a grid of factors of 2, as in Smith et
al. 2023. Nothing is remembered but the run logs: what to do next follows from them, so a study can be stopped
and continued at any time.
"""

from __future__ import annotations

import fcntl
import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from nfnet.errors import UserError, printable
from nfnet.files import local_path, read_text_file
from nfnet.optim.settings import LEARNING_RATE
from nfnet.ranges import Range, check_fields, check_value, shown
from nfnet.training.config import EPOCHS, find_setting, from_mapping
from nfnet.training.run_log import LOG, read_run_log

_LARGEST_STUDY = 2**20  # bytes


@dataclass(frozen=True)
class LearningRates:
    """The grid of factors of 2.

    Attributes:
        centre: middle of the grid, and the first guess of the two-trial search.
        points: how many learning rates the grid has; an even number reaches one further down than up.
    """

    centre: Annotated[float, LEARNING_RATE]
    points: Annotated[int, Range(1, 100)] = 3

    def __post_init__(self) -> None:
        check_fields(self, "learning_rates.")

    def grid(self) -> tuple[float, ...]:
        """Returns the learning rates in falling order."""
        highest = (self.points - 1) // 2
        return tuple(self.centre * 2.0 ** (highest - i) for i in range(self.points))


@dataclass(frozen=True)
class Study:
    """A study as its TOML file describes it.

    Attributes:
        config: configuration file of all runs; "{model}" in it stands for the model's name.
        workdir: folder of the study; each run has a folder of its own below.
        models: names from small to large, each with its overrides of the configuration; without "{model}" in
            `config` and without overrides, the name is the value of model.variant.
        epochs: budgets in rising order.
        learning_rates: the grid.
        strategy: "grid" runs all of it; "two-trial" searches, see `next_trials`.
        executor: "in-process", "subprocess" or "slurm".
        parallel: runs at a time ("subprocess" only).
        overrides: of the configuration, for all runs: "training.batch_size" = 64.
        slurm: parameters of submitit's executor, such as partition or timeout_min.
    """

    config: str
    workdir: str
    models: Mapping[str, Any]
    epochs: Annotated[tuple[float, ...], EPOCHS]
    learning_rates: LearningRates
    strategy: Literal["grid", "two-trial"] = "grid"
    executor: Literal["in-process", "subprocess", "slurm"] = "in-process"
    parallel: Annotated[int, Range(1, 1024)] = 1
    overrides: Mapping[str, Any] = field(default_factory=dict)
    slurm: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "workdir", str(local_path(self.workdir, "workdir")))
        if not isinstance(self.learning_rates, LearningRates):
            raise UserError(f"learning_rates is {shown(self.learning_rates)}, but must be a table with a centre.")
        if not self.models or not self.epochs:
            raise UserError("A study needs at least one model and one epoch budget.")
        # Folders are named after budgets, so that two that are written alike would be one run.
        if list(self.epochs) != sorted(set(self.epochs)) or len({f"{e:g}" for e in self.epochs}) < len(self.epochs):
            raise UserError(f"epochs are {shown(list(self.epochs))}: list budgets in rising order, each once.")
        folders = [_check_model(name) for name in self.models]
        if len(set(folders)) < len(folders):
            raise UserError(
                f"models are {shown(list(self.models))}: two have one name, so that their runs would be one."
            )
        for name, settings in (("overrides", self.overrides), *((f"models.{n}", s) for n, s in self.models.items())):
            _check_overrides(name, settings)
        for name in ("nodes", "tasks_per_node"):
            check_value(f"slurm.{name}", self.slurm.get(name, 1), Annotated[int, Range(1, 10**5)])


def _folder(model: str) -> str:
    return model.replace("/", "-")


def _check_model(name: Any) -> str:
    """Returns the folder of a model's runs; raises UserError if a name makes none inside of the study's."""
    if (
        not isinstance(name, str)
        or not name.strip()
        or name.startswith(".")
        or not name.isprintable()
        or len(name) > 100
    ):
        raise UserError(f"models has the name {shown(name)}: give up to 100 printable characters, the first no dot.")
    return _folder(name)


def _check_overrides(name: str, settings: Any) -> None:
    """Raises UserError unless settings are overrides of the configuration, as {"training.batch_size": 64}."""
    if not isinstance(settings, Mapping):
        raise UserError(f'{printable(name)} is {shown(settings)}, but must be a table such as "training.keep" = 4.')
    for key, value in settings.items():
        try:
            kind = find_setting(key)
            if kind.type is not Any:
                kind.check(f"config.{key}", value)
        except UserError as error:
            raise UserError(f"In {printable(name)}: {error}") from None


@dataclass(frozen=True)
class Trial:
    """One run of a study."""

    model: str
    epochs: float
    learning_rate: float

    @property
    def name(self) -> str:
        """Folder of the run below the study's."""
        return f"{_folder(self.model)}/epochs_{self.epochs:g}/lr_{self.learning_rate:.6g}"


State = Literal["pending", "running", "interrupted", "finished", "diverged"]


@dataclass(frozen=True)
class Standing:
    """How a run stands.

    Attributes:
        state: of the run.
        step: last step in its log.
        total_steps: 0 before it starts.
        loss: held-out loss at the end; infinite if the run diverged; None before the end.
        top1: held-out top-1 accuracy at the end.
        core_hours: cores of the devices times hours so far.
    """

    state: State = "pending"
    step: int = 0
    total_steps: int = 0
    loss: float | None = None
    top1: float | None = None
    core_hours: float = 0.0


def load_study(path: Path) -> Study:
    """Reads a study's TOML file.

    Raises:
        UserError: missing or malformed file, unknown setting, wrong type.
    """
    text = read_text_file(path, _LARGEST_STUDY)
    try:
        values = tomllib.loads(text)
    except RecursionError:
        raise UserError(f"The study {printable(path)} is no TOML: its values are nested too deeply.") from None
    except ValueError as error:  # malformed, or a number of thousands of digits
        raise UserError(f"The study {printable(path)} is no TOML: {printable(str(error).rstrip('.'))}.") from None
    models = values.get("models")
    if isinstance(models, list):
        if not all(isinstance(name, str) for name in models) or len(set(models)) < len(models):
            raise UserError(f"{printable(path)}: models is {shown(models)}, but must be names, each once.")
        values["models"] = {name: {} for name in models}
    missing = [key for key in ("config", "workdir", "models", "epochs", "learning_rates") if key not in values]
    if missing:
        raise UserError(
            f"The study {printable(path)} lacks {', '.join(missing)}: see nfnet/configs/studies for examples."
        )
    try:
        return from_mapping(Study, values, "study")
    except UserError as error:
        raise UserError(f"{printable(path)}: {error}") from None


def run_arguments(study: Study, trial: Trial) -> list[str]:
    """Returns the arguments of `python -m nfnet.train` for a run."""
    model = study.models[trial.model]
    settings = {**study.overrides, **model}
    if "{model}" not in study.config and not model:
        settings["model.variant"] = trial.model
    settings["training.epochs"] = trial.epochs
    settings["optimiser.learning_rate"] = trial.learning_rate
    return [
        "--config",
        study.config.replace("{model}", trial.model),
        "--workdir",
        str(Path(study.workdir) / trial.name),
        *(f"--config.{key}={_text(value)}" for key, value in settings.items()),
    ]


def _text(value: Any) -> str:
    return str(tuple(value)) if isinstance(value, list) else str(value)


def _is_locked(folder: Path) -> bool:
    try:
        with (folder / ".lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def standing(study: Study, trial: Trial) -> Standing:
    """Reads how a run stands from its folder.

    Raises:
        UserError: its run log is damaged.
    """
    folder = Path(study.workdir) / trial.name
    running = _is_locked(folder)
    if not (folder / LOG).is_file():
        return Standing("running" if running else "pending")
    try:
        log = read_run_log(folder / LOG)
    except UserError:
        # The last line may be half-written: now, or when the run was killed. Resuming mends it.
        if running or not (folder / LOG).read_bytes().endswith(b"\n"):
            return Standing("running" if running else "interrupted")
        raise
    last = log.metrics[-1] if log.metrics else None
    state: State = "running" if running else "interrupted"
    loss = None
    if log.end == "finished" and not running:
        state, loss = "finished", log.held_out_loss
    elif log.end == "diverged" and not running:
        state, loss = "diverged", math.inf
    return Standing(
        state=state,
        step=last.step if last else 0,
        total_steps=log.header.total_steps,
        loss=loss,
        top1=log.held_out_top1 if state == "finished" else None,
        core_hours=last.core_seconds / 3600 if last else 0.0,
    )


Loss = Callable[[Trial], float | None]


def next_trials(study: Study, loss: Loss) -> list[Trial]:
    """Chooses what to run next; an empty list means that the study is complete.

    The grid strategy runs everything. The two-trial strategy is that of Smith et al. 2023: the optimal
    learning rate falls slowly but monotonically with the epoch budget and with the size of the model. The
    guess for a model and budget is thus the lowest of the best rates of the next smaller model and the next
    smaller budget (the centre of the grid at the corner); it and its half are tried.

    Args:
        study: the study.
        loss: a run's held-out loss; infinite if it diverged, None before its end.
    """
    return [trial for trial in known_trials(study, loss) if loss(trial) is None]


def known_trials(study: Study, loss: Loss) -> list[Trial]:
    """Lists all runs that are known so far to be part of the study, done or not."""
    if study.strategy == "grid":
        rates = study.learning_rates.grid()
        return [Trial(m, e, rate) for m in study.models for e in study.epochs for rate in rates]
    trials: list[Trial] = []
    best: dict[tuple[int, int], float] = {}
    models = list(study.models)
    for i, model in enumerate(models):
        for j, epochs in enumerate(study.epochs):
            neighbours = [cell for cell in ((i - 1, j), (i, j - 1)) if min(cell) >= 0]
            if any(cell not in best for cell in neighbours):
                continue
            guess = min((best[cell] for cell in neighbours), default=study.learning_rates.centre)
            pair = [Trial(model, epochs, guess), Trial(model, epochs, guess / 2)]
            trials += pair
            losses = [loss(trial) for trial in pair]
            if None not in losses:
                best[i, j] = _best(pair, loss).learning_rate
    return trials


def _best(trials: Sequence[Trial], loss: Loss) -> Trial:
    """Returns the trial of the lowest loss; of several that diverged, the one with the lowest rate."""

    def order(trial: Trial) -> tuple[float, float]:
        value = loss(trial)
        return (math.inf if value is None else value, trial.learning_rate)

    return min(trials, key=order)


def best_trials(study: Study, loss: Loss) -> list[Trial]:
    """Returns the best finished run of each model and budget."""
    cells: dict[tuple[str, float], list[Trial]] = {}
    for trial in known_trials(study, loss):
        value = loss(trial)
        if value is not None and math.isfinite(value):
            cells.setdefault((trial.model, trial.epochs), []).append(trial)
    return [_best(trials, loss) for trials in cells.values()]
