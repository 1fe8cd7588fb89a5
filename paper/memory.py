"""Results of pure functions, kept between runs and shared between processes.

What is computed is determined by the arguments and by the *circumstances*: every source file of ``nfnet`` and
``paper``, every installed package with its version, the interpreter, the machine, and the environment variables that
steer numerical libraries. A kept result is found only under the digest of all of these, and only if it is undamaged;
otherwise it is computed. What depends on more, such as a figure on the code that draws it, names that as its inputs
(:func:`kept`). Nothing is kept unless a folder is named with :func:`remembering`, as ``figures.reproduce`` does with
one in ``build/``.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import cache, wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

__all__ = ["circumstances", "is_kept", "kept", "remembered", "remembering"]

P = ParamSpec("P")
R = TypeVar("R")

_SOURCES = tuple(Path(__file__).parents[1] / package for package in ("nfnet", "paper"))
_PREFIX = "circumstances-"
_STEERING = ("JAX_", "XLA_", "NPY_", "OMP_", "OPENBLAS_", "MKL_", "VECLIB_")

_folder: ContextVar[Path | None] = ContextVar("folder", default=None)


@contextlib.contextmanager
def remembering(folder: Path) -> Iterator[None]:
    """Keeps results in ``folder`` inside the context; what other circumstances left there is removed."""
    mine = folder / f"{_PREFIX}{circumstances()}"
    for other in folder.glob(f"{_PREFIX}*"):
        if other != mine:
            shutil.rmtree(other, ignore_errors=True)
    token = _folder.set(mine)
    try:
        yield
    finally:
        _folder.reset(token)


@cache
def circumstances() -> str:
    """Digest of all but the arguments that determines a result, as it was when this process first asked."""
    digest = hashlib.sha256()
    for folder in _SOURCES:
        for path in sorted(folder.rglob("*.py")):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{folder.name}/{path.relative_to(folder).as_posix()} {content}\n".encode())
    packages = {info.name for entry in sys.path for info in Path(entry or ".").glob("*.dist-info")}
    steering = {name: value for name, value in os.environ.items() if name.startswith(_STEERING)}
    digest.update(repr((sys.version, platform.uname(), sorted(packages), sorted(steering.items()))).encode())
    return digest.hexdigest()[:32]


def remembered(function: Callable[P, R]) -> Callable[P, R]:
    """Keeps the results of a pure ``function`` whose arguments and result can be pickled."""

    @wraps(function)
    def found(*args: P.args, **kwargs: P.kwargs) -> R:
        if _folder.get() is None:
            return function(*args, **kwargs)
        asked = pickle.dumps((args, sorted(kwargs.items())), protocol=5)
        name = f"{function.__module__}.{function.__qualname__}-{hashlib.sha256(asked).hexdigest()[:32]}"
        return kept(name, asked, lambda: function(*args, **kwargs))

    return found


def kept(name: str, inputs: bytes, compute: Callable[[], R]) -> R:
    """Returns what is kept under ``name`` if it comes from ``inputs``; otherwise computes it and keeps it instead.

    Args:
        name: Name of a file; the latest result alone is kept.
        inputs: All that the result depends on beside the circumstances, or a digest of it.
        compute: Computes the result, which can be pickled.
    """
    folder = _folder.get()
    if folder is None:
        return compute()
    content = _undamaged(folder / name, inputs)
    if content is not None:
        result: R = pickle.loads(content)  # written by this code for its own user, as bytecode caches are
        return result
    value = compute()
    content = pickle.dumps(value, protocol=5)
    _keep(folder / name, _seal(inputs, content) + content)
    return value


def is_kept(name: str, inputs: bytes) -> bool:
    """Whether :func:`kept` would compute nothing."""
    folder = _folder.get()
    return folder is not None and _undamaged(folder / name, inputs) is not None


def _undamaged(path: Path, inputs: bytes) -> bytes | None:
    """The pickled result at ``path`` if it comes from ``inputs`` and is undamaged."""
    try:
        stored = path.read_bytes()
    except OSError:
        return None
    seal, content = stored[:32], stored[32:]
    return content if seal == _seal(inputs, content) else None


def _seal(inputs: bytes, content: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(inputs).digest() + content).digest()


def _keep(path: Path, content: bytes) -> None:
    """Writes a file, unless the folder cannot be written to: then the next run computes it again."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(content)
        os.replace(file.name, path)
