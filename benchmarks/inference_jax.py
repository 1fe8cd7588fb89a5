"""Forward passes of the released network, of ours, and of ours folded, under JAX, all of the same parameters."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.protocol import serve
from benchmarks.worker_jax import _released as released_forward
from benchmarks.worker_jax import configuration
from nfnet import NFNet
from nfnet.inference import fold
from nfnet.models.nfnet import NFNetConfig, find_variant
from nfnet.weights.load import read_checkpoint
from nfnet.weights.origins import TIMM_NFNET


def network_config(settings: Mapping[str, Any]) -> NFNetConfig:
    """Returns the network of the settings, with the GELU and floor of timm or of the released code."""
    found = find_variant(configuration(settings["network"]))
    return dataclasses.replace(found, **TIMM_NFNET.trained_with) if settings["of"] == "timm" else found


def prepare(settings: Mapping[str, Any]) -> tuple[Callable[[], None], dict[str, Any]]:
    """Compiles what the settings name and returns its step and description."""
    folder, config = Path(settings["folder"]), network_config(settings)
    params: Any = read_checkpoint(folder / "timm.safetensors")
    start = time.perf_counter()
    forward, params = _forward(settings, config, params)
    prepared = time.perf_counter() - start
    images = jnp.asarray(np.load(folder / "images.npy")[: settings["batch"]].transpose(0, 2, 3, 1))
    params = jax.device_put(params)
    start = time.perf_counter()
    compiled = jax.jit(forward).lower(params, images).compile()
    compile_s = time.perf_counter() - start
    logits = np.asarray(compiled(params, images))

    def step() -> None:
        compiled(params, images).block_until_ready()

    return step, {"compile_s": compile_s, "prepare_s": prepared, "logits": logits.tolist()}


def _forward(settings: Mapping[str, Any], config: NFNetConfig, params: Any) -> tuple[Callable[..., Any], Any]:
    """Returns a function of parameters and images that returns logits, and the parameters."""
    if settings["implementation"] == "folded":
        folded, params = fold(params, config)
        return lambda params, images: folded.apply(params, None, images)["logits"], params
    if settings["implementation"] == "released":
        forward = released_forward(settings)
        network = hk.transform(lambda images: forward(images, False))
    else:
        network = hk.transform(lambda images: NFNet(settings["classes"], config)(images, False)["logits"])
    return lambda params, images: network.apply(params, None, images), params


if __name__ == "__main__":
    serve(prepare)
