"""What a run is: typed settings, read from ml_collections configuration files."""

from __future__ import annotations

import importlib.util
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from nfnet.errors import UserError, printable, unknown_name
from nfnet.ranges import CLASSES, RATE, Kind, Range, check_fields, kind_of, kinds_of, meanings, read_text, shown

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# A mistake of some powers of ten is told; what any sensible run needs is far from the ends.
SHARE = Range(0, 1, above=True)
SIDE = Range(1, 4096)
STEPS = Range(0, 10**9)
BATCH = Range(1, 2**20)
EPOCHS = Range(0, 10**6, above=True)
LEARNING_RATE = Range(0, 1000, above=True)
Colours = tuple[float, float, float]


@dataclass(frozen=True)
class ModelConfig:
    """The network.

    Attributes:
        family: what kind of network it is.
        variant: a name in `nfnet.models.nfnet.VARIANTS` or `nfnet.models.vit.VIT_VARIANTS`.
        num_classes: classes of the data.
        shape: fields of `NFNetConfig` or `ViTConfig` that differ from the variant, for networks of one's own.
        plus_width: which reading of an NFNet '+' variant.
        stochastic_depth_rate: None keeps the variant's.
        dropout_rate: None keeps the variant's.
        head: of a ViT: "cls", "gap" or "map".
        logit_bias: initial bias of a ViT's classifier.
        bfloat16: compute activations in bfloat16; parameters stay float32.
        remat: recompute blocks in the backward pass to save memory.
    """

    family: Literal["nfnet", "vit"] = "nfnet"
    variant: str = "F0"
    num_classes: Annotated[int, CLASSES] = 1000
    shape: Mapping[str, Any] = field(default_factory=dict)
    plus_width: Literal["published", "released"] = "published"
    stochastic_depth_rate: Annotated[float | None, RATE] = None
    dropout_rate: Annotated[float | None, RATE] = None
    head: Literal["cls", "gap", "map"] = "gap"
    logit_bias: Annotated[float, Range(-100, 100)] = 0.0
    bfloat16: bool = False
    remat: bool = False

    def __post_init__(self) -> None:
        check_fields(self, "model.")


@dataclass(frozen=True)
class DataConfig:
    """The images.

    Attributes:
        source: a key of `nfnet.data.sources.SOURCES`.
        path: folder of the data set.
        train_split: what is trained on.
        held_out_split: what is evaluated on.
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
        workers: decoding processes on each host; 0 decodes in threads.
        threads: decoding threads of each process.
    """

    source: Literal["array_record", "cifar10", "digits", "fashion_mnist", "image_folder", "tiny_imagenet"] = "digits"
    path: str = ""
    train_split: str = "train"
    held_out_split: str = "test"
    image_size: Annotated[int, SIDE] = 224
    evaluation_size: Annotated[int, SIDE] = 256
    evaluation_margin: Annotated[int, Range(0, 4096)] = 32
    crop: Literal["random_resized", "pad", "none"] = "random_resized"
    min_area: Annotated[float, SHARE] = 0.08
    padding: Annotated[int, Range(0, 1024)] = 4
    flip: bool = True
    randaugment_layers: Annotated[int, Range(0, 100)] = 0
    randaugment_magnitude: Annotated[float, Range(0, 30)] = 0.0
    mixup_alpha: Annotated[float, Range(0, 1000)] = 0.0
    cutmix_alpha: Annotated[float, Range(0, 1000)] = 0.0
    repeats: Annotated[int, Range(1, 1024)] = 1
    mean: Annotated[Colours, Range(-1000, 1000)] = IMAGENET_MEAN
    std: Annotated[Colours, Range(1e-6, 1000)] = IMAGENET_STD
    unreadable: Literal["skip", "fatal"] = "skip"
    workers: Annotated[int, Range(0, 256)] = 0
    threads: Annotated[int, Range(0, 256)] = 2

    def __post_init__(self) -> None:
        check_fields(self, "data.")


@dataclass(frozen=True)
class OptimiserConfig:
    """The optimiser and its schedule.

    Attributes:
        name: a key of `nfnet.training.recipe.OPTIMISERS`.
        learning_rate: peak, for the whole batch (not scaled by its size).
        schedule: "cosine" or "rsqrt".
        warmup_epochs: linear warm-up, in epochs.
        warmup_steps: the same in steps; give one of both.
        cooldown_steps: linear end of "rsqrt".
        timescale: of "rsqrt", in steps.
        weight_decay: coupled (L2) for AGC-SGD and SGD, multiplied by the learning rate for AdamW and
            Adafactor.
        head_weight_decay: of the classifier (AdamW and Adafactor); None takes the same.
        momentum: of SGD and Adafactor.
        clipping: AGC's lambda.
        clip_norm: largest norm of the whole gradient; 0 does not clip (not for AGC-SGD).
        ema_decay: of the average of the parameters; 0 keeps none.
        sam_rho: radius of sharpness-aware minimisation; 0 turns it off.
        sam_fraction: share of the batch that the ascent gradient is computed on.
    """

    name: Literal["agc_sgd", "sgd", "adamw", "adafactor"] = "agc_sgd"
    learning_rate: Annotated[float, LEARNING_RATE] = 1.6
    schedule: Literal["cosine", "rsqrt"] = "cosine"
    warmup_epochs: Annotated[float, Range(0, 10**6)] = 0.0
    warmup_steps: Annotated[int, STEPS] = 0
    cooldown_steps: Annotated[int, STEPS] = 0
    timescale: Annotated[int, Range(1, 10**9)] = 10_000
    weight_decay: Annotated[float, Range(0, 1000)] = 0.0
    head_weight_decay: Annotated[float | None, Range(0, 1000)] = None
    momentum: Annotated[float, RATE] = 0.9
    clipping: Annotated[float, Range(0, 1000, above=True)] = 0.01
    clip_norm: Annotated[float, Range(0, 10**6)] = 0.0
    ema_decay: Annotated[float, RATE] = 0.0
    sam_rho: Annotated[float, Range(0, 1000)] = 0.0
    sam_fraction: Annotated[float, SHARE] = 1.0

    def __post_init__(self) -> None:
        check_fields(self, "optimiser.")


@dataclass(frozen=True)
class TrainingConfig:
    """The run.

    Attributes:
        seed: of initialisation, order, augmentation, dropout.
        epochs: images to process, in units of the training split; fractions are fine.
        batch_size: of all devices together.
        accumulate: parts that the batch is split into to save memory.
        loss: "softmax" or "sigmoid".
        label_smoothing: share of the label spread over all classes.
        fsdp: devices over which parameters and optimiser state are sharded; 1 replicates them.
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
    accumulate: Annotated[int, BATCH] = 1
    loss: Literal["softmax", "sigmoid"] = "softmax"
    label_smoothing: Annotated[float, RATE] = 0.0
    fsdp: Annotated[int, Range(1, 2**16)] = 1
    evaluation_batch_size: Annotated[int, BATCH] = 256
    evaluate_every: Annotated[int, STEPS] = 0
    log_every: Annotated[int, Range(1, 10**9)] = 100
    save_every: Annotated[int, STEPS] = 1000
    keep: Annotated[int, Range(1, 1000)] = 2
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
        means = meanings(type(defaults))
        for key, kind in kinds_of(type(defaults)).items():
            default = getattr(defaults, key)
            if kind.type is Mapping:  # what its keys take is the network's affair
                lines.append(f"  --config.{group.name}.{key}.KEY=VALUE")
            else:
                lines.append(f"  --config.{group.name}.{key}={kind} (default {default!r})")
            if key in means:
                lines.append(f"      {means[key]}")
    return "\n".join(lines)


def _get_config(path: str) -> Any:
    file, _, argument = path.partition(":")
    if not Path(file).is_file():
        raise UserError(f"Missing configuration {printable(file)}: the ones provided are in nfnet/configs.")
    spec = importlib.util.spec_from_file_location(f"nfnet_config_{Path(file).stem}", file)
    if spec is None or spec.loader is None:
        raise UserError(f"{printable(file)} is no Python file: pass one of nfnet/configs or your own.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return module.get_config(*([argument] if argument else []))
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        said = printable(f"{type(error).__name__}, {error}")
        raise UserError(f"The configuration {printable(path)} cannot be used: {said}.") from error


def load_config(path: str, overrides: Sequence[str] = ()) -> RunConfig:
    """Reads a configuration file.

    Args:
        path: a Python file with a function `get_config` that returns a `ConfigDict`. An argument for it may
            follow a colon, as in nfnet/configs/jft_pretrain.py:F3.
        overrides: flags of the form --config.training.epochs=2.

    Raises:
        UserError: missing file, unknown setting, wrong type, value out of range, or a network that is not possible.
    """
    from ml_collections import ConfigDict

    provided = _get_config(path)
    if not isinstance(provided, ConfigDict):
        raise UserError(
            f"get_config in {printable(path)} returns a {type(provided).__name__}, but must return a ConfigDict."
        )
    try:
        values = provided.to_dict()
    except Exception as error:  # a reference within the ConfigDict that leads nowhere
        raise UserError(f"The configuration {printable(path)} cannot be used: {printable(error)}.") from error
    config = from_mapping(RunConfig, _overridden(values, overrides))
    # Only now, since it loads JAX. That a network is possible is known before any data are opened.
    from nfnet.training.recipe import network_shape

    network_shape(config.model)
    return config


def _overridden(values: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Returns the values of a configuration file with the overrides filled in."""
    for override in overrides:
        key, _, text = override.removeprefix("--config.").partition("=")
        kind = find_setting(key)
        *path, name = key.split(".")
        place: Any = values
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                return values  # the file's mistake, which `from_mapping` tells
        place[name] = read_text(kind, text)
    return values


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
