"""Tests see neither the network nor the user's configuration."""

import os
import socket
import tempfile

import pytest
from hypothesis import settings


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "paper.example"])
def test_foreign_hosts_are_refused(host: str) -> None:
    with pytest.raises(pytest.fail.Exception, match="tests use no network"):
        socket.create_connection((host, 80), timeout=1)


@pytest.mark.parametrize("method", ["connect", "connect_ex"])
def test_foreign_addresses_are_refused(method: str) -> None:
    with socket.socket() as client, pytest.raises(pytest.fail.Exception, match=r"192\.0\.2\.1"):
        getattr(client, method)(("192.0.2.1", 80))


def test_loopback_is_allowed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.connect(server.getsockname())
        assert client.getpeername() == server.getsockname()
    assert socket.getaddrinfo("localhost", 80)


def test_environment_is_fixed() -> None:
    import matplotlib

    names = {name for name in os.environ if name.startswith(("JAX_", "XLA_"))}
    assert names == {"JAX_PLATFORMS", "JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"}
    assert os.environ["JAX_COMPILATION_CACHE_DIR"].startswith(tempfile.gettempdir())
    assert os.environ["JAX_PLATFORMS"] == "cpu"
    assert matplotlib.get_backend() == "Agg"


def test_properties_are_repeatable() -> None:
    assert settings().derandomize
    assert settings().deadline is None
    assert settings().database is None
