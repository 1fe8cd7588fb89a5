"""Steps of our network, of the released Haiku code, and of a plain matrix product, under JAX.

`network` of the settings is a variant's name, or the fields of an `NFNetConfig`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.protocol import serve
from nfnet import NFNet, NFNetConfig
from nfnet.cost.cost import network_cost
from nfnet.optim.sgd import agc_sgd
from nfnet.training.sharding import batch_sharding, make_mesh, replicated
from nfnet.training.step import compiler_options

MATMUL_SIDES = {"cpu": (1024, 2048, 3072)}
_ACCELERATOR_SIDES = (4096, 8192, 16384)
RATES = {"stochastic_depth": 0.1, "dropout": 0.2}


def configuration(network: str | Mapping[str, Any]) -> str | NFNetConfig:
    """Returns a variant's name, or the configuration that the fields describe."""
    if isinstance(network, str):
        return network
    fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in network.items()}
    return NFNetConfig(**fields)


def _ours(settings: Mapping[str, Any]) -> Any:
    variant = configuration(settings["network"])

    def forward(images: jax.Array, is_training: bool) -> jax.Array:
        network = NFNet(
            settings["classes"],
            variant,
            stochastic_depth_rate=RATES["stochastic_depth"],
            dropout_rate=RATES["dropout"],
            dtype=settings["dtype"],
            remat=settings.get("remat", False),
        )
        return network(images, is_training)["logits"]

    return forward


def _released(settings: Mapping[str, Any]) -> Any:
    sys.path.insert(0, settings["released"])
    from nfnets import base, nfnet  # type: ignore[import-not-found]

    name, side = settings["network"], settings["resolution"]
    if not isinstance(name, str):
        row: dict[str, Any] = {"width": list(name["widths"]), "depth": list(name["depths"])}
        row |= {"group_width": [name["group_width"]] * len(name["widths"]), "drop_rate": RATES["dropout"]}
        base.nfnet_params["micro"] = {**row, "train_imsize": side, "test_imsize": side}
        name = "micro"

    def forward(images: jax.Array, is_training: bool) -> jax.Array:
        network = nfnet.NFNet(
            settings["classes"], name, stochdepth_rate=RATES["stochastic_depth"], drop_rate=RATES["dropout"]
        )
        return network(images, is_training)["logits"]

    return forward


def prepare(settings: Mapping[str, Any]) -> tuple[Callable[[], None], dict[str, Any]]:
    """Compiles what the settings name and returns its step and description."""
    if settings["implementation"] == "matmul":
        return _prepare_matmul(settings)
    step, description, _ = compile_network(settings)
    return step, description


def _describe() -> dict[str, Any]:
    statistics = jax.devices()[0].memory_stats() or {}
    return {
        "device_kind": jax.devices()[0].device_kind,
        "platform": jax.default_backend(),
        "memory_bytes": statistics.get("bytes_limit"),
    }


def _peak_device_bytes() -> int | None:
    statistics = jax.devices()[0].memory_stats() or {}
    return statistics.get("peak_bytes_in_use")


def _profile(step: Callable[[], None]) -> dict[str, float]:
    from benchmarks.breakdown import profile
    from benchmarks.gpu import kind_of_kernel

    return profile(step, 2, kind_of_kernel)


def _prepare_matmul(settings: Mapping[str, Any]) -> tuple[Callable[[], None], dict[str, Any]]:
    sides = settings.get("sides") or MATMUL_SIDES.get(jax.default_backend(), _ACCELERATOR_SIDES)
    product = jax.jit(jnp.matmul)
    best, matrix = 0.0, jnp.ones((1, 1))
    for side in sides:
        # Random, since a product of equal numbers can take a GPU less power and so less time.
        values = jax.random.normal(jax.random.key(0), (side, side), settings["dtype"])
        product(values, values).block_until_ready()
        rates = []
        for _ in range(3):
            start = time.perf_counter()
            product(values, values).block_until_ready()
            rates.append(2 * side**3 / (time.perf_counter() - start))
        if max(rates) > best:
            best, matrix = max(rates), values

    def step() -> None:
        product(matrix, matrix).block_until_ready()

    rate = {"side": len(matrix), "flops_per_s": best}
    return step, {**_describe(), **rate, "compile_s": None, "temp_bytes": None}


def _parameters(shapes: Any, generator: np.random.Generator) -> Any:
    """Fills parameters on the host: on a GPU, compiling what draws them would take longer than the step itself.

    Filters have the variance that they start with. Gains are one and skip gains a half, so that no branch is dead.
    """
    numbers = generator.standard_normal(2**20).astype(np.float32)

    def fill(path: Any, shape: jax.ShapeDtypeStruct) -> np.ndarray:
        if len(shape.shape) > 1:
            return np.resize(numbers, shape.shape) * np.float32(np.prod(shape.shape[:-1]) ** -0.5)
        return np.full(shape.shape, {"gain": 1.0, "skip_gain": 0.5}.get(path[-1].key, 0.0), np.float32)

    return jax.tree_util.tree_map_with_path(fill, shapes)


def compile_network(settings: Mapping[str, Any]) -> tuple[Callable[[], None], dict[str, Any], jax.stages.Compiled]:
    """Compiles a network's step; returns it, its description and the program."""
    released = settings["implementation"] == "released"
    network = hk.transform((_released if released else _ours)(settings))
    batch, side = settings["batch"], settings["resolution"]
    generator = np.random.default_rng(0)
    dtype = jnp.dtype(settings["dtype"])
    mesh = make_mesh()
    pixels = generator.standard_normal((batch, side, side, 3)).astype(np.float32)
    # Parameters start in float32 for both; the released code takes their type from the images.
    shapes = jax.eval_shape(lambda key: network.init(key, pixels, True), jax.random.key(0))
    params = jax.device_put(_parameters(shapes, generator), replicated(mesh))
    images = jax.device_put(jnp.asarray(pixels, dtype), batch_sharding(mesh))
    labels = jax.device_put(jnp.arange(batch) % settings["classes"], batch_sharding(mesh))

    def logits_of(params: hk.Params, key: Any, images: jax.Array, is_training: bool) -> jax.Array:
        if released and dtype != jnp.float32:  # as its own training code does
            params = jax.tree.map(lambda value: value.astype(dtype), params)
        return network.apply(params, key, images, is_training).astype(jnp.float32)

    def forward(params: hk.Params, images: jax.Array) -> jax.Array:
        return logits_of(params, None, images, False)

    optimiser = agc_sgd(0.1, weight_decay=2e-5)

    def train(params: hk.Params, state: Any, key: Any, images: jax.Array, labels: jax.Array) -> Any:
        def loss(params: hk.Params) -> jax.Array:
            logits = logits_of(params, key, images, True)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = optimiser.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    training = settings["mode"] == "train"
    held: Any = None
    if training:
        held = (params, jax.jit(optimiser.init, out_shardings=replicated(mesh))(params))
        rest = (jax.device_put(jax.random.key(1), replicated(mesh)), images, labels)
        whole = replicated(mesh)
        jitted = jax.jit(train, donate_argnums=(0, 1), out_shardings=(whole, whole, whole))
        lowered = jitted.trace(*held, *rest)
    else:
        lowered = jax.jit(forward).trace(params, images)
    start = time.perf_counter()
    options = {} if released else compiler_options(jax.devices()[0].platform)
    compiled = lowered.lower().compile(options)
    compile_s = time.perf_counter() - start

    def step() -> None:
        nonlocal held
        last: Any = None
        for _ in range(settings.get("queued", 1)):
            if training:
                *held, last = compiled(*held, *rest)
            else:
                last = compiled(params, images)
        jax.block_until_ready((held, last) if training else last)

    memory = compiled.memory_analysis()
    description = {
        **_describe(),
        "compile_s": compile_s,
        "temp_bytes": None if memory is None else int(memory.temp_size_in_bytes),
        "macs_per_image": network_cost(configuration(settings["network"]), side, num_classes=settings["classes"]).macs,
        "devices": len(jax.devices()),
    }
    return step, description, compiled


if __name__ == "__main__":
    serve(prepare, _peak_device_bytes, _profile)
