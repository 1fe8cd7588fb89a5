"""Checkpoints: asynchronous, atomic, the newest few and the best one, for any number of devices.

WORKDIR/checkpoints/STEP holds `params`, `average` (if any), `optimiser` and `meta`; WORKDIR/best/STEP the
same but for the optimiser. Orbax writes into a temporary folder and renames it when complete, so a readable
checkpoint is a whole one, whenever the process is killed. `meta` holds a SHA-256 of each array and of itself, which
are compared whenever a checkpoint is read; those of earlier versions have none and are read without.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp  # type: ignore[import-untyped, unused-ignore]
from etils import epath  # type: ignore[import-untyped, unused-ignore]
from jax.sharding import Mesh

from nfnet.errors import UserError, printable
from nfnet.training.digests import check_digests, copy_to_host, digests, leaves_by_name
from nfnet.training.output import check_folder, silence_orbax, told
from nfnet.training.sharding import replicate, state_sharding
from nfnet.training.state import Params, TrainState
from nfnet.training.stored import build, parse_json, read_file
from nfnet.weights.fit import mismatches

NEWEST = "checkpoints"
BEST = "best"
FORMAT = 1
_STEP = re.compile("0|[1-9][0-9]*")  # as Orbax names the folder of a step
REMEDY = "restore it from a copy, or remove that checkpoint's folder, so that the one before it is used"


class _MetaHandler(ocp.JsonCheckpointHandler):  # type: ignore[misc]
    """Writes metadata in Orbax's thread, once the digests of the arrays are known."""

    async def async_save(self, directory: Any, item: Any = None, args: Any = None) -> list[ocp.future.Future]:
        """Starts to save what `args` makes."""
        return [ocp.future.CommitFutureAwaitingContractedSignals(self._write(directory, args.make), name="meta")]

    async def _write(self, directory: Any, make: Callable[[], Mapping[str, Any]]) -> None:
        for future in await super().async_save(directory, args=ocp.args.JsonSave(make())):
            future.result()


@ocp.args.register_with_handler(_MetaHandler, for_save=True, for_restore=True)
@dataclass
class _MetaSave(ocp.args.CheckpointArgs):  # type: ignore[misc]
    """Metadata to save, which `make` returns in another thread."""

    make: Callable[[], Mapping[str, Any]]


def _handlers() -> dict[str, Any]:
    arrays = {name: ocp.StandardCheckpointHandler() for name in ("params", "average", "optimiser")}
    return {**arrays, "meta": _MetaHandler()}


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
            UserError: `keep` is not positive, or the folders cannot be written.
        """
        if keep < 1:
            raise UserError(f"training.keep is {keep}: keep at least one checkpoint.")
        self._workdir = workdir.absolute()
        silence_orbax()
        for name in (NEWEST, BEST):
            check_folder(self._workdir / name, "Checkpoints")
            self._check_steps(self._workdir / name)
        self._newest = self._open(NEWEST, keep)
        self._best = self._open(BEST, 1)

    @staticmethod
    def _check_steps(folder: Path) -> None:
        """Refuses what Orbax would pass over in silence, so that a run would start again from nothing."""
        for entry in folder.iterdir():
            if _STEP.fullmatch(entry.name) and not entry.is_dir():
                raise UserError(f"{entry} is not a checkpoint's folder: {REMEDY}.")

    def _open(self, name: str, keep: int) -> ocp.CheckpointManager:
        folder = self._workdir / name
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            cleanup_tmp_directories=True,
            # Else threads that write arrays wait ten minutes for a folder that could not be made.
            async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
        )
        with told(folder, "Checkpoints"):
            return ocp.CheckpointManager(folder, options=options, item_handlers=_handlers())

    @property
    def latest_step(self) -> int | None:
        """The step of the newest complete checkpoint."""
        step = self._newest.latest_step()
        return None if step is None else int(step)

    @property
    def newest(self) -> Path:
        """Where the newest checkpoints are."""
        return self._workdir / NEWEST

    def save(self, step: int, state: TrainState, meta: Mapping[str, Any]) -> None:
        """Starts to save; returns as soon as the arrays have left the devices.

        Args:
            step: steps done; saving a step that is saved already does nothing.
            state: of the run.
            meta: JSON-compatible, the same on every process.

        Raises:
            UserError: it cannot be written (also found by a later call, saving being asynchronous).
        """
        if step != self.latest_step:
            self._save(self._newest, step, _arrays(state, with_optimiser=True), meta)

    def save_best(self, step: int, state: TrainState, meta: Mapping[str, Any]) -> None:
        """Starts to save the best parameters so far, in place of the former best ones."""
        if step != self._best.latest_step():
            self._save(self._best, step, _arrays(state, with_optimiser=False), meta)

    def _save(self, manager: ocp.CheckpointManager, step: int, arrays: dict[str, Any], meta: Mapping[str, Any]) -> None:
        items = {name: ocp.args.StandardSave(tree) for name, tree in arrays.items()}
        text = json.dumps({**meta, "format": FORMAT, "step": step})  # now: the caller goes on to change it
        copies = copy_to_host(arrays)
        returning = threading.Event()

        def make() -> dict[str, Any]:
            returning.wait()  # what the run waits for comes first
            record = {**json.loads(text), "digests": digests(copies)}
            return {**record, "digest": _meta_digest(record)}

        items["meta"] = _MetaSave(make)
        try:
            with told(self._workdir, "Checkpoints"):
                manager.save(step, args=ocp.args.Composite(**items), force=True)
        finally:
            returning.set()

    def latest_meta(self, expected: type[Any] | None = None) -> dict[str, Any] | None:
        """Returns what was saved with the newest checkpoint besides arrays, or None if there is none.

        Args:
            expected: a dataclass of fields that must be there, see `nfnet.training.stored.build`.

        Raises:
            UserError: a field is missing or has another type, or anything else in it is damaged.
        """
        self.wait()
        step = self.latest_step
        return None if step is None else self._meta(NEWEST, step, expected)

    def _meta(self, name: str, step: int, expected: type[Any] | None = None) -> dict[str, Any]:
        folder = self._workdir / name / str(step)
        meta = _read_meta(folder, expected)
        if meta["step"] != step:
            raise UserError(f"{folder} holds the checkpoint of step {meta['step']}: give it back its name.")
        return meta

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
        sums = self._meta(NEWEST, step).get("digests")
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
        if sums is not None:
            for item in items:
                check_digests(sums, item, restored[item], folder)
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
        return float(self._meta(BEST, step, _Best)["held_out_loss"])

    def wait(self) -> None:
        """Waits until everything is on disk.

        Raises:
            UserError: something could not be written.
        """
        self._each(lambda manager: manager.wait_until_finished())

    def close(self) -> None:
        """Waits and stops the background threads."""
        self._each(lambda manager: manager.close())

    def _each(self, call: Callable[[ocp.CheckpointManager], None]) -> None:
        """Calls something for both managers, for the second one too if the first fails."""
        try:
            with told(self._workdir / NEWEST, "Checkpoints"):
                call(self._newest)
        finally:
            with told(self._workdir / BEST, "Checkpoints"):
                call(self._best)


@dataclass(frozen=True)
class _Best:
    """What the best checkpoint's metadata is read for."""

    held_out_loss: float


@dataclass(frozen=True)
class _Meta:
    """What each checkpoint's metadata has; those of earlier versions have no digests."""

    step: int
    digests: Mapping[str, str] | None = None
    digest: str | None = None


def _damaged(folder: Path, error: Exception) -> UserError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return UserError(
        f"The checkpoint {folder} is damaged or foreign ({printable(reason)}): remove it or pass another one."
    )


def _meta_digest(meta: Mapping[str, Any]) -> str:
    content = {key: value for key, value in meta.items() if key != "digest"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _meta_file(folder: Path) -> Path:
    return folder / "meta" / "metadata"


def _read_meta(folder: Path, expected: type[Any] | None = None) -> dict[str, Any]:
    path = _meta_file(folder)
    try:
        meta = parse_json(read_file(path))
    except OSError as error:
        raise UserError(f"The metadata {path} of a checkpoint cannot be read ({error.strerror}): {REMEDY}.") from None
    except ValueError as error:
        raise UserError(f"{path} is no JSON of a checkpoint ({printable(error)}): {REMEDY}.") from None
    if not isinstance(meta, dict):
        raise UserError(f"{path} is no JSON object, as a checkpoint's metadata is: {REMEDY}.")
    version = meta.get("format")
    if type(version) is not int or version != FORMAT:
        shown = printable(repr(version), 60)
        raise UserError(f"{folder} has checkpoint format {shown}, but this version reads {FORMAT}: {REMEDY}.")
    checked = build(_Meta, meta, str(path), REMEDY)
    if expected is not None:  # before the digest is compared, to name the field that is bad
        build(expected, meta, str(path), REMEDY, unbounded=["held_out_loss"])
    if (checked.digests is None) != (checked.digest is None):
        raise UserError(f"{path} lacks {'digests' if checked.digests is None else 'digest'!r}: {REMEDY}.")
    if checked.digest is not None and checked.digest != _meta_digest(meta):
        raise UserError(f"{path} is not what was saved (its field 'digest' differs): {REMEDY}.")
    return meta


def _stored_shapes(item: Path) -> Any:
    try:
        read_file(item / "_METADATA")  # Orbax would wait for a pipe
        return ocp.PyTreeCheckpointHandler().metadata(epath.Path(item)).tree
    except Exception as error:
        raise _damaged(item, error) from error


def _shapes_by_name(tree: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(leaf.shape) for name, leaf in leaves_by_name(tree).items() if hasattr(leaf, "shape")}


def _check_shapes(item: Path, tree: Any) -> None:
    """Raises UserError, naming the first difference, unless a stored tree has the shapes of another."""
    try:
        stored = _shapes_by_name(_stored_shapes(item))
    except TypeError as error:  # shapes that are none
        raise _damaged(item, error) from error
    if different := mismatches(stored, _shapes_by_name(tree)):
        first = min(different, key=lambda one: one.name)
        raise UserError(
            f"The checkpoint {item} is of another model or optimiser: {first}; use the settings it was made with."
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


def _step_folder(path: Path, best: bool) -> Path:
    """Finds the checkpoint that a path means: itself, or the newest or best of a run."""
    try:
        if os.path.lexists(path / "meta") and not best:
            return path
        for folder in (path / BEST,) if best else (path / NEWEST, path):
            steps = [int(name) for name in os.listdir(folder) if _STEP.fullmatch(name)] if folder.is_dir() else []
            if steps:
                return folder / str(max(steps))
    except OSError as error:
        raise UserError(f"The checkpoints in {path} cannot be read ({error.strerror}): pass another path.") from None
    if best:
        raise UserError(f"No best checkpoint in {path}: pass a run's --workdir, or leave --best out.")
    raise UserError(
        f"No checkpoint in {path}: pass a run's --workdir, or one of the folders in its {NEWEST} or {BEST}."
    )


def load_parameters(path: Path | str, *, average: bool = True, best: bool = False) -> Parameters:
    """Reads the parameters of a checkpoint of this package, without its optimiser.

    Args:
        path: a run's folder, whose last checkpoint is taken, or one checkpoint's.
        average: take the moving average where there is one.
        best: take the run's best checkpoint, which was selected on the held-out split.

    Raises:
        UserError: no checkpoint there, or a damaged or foreign one.
    """
    silence_orbax()
    folder = _step_folder(Path(path).absolute(), best)
    meta = _read_meta(folder)
    sums = meta.get("digests")
    # Its folder being lost is no reason to take the parameters instead.
    averaged = average and ((folder / "average").is_dir() or any(name.startswith("average/") for name in sums or ()))
    item = folder / ("average" if averaged else "params")
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), _stored_shapes(item))
    try:
        with ocp.PyTreeCheckpointer() as reader:
            params = reader.restore(item, restore_args=as_numpy)
    except Exception as error:
        raise _damaged(folder, error) from error
    if sums is not None:
        check_digests(sums, item.name, params, folder)
    _check_nesting(params, item)
    return Parameters(params, meta, folder, averaged)


def _check_nesting(params: Any, item: Path) -> None:
    """Raises UserError unless parameters are nested as Haiku's are: arrays of numbers, by module and name."""
    modules = params.values() if isinstance(params, dict) else [None]
    for arrays in modules:
        values = arrays.values() if isinstance(arrays, dict) else [None]
        if not all(isinstance(array, np.ndarray) and jnp.issubdtype(array.dtype, np.number) for array in values):
            raise UserError(f"{item} holds no parameters by module and name: pass a checkpoint of this package.")
