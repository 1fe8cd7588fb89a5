"""Runs small enough to be trained many times over in tests: a ViT of 2,000 parameters on 8x8 digits."""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from nfnet.training.config import DataConfig, ModelConfig, OptimiserConfig, RunConfig, TrainingConfig

ROOT = Path(__file__).resolve().parents[2]

CONFIG = RunConfig(
    model=ModelConfig(
        family="vit",
        variant="S/16",
        num_classes=10,
        shape={"patch": 4, "width": 16, "depth": 1, "mlp_width": 16, "num_heads": 2, "resolution": 8},
        stochastic_depth_rate=0.1,
    ),
    data=DataConfig(
        source="digits",
        image_size=8,
        evaluation_size=8,
        evaluation_margin=0,
        crop="pad",
        padding=1,
        flip=False,
        mean=(0.3,) * 3,
        std=(0.35,) * 3,
    ),
    optimiser=OptimiserConfig(name="sgd", learning_rate=0.1, warmup_steps=2, ema_decay=0.9),
    training=TrainingConfig(epochs=1.0, batch_size=64, evaluation_batch_size=64, log_every=5, save_every=5),
)


def tiny(**changes: Mapping[str, Any]) -> RunConfig:
    """Returns CONFIG with changes, by group: tiny(training={"epochs": 2.0})."""
    groups = {key: dataclasses.replace(getattr(CONFIG, key), **values) for key, values in changes.items()}
    return dataclasses.replace(CONFIG, **groups)


def write_config(path: Path, config: RunConfig) -> Path:
    """Writes a configuration file."""
    lines = [
        "from ml_collections import ConfigDict",
        "def get_config():",
        f"    return ConfigDict({config.as_dict()!r})",
    ]
    path.write_text("\n".join(lines))
    return path


def environment(cache: Path, devices: int = 1) -> dict[str, str]:
    """Returns the environment of a process that shares the tests' compilation cache."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def start(module: str, *arguments: str, cache: Path, devices: int = 1) -> subprocess.Popen[str]:
    """Starts `python -m MODULE ARGUMENTS`."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        env=environment(cache, devices),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def same(a: Any, b: Any) -> bool:
    """Whether two trees of arrays are equal bit for bit."""
    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )
