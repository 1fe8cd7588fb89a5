"""The same surroundings for every test: CPU, no window, no network, no configuration of the user's."""

import atexit
import ipaddress
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from paper.results import Results
    from paper.study import Study

# Before anything imports JAX or Matplotlib. Processes that tests start inherit it, notebook kernels too:
# these choose their own backend by MPLBACKEND, so that tests set theirs by a matplotlibrc. So do xdist's workers,
# which thus find the cache of their session; what took long to compile is compiled once by all of them.
if "PYTEST_XDIST_WORKER" not in os.environ:
    for name in [name for name in os.environ if name.startswith(("JAX_", "XLA_")) or name == "MPLBACKEND"]:
        del os.environ[name]
    cache = tempfile.mkdtemp(prefix="jax-")
    atexit.register(shutil.rmtree, cache, ignore_errors=True)
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["JAX_COMPILATION_CACHE_DIR"] = cache
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
    # Commands that train keep compiled programs in the user's cache, which is none of the tests' business.
    os.environ["XDG_CACHE_HOME"] = cache
    os.environ["MATPLOTLIBRC"] = str(Path(__file__).with_name("matplotlibrc"))

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")


# Full names, or names without the case in brackets, of tests that take over two seconds on two cores.
SLOW = frozenset(Path(__file__).with_name("slow.txt").read_text(encoding="utf-8").splitlines())


@pytest.hookimpl(tryfirst=True)  # before pytest selects by -m
def pytest_collection_modifyitems(config, items):
    for item in items:
        if item.nodeid in SLOW or item.nodeid.partition("[")[0] in SLOW:
            item.add_marker(pytest.mark.slow)
    if any("::" in argument for argument in config.args) or config.getoption("lf", False):
        return  # a part of a file
    files = {item.nodeid.partition("::")[0] for item in items}
    collected = {name for item in items for name in (item.nodeid, item.nodeid.partition("[")[0])}
    gone = sorted(name for name in SLOW - collected if name.partition("::")[0] in files)
    if gone:
        raise pytest.UsageError(
            f"tests/slow.txt names tests that are not there: {', '.join(gone)}; correct these lines"
        )


class StudyScheduling(LoadScopeScheduling):
    """Keeps the folders whose tests share a study of seconds, and else each module or notebook, in one worker."""

    def _split_scope(self, nodeid: str) -> str:
        folder = nodeid.partition("::")[0].rpartition("/")[0]
        return "study" if folder in ("tests/figures", "tests/paper") else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)  # there is no such hook under -p no:xdist
def pytest_xdist_make_scheduler(config, log):
    return StudyScheduling(config, log) if config.getvalue("dist") == "loadscope" else None


@pytest.fixture(scope="session")
def results() -> "Results":
    """The logged results."""
    from paper.results import load

    return load()


@pytest.fixture(scope="session")
def study(results: "Results") -> "Study":
    """The study of them; a fit is computed when a test first asks for it."""
    from paper.study import Study

    return Study.of(results)


def _is_local(host: str | bytes | None) -> bool:
    host = host.decode() if isinstance(host, bytes) else host
    if host in (None, "", "localhost", socket.gethostname()):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


@pytest.fixture(autouse=True, scope="session")
def no_network() -> Iterator[None]:
    """Fail a test that looks up a foreign host or connects to one."""

    def refuse(host):  # pytest.fail passes through `except Exception`, which a retrying client would use
        pytest.fail(f"tests use no network, and this one tried to reach {host!r}")

    def local_only(connect):
        def call(self, address):
            if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_local(address[0]):
                refuse(address[0])
            return connect(self, address)

        return call

    look_up = socket.getaddrinfo

    def look_up_local(host, *args, **kwargs):
        return look_up(host, *args, **kwargs) if _is_local(host) else refuse(host)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", look_up_local)
        patch.setattr(socket.socket, "connect", local_only(socket.socket.connect))
        patch.setattr(socket.socket, "connect_ex", local_only(socket.socket.connect_ex))
        yield
