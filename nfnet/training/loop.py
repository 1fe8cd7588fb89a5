"""The training loop: from an assembled run and its newest checkpoint to its last one."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from nfnet.data.pipeline import Batch, TrainBatches, WorkerDiedError
from nfnet.data.source import check_readable
from nfnet.errors import UserError, printable
from nfnet.files import local_path
from nfnet.training.checkpoint import REMEDY, Checkpoints
from nfnet.training.class_names import write_class_names
from nfnet.training.config import RunConfig
from nfnet.training.environment import StopSignals, locked
from nfnet.training.evaluation import Evaluation, evaluate, on_device
from nfnet.training.report import Outcome, Position, Report, Window, finish_log, reporting
from nfnet.training.run import Run, assemble
from nfnet.training.run_log import LOG, check_log
from nfnet.training.sharding import batch_sharding, replicated, state_sharding
from nfnet.training.state import Params, TrainState
from nfnet.training.step import make_evaluation_step, make_train_step

_ENOUGH = 256  # images, from which on the share that cannot be read says something of all
# What may differ when a run is resumed: nothing that changes which parameters come out.
_FREE = {
    # What is read has a digest of its own.
    "data": {"path", "classes", "hold_out_every", "unreadable_share", "workers", "threads"},
    "training": {
        "log_every", "evaluate_every", "save_every", "keep", "tensorboard", "shard_state", "evaluation_batch_size",
    },
}  # fmt: skip


def train(
    config: RunConfig,
    workdir: Path,
    *,
    initial: Callable[[Params], Params] | None = None,
    on_batch: Callable[[int, Batch], None] | None = None,
    visible: bool = True,
) -> Outcome:
    """Trains, from the newest checkpoint in `workdir` if there is one.

    Resuming is exact: parameters come out bit for bit as without the interruption, on the same devices. Computation is
    in float32 at most, whether or not JAX_ENABLE_X64 is set.

    Args:
        config: the run's settings.
        workdir: folder for checkpoints and the run log.
        initial: changes freshly initialised parameters before the first step, for fine-tuning.
        on_batch: called with the number of steps done and this host's share of the next batch before it is used.
        visible: whether to show progress on stderr.

    Returns:
        How it ended: finished, or stopped by SIGTERM or SIGINT with a checkpoint saved.

    Raises:
        UserError: bad settings or data, a foreign or damaged checkpoint, a folder that cannot be
            written, a loss that is not finite, or images of which none or too few can be read.
    """
    workdir = local_path(workdir, "--workdir")
    primary = jax.process_index() == 0
    lock = locked(workdir) if primary else contextlib.nullcontext()
    # With 64 bits, JAX would draw other random numbers.
    with lock, jax.enable_x64(False), StopSignals() as signals:
        run = assemble(config, workdir)
        batches = run.batches()
        if primary:
            check_log(workdir / LOG)
        with contextlib.closing(Checkpoints(workdir, config.training.keep)) as checkpoints:
            if visible and primary and initial is None and checkpoints.latest_step is None:
                print("compiling the initialisation", file=sys.stderr, flush=True)
            state, position, resumed = _start(run, checkpoints, batches, initial)
            if primary:
                write_class_names(workdir, run.train.class_names)
            if position.step == run.schedule.steps:
                if primary:
                    finish_log(run, position.step)
                return Outcome("finished", position.step, None)
            with (
                reporting(run, position.step, resumed=resumed, visible=visible) as report,
                contextlib.closing(batches),
            ):
                return _loop(run, state, position, batches, checkpoints, report, signals, on_batch)


@dataclass(frozen=True)
class _Stored:
    """What a run goes on from, besides arrays: the metadata of its newest checkpoint."""

    step: int
    config: Mapping[str, Mapping[str, Any]]
    data: Mapping[str, Any]
    core_seconds: float
    unreadable: int
    held_out: str | None = None


def _check_same_run(config: RunConfig, stored: Mapping[str, Mapping[str, Any]], workdir: Path) -> None:
    """Raises UserError at the first setting that differs from that of a checkpoint.

    Settings that did not exist when it was saved had the effect that their defaults have.
    """
    former = stored.get("optimiser", {})
    if former.get("name") == "sgd" and "nesterov" not in former and former.get("weight_decay"):
        raise UserError(
            f"{workdir} holds a run of an earlier version, whose SGD decayed biases and gains too: go on with that "
            "version, without optimiser.weight_decay, or in another --workdir."
        )
    ours, defaults = (json.loads(json.dumps(one.as_dict())) for one in (config, RunConfig()))
    defaults["optimiser"]["nesterov"] = stored.get("optimiser", {}).get("name") != "sgd"
    for group, settings in ours.items():
        for key, value in settings.items():
            former = stored.get(group, {}).get(key, defaults[group][key])
            if key not in _FREE.get(group, ()) and former != value:
                raise UserError(
                    f"{workdir} holds a run with {group}.{key} = {printable(repr(former))}, "
                    f"but this one has {value!r}: "
                    "pass the same settings to resume it, or another --workdir."
                )


def _start(
    run: Run, checkpoints: Checkpoints, batches: TrainBatches, initial: Callable[[Params], Params] | None
) -> tuple[TrainState, Position, bool]:
    """Returns the first or the restored state, and whether it was restored."""
    meta = checkpoints.latest_meta(_Stored)
    if meta is not None:
        stored = _Stored(**{one.name: meta[one.name] for one in dataclasses.fields(_Stored) if one.name in meta})
        _check_same_run(run.config, stored.config, run.workdir)
        if stored.held_out not in (None, run.held_out.identity):
            raise UserError(
                f"{run.workdir} holds a run that was evaluated on other images or labels than those of "
                f"{run.held_out.name}: restore them, or start in an empty --workdir."
            )
        try:
            batches.set_state(stored.data)
        except UserError as error:
            raise UserError(f"{checkpoints.newest / str(stored.step)}: {error}") from None
        if batches.next_batch != stored.step:
            raise UserError(
                f"The checkpoint of step {stored.step} in {checkpoints.newest} goes on with batch "
                f"{batches.next_batch} ('data'): {REMEDY}."
            )
        state = checkpoints.restore(run.state_shapes, run.mesh)
        return state, Position(stored.step, stored.core_seconds, stored.unreadable), True
    shardings = state_sharding(run.mesh, run.state_shapes)
    if initial is None:
        # Inside jit, sharded parameters are never whole on one device.
        return jax.jit(lambda: run.begin(run.init()), out_shardings=shardings)(), Position(), False
    params = jax.device_get(initial(jax.jit(run.init)()))
    return jax.jit(run.begin, out_shardings=shardings)(params), Position(), False


def _loop(
    run: Run,
    state: TrainState,
    position: Position,
    batches: TrainBatches,
    checkpoints: Checkpoints,
    report: Report,
    signals: StopSignals,
    on_batch: Callable[[int, Batch], None] | None,
) -> Outcome:
    training, total = run.config.training, run.schedule.steps
    key = jax.jit(lambda: run.key(1), out_shardings=replicated(run.mesh))()
    report.show.message("compiling the training step; large networks take minutes")
    learning_rate = jax.jit(run.learning_rate, out_shardings=replicated(run.mesh))
    train_step = _compile(run, state, key)
    evaluation_step = make_evaluation_step(run.network.forward, run.steps, run.mesh)
    window = Window()
    best = checkpoints.best_loss()
    evaluation: Evaluation | None = None
    stop = 0
    clock = time.perf_counter()
    while position.step < total:
        try:
            batch = _next(batches, signals)
        except WorkerDiedError:
            checkpoints.save(position.step, state, _meta(run, batches, position))
            checkpoints.wait()
            report.end("unreadable", position.step)
            raise
        if batch is not None:
            if on_batch is not None:
                on_batch(position.step, batch)
            state, metrics = train_step(state, on_device(run.mesh, batch), key, learning_rate(position.step))
            window.add(metrics)
            position.step += 1
            report.show.advance(position.step)
        step = position.step
        last = step == total
        log_now = step % training.log_every == 0
        # Hosts have to talk to agree; doing so at every step would cost more than it is worth.
        if log_now or jax.process_count() == 1:
            stop = _anyone_stops(signals.received or 0)
        evaluate_now = last or _every(training.evaluate_every, step)
        save_now = last or bool(stop) or _every(training.save_every, step)
        if not (log_now or evaluate_now or save_now):
            continue

        means, readable, unreadable = window.take()
        seconds = time.perf_counter() - clock
        position.core_seconds += seconds * run.cores
        position.unreadable += int(unreadable.sum())
        _stop_if_not_finite(run, state, step, checkpoints, report)
        _stop_without_data(run, position, unreadable[readable == 0], checkpoints, report)
        result: dict[str, float] = {}
        if evaluate_now:
            if evaluation is None:
                report.show.message("compiling the evaluation step")
            size = training.evaluation_batch_size
            try:
                evaluation = evaluate(state.evaluated, evaluation_step, run.held_out, run.config.data, size, run.mesh)
                result = {"held_out_loss": evaluation.loss, "held_out_top1": evaluation.top1}
            except UserError as error:  # what was trained is not lost with it
                died = isinstance(error, WorkerDiedError)
                if died and signals.received and not last:
                    stop, save_now = signals.received, True  # the signal reached its processes too
                else:
                    if not (died and last):  # or resuming would find nothing left to do
                        checkpoints.save(step, state, _meta(run, batches, position))
                    report.end("unreadable", step)
                    raise
        report.metrics(position, {**means, **result}, readable.sum() / seconds)
        meta = {**_meta(run, batches, position), **result}
        if evaluation is not None and result and (best is None or evaluation.loss < best):
            best = evaluation.loss
            checkpoints.save_best(step, state, meta)
        if save_now:
            checkpoints.save(step, state, meta)
        if stop and not last:
            break
        clock = time.perf_counter()
    checkpoints.wait()
    reason = "finished" if position.step == total else signal.Signals(stop).name
    report.end(reason, position.step)
    if position.unreadable:
        report.show.message(f"{position.unreadable} images could not be decoded and had no weight.")
    return Outcome(reason, position.step, evaluation)


def _meta(run: Run, batches: TrainBatches, position: Position) -> dict[str, Any]:
    """Returns what a checkpoint holds besides arrays."""
    order = {"data": batches.get_state(), "held_out": run.held_out.identity}
    return {"config": run.config.as_dict(), **order, **dataclasses.asdict(position)}


def _compile(run: Run, state: TrainState, key: Any) -> Any:
    """Compiles the train step before the clock starts."""
    size, side = run.schedule.batch_size, run.config.data.image_size
    rows = {"image": ((side, side, 3), jnp.uint8), "label": ((), jnp.int32)}
    rows |= {"weight": ((), jnp.float32), "unreadable": ((), jnp.bool_)}
    sharding = batch_sharding(run.mesh)
    batch = {
        name: jax.ShapeDtypeStruct((size, *shape), dtype, sharding=sharding) for name, (shape, dtype) in rows.items()
    }
    rate = jax.ShapeDtypeStruct((), jnp.float32, sharding=replicated(run.mesh))
    step = make_train_step(run.network.forward, run.optimiser, run.steps, run.mesh, state)
    return step.lower(state, batch, key, rate).compile()


def _next(batches: TrainBatches, signals: StopSignals) -> Batch | None:
    """Returns the next batch, or None if a signal came first."""
    while True:
        try:
            return next(batches)
        except Exception:
            # The signal that stops this process may have killed its worker processes already.
            if not signals.received:
                raise
            batches.close()
            if jax.process_count() == 1:
                return None
            # The other hosts do not know of it yet: go on, with new workers, until all agree to stop.


def _anyone_stops(received: int) -> int:
    """Agrees on a signal among all processes, so that they stop after the same step."""
    if jax.process_count() == 1:
        return received
    return int(multihost_utils.process_allgather(np.int32(received)).max())


def _every(interval: int, step: int) -> bool:
    return interval > 0 and step % interval == 0


def _stop_if_not_finite(run: Run, state: TrainState, step: int, checkpoints: Checkpoints, report: Report) -> None:
    bad = int(state.first_bad_step)
    if bad < 0:
        return
    checkpoints.wait()
    report.end("diverged", step)
    saved = checkpoints.latest_step
    kept = "no checkpoint was saved before" if saved is None else f"the checkpoint of step {saved} is the last good one"
    raise UserError(
        f"The loss or its gradient was not finite at step {bad} ({run.workdir}); {kept}: lower "
        "--config.optimiser.learning_rate or lengthen the warm-up, in an empty --workdir."
    )


def _stop_without_data(
    run: Run, position: Position, empty: np.ndarray, checkpoints: Checkpoints, report: Report
) -> None:
    """Raises UserError if there are `empty` steps, of whose images none could be read, or too few could in all."""
    name, share, images = run.train.name, run.config.data.unreadable_share, run.images(position.step)
    try:
        if empty.any():
            check_readable(int(empty.max()), int(empty.max()), f"a batch of {name}", share)
        if images >= min(_ENOUGH, run.schedule.examples, run.schedule.images):
            check_readable(position.unreadable, images, name, share)
    except UserError:
        checkpoints.wait()
        report.end("unreadable", position.step)
        raise
