"""Where a run happens: hosts, devices, versions of the code, signals, and the lock on its folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import importlib.metadata
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from nfnet.errors import UserError

_PACKAGES = ("jax", "jaxlib", "dm-haiku", "optax", "grain", "orbax-checkpoint", "numpy", "pillow")
_LOOKS = 10  # tries for the lock: a study that looks how its runs stand holds it for a moment
_GRACE = 1.0  # seconds, more than Python takes to leave by an exception

# Cores of what JAX calls a device, where they are not one. From TPU v4 on, the two cores of a chip may be one device
# ("megacore": Jouppi et al. 2023, arXiv 2304.01433, Section 2; Google Cloud's pages on TPU v4 and v5p); those of v2, v3
# and v7 are two devices, and the chips of v4i, v5e and v6e have one core (`jax._src.pallas.mosaic.tpu_info`).
_CORES = {"TPU v4": 2, "TPU v5": 2, "TPU v5p": 2}


def cores_per_device(kind: str) -> int:
    """Returns how many cores a device has that JAX calls so, in which core hours are counted."""
    return _CORES.get(kind, 1)


def start_distributed(coordinator: str | None, processes: int | None, process_id: int | None) -> None:
    """Joins the processes of a run on several hosts.

    Args:
        coordinator: "auto" on TPU pods and Slurm, which tell JAX the rest; else HOST:PORT of the first
            process. None runs alone.
        processes: how many there are.
        process_id: which one this is.

    Raises:
        UserError: incomplete arguments, or the others cannot be reached.
    """
    if coordinator is None:
        if processes is not None or process_id is not None:
            raise UserError("--processes and --process-id need --coordinator=HOST:PORT.")
        return
    import jax

    if coordinator == "auto":
        arguments: dict[str, Any] = {}
    elif processes is None or process_id is None:
        raise UserError("--coordinator=HOST:PORT needs --processes=N and --process-id=I on every host.")
    else:
        arguments = {"coordinator_address": coordinator, "num_processes": processes, "process_id": process_id}
    try:
        jax.distributed.initialize(**arguments)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"The processes of the run cannot be joined ({' '.join(str(error).split())[:200]}): check --coordinator."
        ) from error


def code_version() -> str:
    """Returns the commit that the package is run from, or its version where it is installed."""
    here = Path(__file__).resolve().parent
    try:
        git = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
        return git.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return f"nfnet-companion {importlib.metadata.version('nfnet-companion')}"
        return "unknown"


def package_versions() -> dict[str, str]:
    """Returns the versions of the packages that results depend on."""
    return {name: importlib.metadata.version(name) for name in _PACKAGES}


class StopSignals:
    """Notes SIGTERM or SIGINT instead of dying of it; a context manager.

    A second one, of either kind, acts as it did before; where Python cannot act, since a compiler runs, the process
    ends all the same.

    Attributes:
        received: the first signal, if any.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._former: dict[signal.Signals, Any] = {}
        self._left = threading.Event()

    def __enter__(self) -> StopSignals:
        # Python allows only the main thread to set handlers; elsewhere the run simply cannot be stopped
        # softly.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._former[number] = signal.signal(number, self._note)
            read, self._write = os.pipe()
            os.set_blocking(self._write, False)
            self._former_write = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
            threading.Thread(target=self._watch, args=(read,), daemon=True).start()
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        for number, former in self._former.items():
            # None stands for a handler that Python did not set and cannot set again.
            signal.signal(number, signal.SIG_DFL if former is None else former)

    def _watch(self, read: int) -> None:
        """Ends the process after a second signal, unless the main thread leaves by itself."""
        with os.fdopen(read, "rb", buffering=0) as pipe:
            count = 0
            while number := pipe.read(1):
                count += number[0] in self._former
                if count > 1 and not self._left.wait(_GRACE):
                    os._exit(128 + number[0])

    def __exit__(self, *_: object) -> None:
        self._left.set()
        if self._former:
            self._restore()
            signal.set_wakeup_fd(self._former_write)
            os.close(self._write)


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Keeps a second process from running in the same folder; the lock dies with its process.

    Raises:
        UserError: another process holds it, or the folder cannot be made or used.
    """
    try:
        if os.path.lexists(workdir) and not workdir.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        workdir.mkdir(parents=True, exist_ok=True)
        # A pipe of that name must not be waited for, and what a link leads to not be emptied.
        file = os.open(workdir / ".lock", os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise _unusable(workdir, error) from None
    try:
        for tries in range(_LOOKS, -1, -1):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not tries:
                    raise UserError(
                        f"Another process trains in {workdir}: wait for it or pass another --workdir."
                    ) from None
                time.sleep(0.05)
            except OSError as error:  # a file system without locks
                raise _unusable(workdir, error) from None
        yield
    finally:
        os.close(file)


def _unusable(workdir: Path, error: OSError) -> UserError:
    return UserError(f"The --workdir {workdir} cannot be used ({error.strerror}): pass another one.")
