"""Results of pure functions, kept between runs and shared between processes.

What is computed is determined by the arguments and by the *circumstances*: every source file of ``nfnet`` and
``paper``, every installed package with its version, the interpreter, the machine, and the environment variables that
steer numerical libraries. A kept result is found only under the digest of all of these, and only if it is undamaged;
otherwise it is computed. Nothing in a file is run or chooses what is built (:mod:`paper.keeping.encoding`), and what
others own or can write is not read. What depends on more, such as a figure on the code that draws it, names that as
its inputs (:func:`kept`). Nothing is kept unless a folder is named: with :func:`remembering`, as ``figures.reproduce``
does with one in ``build/``, or for a whole process with :func:`remember`, as notebooks do with the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import cache, wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, get_type_hints

from nfnet.errors import UserError
from nfnet.files import replacing
from paper.keeping.encoding import DecodingError, decode, encode

__all__ = ["circumstances", "is_kept", "is_private", "kept", "remember", "remembered", "remembering"]

P = ParamSpec("P")
R = TypeVar("R")

_SOURCES = tuple(Path(__file__).parents[2] / package for package in ("nfnet", "paper"))
_PREFIX = "circumstances-"
_STEERING = ("JAX_", "XLA_", "NPY_", "OMP_", "OPENBLAS_", "MKL_", "VECLIB_")
_SEAL = 32  # bytes
_LARGEST = 2**26  # bytes of a result that is kept; a larger file is none of ours

_folder: ContextVar[Path | None] = ContextVar("folder", default=None)
_of_process: list[Path] = []  # at most one; the cells of a notebook share no context


@contextlib.contextmanager
def remembering(folder: Path) -> Iterator[None]:
    """Keeps results in ``folder`` inside the context; what other circumstances left there is removed."""
    mine = folder / f"{_PREFIX}{circumstances()}"
    for other in folder.glob(f"{_PREFIX}*") if is_private(folder) else ():
        if other != mine:
            shutil.rmtree(other, ignore_errors=True)
    token = _folder.set(mine)
    try:
        yield
    finally:
        _folder.reset(token)


def remember(folder: Path) -> None:
    """Keeps results in ``folder`` until this process ends; what other circumstances left there stays."""
    _of_process[:] = [folder / f"{_PREFIX}{circumstances()}"]


def _named() -> Path | None:
    return _folder.get() or next(iter(_of_process), None)


@cache
def circumstances() -> str:
    """Digest of all but the arguments that determines a result, as it was when this process first asked."""
    digest = hashlib.sha256()
    for folder in _SOURCES:
        for path in sorted(folder.rglob("*.py")):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{folder.name}/{path.relative_to(folder).as_posix()} {content}\n".encode())
    packages = {info.name for entry in sys.path for info in Path(entry or ".").glob("*.dist-info")}
    steering = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(_STEERING) and "_CACHE" not in name  # where compiled programs lie changes none
    }
    digest.update(repr((sys.version, platform.uname(), sorted(packages), sorted(steering.items()))).encode())
    return digest.hexdigest()[:32]


def is_private(folder: Path) -> bool:
    """Whether ``folder`` is a folder of this user's that nobody else can write to, and no link to one."""
    try:
        status = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and _is_mine(status)


def remembered(function: Callable[P, R]) -> Callable[P, R]:
    """Keeps the results of a pure ``function`` whose arguments and result :mod:`paper.keeping.encoding` knows.

    What is read back is of the type that the function's annotation gives its result.
    """

    @wraps(function)
    def found(*args: P.args, **kwargs: P.kwargs) -> R:
        if _named() is None:
            return function(*args, **kwargs)
        asked = encode((args, dict(sorted(kwargs.items()))))
        name = f"{function.__module__}.{function.__qualname__}-{hashlib.sha256(asked).hexdigest()[:32]}"
        return kept(name, asked, get_type_hints(function)["return"], lambda: function(*args, **kwargs))

    return found


def kept(name: str, inputs: bytes, kind: Any, compute: Callable[[], R]) -> R:
    """Returns what is kept under ``name`` if it comes from ``inputs``; otherwise computes it and keeps it instead.

    Args:
        name: Name of a file; the latest result alone is kept.
        inputs: All that the result depends on beside the circumstances, or a digest of it.
        kind: The result's type, as :func:`paper.keeping.encoding.decode` takes it.
        compute: Computes the result.

    Raises:
        TypeError: If the result is of no type that can be kept.
        DecodingError: If it is not of type ``kind``.
    """
    folder = _named()
    if folder is None:
        return compute()
    found: list[R] = _found(folder / name, inputs, kind)
    if not found:
        content = encode(compute())
        found = [decode(content, kind)]  # what the next run will find, to the order of arrays in memory
        if len(content) <= _LARGEST:
            _keep(folder / name, _seal(inputs, content) + content)
    return found[0]


def is_kept(name: str, inputs: bytes, kind: Any) -> bool:
    """Whether :func:`kept` would compute nothing."""
    folder = _named()
    return folder is not None and bool(_found(folder / name, inputs, kind))


def _found(path: Path, inputs: bytes, kind: Any) -> list[Any]:
    """The result at ``path``, alone in a list, or nothing unless it is ours, undamaged and comes from ``inputs``."""
    stored = _read(path) if is_private(path.parents[1]) and is_private(path.parent) else b""
    seal, content = stored[:_SEAL], stored[_SEAL:]
    if seal != _seal(inputs, content):
        return []
    try:
        return [decode(content, kind)]
    except DecodingError:
        return []


def _read(path: Path) -> bytes:
    """The bytes of a regular file of this user's that nobody else can write to; none of any other."""
    # Neither a link is followed nor a pipe waited for.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        with open(os.open(path, flags), "rb") as file:
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode) and _is_mine(status) and status.st_size <= _SEAL + _LARGEST:
                return file.read(_SEAL + _LARGEST)
    except OSError:
        pass
    return b""


def _is_mine(status: os.stat_result) -> bool:
    if not hasattr(os, "geteuid"):  # Windows knows neither such owners nor such modes
        return True
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _seal(inputs: bytes, content: bytes) -> bytes:
    """Tells damage and other inputs apart from the result; it proves no origin, since anyone can compute it."""
    return hashlib.sha256(hashlib.sha256(inputs).digest() + content).digest()


def _keep(path: Path, content: bytes) -> None:
    """Writes a file, unless the folder cannot be written to or is not ours: then the next run computes it again."""
    memory, folder = path.parents[1], path.parent
    with contextlib.suppress(OSError, UserError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        for private in (memory, folder):
            private.mkdir(mode=0o700, exist_ok=True)
            if not is_private(private):
                return
        with replacing(path) as file:
            os.chmod(file.name, 0o600)
            file.write(content)
