"""What a run is: typed settings, read from ml_collections configuration files."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from typing import Annotated, Any, Literal, TypeVar

from nfnet import ranges
from nfnet.data.sources import SOURCES
from nfnet.errors import UserError, unknown_name
from nfnet.files import local_path
from nfnet.optim.settings import OptimiserConfig
from nfnet.ranges import RATE, SHARE, STEPS, Kind, Names, Range, check_fields, kind_of, kinds_of, shown
from nfnet.training.losses import LOSSES

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

SIDE = Range(1, 4096, unit="px")
BATCH = Range(1, 2**20, unit="images")
EPOCHS = Range(0, 10**6, above=True, unit="epochs")
Colours = tuple[float, float, float]


@dataclass(frozen=True)
class ModelConfig:
    """The network.

    Attributes:
        family: a key of `nfnet.models.families.FAMILIES`: nfnet or vit.
        variant: the name of one of the family's variants: F0 to F7, F0+ to F7+; S/16 to G/14.
        num_classes: classes of the data; 0 takes as many as they have.
        shape: fields of the family's configuration that differ from the variant, for networks of one's own.
        plus_width: which reading of an NFNet '+' variant.
        stochastic_depth_rate: None keeps the variant's.
        dropout_rate: None keeps the variant's.
        head: of a ViT: "cls", "gap" or "map".
        logit_bias: initial bias of a ViT's classifier.
        bfloat16: compute activations in bfloat16; parameters stay float32.
        remat: recompute blocks in the backward pass to save memory.
        from_weights: fine-tuning takes the network and the size, margin, mean and std of images from the weights, where
            these tell, rather than from here; what the command line sets itself stays.
    """

    family: str = "nfnet"
    variant: str = "F0"
    num_classes: Annotated[int, Range(0, 10**6, unit="classes")] = 1000
    shape: Mapping[str, Any] = field(default_factory=dict)
    plus_width: Literal["published", "released"] = "published"
    stochastic_depth_rate: Annotated[float | None, RATE] = None
    dropout_rate: Annotated[float | None, RATE] = None
    head: Literal["cls", "gap", "map"] = "gap"
    logit_bias: Annotated[float, Range(-100, 100)] = 0.0
    bfloat16: bool = False
    remat: bool = False
    from_weights: bool = False

    def __post_init__(self) -> None:
        check_fields(self, "model.")


@dataclass(frozen=True)
class DataConfig:
    """The images.

    Attributes:
        source: a key of `nfnet.data.sources.SOURCES`.
        path: folder of the data set.
        classes: a text file with the names of the class folders, one a line in the order of the labels. Without it
            the folders are sorted, by value if all names are numbers.
        train_split: what is trained on.
        held_out_split: what is evaluated on.
        hold_out_every: N takes one example in N out of the training split, the Nth, 2Nth and so on in the order of
            its source, and evaluates on these instead of held_out_split: to select checkpoints; 0 takes none. Source
            own_folder does so class by class, and only where the folder has no held-out split.
        image_size: side of training images, in pixels.
        evaluation_size: side of evaluation images, in pixels.
        evaluation_margin: pixels that the centre crop cuts away, see `nfnet.data.augment.evaluation_image`.
        crop: a random resized rectangle, a random shift of the padded image, or only resizing.
        min_area: smallest share of a random-resized crop.
        padding: of the "pad" crop, in pixels.
        flip: mirror half of the images.
        randaugment_layers: 0 turns RandAugment off.
        randaugment_magnitude: of RandAugment.
        mixup_alpha: 0 turns MixUp off.
        cutmix_alpha: 0 turns CutMix off; with both on, each takes half of the batch.
        repeats: multiplicity of repeated augmentation.
        mean: subtracted from images in [0, 1], per channel.
        std: what the difference is divided by.
        unreadable: whether an image that cannot be decoded is left out or ends the run.
        unreadable_share: of images left out so, above which there is no result but an error; all is always one.
        workers: decoding processes on each host; 0 decodes in threads.
        threads: decoding threads of each process.
    """

    source: Annotated[str, Names(SOURCES)] = "digits"
    path: str = ""
    classes: str = ""
    train_split: str = "train"
    held_out_split: str = "test"
    hold_out_every: Annotated[int, Range(0, 10**6, unit="images")] = 0
    image_size: Annotated[int, SIDE] = 224
    evaluation_size: Annotated[int, SIDE] = 256
    evaluation_margin: Annotated[int, Range(0, 4096, unit="px")] = 32
    crop: Literal["random_resized", "pad", "none"] = "random_resized"
    min_area: Annotated[float, SHARE] = 0.08
    padding: Annotated[int, Range(0, 1024, unit="px")] = 4
    flip: bool = True
    randaugment_layers: Annotated[int, Range(0, 100, unit="distortions an image")] = 0
    randaugment_magnitude: Annotated[float, Range(0, 30)] = 0.0
    mixup_alpha: Annotated[float, Range(0, 1000)] = 0.0
    cutmix_alpha: Annotated[float, Range(0, 1000)] = 0.0
    repeats: Annotated[int, Range(1, 1024, unit="copies an image")] = 1
    mean: Annotated[Colours, Range(-1000, 1000)] = IMAGENET_MEAN
    std: Annotated[Colours, Range(1e-6, 1000)] = IMAGENET_STD
    unreadable: Literal["skip", "fatal"] = "skip"
    unreadable_share: Annotated[float, Range(0, 1)] = 0.1
    workers: Annotated[int, Range(0, 256, unit="processes")] = 0
    threads: Annotated[int, Range(0, 256, unit="threads")] = 2

    def __post_init__(self) -> None:
        check_fields(self, "data.")
        for name in ("path", "classes"):
            local_path(getattr(self, name), f"data.{name}")
        if self.hold_out_every == 1:
            raise UserError("data.hold_out_every is 1, which leaves nothing to train on: give 0 or at least 2.")


@dataclass(frozen=True)
class TrainingConfig:
    """The run.

    Attributes:
        seed: of initialisation, order, augmentation, dropout.
        epochs: images to process, in units of the training split; fractions are fine.
        batch_size: of all devices together.
        accumulate: parts that the batch is split into to save memory.
        loss: a key of `nfnet.training.losses.LOSSES`.
        label_smoothing: share of the label spread over all classes.
        shard_state: devices that share the memory of parameters, average and optimiser state; steps gather parameters.
        evaluation_batch_size: of all devices together.
        evaluate_every: steps between evaluations; 0 evaluates at the end only.
        log_every: steps between two lines of the log.
        save_every: steps between checkpoints; 0 saves at the end only (and on SIGTERM and SIGINT).
        keep: how many of the newest checkpoints to keep; the best one is kept besides.
        tensorboard: write TensorBoard events too.
    """

    seed: Annotated[int, Range(0, 2**32 - 1)] = 0
    epochs: Annotated[float, EPOCHS] = 1.0
    batch_size: Annotated[int, BATCH] = 4096
    accumulate: Annotated[int, Range(1, 2**20, unit="parts")] = 1
    loss: Annotated[str, Names(LOSSES)] = "softmax"
    label_smoothing: Annotated[float, RATE] = 0.0
    shard_state: Annotated[int, Range(1, 2**16, unit="devices")] = 1
    evaluation_batch_size: Annotated[int, BATCH] = 256
    evaluate_every: Annotated[int, STEPS] = 0
    log_every: Annotated[int, Range(1, 10**9, unit="steps")] = 100
    save_every: Annotated[int, STEPS] = 1000
    keep: Annotated[int, Range(1, 1000, unit="checkpoints")] = 2
    tensorboard: bool = False

    def __post_init__(self) -> None:
        check_fields(self, "training.")


@dataclass(frozen=True)
class RunConfig:
    """All settings of a run, one group a field."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def as_dict(self) -> dict[str, Any]:
        """Returns nested dictionaries that JSON can hold."""
        return asdict(self)


T = TypeVar("T")


def from_mapping(kind: type[T], values: Mapping[str, Any], name: str = "config") -> T:
    """Builds a dataclass from a mapping, as `nfnet.ranges` reads its annotations.

    Args:
        kind: the dataclass.
        values: its fields; absent ones keep their defaults.
        name: what to call the mapping in messages.

    Raises:
        UserError: an unknown field, or a value of the wrong type or out of range, naming it.
    """
    known = kinds_of(kind)
    given: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            raise unknown_name(f"setting of {name}", shown(key, quote=False), known)
        wanted, full = known[key].type, f"{name}.{key}"
        if is_dataclass(wanted) and isinstance(value, Mapping):
            given[key] = from_mapping(typing.cast(type, wanted), value, full)
        else:
            given[key] = known[key].check(full, value)
    for item in fields(typing.cast(Any, kind)):
        if item.default is MISSING and item.default_factory is MISSING and item.name not in given:
            raise UserError(f"{name} lacks {item.name}: it must be {known[item.name]}.")
    return kind(**given)


def settings_help() -> str:
    """Returns all settings of a run as text: how each is overridden, what it takes, its default and its meaning."""
    lines = ["Settings of the configuration; each can be overridden, as in --config.training.epochs=2:"]
    for group in fields(RunConfig):
        defaults = getattr(RunConfig(), group.name)
        means = ranges.meanings(type(defaults))
        for key, kind in kinds_of(type(defaults)).items():
            default = getattr(defaults, key)
            if kind.type is Mapping:  # what its keys take is the network's affair
                lines.append(f"  --config.{group.name}.{key}.KEY=VALUE")
            else:
                lines.append(f"  --config.{group.name}.{key}={kind} (default {default!r})")
            if key in means:
                lines.append(f"      {means[key]}")
    return "\n".join(lines)


def find_setting(key: str) -> Kind:
    """Returns what a setting such as training.epochs takes.

    Raises:
        UserError: there is no such setting.
    """
    where, kind = "config", kind_of(RunConfig)
    parts = key.split(".")
    for i, part in enumerate(parts):
        if kind.type is Mapping and i == len(parts) - 1:
            return kind_of(Any)
        known = kinds_of(typing.cast(type, kind.type)) if is_dataclass(kind.type) else {}
        if part not in known:
            raise unknown_name(f"setting of {where}", shown(part, quote=False), known)
        where, kind = f"{where}.{part}", known[part]
    if is_dataclass(kind.type):
        raise UserError(f"{where} is a group of settings: set one of them, as in --config.training.epochs=2.")
    return kind
