"""Parameters to start from or to evaluate, from a checkpoint of this package or a file made elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import jax

from nfnet.data.source import Source
from nfnet.errors import UserError, printable
from nfnet.models.families import FAMILIES
from nfnet.training.checkpoint import REMEDY, load_parameters
from nfnet.training.class_names import CLASSES, LONGEST, read_class_names, run_folder
from nfnet.training.config import RunConfig
from nfnet.training.evaluation import Evaluation, evaluate
from nfnet.training.network import make_network, network_shape, parameter_shapes
from nfnet.training.run import with_classes
from nfnet.training.sharding import check_batch_size, make_mesh, replicated
from nfnet.training.splits import open_held_out
from nfnet.training.state import Params
from nfnet.training.step import StepConfig, make_evaluation_step
from nfnet.training.stored import build
from nfnet.weights.fit import fit
from nfnet.weights.load import read_with_origin
from nfnet.weights.origins import CHOICES, OURS, Origin, settings


@dataclass(frozen=True)
class Initial:
    """Parameters, where they are from, and what they were trained with.

    Attributes:
        params: of a network.
        description: for messages.
        origin: whose they are.
        made: settings that they were trained with, by group, as far as they are known.
        class_names: one a logit, if the run keeps them.
    """

    params: Params
    description: str
    origin: Origin = OURS
    made: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    class_names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class _Made:
    """The part of a checkpoint's metadata that is used: the run's settings."""

    config: Mapping[str, Mapping[str, Any]]


def read_initial(path: Path, *, average: bool = True, best: bool = False, allow_non_finite: bool = False) -> Initial:
    """Reads parameters.

    Args:
        path: a run's folder, one of its checkpoints, or a file of weights made elsewhere.
        average: take the moving average where a checkpoint has one.
        best: take a run's best checkpoint, selected on the held-out split, rather than its last.
        allow_non_finite: also take weights of a file that are NaN or infinite.

    Raises:
        UserError: nothing readable there.
    """
    if path.is_file() and not best:
        params, origin = read_with_origin(path, allow_non_finite=allow_non_finite)
        return Initial(params, printable(path), origin)
    loaded = load_parameters(path, average=average, best=best)
    which = "moving average" if loaded.averaged else "parameters"
    description = f"{loaded.folder} ({which} after {loaded.meta['step']} steps)"
    made = build(_Made, loaded.meta, str(loaded.folder), REMEDY).config
    return Initial(loaded.params, description, _of_run(made), made, read_class_names(run_folder(path)))


def _of_run(made: Mapping[str, Mapping[str, Any]]) -> Origin:
    """Returns the origin of a run's parameters: what its settings chose."""
    model = made.get("model", {})
    shape = given if isinstance(given := model.get("shape"), Mapping) else {}
    family = FAMILIES.get(str(model.get("family")))
    chosen = [one for one in fields(family.config) if one.name in CHOICES] if family else []
    return replace(OURS, trained_with={one.name: shape.get(one.name, one.default) for one in chosen})


# What fine-tuning takes from weights if `model.from_weights` is set.
_ADOPTED = {
    "model": ("family", "variant", "shape", "plus_width", "head"),
    "data": ("image_size", "evaluation_size", "evaluation_margin", "mean", "std"),
}


def chooses_network(names: Collection[str]) -> bool:
    """Whether one of some settings, such as "model.variant", chooses the network."""
    chosen = tuple(f"model.{name}" for name in _ADOPTED["model"])
    return any(name.startswith(chosen) for name in names)


def adopt(loaded: Initial, config: RunConfig, keep: Collection[str] = ()) -> RunConfig:
    """Returns the settings of the network that parameters were trained in, and says on stderr what that changes.

    Args:
        loaded: the parameters.
        config: the settings of the run that they are for.
        keep: settings that stay as they are, such as "data.image_size", whatever the parameters were trained with; one
            that chooses the network keeps all that do.

    Raises:
        UserError: model.shape asks for another GELU or variance floor.
    """
    if config.model.from_weights:
        for group, names in _ADOPTED.items():
            kept = {name for name in names if f"{group}.{name}" in keep}
            if group == "model" and chooses_network(keep):
                kept = set(names)
            known = {name: loaded.made[group][name] for name in names if name in loaded.made.get(group, {})}
            changes = {name: value for name, value in known.items() if name not in kept}
            config = replace(config, **{group: replace(getattr(config, group), **changes)})
    shape, other = config.model.shape, loaded.origin.differing(network_shape(config.model))
    if asked := {key: shape[key] for key in other if key in shape}:
        raise UserError(
            f"{loaded.description} is of {loaded.origin}, but model.shape has {settings(asked)}: leave that out, "
            "so that the network becomes the one that the weights were trained in."
        )
    if other and jax.process_index() == 0:
        print(f"{loaded.description} is of {loaded.origin}: the network is built so.", file=sys.stderr)
    return replace(config, model=replace(config.model, shape={**shape, **other}))


def _check_names(loaded: Initial, held_out: Source) -> None:
    """Raises UserError if a class of the data has another logit: by the order of the folders, one more moves many."""
    ours, theirs = loaded.class_names, tuple(printable(name, LONGEST) for name in held_out.class_names)
    if ours is None or ours == theirs or not set(ours) & set(theirs):  # names in another language may mean the same
        return
    unknown = next((name for name in theirs if name not in ours), None)
    if unknown is None:
        raise UserError(
            f"{loaded.description} has the classes of {printable(held_out.name)} in another order: name its list, "
            f"{CLASSES} of the run, with --config.data.classes."
        )
    raise UserError(
        f"{printable(held_out.name)} has the class {printable(unknown)}, which {loaded.description} was not trained "
        "on: rename or remove it."
    )


def evaluate_checkpoint(loaded: Initial, config: RunConfig) -> Evaluation:
    """Evaluates parameters on the held-out split of a configuration.

    Raises:
        UserError: the parameters are of another model, or the data is bad.
    """
    config = adopt(loaded, config)
    data = config.data
    held_out = open_held_out(data, config.model.num_classes)
    config = with_classes(config, held_out)
    _check_names(loaded, held_out)
    network = make_network(config.model)
    fitted = fit(loaded.params, parameter_shapes(network, data.evaluation_size))
    if fitted.problem:
        headless = fitted.mismatch is not None and fitted.mismatch.in_head and fitted.mismatch.found is None
        what = "cannot be evaluated" if headless else "is of another model"
        remedy = "fine-tune it first" if headless else "pass the --config.model settings that it was made with"
        raise UserError(f"{loaded.description} {what}: {fitted.problem}; {remedy}.")
    if fitted.resized:
        print(f"{loaded.description}: {fitted}", file=sys.stderr)
    mesh = make_mesh()
    check_batch_size(mesh, "evaluation_batch_size", config.training.evaluation_batch_size)
    step = make_evaluation_step(network.forward, StepConfig.of(config), mesh)
    params = jax.device_put(fitted.params, replicated(mesh))
    return evaluate(params, step, held_out, data, config.training.evaluation_batch_size, mesh)
