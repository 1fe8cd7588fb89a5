"""What a measurement ran on."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

from nfnet.training.environment import code_version

__all__ = ["describe"]

_PACKAGES = ("jax", "jaxlib", "dm-haiku", "optax", "numpy")
_SETTINGS = ("JAX_", "XLA_", "OMP_", "MKL_", "GLIBC_TUNABLES", "MALLOC_")


def describe(environment: dict[str, str] | None = None) -> dict[str, Any]:
    """Returns processor, memory, system, versions, commit, time and the settings that change speed.

    Args:
        environment: Of the processes that measure; this one's by default.
    """
    environment = dict(os.environ) if environment is None else environment
    return {
        "cpu": _cpu(Path("/proc/cpuinfo")),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "ram_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "os": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "commit": code_version(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "environment": {name: value for name, value in sorted(environment.items()) if name.startswith(_SETTINGS)},
    }


def _cpu(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
