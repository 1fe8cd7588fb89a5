"""Kept results: found under the same code, data and environment, and under nothing else."""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from paper import memory
from paper.memory import is_kept, remembered, remembering

CALLS: list[float] = []


def doubled(x: np.ndarray, *, times: int = 2) -> np.ndarray:
    CALLS.append(float(x[0]))
    return times * x


@pytest.fixture(autouse=True)
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that stands for the code of nfnet and paper."""
    folder = tmp_path / "code"
    (folder / "checks").mkdir(parents=True)
    (folder / "checks" / "fits.py").write_text("ITERATIONS = 200")
    monkeypatch.setattr(memory, "_SOURCES", (folder,))
    memory.circumstances.cache_clear()
    CALLS.clear()
    yield folder
    memory.circumstances.cache_clear()


def run(tmp_path: Path, x: float = 1.0, **kwargs: int) -> np.ndarray:
    """What a process does: asks anew for its circumstances, then for the result."""
    memory.circumstances.cache_clear()
    with remembering(tmp_path / "memory"):
        return remembered(doubled)(np.array([x]), **kwargs)


def kept(tmp_path: Path) -> list[Path]:
    return sorted(path for path in (tmp_path / "memory").rglob("*") if path.is_file())


def test_a_second_run_computes_nothing(tmp_path: Path) -> None:
    first, second = run(tmp_path), run(tmp_path)
    assert len(CALLS) == 1
    np.testing.assert_array_equal(first, second)


def test_other_data_are_computed(tmp_path: Path) -> None:
    assert [run(tmp_path, x)[0] for x in (1.0, np.nextafter(1.0, 2), 1.0)] == [2, 2 * np.nextafter(1.0, 2), 2]
    assert run(tmp_path, times=3)[0] == 3
    assert len(CALLS) == 3


def rewritten(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (sources / "checks" / "fits.py").write_text("ITERATIONS = 201")


def added(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (sources / "laws.py").touch()


def moved(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (sources / "checks" / "fits.py").rename(sources / "fits.py")


def upgraded(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = sources.parent / "site"
    (site / "jax-99.dist-info").mkdir(parents=True)
    monkeypatch.syspath_prepend(site)


def steered(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_ENABLE_X64", "1")


def elsewhere(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.platform, "uname", lambda: ("Linux", "another machine"))


@pytest.mark.parametrize("change", [rewritten, added, moved, upgraded, steered, elsewhere])
def test_under_other_circumstances_all_is_computed_and_the_old_is_removed(
    tmp_path: Path, sources: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[..., None]
) -> None:
    run(tmp_path)
    (before,) = kept(tmp_path)
    change(sources, monkeypatch)
    run(tmp_path)
    assert len(CALLS) == 2
    (after,) = kept(tmp_path)
    assert after != before


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: content[:40] + b"?" + content[41:]])
def test_a_damaged_file_is_computed_anew(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    run(tmp_path)
    (path,) = kept(tmp_path)
    content = path.read_bytes()
    path.write_bytes(damage(content))
    assert run(tmp_path)[0] == 2
    assert len(CALLS) == 2
    assert path.read_bytes() == content


def test_one_result_a_name_is_kept_with_its_inputs(tmp_path: Path) -> None:
    with remembering(tmp_path / "memory"):
        assert not is_kept("figure", b"a")
        assert memory.kept("figure", b"a", lambda: "drawn from a") == "drawn from a"
        assert memory.kept("figure", b"a", lambda: "drawn again") == "drawn from a"
        assert is_kept("figure", b"a")
        assert memory.kept("figure", b"b", lambda: "drawn from b") == "drawn from b"
        assert not is_kept("figure", b"a")
    assert len(kept(tmp_path)) == 1
    assert not is_kept("figure", b"b")
    assert memory.kept("figure", b"b", lambda: "nowhere to keep it") == "nowhere to keep it"


def test_nothing_else_in_the_folder_is_touched(tmp_path: Path) -> None:
    mine = tmp_path / "memory" / "mine"
    mine.mkdir(parents=True)
    run(tmp_path)
    assert mine.is_dir()


def test_a_folder_that_cannot_be_made_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "memory").write_text("a file")
    assert run(tmp_path)[0] == 2


def test_nothing_is_kept_unasked(tmp_path: Path) -> None:
    assert [remembered(doubled)(np.ones(1))[0] for _ in range(2)] == [2, 2]
    assert len(CALLS) == 2
    assert not kept(tmp_path)


def test_the_circumstances_cover_what_results_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    roots = {Path(spec.origin).parent for name in ("nfnet", "paper") if (spec := importlib.util.find_spec(name))}
    assert set(memory._SOURCES) == roots
