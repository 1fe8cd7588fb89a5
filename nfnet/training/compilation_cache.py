"""JAX's persistent compilation cache: a run that is started again does not compile again."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

__all__ = ["default_folder", "enable"]

SETTING = "JAX_COMPILATION_CACHE_DIR"


def default_folder() -> Path:
    """Returns the user's folder for compiled programs, one for each kind of processor.

    A home may be shared by machines, and JAX's key does not tell processors apart of which one lacks instructions that
    the other's programs use.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    root = Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache"
    return root / "nfnet-companion" / "jax" / _processor(Path("/proc/cpuinfo"))


def _processor(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    marks = sorted({line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))})
    digest = hashlib.sha256("\n".join(marks).encode()).hexdigest()[:12]
    return f"{platform.machine()}-{digest}"


def enable() -> Path | None:
    """Keeps compiled programs in `default_folder`, unless the user has set JAX's cache already.

    Returns:
        The folder, or None where the user's own setting stays or no folder can be made.
    """
    import jax

    if SETTING in os.environ or getattr(jax.config, "jax_compilation_cache_dir", None) is not None:
        return None
    try:
        folder = default_folder()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # no home, or one that cannot be written: a run needs no cache
        return None
    if not os.access(folder, os.W_OK):
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    return folder
