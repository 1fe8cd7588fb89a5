"""Weights by name, file or run, as a network and its parameters: what `nfnet.load` does.

    network, params = nfnet.load("dm_nfnet_f0.dm_in1k")
    logits = network.apply(params, None, images, is_training=False)["logits"]

Whose weights they are decides what the network computes (timm's have another GELU and variance floor), a run's settings
or a file's metadata or shapes decide the variant. Of a file of several hundred MB one copy is made.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from functools import partial
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from nfnet.errors import UserError, printable
from nfnet.models.families import FAMILIES
from nfnet.models.nfnet import NFNetConfig
from nfnet.weights.files import Arrays, read_weights, refuse_non_finite
from nfnet.weights.find import Found, locate
from nfnet.weights.fit import fit
from nfnet.weights.infer import Config, infer, told_heads
from nfnet.weights.metadata import read_told, trained_with
from nfnet.weights.origins import OURS, TIMM_VIT, Origin, convert, key_of
from nfnet.weights.zoo import Entry, Preprocessing

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's pixels, as all NFNets are trained with
_HALF = (0.5, 0.5, 0.5)  # to [-1, 1], as the published ViTs are


@dataclasses.dataclass(frozen=True)
class Weights:
    """Arrays under our names, and all that is known of them.

    Attributes:
        arrays: By module and name, of the types that the file has.
        family: A key of `FAMILIES`.
        variant: Name of the variant, or None if none has these shapes.
        config: The network's configuration.
        options: What the family's module takes beside it: head and posemb of a ViT.
        classes: Number of logits, or None without a classifier.
        origin: Whose weights they are, and what they were trained with.
        description: For messages.
        found: Where they lie, and the zoo's entry if they were called by its name.
        preprocessing: Of the images that they were evaluated on, as published, stored with them, or usual.
        class_names: One a logit, or None if they are not stored with the weights.
    """

    arrays: Arrays
    family: str
    variant: str | None
    config: Config
    options: Mapping[str, Any]
    classes: int | None
    origin: Origin
    description: str
    found: Found
    preprocessing: Preprocessing
    class_names: tuple[str, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A network with its parameters.

    Attributes:
        network: `apply(params, rng, images, is_training)` returns "logits" [batch, num_classes] and features; images
            [batch, height, width, 3] are normalised as `preprocessing` says.
        params: One value for each parameter, float32.
        config: The network's configuration.
        family: A key of `FAMILIES`: "nfnet" or "vit".
        variant: Name of the variant, or None if none has these shapes.
        options: What the family's module takes beside the configuration: head and posemb of a ViT.
        origin: Whose weights they are, and what they were trained with.
        entry: The zoo's entry, if they were called by its name.
        num_classes: Number of logits.
        new_head: Whether the classifier is a fresh one.
        class_names: One a logit, or None if they are not stored with the weights.
        preprocessing: Of the images that the weights were evaluated on.
        description: For messages.
    """

    network: hk.Transformed
    params: hk.Params
    config: Config
    family: str
    variant: str | None
    options: Mapping[str, Any]
    origin: Origin
    entry: Entry | None
    num_classes: int
    new_head: bool
    class_names: tuple[str, ...] | None
    preprocessing: Preprocessing
    description: str


def load(
    weights: str | os.PathLike[str], num_classes: int | None = None, **options: Any
) -> tuple[hk.Transformed, hk.Params]:
    """Returns a network, which is an `hk.Transformed`, and its parameters.

    Args:
        weights: A name of docs/models.md, a file of weights, or the folder of a run; see
            `nfnet.weights.find.locate`.
        num_classes: Logits of a fresh classifier in place of the weights' own; None keeps that.
        **options: Of `load_pretrained`.

    Raises:
        UserError: As `load_pretrained` does.
    """
    loaded = load_pretrained(weights, num_classes=num_classes, **options)
    return loaded.network, loaded.params


def load_pretrained(
    weights: str | os.PathLike[str],
    *,
    num_classes: int | None = None,
    dtype: DTypeLike | None = None,
    config: Config | None = None,
    offline: bool = False,
    average: bool = True,
    best: bool = False,
    allow_non_finite: bool = False,
    seed: int = 0,
) -> Pretrained:
    """Loads weights into the network that they were trained in.

    Args:
        weights: See `load`.
        num_classes: Logits of a fresh classifier, also where the weights have as many; None keeps the weights' own.
        dtype: Type of the activations, the images' by default; parameters are float32 in either case.
        config: The network's configuration, for shapes that leave it open.
        offline: Download nothing.
        average: Take the moving average of a run where there is one.
        best: Take a run's best checkpoint rather than its last.
        allow_non_finite: Also take weights that are NaN or infinite.
        seed: Of a fresh classifier.

    Raises:
        UserError: There are no such weights, they are damaged, of no network known here, or without a classifier
            where `num_classes` asks for none.
    """
    given = read_pretrained(
        weights,
        config=config,
        offline=offline,
        average=average,
        best=best,
        allow_non_finite=allow_non_finite,
    )
    if (classes := given.classes if num_classes is None else num_classes) is None:
        raise UserError(f"{given.description} holds no classifier: pass num_classes for a fresh one.")
    family = FAMILIES[given.family]
    build = partial(family.build, classes, given.config, dtype=dtype, **given.options)
    network = hk.transform(lambda images, is_training: build()(images, is_training))
    side = given.config.smallest_image if isinstance(given.config, NFNetConfig) else given.config.resolution

    def init(key: Any) -> Any:
        return network.init(key, jnp.zeros((1, side, side, 3)), False)

    new_head = num_classes is not None or given.classes is None
    shapes = jax.eval_shape(init, jax.random.key(seed))
    fitted = fit(given.arrays, shapes, replace_head=new_head)
    if fitted.problem:
        raise UserError(f"{given.description}: {fitted.problem}: it is of another network.")
    params = {module: {name: _array(value) for name, value in group.items()} for module, group in fitted.params.items()}
    if new_head:
        fresh = {key.rpartition("/")[0] for key in fitted.reset}
        *_, last = family.parts(given.config, side, classes, **given.options)
        head: Any = hk.transform(partial(last.apply, *last.settings))
        # What is not asked for is not computed.
        make = jax.jit(lambda key: {module: head.init(key, jnp.zeros(last.shape))[module] for module in fresh})
        params |= make(jax.random.key(seed))
    return Pretrained(
        network,
        params,
        given.config,
        given.family,
        given.variant,
        given.options,
        given.origin,
        given.found.entry,
        classes,
        new_head,
        None if new_head else given.class_names,
        given.preprocessing,
        given.description,
    )


def _array(value: Any) -> Any:
    """Copies an array, which may be a part of a file, to the device; shapes stay as they are."""
    return jnp.array(value, copy=True) if isinstance(value, np.ndarray) else value


def read_pretrained(
    weights: str | os.PathLike[str],
    *,
    config: Config | None = None,
    offline: bool = False,
    average: bool = True,
    best: bool = False,
    allow_non_finite: bool = False,
) -> Weights:
    """Finds and reads weights, and tells their network.

    Args:
        weights: See `load`.
        config: See `load_pretrained`.
        offline: See `load_pretrained`.
        average: See `load_pretrained`.
        best: See `load_pretrained`.
        allow_non_finite: See `load_pretrained`.

    Raises:
        UserError: See `load_pretrained`.
    """
    found = locate(weights, offline=offline)
    if found.path.is_dir():
        return _of_run(found, config, average=average, best=best)
    if best:
        raise UserError(f"{printable(found.path)} is a file of weights, which has no best checkpoint: leave best out.")
    name = found.entry.name if found.entry else printable(found.path.name)
    state = read_weights(found.path)
    arrays, origin = convert(state, name)
    if not allow_non_finite:
        refuse_non_finite(arrays, name)
    told = read_told(found.path)
    if told is not None:
        inferred = infer(arrays, name, config or told.config)
        own, variant = told.origin, told.variant
    else:
        inferred = infer(arrays, name, config, num_heads=told_heads(state))
        own, variant = origin, inferred.variant
    options = {**inferred.options, **(told.options if told else {})}
    if found.entry and (found.entry.family, found.entry.origin) != (inferred.family, key_of(own)):
        raise UserError(f"{name}: the file is of {own.name}, but {found.entry.origin} was expected: download it again.")
    known = {one.name for one in dataclasses.fields(inferred.config)}
    chosen = {key: value for key, value in own.trained_with.items() if key in known}
    full = inferred.config if config is not None else dataclasses.replace(inferred.config, **chosen)
    stored = found.entry.preprocessing if found.entry else told.preprocessing if told else None
    return Weights(
        arrays,
        inferred.family,
        variant,
        full,
        options,
        inferred.classes,
        own,
        f"{name} of {own}",
        found,
        stored or _usual(full, own),
        _names(told.class_names, inferred.classes, name, "convert the weights again") if told else None,
    )


def _of_run(found: Found, config: Config | None, *, average: bool, best: bool) -> Weights:
    """Reads a run's parameters, its settings and the names of its classes."""
    from nfnet.training.class_names import CLASSES, read_class_names, run_folder
    from nfnet.training.config import DataConfig, ModelConfig, from_mapping
    from nfnet.training.initial import read_initial
    from nfnet.training.network import network_shape

    loaded = read_initial(found.path, average=average, best=best)
    model = from_mapping(ModelConfig, loaded.made.get("model", {}), "model of the run")
    full = config or network_shape(model)
    inferred = infer(loaded.params, loaded.description, full)
    named = network_shape(dataclasses.replace(model, shape={}))
    data = from_mapping(DataConfig, {**loaded.made.get("data", {}), "path": "", "classes": ""}, "data of the run")
    folder = run_folder(found.path)
    return Weights(
        loaded.params,
        inferred.family,
        model.variant if _alike(full, named) else None,
        full,
        inferred.options,
        inferred.classes,
        trained_with(OURS, full),
        loaded.description,
        found,
        Preprocessing(size=data.evaluation_size, mean=data.mean, std=data.std, margin=data.evaluation_margin),
        _names(read_class_names(folder), inferred.classes, printable(folder / CLASSES), "restore it from the data"),
    )


def _alike(config: Config, other: Config) -> bool:
    """Whether configurations have the same shapes, whatever else differs."""
    free = {"activation", "floor", "gelu", "dropout_rate", "stochastic_depth_rate", "resolution"}
    free |= {"train_resolution", "test_resolution"}
    fields = {one.name for one in dataclasses.fields(config)} - free
    return type(config) is type(other) and all(getattr(config, key) == getattr(other, key) for key in fields)


def _names(names: tuple[str, ...] | None, classes: int | None, source: str, remedy: str) -> tuple[str, ...] | None:
    """Returns names of classes that are as many as logits: others would be those of other classes, told nowhere."""
    if names is None or classes is None:
        return None
    if len(names) != classes:
        raise UserError(f"{source} names {len(names)} classes for {classes} logits: {remedy}.")
    return names


def _usual(config: Config, origin: Origin) -> Preprocessing:
    """What networks of a family and origin are evaluated with, where nothing more is known."""
    if isinstance(config, NFNetConfig):
        return Preprocessing(size=config.test_resolution or 224, mean=_MEAN, std=_STD, margin=32)
    timm = origin.name == TIMM_VIT.name
    if not timm:
        return Preprocessing(size=config.resolution, mean=_HALF, std=_HALF, margin=0, interpolation="bilinear")
    share = 0.9 if config.resolution == 224 else 1.0
    return Preprocessing(size=config.resolution, mean=_HALF, std=_HALF, mode="center", crop_share=share)
