"""SHA-256 of every array of a checkpoint, so that one flipped bit is noticed before it is trained on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np

from nfnet.errors import UserError, printable

SPREAD = "not computed: the array is spread over several processes"
_MOST_THREADS = 16  # memory gives no more than that


def leaves_by_name(tree: Any) -> dict[str, Any]:
    """Names the leaves of a tree as they are named on disk.

    Named tuples are stored as mappings and tuples as lists: names are what both sides have in common.
    """

    def name(entry: Any) -> str:
        return str(next(getattr(entry, key) for key in ("key", "idx", "name") if hasattr(entry, key)))

    return {"/".join(map(name, path)): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _on_host(leaf: Any) -> np.ndarray | None:
    """Returns the whole array, or None where this process has but a part of it."""
    if not isinstance(leaf, jax.Array):
        return np.asarray(leaf)
    if leaf.is_fully_replicated:
        # The very object that Orbax copies to the host afterwards: JAX keeps the copy with it, so there is one only.
        return np.asarray(leaf.addressable_shards[0].data)
    return np.asarray(leaf) if leaf.is_fully_addressable else None


def _digest(array: np.ndarray | None) -> str:
    if array is None:
        return SPREAD
    sha = hashlib.sha256(f"{array.dtype.name} {array.shape}\n".encode())
    sha.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return sha.hexdigest()


def copy_to_host(items: Mapping[str, Any]) -> dict[str, np.ndarray | None]:
    """Returns what `digests` needs of arrays, which may be donated afterwards.

    Args:
        items: trees of arrays of JAX or NumPy by "params", "average" or "optimiser", the first part of each
            name.
    """
    named = {f"{item}/{name}": leaf for item, tree in items.items() for name, leaf in leaves_by_name(tree).items()}
    for leaf in named.values():
        if isinstance(leaf, jax.Array) and leaf.is_fully_replicated:
            leaf.addressable_shards[0].data.copy_to_host_async()
    return {name: _on_host(leaf) for name, leaf in named.items()}


def digests(arrays: Mapping[str, np.ndarray | None]) -> dict[str, str]:
    """Digests each array: its type, its shape, and its bytes in row-major order.

    Of sharded arrays the whole is digested, so that devices may be other ones when it is restored; where one
    is spread over several processes, none of which has it all, the digest is `SPREAD` instead.
    """
    # hashlib lets other threads run while it works.
    with ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_THREADS)) as pool:
        return dict(zip(arrays, pool.map(_digest, arrays.values()), strict=True))


def check_digests(stored: Mapping[str, str], item: str, tree: Any, folder: Path) -> None:
    """Compares what was read with what was saved.

    Args:
        stored: digests of the checkpoint, of this item and perhaps of others.
        item: which of its items was read.
        tree: the arrays read.
        folder: of the checkpoint.

    Raises:
        UserError: an array differs, is missing, or has no digest.
    """
    found = digests(copy_to_host({item: tree}))
    wanted = {name: digest for name, digest in stored.items() if name.startswith(f"{item}/")}
    for name in sorted(found.keys() | wanted.keys()):
        if name not in wanted:
            problem = "has no digest"
        elif name not in found:
            problem = "is missing"
        elif found[name] != wanted[name] and SPREAD not in (found[name], wanted[name]):
            problem = "is not what was saved (its SHA-256 differs)"
        else:
            continue
        raise UserError(
            f"The checkpoint {folder} is damaged: the array {printable(name)} {problem}; remove that folder, so "
            "that the checkpoint before it is used, or restore it from a copy."
        )
