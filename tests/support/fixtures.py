"""Fixtures that several folders of tests import into their conftest."""

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def quick_compilation() -> Iterator[None]:
    """What a test runs once is compiled quickly rather than well; a jit may ask for more by its options."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture
def x64() -> Iterator[None]:
    """Computes in float64 during the test."""
    with jax.enable_x64(True):
        yield
