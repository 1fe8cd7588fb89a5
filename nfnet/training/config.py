"""What a run is: typed settings, read from ml_collections configuration files."""

from __future__ import annotations

import importlib.util
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from nfnet.errors import UserError, unknown_name

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class ModelConfig:
    """The network.

    Attributes:
        family: "nfnet" or "vit".
        variant: a name in `nfnet.model.VARIANTS` or `nfnet.vit.VIT_VARIANTS`.
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

    family: str = "nfnet"
    variant: str = "F0"
    num_classes: int = 1000
    shape: Mapping[str, Any] = field(default_factory=dict)
    plus_width: str = "published"
    stochastic_depth_rate: float | None = None
    dropout_rate: float | None = None
    head: str = "gap"
    logit_bias: float = 0.0
    bfloat16: bool = False
    remat: bool = False


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
        crop: see `nfnet.data.augment.Augmentation`, as the next five.
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
        unreadable: "skip" or "fatal".
        workers: decoding processes on each host; 0 decodes in threads.
        threads: decoding threads of each process.
    """

    source: str = "digits"
    path: str = ""
    train_split: str = "train"
    held_out_split: str = "test"
    image_size: int = 224
    evaluation_size: int = 256
    evaluation_margin: int = 32
    crop: str = "random_resized"
    min_area: float = 0.08
    padding: int = 4
    flip: bool = True
    randaugment_layers: int = 0
    randaugment_magnitude: float = 0.0
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    repeats: int = 1
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    unreadable: str = "skip"
    workers: int = 0
    threads: int = 2


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

    name: str = "agc_sgd"
    learning_rate: float = 1.6
    schedule: str = "cosine"
    warmup_epochs: float = 0.0
    warmup_steps: int = 0
    cooldown_steps: int = 0
    timescale: int = 10_000
    weight_decay: float = 0.0
    head_weight_decay: float | None = None
    momentum: float = 0.9
    clipping: float = 0.01
    clip_norm: float = 0.0
    ema_decay: float = 0.0
    sam_rho: float = 0.0
    sam_fraction: float = 1.0


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
        evaluate_every: steps; 0 evaluates at the end only.
        log_every: steps.
        save_every: steps; 0 saves at the end only (and on SIGTERM and SIGINT).
        keep: how many of the newest checkpoints to keep; the best one is kept besides.
        tensorboard: write TensorBoard events too.
    """

    seed: int = 0
    epochs: float = 1.0
    batch_size: int = 4096
    accumulate: int = 1
    loss: str = "softmax"
    label_smoothing: float = 0.0
    fsdp: int = 1
    evaluation_batch_size: int = 256
    evaluate_every: int = 0
    log_every: int = 100
    save_every: int = 1000
    keep: int = 2
    tensorboard: bool = False


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


def _convert(value: Any, wanted: Any, name: str) -> Any:
    """Converts a value from a configuration file or JSON to a field's type, or raises UserError."""
    origin = typing.get_origin(wanted)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        wanted = next(option for option in typing.get_args(wanted) if option is not type(None))
        origin = typing.get_origin(wanted)
    if is_dataclass(wanted) and isinstance(value, Mapping):
        return from_mapping(typing.cast(type, wanted), value, name)
    if origin is tuple and isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(_convert(item, typing.get_args(wanted)[0], name) for item in value)
    if origin is not None and isinstance(value, Mapping):
        return {key: tuple(item) if isinstance(item, list) else item for key, item in value.items()}
    if wanted is float and type(value) is int:
        return float(value)
    if isinstance(wanted, type) and type(value) is wanted:
        return value
    kind = getattr(wanted, "__name__", str(wanted))
    raise UserError(f"{name} is {value!r}, but it needs a value of type {kind}.")


def from_mapping(kind: type[T], values: Mapping[str, Any], name: str = "config") -> T:
    """Builds a dataclass from a mapping.

    Args:
        kind: the dataclass.
        values: its fields; absent ones keep their defaults.
        name: what to call the mapping in messages.

    Raises:
        UserError: an unknown field or a value of the wrong type, naming it.
    """
    known = typing.get_type_hints(kind)
    given = {}
    for key, value in values.items():
        if key not in known:
            raise unknown_name(f"setting of {name}", key, [f.name for f in fields(typing.cast(Any, kind))])
        given[key] = _convert(value, known[key], f"{name}.{key}")
    return kind(**given)


def _get_config(path: str) -> Any:
    file, _, argument = path.partition(":")
    if not Path(file).is_file():
        raise UserError(f"Missing configuration {file}: the ones provided are in nfnet/configs.")
    spec = importlib.util.spec_from_file_location(f"nfnet_config_{Path(file).stem}", file)
    if spec is None or spec.loader is None:
        raise UserError(f"{file} is no Python file: pass one of nfnet/configs or your own.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return module.get_config(*([argument] if argument else []))
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"The configuration {path} cannot be used: {type(error).__name__}, {error}.") from error


def load_config(path: str, overrides: Sequence[str] = ()) -> RunConfig:
    """Reads a configuration file.

    Args:
        path: a Python file with a function `get_config` that returns a `ConfigDict`. An argument for it may
            follow a colon, as in nfnet/configs/jft_pretrain.py:F3.
        overrides: flags of the form --config.training.epochs=2.

    Raises:
        UserError: missing file, unknown setting, wrong type.
    """
    from absl import flags
    from ml_collections import ConfigDict, config_flags

    provided = _get_config(path)
    if not isinstance(provided, ConfigDict):
        raise UserError(f"get_config in {path} returns a {type(provided).__name__}, but must return a ConfigDict.")
    config = from_mapping(RunConfig, provided.to_dict())
    if not overrides:
        return config
    # With all defaults filled in, every setting can be overridden, and its type is known.
    values = flags.FlagValues()
    arguments = ["nfnet", *overrides]
    complete = ConfigDict(_with_placeholders(config.as_dict()))
    for override in overrides:
        _check_known(override, complete)
    config_flags.DEFINE_config_dict("config", complete, flag_values=values, sys_argv=arguments, lock_config=False)
    try:
        values(arguments)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"The overrides cannot be used: {' '.join(str(error).split())}.") from error
    changed: Any = values["config"].value
    return from_mapping(RunConfig, changed.to_dict())


def _with_placeholders(values: dict[str, Any]) -> dict[str, Any]:
    """Gives settings that are None the type that an override may have; all of them are floats."""
    from ml_collections import config_dict

    return {
        key: _with_placeholders(value)
        if isinstance(value, dict)
        else config_dict.placeholder(float)
        if value is None
        else value
        for key, value in values.items()
    }


def _check_known(override: str, config: Any) -> None:
    """Raises UserError if an override names a setting that there is not."""
    where = "config"
    for key in override.partition("=")[0].removeprefix("--config.").split("."):
        if key not in config:
            raise unknown_name(f"setting of {where}", key, config)
        config, where = config[key], f"{where}.{key}"
        if not hasattr(config, "keys"):
            return
