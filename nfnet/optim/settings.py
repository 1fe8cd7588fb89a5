"""The settings of an optimiser, and the one table of optimisers and of schedules.

To add an optimiser, write it in a file of its own and enter it in `OPTIMISERS`; what it reads are keyword arguments of
its function and fields of `OptimiserConfig`. Nothing here needs JAX until an optimiser is made.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Annotated, Any, Literal

from nfnet.errors import UserError
from nfnet.ranges import RATE, SHARE, STEPS, Names, Range, check_fields

if TYPE_CHECKING:
    import optax

LEARNING_RATE = Range(0, 1000, above=True)
Schedule = Callable[[Any], Any]  # from the number of a step to its learning rate


@dataclass(frozen=True)
class Entry:
    """A function of a table.

    Attributes:
        function: "module:name", imported when it is used.
        reads: the settings that it takes as keyword arguments; a run that changes one which only other entries read is
            refused.
        fixed: further keyword arguments.
    """

    function: str
    reads: tuple[str, ...] = ()
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, settings: OptimiserConfig, *arguments: Any) -> Any:
        """Calls the function with what it reads of the settings."""
        module, _, name = self.function.partition(":")
        read = {key: getattr(settings, key) for key in self.reads}
        return getattr(importlib.import_module(module), name)(*arguments, **read, **self.fixed)


OPTIMISERS: Mapping[str, Entry] = {
    "agc_sgd": Entry("nfnet.optim.sgd:agc_sgd", ("weight_decay", "clipping", "momentum", "nesterov")),
    "sgd": Entry("nfnet.optim.sgd:agc_sgd", ("weight_decay", "clip_norm", "momentum", "nesterov"), {"clipping": None}),
    "adamw": Entry("nfnet.optim.adam:adamw", ("weight_decay", "head_weight_decay", "clip_norm")),
    "adafactor": Entry("nfnet.optim.adam:adafactor", ("weight_decay", "head_weight_decay", "clip_norm", "momentum")),
}
SCHEDULES: Mapping[str, Entry] = {
    "cosine": Entry("nfnet.optim.schedules:warmup_cosine"),  # NFNets; fine-tuning of ViTs
    "rsqrt": Entry("nfnet.optim.schedules:rsqrt_schedule", ("cooldown_steps", "timescale")),  # pre-training of ViTs
}


@dataclass(frozen=True)
class OptimiserConfig:
    """The optimiser and its schedule.

    Attributes:
        name: which optimiser it is.
        learning_rate: peak, for the whole batch (not scaled by its size).
        schedule: "cosine" falls along half a cosine to zero; "rsqrt" with the inverse square root of time.
        warmup_epochs: linear warm-up, in epochs.
        warmup_steps: the same in steps; give one of both.
        cooldown_steps: linear end of "rsqrt".
        timescale: of "rsqrt", in steps.
        weight_decay: coupled (L2) for AGC-SGD and SGD, multiplied by the learning rate for AdamW and Adafactor.
        head_weight_decay: of the classifier (AdamW and Adafactor); None takes the same.
        momentum: of AGC-SGD, SGD and Adafactor.
        nesterov: whether the momentum of AGC-SGD and SGD looks one step ahead.
        clipping: AGC's lambda (AGC-SGD); None does not clip.
        clip_norm: largest norm of the whole gradient; 0 does not clip (not for AGC-SGD).
        ema_decay: of the average of the parameters; 0 keeps none.
        sam_rho: radius of sharpness-aware minimisation; 0 turns it off.
        sam_fraction: share of the batch that the ascent gradient is computed on.
        trainable: what is trained, all parameters or the classifier alone, with the body as it is.
    """

    name: Annotated[str, Names(OPTIMISERS)] = "agc_sgd"
    learning_rate: Annotated[float, LEARNING_RATE] = 1.6
    schedule: Annotated[str, Names(SCHEDULES)] = "cosine"
    warmup_epochs: Annotated[float, Range(0, 10**6, unit="epochs")] = 0.0
    warmup_steps: Annotated[int, STEPS] = 0
    cooldown_steps: Annotated[int, STEPS] = 0
    timescale: Annotated[int, Range(1, 10**9, unit="steps")] = 10_000
    weight_decay: Annotated[float, Range(0, 1000)] = 0.0
    head_weight_decay: Annotated[float | None, Range(0, 1000)] = None
    momentum: Annotated[float, RATE] = 0.9
    nesterov: bool = True
    clipping: Annotated[float | None, Range(0, 1000, above=True)] = 0.01
    clip_norm: Annotated[float, Range(0, 10**6)] = 0.0
    ema_decay: Annotated[float, RATE] = 0.0
    sam_rho: Annotated[float, Range(0, 1000)] = 0.0
    sam_fraction: Annotated[float, SHARE] = 1.0
    trainable: Literal["all", "classifier"] = "all"

    def __post_init__(self) -> None:
        check_fields(self, "optimiser.")
        if not self.sam_rho and self.sam_fraction != 1:
            raise UserError(f"optimiser.sam_fraction is {self.sam_fraction}, but sam_rho is 0: set it, or unset this.")
        defaults = {one.name: one.default for one in fields(self)}
        for table, chosen in ((OPTIMISERS, self.name), (SCHEDULES, self.schedule)):
            for key in dict.fromkeys(key for entry in table.values() for key in entry.reads):
                if key not in table[chosen].reads and (value := getattr(self, key)) != defaults[key]:
                    readers = " and ".join(name for name, entry in table.items() if key in entry.reads)
                    raise UserError(f"optimiser.{key} is {value}, but {chosen} does not read it ({readers}): unset it.")


def make_schedule(settings: OptimiserConfig, total_steps: int, steps_per_epoch: float) -> Schedule:
    """Builds the learning-rate schedule of a run; raises UserError if its warm-up does not fit into the steps."""
    if settings.warmup_epochs and settings.warmup_steps:
        raise UserError("Both optimiser.warmup_epochs and warmup_steps are given: set one of them to 0.")
    warmup = settings.warmup_steps or settings.warmup_epochs * steps_per_epoch
    if warmup >= total_steps:
        raise UserError(f"The warm-up takes {warmup:g} of only {total_steps} steps: shorten it.")
    schedule: Schedule = SCHEDULES[settings.schedule](settings, settings.learning_rate, total_steps, warmup)
    return schedule


def make_optimiser(settings: OptimiserConfig, schedule: Schedule) -> optax.GradientTransformation:
    """Builds the optimiser; what is not trained it leaves as it is, and keeps no state for it."""
    optimiser: optax.GradientTransformation = OPTIMISERS[settings.name](settings, schedule)
    if settings.trainable == "all":
        return optimiser
    import optax

    from nfnet.optim import masks

    return optax.chain(optax.masked(optimiser, masks.is_head), optax.masked(optax.set_to_zero(), masks.is_body))
