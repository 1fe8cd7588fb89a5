from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
from support.fixtures import quick_compilation as quick_compilation


@pytest.fixture(scope="session")
def compilation_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # One folder for all of xdist's workers, whose base folders are siblings.
    return tmp_path_factory.getbasetemp().parent / "compilation_cache"


@pytest.fixture
def cached(compilation_cache: Path) -> Iterator[Path]:
    """Compiles the same computation once only, over all tests that train."""
    names = {
        "jax_compilation_cache_dir": str(compilation_cache),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    former = {name: getattr(jax.config, name) for name in names}
    for name, value in names.items():
        jax.config.update(name, value)
    yield compilation_cache
    for name, value in former.items():
        jax.config.update(name, value)
