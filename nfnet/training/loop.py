"""The training loop: everything of a run from its settings to its last checkpoint."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from nfnet.cost.nfnet import count_parameters
from nfnet.data.augment import Augmentation
from nfnet.data.pipeline import Batch, Schedule, TrainBatches
from nfnet.data.sources import Source, check_classes, open_source
from nfnet.errors import UserError, printable
from nfnet.training import recipe
from nfnet.training.checkpoint import REMEDY, Checkpoints
from nfnet.training.config import DataConfig, RunConfig
from nfnet.training.environment import StopSignals, code_version, locked, package_versions
from nfnet.training.evaluation import Evaluation, evaluate, on_device
from nfnet.training.output import told
from nfnet.training.progress import Progress, make_progress
from nfnet.training.run_log import LOG, Header, Metrics, RunLogWriter, check_log, read_run_log
from nfnet.training.sharding import batch_sharding, make_mesh, replicated, state_sharding
from nfnet.training.state import Params, StepMetrics, TrainState
from nfnet.training.step import StepConfig, init_state, make_evaluation_step, make_train_step

_AHEAD = 2  # steps dispatched before the host waits: enough to hide it, few enough to bound the batches in memory
# What may differ when a run is resumed: nothing that changes which parameters come out.
_FREE = {
    "data": {"path", "workers", "threads"},
    "training": {
        "log_every", "evaluate_every", "save_every", "keep", "tensorboard", "fsdp", "evaluation_batch_size",
    },
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """How a call of `train` ended.

    Attributes:
        reason: "finished", or the name of the signal that stopped it.
        step: steps done.
        evaluation: the last one of this call, if any.
    """

    reason: str
    step: int
    evaluation: Evaluation | None

    def report(self) -> int:
        """Says on stderr how the run ended, unless another process does, and returns the exit code."""
        if jax.process_index() == 0 and self.reason == "finished":
            print(f"finished after {self.step} steps", file=sys.stderr)
        elif jax.process_index() == 0:
            print(f"{self.reason}: saved at step {self.step}; run the same command to go on", file=sys.stderr)
        return 0 if self.reason == "finished" else 128 + signal.Signals[self.reason]


def _augmentation(data: DataConfig) -> Augmentation:
    return Augmentation(
        size=data.image_size,
        crop=data.crop,
        min_area=data.min_area,
        padding=data.padding,
        flip=data.flip,
        randaugment_layers=data.randaugment_layers,
        randaugment_magnitude=data.randaugment_magnitude,
    )


@dataclass(frozen=True)
class _Stored:
    """What a run goes on from, besides arrays: the metadata of its newest checkpoint."""

    step: int
    config: Mapping[str, Mapping[str, Any]]
    data: Mapping[str, Any]
    core_seconds: float
    unreadable: int


def _check_same_run(config: RunConfig, stored: Mapping[str, Mapping[str, Any]], workdir: Path) -> None:
    ours = json.loads(json.dumps(config.as_dict()))
    for group, settings in ours.items():
        for key, value in settings.items():
            former = stored.get(group, {}).get(key)
            if key not in _FREE.get(group, ()) and former != value:
                raise UserError(
                    f"{workdir} holds a run with {group}.{key} = {printable(repr(former))}, "
                    f"but this one has {value!r}: "
                    "pass the same settings to resume it, or another --workdir."
                )


def _anyone_stops(received: int) -> int:
    """Agrees on a signal among all processes, so that they stop after the same step."""
    if jax.process_count() == 1:
        return received
    return int(multihost_utils.process_allgather(np.int32(received)).max())


class _Window:
    """Sums what steps report between two lines of the log, without making the devices wait."""

    def __init__(self) -> None:
        self._pending: list[StepMetrics] = []

    def add(self, metrics: StepMetrics) -> None:
        self._pending.append(metrics)
        if len(self._pending) > _AHEAD:
            jax.block_until_ready(self._pending[-1 - _AHEAD].loss)

    def take(self) -> tuple[dict[str, float], float, int]:
        """Returns means since the last call, the number of images they are of, and of unreadable ones."""
        fetched: list[StepMetrics] = jax.device_get(self._pending)
        self._pending = []
        if not fetched:
            return {}, 0.0, 0
        weight = np.array([m.weight for m in fetched], np.float64)
        total = max(float(weight.sum()), 1.0)
        means = {
            "train_loss": float(np.dot(weight, [float(m.loss) for m in fetched]) / total),
            "train_top1": float(sum(float(m.correct) for m in fetched) / total),
            "gradient_norm": float(fetched[-1].gradient_norm),
        }
        return means, total, sum(int(m.unreadable) for m in fetched)


@dataclass(frozen=True)
class _Run:
    """What a run is made of, before anything is computed."""

    config: RunConfig
    workdir: Path
    train: Source
    held_out: Source
    schedule: Schedule
    mesh: Mesh
    steps: StepConfig
    network: recipe.Network
    learning_rate: recipe.Schedule
    optimiser: Any
    shapes: Params
    macs: int

    def key(self, purpose: int) -> Any:
        """Returns the key of the initialisation (0) or of the train steps (1)."""
        return jax.random.fold_in(jax.random.key(self.config.training.seed), purpose)

    def begin(self, params: Params) -> TrainState:
        """Makes the first state from parameters."""
        return init_state(params, self.optimiser, self.config.optimiser.ema_decay)

    @property
    def state_shapes(self) -> TrainState:
        """Shapes of the state."""
        shapes: TrainState = jax.eval_shape(self.begin, self.shapes)
        return shapes

    @property
    def flops_per_image(self) -> float:
        """Two a multiply-add, the backward pass costing two forward ones, and SAM's ascent."""
        ascent = self.steps.ascent_share(self.config.training.batch_size)
        return 2 * self.macs * 3 * (1 + ascent)

    def header(self) -> Header:
        """Makes the header of the run log."""
        return Header(
            config=self.config.as_dict(),
            code=code_version(),
            packages=package_versions(),
            device=jax.devices()[0].device_kind,
            devices=self.mesh.size,
            processes=jax.process_count(),
            seed=self.config.training.seed,
            parameters=count_parameters(self.shapes),
            macs=self.macs,
            examples=self.schedule.examples,
            total_steps=self.schedule.steps,
        )

    def batches(self) -> TrainBatches:
        """Describes this host's share of the batches."""
        data = self.config.data
        return TrainBatches(
            self.train,
            self.schedule,
            _augmentation(data),
            host=jax.process_index(),
            hosts=jax.process_count(),
            workers=data.workers,
            threads=data.threads,
            unreadable=data.unreadable,
        )


def _prepare(config: RunConfig, workdir: Path) -> _Run:
    """Opens the data and builds everything, which finds most mistakes before anything is written."""
    training, data = config.training, config.data
    train = open_source(data.source, data.path, data.train_split)
    held_out = open_source(data.source, data.path, data.held_out_split)
    check_classes(train, held_out, config.model.num_classes)
    schedule = Schedule(len(train), training.epochs, training.batch_size, data.repeats, training.seed)
    mesh = make_mesh(training.fsdp)
    for size in (training.batch_size, training.evaluation_batch_size):
        if size % mesh.size:
            raise UserError(f"A batch of {size} cannot be split over {mesh.size} devices: change its size.")
    network = recipe.make_network(config.model)
    learning_rate = recipe.make_schedule(config.optimiser, schedule.steps, len(train) / training.batch_size)
    shapes = recipe.parameter_shapes(network, data.image_size)
    if config.model.family == "vit" and recipe.parameter_shapes(network, data.evaluation_size) != shapes:
        raise UserError(
            f"A ViT's position embedding for {data.image_size} px does not fit {data.evaluation_size} px: "
            f"pass --config.data.evaluation_size={data.image_size}."
        )
    return _Run(
        config=config,
        workdir=workdir,
        train=train,
        held_out=held_out,
        schedule=schedule,
        mesh=mesh,
        steps=StepConfig.of(config),
        network=network,
        learning_rate=learning_rate,
        optimiser=recipe.make_optimiser(config.optimiser, learning_rate),
        shapes=shapes,
        macs=recipe.forward_macs(network, shapes, data.image_size),
    )


@dataclass
class _Position:
    """Where a run stands; what a checkpoint holds besides arrays and the order of the data."""

    step: int = 0
    core_seconds: float = 0.0
    unreadable: int = 0


def _start(
    run: _Run, checkpoints: Checkpoints, batches: TrainBatches, initial: Callable[[Params], Params] | None
) -> tuple[TrainState, _Position, bool]:
    """Returns the first or the restored state, and whether it was restored."""
    meta = checkpoints.latest_meta(_Stored)
    if meta is not None:
        stored = _Stored(**{field.name: meta[field.name] for field in dataclasses.fields(_Stored)})
        _check_same_run(run.config, stored.config, run.workdir)
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
        return state, _Position(stored.step, stored.core_seconds, stored.unreadable), True
    side = run.config.data.image_size
    images = jnp.zeros((1, side, side, 3))
    shardings = state_sharding(run.mesh, run.state_shapes)
    if initial is None:
        # Inside jit, sharded parameters are never whole on one device.
        make = jax.jit(lambda: run.begin(run.network.init(run.key(0), images)), out_shardings=shardings)
        return make(), _Position(), False
    params = jax.device_get(initial(run.network.init(run.key(0), images)))
    return jax.jit(run.begin, out_shardings=shardings)(params), _Position(), False


@contextlib.contextmanager
def _tensorboard(folder: Path, wanted: bool) -> Iterator[Callable[[Metrics], None]]:
    if not wanted:
        yield lambda metrics: None
        return
    from dataclasses import asdict

    from tensorboardX import SummaryWriter

    output = functools.partial(told, folder, "TensorBoard's events")
    with output():
        # Without a limit: a thread empties the queue, and if a full disk ends it, nobody must wait for it.
        writer = SummaryWriter(str(folder), max_queue=0)

    def write(metrics: Metrics) -> None:
        with output():
            for name, value in asdict(metrics).items():
                if value is not None and name != "step":
                    writer.add_scalar(name, value, metrics.step)
            writer.flush()  # the thread's errors are its own: this one is told

    try:
        yield write
    finally:
        with output():
            writer.close()


def train(
    config: RunConfig,
    workdir: Path,
    *,
    initial: Callable[[Params], Params] | None = None,
    on_batch: Callable[[int, Batch], None] | None = None,
    visible: bool = True,
) -> Outcome:
    """Trains, from the newest checkpoint in `workdir` if there is one.

    Resuming is exact: parameters come out bit for bit as without the interruption, on the same devices.

    Args:
        config: the run's settings.
        workdir: folder for checkpoints and the run log.
        initial: changes freshly initialised parameters before the first step, for fine-tuning.
        on_batch: called with the number of steps done and this host's share of the next batch before it is
            used.
        visible: whether to show progress on stderr.

    Returns:
        How it ended: finished, or stopped by SIGTERM or SIGINT with a checkpoint saved.

    Raises:
        UserError: bad settings or data, a foreign or damaged checkpoint, a folder that cannot be
            written, or a loss that is not finite.
    """
    primary = jax.process_index() == 0
    lock = locked(workdir) if primary else contextlib.nullcontext()
    with lock, StopSignals() as signals:
        return _train(config, workdir, initial, on_batch, signals, visible=visible and primary)


@dataclass(frozen=True)
class _Output:
    """Where a run reports to: its log (of the first process only), TensorBoard, and the terminal."""

    log: RunLogWriter | None
    events: Callable[[Metrics], None]
    show: Progress

    def metrics(self, line: Metrics, images_per_second: float) -> None:
        if self.log is not None:
            self.log.metrics(line)
        self.events(line)
        self.show.metrics(line, images_per_second)

    def end(self, reason: str, step: int) -> None:
        if self.log is not None:
            self.log.end(reason, step)


def _train(
    config: RunConfig,
    workdir: Path,
    initial: Callable[[Params], Params] | None,
    on_batch: Callable[[int, Batch], None] | None,
    signals: StopSignals,
    *,
    visible: bool,
) -> Outcome:
    run = _prepare(config, workdir)
    batches = run.batches()
    primary = jax.process_index() == 0
    if primary:
        check_log(workdir / LOG)
    checkpoints = Checkpoints(workdir, config.training.keep)
    try:
        state, position, resumed = _start(run, checkpoints, batches, initial)
        resumed_at = position.step if resumed else None
        if position.step == run.schedule.steps:
            if primary:
                _finish_log(run, position.step)
            return Outcome("finished", position.step, None)
        with contextlib.ExitStack() as stack:
            log = stack.enter_context(RunLogWriter(workdir / LOG, run.header(), resumed_at)) if primary else None
            tensorboard = config.training.tensorboard and primary
            events = stack.enter_context(_tensorboard(workdir / "tensorboard", tensorboard))
            show = stack.enter_context(make_progress(run.schedule.steps, position.step, visible=visible))
            stack.callback(batches.close)
            show.message(
                f"{config.model.variant}: {count_parameters(run.shapes):,} parameters, "
                f"{run.macs / 1e9:.3g} GMACs an image; "
                f"{run.schedule.steps} steps on {run.mesh.size} x {jax.devices()[0].device_kind}"
                + (f", resumed at step {position.step}" if resumed else "")
            )
            output = _Output(log, events, show)
            return _loop(run, state, position, batches, checkpoints, output, signals, on_batch)
    finally:
        checkpoints.close()


def _finish_log(run: _Run, step: int) -> None:
    """Adds what is missing from the log of a run that was killed after its last checkpoint."""
    path = run.workdir / LOG
    try:
        finished = read_run_log(path).finished
    except UserError:
        finished = False  # half a line, which the writer removes
    if not finished:
        with RunLogWriter(path, run.header(), step) as log:
            log.end("finished", step)


def _loop(
    run: _Run,
    state: TrainState,
    position: _Position,
    batches: TrainBatches,
    checkpoints: Checkpoints,
    output: _Output,
    signals: StopSignals,
    on_batch: Callable[[int, Batch], None] | None,
) -> Outcome:
    training, schedule, mesh = run.config.training, run.schedule, run.mesh
    key = jax.jit(lambda: run.key(1), out_shardings=replicated(mesh))()
    train_step = _compile(run, key)
    evaluation_step = make_evaluation_step(run.network.forward, run.steps, mesh)
    window = _Window()
    best = checkpoints.best_loss()
    evaluation: Evaluation | None = None
    stop = 0
    clock = time.perf_counter()
    while position.step < schedule.steps:
        batch = _next(batches, signals)
        if batch is not None:
            if on_batch is not None:
                on_batch(position.step, batch)
            state, metrics = train_step(state, on_device(mesh, batch), key)
            window.add(metrics)
            position.step += 1
            output.show.advance(position.step)
        step = position.step
        last = step == schedule.steps
        log_now = step % training.log_every == 0
        # Hosts have to talk to agree; doing so at every step would cost more than it is worth.
        if log_now or jax.process_count() == 1:
            stop = _anyone_stops(signals.received or 0)
        evaluate_now = last or _every(training.evaluate_every, step)
        save_now = last or bool(stop) or _every(training.save_every, step)
        if not (log_now or evaluate_now or save_now):
            continue

        means, count, unreadable = window.take()
        seconds = time.perf_counter() - clock
        position.core_seconds += seconds * mesh.size
        position.unreadable += unreadable
        _stop_if_not_finite(state, checkpoints, output, step, run.workdir)
        result: dict[str, float] = {}
        if evaluate_now:
            size = training.evaluation_batch_size
            evaluation = evaluate(state.evaluated, evaluation_step, run.held_out, run.config.data, size, mesh)
            result = {"held_out_loss": evaluation.loss, "held_out_top1": evaluation.top1}
        output.metrics(_metrics(run, position, {**means, **result}), count / seconds)
        meta = {
            "config": run.config.as_dict(),
            "data": batches.get_state(),
            "core_seconds": position.core_seconds,
            "unreadable": position.unreadable,
            **result,
        }
        if evaluation is not None and result and (best is None or evaluation.loss < best):
            best = evaluation.loss
            checkpoints.save_best(step, state, meta)
        if save_now:
            checkpoints.save(step, state, meta)
        if stop and not last:
            break
        clock = time.perf_counter()
    checkpoints.wait()
    reason = "finished" if position.step == schedule.steps else StopSignals.name(stop)
    output.end(reason, position.step)
    if position.unreadable:
        output.show.message(f"{position.unreadable} images could not be decoded and had no weight.")
    return Outcome(reason, position.step, evaluation)


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


def _metrics(run: _Run, position: _Position, results: dict[str, float]) -> Metrics:
    examples = min(position.step * run.schedule.batch_size, run.schedule.images)
    return Metrics(
        step=position.step,
        examples=examples,
        epochs=examples / run.schedule.examples,
        core_seconds=position.core_seconds,
        flops=run.flops_per_image * examples,
        unreadable=position.unreadable,
        learning_rate=float(run.learning_rate(position.step - 1)),
        **results,
    )


def _every(interval: int, step: int) -> bool:
    return interval > 0 and step % interval == 0


def _compile(run: _Run, key: Any) -> Any:
    """Compiles the train step before the clock starts."""
    size, side = run.config.training.batch_size, run.config.data.image_size

    def rows(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((size, *shape), dtype, sharding=batch_sharding(run.mesh))

    batch = {
        "image": rows((side, side, 3), jnp.uint8),
        "label": rows((), jnp.int32),
        "weight": rows((), jnp.float32),
        "unreadable": rows((), jnp.bool_),
    }
    shapes = run.state_shapes
    state = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        state_sharding(run.mesh, shapes),
    )
    step = make_train_step(run.network.forward, run.optimiser, run.steps, run.mesh, shapes)
    return step.lower(state, batch, key).compile()


def _stop_if_not_finite(state: TrainState, checkpoints: Checkpoints, output: _Output, step: int, workdir: Path) -> None:
    bad = int(state.first_bad_step)
    if bad < 0:
        return
    checkpoints.wait()
    output.end("diverged", step)
    saved = checkpoints.latest_step
    kept = "no checkpoint was saved before" if saved is None else f"the checkpoint of step {saved} is the last good one"
    raise UserError(
        f"The loss or its gradient was not finite at step {bad} ({workdir}); {kept}: lower "
        "--config.optimiser.learning_rate or lengthen the warm-up, in an empty --workdir."
    )
