"""The persistent compilation cache: where it is, who decides, and that a second process is served from it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nfnet.training import compilation_cache

SCRIPT = """
import sys
from nfnet.training import compilation_cache
import jax, jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
print(compilation_cache.enable())
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name) if name.endswith("/cache_hits") else None)
split = NamedSharding(jax.make_mesh((2,), ("x",)), PartitionSpec("x"))
value = jax.device_put(jnp.arange(4.0), split)
hits.clear()
result = jax.jit(lambda x: x * float(sys.argv[1]), donate_argnums=0, out_shardings=split)(value)
print(len(hits), result.sum(), value.is_deleted())
"""


def run(folder: Path, factor: str, **settings: str) -> list[str]:
    env = {name: value for name, value in os.environ.items() if name != compilation_cache.SETTING}
    env |= {"XDG_CACHE_HOME": str(folder), "XLA_FLAGS": "--xla_force_host_platform_device_count=2", **settings}
    done = subprocess.run([sys.executable, "-c", SCRIPT, factor], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_second_process_is_served_and_another_program_is_not(tmp_path: Path) -> None:
    folder, hits, total, donated = run(tmp_path, "2")
    assert Path(folder).is_relative_to(tmp_path / "nfnet-companion" / "jax")
    assert (hits, total, donated) == ("0", "12.0", "True")
    assert run(tmp_path, "2")[1:] == ["1", "12.0", "True"]
    assert run(tmp_path, "3")[1:3] == ["0", "18.0"]


def test_the_users_own_setting_stays(tmp_path: Path) -> None:
    assert run(tmp_path, "2", JAX_COMPILATION_CACHE_DIR=str(tmp_path / "own"))[0] == "None"
    assert not (tmp_path / "nfnet-companion").exists()


def test_processors_have_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_text("model name: A\nflags: avx2\ncpu MHz: 1\n")
    (tmp_path / "b").write_text("model name: A\nflags: avx512f\ncpu MHz: 1\n")
    (tmp_path / "c").write_text("model name: A\nflags: avx2\ncpu MHz: 2\n")
    first, second, third = (compilation_cache._processor(tmp_path / name) for name in "abc")
    assert first != second
    assert first == third
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # the standard says to ignore such a one
    monkeypatch.setenv("HOME", str(tmp_path))
    assert compilation_cache.default_folder().is_relative_to(tmp_path / ".cache")
