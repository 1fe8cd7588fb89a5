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


def make_mesh(fsdp: int = 1, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Arranges devices as ("replica", "shard").

    The batch is split over both axes. Parameters and optimiser state are sharded over "shard" alone, so that
    they are gathered from `fsdp` devices, which should be neighbours.

    Args:
        fsdp: devices over which parameters are sharded; 1 is plain data parallelism.
        devices: all devices of all processes by default.

    Raises:
        UserError: `fsdp` does not divide the number of devices.
    """
    found = list(jax.devices() if devices is None else devices)
    if fsdp < 1 or len(found) % fsdp:
        raise UserError(f"training.fsdp is {fsdp}, but it must divide the number of devices, {len(found)}.")
    return Mesh(np.array(found).reshape(-1, fsdp), ("replica", "shard"), axis_types=(AxisType.Auto,) * 2)


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
