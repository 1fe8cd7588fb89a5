"""The train step and the evaluation step, each one jitted function over a mesh."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from nfnet.data.mix import mix
from nfnet.errors import UserError
from nfnet.optim.ema import ema_update
from nfnet.optim.masks import is_body
from nfnet.optim.sam import ascend, ascent_rows, take_ascent_rows
from nfnet.training.config import RunConfig
from nfnet.training.losses import LOSSES, smooth_labels
from nfnet.training.sharding import batch_sharding, replicated, state_sharding
from nfnet.training.state import EvaluationSums, Params, StepMetrics, TrainState

DeviceBatch = dict[str, Array]


# From a learning rate to the optimiser that takes it: the rate is an argument of the step, so that runs of one network
# that differ in rates and budgets are one program, compiled once.
OptimiserAt = Callable[[Float[Array, ""]], optax.GradientTransformation]


class Forward(Protocol):
    """A network: parameters, key, normalised images and whether training, to logits."""

    def __call__(
        self,
        params: Params,
        key: PRNGKeyArray,
        images: Float[Array, "batch height width 3"],
        is_training: bool,
    ) -> Float[Array, "batch classes"]:
        """Returns float32 logits."""
        ...


@dataclass(frozen=True)
class StepConfig:
    """The parts of a run's settings that the jitted steps depend on; see `nfnet.training.config`."""

    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    loss: str = "softmax"
    label_smoothing: float = 0.0
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    accumulate: int = 1
    sam_rho: float = 0.0
    sam_fraction: float = 1.0
    ema_decay: float = 0.0
    trainable: str = "all"

    @classmethod
    def of(cls, config: RunConfig) -> StepConfig:
        """Collects the settings of a run and checks them against its batch size.

        Raises:
            UserError: the batch cannot be split or mixed as asked.
        """
        batch, parts = config.training.batch_size, config.training.accumulate
        if batch % parts:
            raise UserError(f"training.accumulate is {parts}, but must divide the batch size, {batch}.")
        both = config.data.mixup_alpha and config.data.cutmix_alpha
        pairs = 4 if both else 2 if config.data.mixup_alpha or config.data.cutmix_alpha else 1
        if batch % pairs:
            raise UserError(f"Mixing needs a batch size that is a multiple of {pairs}, not {batch}.")
        if pairs > 1 and config.data.repeats > 1 and batch // config.data.repeats % 2:
            raise UserError(f"Mixing needs an even number of different examples, not {batch // config.data.repeats}.")
        settings = {key: value for group in config.as_dict().values() for key, value in group.items()}
        return cls(**{one.name: settings[one.name] for one in fields(cls)})

    def ascent_share(self, batch_size: int) -> float:
        """Returns the share of the batch that SAM's ascent really sees, 0 without SAM."""
        if not self.sam_rho:
            return 0.0
        n, block = ascent_rows(batch_size // self.accumulate, self.sam_fraction)
        return n / block


def normalise(
    images: UInt8[Array, "batch height width 3"], mean: tuple[float, ...], std: tuple[float, ...]
) -> Float[Array, "batch height width 3"]:
    """Maps bytes to [0, 1], then subtracts the mean and divides by the standard deviation of each channel."""
    return (images.astype(jnp.float32) / 255 - jnp.float32(mean)) / jnp.float32(std)


def _split(rows: Array, parts: int) -> Array:
    # Part a takes every a-th row: neighbours of one device are spread over the parts, so that none moves.
    return rows.reshape(-1, parts, *rows.shape[1:]).swapaxes(0, 1)


def _top1(
    logits: Float[Array, "batch classes"], labels: Int[Array, " batch"], weights: Float[Array, " batch"]
) -> Float[Array, ""]:
    return jnp.sum(weights * (jnp.argmax(logits, -1) == labels))


def compiler_options(platform: str) -> dict[str, Any]:
    """Returns XLA's options for a platform, as `jax.Device.platform` names it.

    On GPUs, XLA would rather keep activations in float32 than cast them to bfloat16 and back, and read and write twice
    the bytes.
    """
    return {"xla_allow_excess_precision": False} if platform == "gpu" else {}


def init_state(params: Params, optimiser: optax.GradientTransformation, ema_decay: float) -> TrainState:
    """Makes the state before the first step."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        opt_state=optimiser.init(params),
        average=jax.tree.map(jnp.array, params) if ema_decay else None,
        first_bad_step=jnp.full((), -1, jnp.int32),
    )


def make_train_step(
    forward: Forward,
    optimiser: OptimiserAt,
    config: StepConfig,
    mesh: Mesh,
    state: TrainState,
) -> Any:
    """Builds the jitted train step.

    One call computes the gradient of the mean loss over the whole batch (in `config.accumulate` parts, with
    SAM at the ascended parameters), updates parameters, optimiser state and average, and notes the first step
    at which loss or gradient was not finite. The old state's memory is reused.

    Args:
        forward: the network.
        optimiser: from the learning rate of a step to its optimiser.
        config: what to compute.
        mesh: devices, from `nfnet.training.sharding.make_mesh`.
        state: a state, or its shapes.

    Returns:
        A jitted function of the state, a global batch (see `put_batch`), the run's key and the step's learning rate,
        to the new state and `StepMetrics`.
    """
    loss_of = LOSSES[config.loss]
    shardings = state_sharding(mesh, state)
    whole = replicated(mesh)
    # XLA's CPU backend prepares convolutions for its library outside of loops only; within, gradients are far slower.
    unrolled = mesh.devices.flat[0].platform == "cpu"

    def gradient(params: Params, key: PRNGKeyArray, parts: DeviceBatch) -> Any:
        """Gradient of the weighted mean loss over all parts, that loss, and how many are right."""
        total = jnp.maximum(parts["weight"].sum(), 1.0)

        def part_loss(params: Params, index: Array, part: DeviceBatch) -> tuple[Array, Array]:
            # Gathers sharded parameters; without this, the compiler may exchange activations instead.
            params = jax.lax.with_sharding_constraint(params, whole)
            if config.trainable == "classifier":  # no backward pass through the body
                body = is_body(params)
                params = jax.tree.map(lambda p, fixed: jax.lax.stop_gradient(p) if fixed else p, params, body)
            logits = forward(params, jax.random.fold_in(key, index), part["image"], True)
            loss = jnp.sum(part["weight"] * loss_of(logits, part["target"])) / total
            return loss, _top1(logits, part["label"], part["weight"])

        def add_part(sums: Any, indexed: tuple[Array, DeviceBatch]) -> tuple[Any, None]:
            (loss, correct), part_gradient = jax.value_and_grad(part_loss, has_aux=True)(params, *indexed)
            part_gradient = jax.lax.with_sharding_constraint(part_gradient, shardings.params)
            return jax.tree.map(jnp.add, sums, (part_gradient, loss, correct)), None

        zeros = (jax.tree.map(jnp.zeros_like, params), jnp.float32(0), jnp.float32(0))
        if config.accumulate == 1:
            sums: Any = add_part(zeros, (jnp.int32(0), jax.tree.map(lambda x: x[0], parts)))[0]
        else:
            sums = jax.lax.scan(
                add_part, zeros, (jnp.arange(config.accumulate, dtype=jnp.int32), parts), unroll=unrolled
            )[0]
        return sums

    def step(
        state: TrainState, batch: DeviceBatch, key: PRNGKeyArray, learning_rate: Float[Array, ""]
    ) -> tuple[TrainState, StepMetrics]:
        mix_key, network_key = jax.random.split(jax.random.fold_in(key, state.step))
        images = normalise(batch["image"], config.mean, config.std)
        targets = smooth_labels(batch["label"], config.num_classes, config.label_smoothing)
        images, targets = mix(mix_key, images, targets, batch["weight"], config.mixup_alpha, config.cutmix_alpha)
        rows = {"image": images, "target": targets, "label": batch["label"], "weight": batch["weight"]}
        parts = {name: _split(value, config.accumulate) for name, value in rows.items()}
        params = state.params
        if config.sam_rho:
            ascent = {
                name: jax.vmap(lambda rows: take_ascent_rows(rows, config.sam_fraction))(value)
                for name, value in parts.items()
            }
            ascent_gradient, _, _ = gradient(params, network_key, ascent)
            params = ascend(params, ascent_gradient, config.sam_rho)
        grads, loss, correct = gradient(params, network_key, parts)
        updates, opt_state = optimiser(learning_rate).update(grads, state.opt_state, state.params)
        new_params = optax.apply_updates(state.params, updates)
        average = state.average
        if average is not None:
            average = ema_update(average, new_params, state.step, config.ema_decay)
        norm = optax.tree.norm(grads)
        bad = (state.first_bad_step < 0) & ~(jnp.isfinite(loss) & jnp.isfinite(norm))
        new_state = TrainState(
            step=state.step + 1,
            params=new_params,
            opt_state=opt_state,
            average=average,
            first_bad_step=jnp.where(bad, state.step, state.first_bad_step),
        )
        return new_state, StepMetrics(
            loss, correct, batch["weight"].sum(), norm, batch["unreadable"].sum(dtype=jnp.int32)
        )

    return jax.jit(
        step,
        in_shardings=(shardings, batch_sharding(mesh), whole, whole),
        out_shardings=(shardings, whole),
        donate_argnums=0,
        compiler_options=compiler_options(mesh.devices.flat[0].platform),
    )


def make_evaluation_step(
    forward: Forward, config: StepConfig, mesh: Mesh
) -> Callable[[Params, EvaluationSums, DeviceBatch], EvaluationSums]:
    """Builds the jitted evaluation step, which adds a batch to the sums.

    The loss is that of training without smoothing and mixing.
    """
    loss_of = LOSSES[config.loss]

    def step(params: Params, sums: EvaluationSums, batch: DeviceBatch) -> EvaluationSums:
        params = jax.lax.with_sharding_constraint(params, replicated(mesh))
        images = normalise(batch["image"], config.mean, config.std)
        logits = forward(params, jax.random.key(0), images, False)
        losses = loss_of(logits, smooth_labels(batch["label"], config.num_classes, 0.0))
        return EvaluationSums(
            loss=sums.loss + jnp.sum(batch["weight"] * losses),
            correct=sums.correct + _top1(logits, batch["label"], batch["weight"]),
            weight=sums.weight + batch["weight"].sum(),
        )

    options = compiler_options(mesh.devices.flat[0].platform)
    return jax.jit(step, out_shardings=replicated(mesh), donate_argnums=1, compiler_options=options)
