"""Parameters to start from or to evaluate, from a checkpoint of this package or a released one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from nfnet.data.sources import check_classes, open_source
from nfnet.errors import UserError, printable
from nfnet.training import recipe
from nfnet.training.checkpoint import load_parameters
from nfnet.training.config import RunConfig
from nfnet.training.evaluation import Evaluation, evaluate
from nfnet.training.sharding import make_mesh, replicated
from nfnet.training.state import Params
from nfnet.training.step import StepConfig, make_evaluation_step


@dataclass(frozen=True)
class Initial:
    """Parameters and where they are from."""

    params: Params
    description: str


def read_initial(path: Path, *, average: bool = True, allow_non_finite: bool = False) -> Initial:
    """Reads parameters.

    Args:
        path: a run's folder, one of its checkpoints, or a file of a released NFNet.
        average: take the moving average where a checkpoint has one.
        allow_non_finite: also take weights of a file that are NaN or infinite.

    Raises:
        UserError: nothing readable there.
    """
    if path.is_file():
        from nfnet.weights.load import read_checkpoint

        return Initial(read_checkpoint(path, allow_non_finite=allow_non_finite), printable(path))
    loaded = load_parameters(path, average=average)
    which = "moving average" if loaded.averaged else "parameters"
    return Initial(loaded.params, f"{loaded.folder} ({which} after {loaded.meta['step']} steps)")


def _check_shapes(params: Params, shapes: Params, name: str) -> None:
    for module, arrays in shapes.items():
        for key, array in arrays.items():
            stored = params.get(module, {}).get(key)
            found = "no such array" if stored is None else f"shape {stored.shape}"
            if stored is None or stored.shape != array.shape:
                raise UserError(
                    f"{name} is of another model: {module}/{key} needs shape {array.shape}, but there is "
                    f"{found}; "
                    "pass the --config.model settings that it was made with."
                )
    extra = [module for module in params if module not in shapes]
    if extra:
        raise UserError(f"{name} is of another model: {extra[0]} is not part of this one; change --config.model.")


def evaluate_checkpoint(loaded: Initial, config: RunConfig) -> Evaluation:
    """Evaluates parameters on the held-out split of a configuration.

    Raises:
        UserError: the parameters are of another model, or the data is bad.
    """
    data = config.data
    held_out = open_source(data.source, data.path, data.held_out_split)
    check_classes(held_out, held_out, config.model.num_classes)
    network = recipe.make_network(config.model)
    _check_shapes(loaded.params, recipe.parameter_shapes(network, data.evaluation_size), loaded.description)
    mesh = make_mesh()
    step = make_evaluation_step(network.forward, StepConfig.of(config), mesh)
    params = jax.device_put(
        jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf, np.float32)), loaded.params), replicated(mesh)
    )
    return evaluate(params, step, held_out, data, config.training.evaluation_batch_size, mesh)
