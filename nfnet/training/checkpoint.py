"""Checkpoints: asynchronous, atomic, the newest few and the best one, for any number of devices.

WORKDIR/checkpoints/STEP holds `params`, `average` (if any), `optimiser` and `meta`; WORKDIR/best/STEP the
same but for the optimiser. Orbax writes into a temporary folder and renames it when complete, so a readable
checkpoint is a whole one, whenever the process is killed.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp  # type: ignore[import-untyped, unused-ignore]
from etils import epath  # type: ignore[import-untyped, unused-ignore]
from jax.sharding import Mesh

from nfnet.errors import UserError
from nfnet.training.sharding import replicate, state_sharding
from nfnet.training.state import Params, TrainState

NEWEST = "checkpoints"
BEST = "best"
FORMAT = 1


@contextmanager
def _full_disk_is_a_user_error(folder: Path) -> Iterator[None]:
    """Turns the various errors that a full disk gives into one sentence."""
    try:
        yield
    except Exception as error:
        text = str(error)
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or any(
            words in text for words in (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT))
        )
        if not full:
            raise
        raise UserError(
            f"No space left for checkpoints in {folder}: free some and run the same command again; the "
            f"complete "
            "checkpoints there are intact."
        ) from error


def _handlers() -> dict[str, Any]:
    arrays = {name: ocp.StandardCheckpointHandler() for name in ("params", "average", "optimiser")}
    return {**arrays, "meta": ocp.JsonCheckpointHandler()}


def _arrays(state: TrainState, with_optimiser: bool) -> dict[str, Any]:
    arrays = {"params": state.params}
    if state.average is not None:
        arrays["average"] = state.average
    if with_optimiser:
        arrays["optimiser"] = state.opt_state
    return arrays


class Checkpoints:
    """The checkpoints of one run; every process of a run calls the same methods."""

    def __init__(self, workdir: Path, keep: int):
        """Opens or creates the folders.

        Args:
            workdir: of the run.
            keep: how many of the newest checkpoints to keep.

        Raises:
            UserError: `keep` is not positive.
        """
        if keep < 1:
            raise UserError(f"training.keep is {keep}: keep at least one checkpoint.")
        self._workdir = workdir.absolute()
        self._newest = self._open(NEWEST, keep)
        self._best = self._open(BEST, 1)

    def _open(self, name: str, keep: int) -> ocp.CheckpointManager:
        folder = self._workdir / name
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, cleanup_tmp_directories=True)
        with _full_disk_is_a_user_error(folder):
            return ocp.CheckpointManager(folder, options=options, item_handlers=_handlers())

    @property
    def latest_step(self) -> int | None:
        """The step of the newest complete checkpoint."""
        step = self._newest.latest_step()
        return None if step is None else int(step)

    def save(self, step: int, state: TrainState, meta: Mapping[str, Any]) -> None:
        """Starts to save; returns as soon as the arrays have left the devices.

        Args:
            step: steps done; saving a step that is saved already does nothing.
            state: of the run.
            meta: JSON-compatible, the same on every process.

        Raises:
            UserError: the disk is full (also found by a later call, saving being asynchronous).
        """
        if step != self.latest_step:
            self._save(self._newest, step, _arrays(state, with_optimiser=True), meta)

    def save_best(self, step: int, state: TrainState, meta: Mapping[str, Any]) -> None:
        """Starts to save the best parameters so far, in place of the former best ones."""
        if step != self._best.latest_step():
            self._save(self._best, step, _arrays(state, with_optimiser=False), meta)

    def _save(self, manager: ocp.CheckpointManager, step: int, arrays: dict[str, Any], meta: Mapping[str, Any]) -> None:
        items = {name: ocp.args.StandardSave(tree) for name, tree in arrays.items()}
        items["meta"] = ocp.args.JsonSave({**meta, "format": FORMAT, "step": step})
        with _full_disk_is_a_user_error(self._workdir):
            manager.save(step, args=ocp.args.Composite(**items), force=True)

    def latest_meta(self) -> dict[str, Any] | None:
        """Returns what was saved with the newest checkpoint besides arrays, or None if there is none."""
        self.wait()
        step = self.latest_step
        return None if step is None else _read_meta(self._workdir / NEWEST / str(step))

    def restore(self, like: TrainState, mesh: Mesh) -> TrainState:
        """Restores the newest checkpoint.

        Args:
            like: a state of the run, or its shapes.
            mesh: the devices; the checkpoint may come from others.

        Raises:
            UserError: there is no checkpoint, it is of another model or optimiser, or it is damaged.
        """
        self.wait()
        step = self.latest_step
        if step is None:
            raise UserError(f"No checkpoint in {self._workdir / NEWEST}.")
        folder = self._workdir / NEWEST / str(step)
        for item, tree in _arrays(like, with_optimiser=True).items():
            _check_shapes(folder / item, tree)

        def target(shape: Any, sharding: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding)

        abstract = jax.tree.map(target, like, state_sharding(mesh, like))
        items = {k: ocp.args.StandardRestore(v) for k, v in _arrays(abstract, with_optimiser=True).items()}
        try:
            restored = self._newest.restore(step, args=ocp.args.Composite(**items))
        except Exception as error:
            raise _damaged(folder, error) from error
        return TrainState(
            step=replicate(mesh, np.int32(step)),
            params=restored["params"],
            opt_state=restored["optimiser"],
            average=restored["average"] if like.average is not None else None,
            first_bad_step=replicate(mesh, np.int32(-1)),
        )

    def best_loss(self) -> float | None:
        """The held-out loss of the best checkpoint."""
        step = self._best.latest_step()
        if step is None:
            return None
        meta = _read_meta(self._workdir / BEST / str(step))
        return float(meta["held_out_loss"])

    def wait(self) -> None:
        """Waits until everything is on disk.

        Raises:
            UserError: the disk is full.
        """
        for manager in (self._newest, self._best):
            with _full_disk_is_a_user_error(self._workdir):
                manager.wait_until_finished()

    def close(self) -> None:
        """Waits and stops the background threads."""
        for manager in (self._newest, self._best):
            with _full_disk_is_a_user_error(self._workdir):
                manager.close()


def _damaged(folder: Path, error: Exception) -> UserError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return UserError(f"The checkpoint {folder} is damaged or foreign ({reason}): remove it or pass another one.")


def _read_meta(folder: Path) -> dict[str, Any]:
    try:
        with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
            meta: dict[str, Any] = reader.restore(folder / "meta")
    except Exception as error:
        raise _damaged(folder, error) from error
    if meta.get("format") != FORMAT:
        raise UserError(f"{folder} has checkpoint format {meta.get('format')!r}; this version reads {FORMAT}.")
    return meta


def _stored_shapes(item: Path) -> Any:
    try:
        return ocp.PyTreeCheckpointHandler().metadata(epath.Path(item)).tree
    except Exception as error:
        raise _damaged(item, error) from error


def _shapes_by_name(tree: Any) -> dict[tuple[str, ...], tuple[int, ...]]:
    # Named tuples are stored as mappings and tuples as lists: names are what both sides have in common.
    def name(entry: Any) -> str:
        return str(next(getattr(entry, key) for key in ("key", "idx", "name") if hasattr(entry, key)))

    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {tuple(map(name, path)): tuple(leaf.shape) for path, leaf in leaves if hasattr(leaf, "shape")}


def _check_shapes(item: Path, tree: Any) -> None:
    """Raises UserError, naming the first difference, unless a stored tree has the shapes of another."""
    stored, wanted = _shapes_by_name(_stored_shapes(item)), _shapes_by_name(tree)
    for name in sorted(stored.keys() | wanted.keys()):
        if stored.get(name) != wanted.get(name):
            raise UserError(
                f"The checkpoint {item} is of another model or optimiser: {'/'.join(name)} has shape "
                f"{stored.get(name, 'none')}, but here {wanted.get(name, 'none')}; use the settings it was "
                f"made with."
            )


@dataclass(frozen=True)
class Parameters:
    """Parameters read from a checkpoint.

    Attributes:
        params: NumPy arrays, Haiku's nesting.
        meta: what was saved with them: settings, step, held-out loss.
        folder: where they lay.
        averaged: whether they are the moving average.
    """

    params: Params
    meta: dict[str, Any]
    folder: Path
    averaged: bool


def _step_folder(path: Path) -> Path:
    """Finds the checkpoint that a path means: itself, or the best or newest of a run."""
    if (path / "meta").is_dir():
        return path
    for folder in (path / BEST, path / NEWEST, path):
        steps = [int(entry.name) for entry in folder.glob("*") if entry.name.isdigit()]
        if steps:
            return folder / str(max(steps))
    raise UserError(
        f"No checkpoint in {path}: pass a run's --workdir, or one of the folders in its {NEWEST} or {BEST}."
    )


def load_parameters(path: Path | str, *, average: bool = True) -> Parameters:
    """Reads the parameters of a checkpoint of this package, without its optimiser.

    Args:
        path: a run's folder (its best checkpoint is taken, else its newest) or one checkpoint's.
        average: take the moving average where there is one.

    Raises:
        UserError: no checkpoint there, or a damaged or foreign one.
    """
    folder = _step_folder(Path(path).absolute())
    meta = _read_meta(folder)
    averaged = average and (folder / "average").is_dir()
    item = folder / ("average" if averaged else "params")
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), _stored_shapes(item))
    try:
        with ocp.PyTreeCheckpointer() as reader:
            params = reader.restore(item, restore_args=as_numpy)
    except Exception as error:
        raise _damaged(folder, error) from error
    return Parameters(params, meta, folder, averaged)
