"""How arrays lie on the devices: batches split over all of them, parameters replicated or sharded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from nfnet.errors import UserError

_BATCH = PartitionSpec(("replica", "shard"))
_SMALLEST_SHARDED = 2**14  # values; smaller arrays cost more to gather than to hold


def make_mesh(shard_state: int = 1, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Arranges devices as ("replica", "shard").

    The batch is split over both axes. Parameters, their average, the optimiser's state and summed gradients are stored
    in parts over "shard" alone (ZeRO, Rajbhandari et al. 2020): each device keeps 1 / `shard_state` of them. A step
    gathers all parameters first, so that these, and activations, take as much memory during it as without.

    Args:
        shard_state: devices that share one copy of the state, which should be neighbours; 1 stores it on each.
        devices: all devices of all processes by default.

    Raises:
        UserError: `shard_state` does not divide the number of devices.
    """
    found = list(jax.devices() if devices is None else devices)
    if shard_state < 1 or len(found) % shard_state:
        raise UserError(
            f"training.shard_state is {shard_state}, but it must divide the number of devices, {len(found)}."
        )
    shape = (len(found) // shard_state, shard_state)
    return jax.make_mesh(shape, ("replica", "shard"), axis_types=(AxisType.Auto,) * 2, devices=found)


def check_batch_size(mesh: Mesh, setting: str, size: int) -> None:
    """Raises UserError unless the devices can share a batch equally, naming the setting that gives its size."""
    if size % mesh.size:
        raise UserError(
            f"training.{setting} is {size}, but must be a multiple of the number of devices, {mesh.size}: change it."
        )


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The first axis split over all devices."""
    return NamedSharding(mesh, _BATCH)


def state_sharding(mesh: Mesh, tree: Any) -> Any:
    """Chooses the sharding of each array of parameters or optimiser state.

    Args:
        mesh: from `make_mesh`.
        tree: arrays or their shapes.

    Returns:
        The same tree of shardings: along the longest axis that the mesh's "shard" axis divides, else
            replicated.
    """
    parts = mesh.shape["shard"]

    def choose(leaf: Any) -> NamedSharding:
        axes = [axis for axis, length in enumerate(leaf.shape) if length % parts == 0 and length >= parts]
        if parts == 1 or not axes or np.prod(leaf.shape) < _SMALLEST_SHARDED:
            return replicated(mesh)
        longest = max(axes, key=lambda axis: leaf.shape[axis])
        return NamedSharding(mesh, PartitionSpec(*(None,) * longest, "shard"))

    return jax.tree.map(choose, tree)


def replicate(mesh: Mesh, tree: Any) -> Any:
    """Copies small host arrays, equal on every process, to all devices of all processes."""
    return jax.jit(lambda values: values, out_shardings=replicated(mesh))(jax.tree.map(np.asarray, tree))


def put_batch(mesh: Mesh, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """Moves this host's share of a batch to its devices, as part of one global batch."""
    sharding = batch_sharding(mesh)
    return {key: jax.make_array_from_process_local_data(sharding, value) for key, value in batch.items()}
