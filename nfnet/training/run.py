"""A run as a value: all that its settings and its data decide, assembled once, before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, PRNGKeyArray

from nfnet.cost.counter import count_parameters
from nfnet.data.augment import Augmentation
from nfnet.data.pipeline import Schedule, TrainBatches
from nfnet.data.source import Source
from nfnet.errors import UserError
from nfnet.optim.settings import Schedule as LearningRate
from nfnet.optim.settings import make_optimiser, make_schedule
from nfnet.training.config import RunConfig
from nfnet.training.environment import code_version, cores_per_device, package_versions
from nfnet.training.network import Network, forward_macs, make_network, parameter_shapes
from nfnet.training.run_log import Header
from nfnet.training.sharding import check_batch_size, make_mesh
from nfnet.training.splits import open_splits, reading
from nfnet.training.state import Params, TrainState
from nfnet.training.step import StepConfig, init_state


@dataclass(frozen=True)
class Run:
    """What a run is made of.

    Attributes:
        config: its settings.
        workdir: folder for checkpoints and the run log.
        train: the images that are trained on.
        held_out: those that are evaluated on.
        schedule: which image comes when.
        mesh: the devices.
        steps: what the jitted steps compute.
        network: as two pure functions.
        learning_rate: from the number of a step to its learning rate.
        shapes: of the parameters.
        macs: multiply-adds of the forward pass of one training image.
    """

    config: RunConfig
    workdir: Path
    train: Source
    held_out: Source
    schedule: Schedule
    mesh: Mesh
    steps: StepConfig
    network: Network
    learning_rate: LearningRate
    shapes: Params
    macs: int

    def key(self, purpose: int) -> PRNGKeyArray:
        """Returns the key of the initialisation (0) or of the train steps (1)."""
        return jax.random.fold_in(jax.random.key(self.config.training.seed), purpose)

    def init(self) -> Params:
        """Draws the first parameters; to be jitted, or each array is a program of its own."""
        side = self.config.data.image_size
        return self.network.init(self.key(0), jnp.zeros((1, side, side, 3), jnp.float32))

    def optimiser(self, learning_rate: Float[Array, ""]) -> optax.GradientTransformation:
        """Makes the optimiser of a step from its learning rate."""
        return make_optimiser(self.config.optimiser, lambda _: learning_rate)

    def begin(self, params: Params) -> TrainState:
        """Makes the first state from parameters."""
        return init_state(params, self.optimiser(jnp.zeros(())), self.config.optimiser.ema_decay)

    @property
    def state_shapes(self) -> TrainState:
        """Shapes of the state."""
        shapes: TrainState = jax.eval_shape(self.begin, self.shapes)
        return shapes

    @property
    def cores(self) -> int:
        """Cores of all devices."""
        return self.mesh.size * cores_per_device(jax.devices()[0].device_kind)

    def images(self, step: int) -> int:
        """Returns how many training images the first steps take, readable or not."""
        return min(step * self.schedule.batch_size, self.schedule.images)

    @property
    def flops_per_image(self) -> float:
        """Two a multiply-add, the backward pass (if any) costing two forward ones, and SAM's ascent."""
        passes = 3 if self.config.optimiser.trainable == "all" else 1
        return 2 * self.macs * passes * (1 + self.steps.ascent_share(self.schedule.batch_size))

    def header(self) -> Header:
        """Makes the header of the run log."""
        kind = jax.devices()[0].device_kind
        return Header(
            config=self.config.as_dict(),
            code=code_version(),
            packages=package_versions(),
            device=kind,
            devices=self.mesh.size,
            processes=jax.process_count(),
            seed=self.config.training.seed,
            parameters=count_parameters(self.shapes),
            macs=self.macs,
            examples=self.schedule.examples,
            total_steps=self.schedule.steps,
            cores_per_device=cores_per_device(kind),
        )

    def batches(self) -> TrainBatches:
        """Describes this host's share of the batches."""
        data = self.config.data
        how = {one.name: getattr(data, one.name) for one in fields(Augmentation) if one.name != "size"}
        return TrainBatches(self.train, self.schedule, Augmentation(data.image_size, **how), reading(data))


def with_classes(config: RunConfig, source: Source) -> RunConfig:
    """Returns settings whose number of classes is that of the data, if it is to be."""
    if config.model.num_classes:
        return config
    return replace(config, model=replace(config.model, num_classes=len(source.class_names)))


def assemble(config: RunConfig, workdir: Path) -> Run:
    """Opens the data and builds everything; raises UserError at most mistakes, before anything is written."""
    training, data = config.training, config.data
    train, held_out = open_splits(data, config.model.num_classes)
    config = with_classes(config, train)
    schedule = Schedule(len(train), training.epochs, training.batch_size, data.repeats, training.seed)
    mesh = make_mesh(training.shard_state)
    for setting in ("batch_size", "evaluation_batch_size"):
        check_batch_size(mesh, setting, getattr(training, setting))
    network = make_network(config.model)
    learning_rate = make_schedule(config.optimiser, schedule.steps, len(train) / training.batch_size)
    shapes = parameter_shapes(network, data.image_size)
    if data.evaluation_size != data.image_size and parameter_shapes(network, data.evaluation_size) != shapes:
        raise UserError(
            f"A network for images of {data.image_size} px does not fit {data.evaluation_size} px, which would need "
            f"parameters of other shapes: pass --config.data.evaluation_size={data.image_size}."
        )
    macs = forward_macs(network, shapes, data.image_size)
    steps = StepConfig.of(config)
    return Run(config, workdir, train, held_out, schedule, mesh, steps, network, learning_rate, shapes, macs)
