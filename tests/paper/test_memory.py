"""Kept results: found under the same code, data and environment, and under nothing else."""

import importlib.util
import os
import pickle
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from paper import family
from paper.fits import laws
from paper.keeping import memory
from paper.keeping.encoding import DecodingError, encode
from paper.keeping.memory import is_kept, remember, remembered, remembering

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
        assert not is_kept("figure", b"a", str)
        assert memory.kept("figure", b"a", str, lambda: "drawn from a") == "drawn from a"
        assert memory.kept("figure", b"a", str, lambda: "drawn again") == "drawn from a"
        assert is_kept("figure", b"a", str)
        assert memory.kept("figure", b"b", str, lambda: "drawn from b") == "drawn from b"
        assert not is_kept("figure", b"a", str)
    assert len(kept(tmp_path)) == 1
    assert not is_kept("figure", b"b", str)
    assert memory.kept("figure", b"b", str, lambda: "nowhere to keep it") == "nowhere to keep it"


def test_a_process_can_remember_wherever_it_computes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Notebooks' cells have contexts of their own; what other circumstances left is another process's, and stays."""
    other = tmp_path / "memory" / "circumstances-of-another"
    other.mkdir(parents=True, mode=0o700)
    monkeypatch.setattr(memory, "_of_process", [])
    remember(tmp_path / "memory")
    function = remembered(doubled)
    for _ in range(2):
        assert function(np.ones(3)).tolist() == [2, 2, 2]
    assert CALLS == [1.0]
    assert other.is_dir()
    with remembering(tmp_path / "elsewhere"):  # a context's own folder comes first
        function(np.ones(3))
    assert CALLS == [1.0, 1.0]


def test_where_compiled_programs_lie_changes_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    before = memory.circumstances()
    memory.circumstances.cache_clear()
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "elsewhere")
    assert memory.circumstances() == before


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


class Hostile:
    """A pickle of it makes the folder at ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    run(tmp_path)
    (path,) = kept(tmp_path)
    content = pickle.dumps(Hostile(tmp_path / "ran"))
    path.write_bytes(memory._seal(encode(((np.array([1.0]),), {})), content) + content)
    assert run(tmp_path)[0] == 2
    assert len(CALLS) == 2
    assert not (tmp_path / "ran").exists()
    assert run(tmp_path)[0] == 2
    assert len(CALLS) == 2


@pytest.mark.parametrize("other", [None, "2", [np.ones(1)], (np.ones(1),), {"a": 2.0}])
def test_a_sealed_result_of_another_type_is_computed_anew(tmp_path: Path, other: object) -> None:
    run(tmp_path)
    (path,) = kept(tmp_path)
    path.write_bytes(memory._seal(encode(((np.array([1.0]),), {})), encode(other)) + encode(other))
    assert run(tmp_path)[0] == 2
    assert len(CALLS) == 2


def written_by_others(path: Path) -> None:
    path.chmod(path.stat().st_mode | stat.S_IWGRP)


def written_by_all(path: Path) -> None:
    path.chmod(path.stat().st_mode | stat.S_IWOTH)


def behind_a_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


@pytest.mark.parametrize("change", [written_by_others, written_by_all, behind_a_link])
@pytest.mark.parametrize("level", ["file", "circumstances", "memory"])
def test_what_others_can_write_is_not_read(tmp_path: Path, change: Callable[[Path], None], level: str) -> None:
    run(tmp_path)
    (file,) = kept(tmp_path)
    change({"file": file, "circumstances": file.parent, "memory": tmp_path / "memory"}[level])
    assert run(tmp_path)[0] == 2
    assert len(CALLS) == 2


def test_what_others_own_is_neither_read_nor_removed(
    tmp_path: Path, sources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path)
    owner = (tmp_path / "memory").stat().st_uid  # root's too, where tests run as root
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    before = kept(tmp_path)
    assert not memory.is_private(tmp_path / "memory")
    rewritten(sources, monkeypatch)
    assert run(tmp_path)[0] == 2
    assert len(CALLS) == 2
    assert kept(tmp_path) == before


def test_a_file_that_others_own_in_our_folder_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path)
    status = os.fstat

    def of_another(descriptor: int) -> SimpleNamespace:
        found = status(descriptor)
        return SimpleNamespace(st_mode=found.st_mode, st_size=found.st_size, st_uid=found.st_uid + 1)

    monkeypatch.setattr(memory.os, "fstat", of_another)
    assert run(tmp_path)[0] == 2
    assert len(CALLS) == 2


def test_where_there_are_no_owners_results_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "geteuid")
    run(tmp_path)
    run(tmp_path)
    assert len(CALLS) == 1


def test_folders_and_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        run(tmp_path)
    finally:
        os.umask(mask)
    (file,) = kept(tmp_path)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "memory", file.parent, file)]
    assert modes == [0o700, 0o700, 0o600]


def pipe(path: Path) -> None:
    os.mkfifo(path, 0o600)


def sparse(path: Path) -> None:
    path.touch(0o600)
    os.truncate(path, 2**40)


@pytest.mark.parametrize("plant", [pipe, sparse, Path.mkdir])
def test_what_is_no_result_is_not_waited_for(tmp_path: Path, plant: Callable[[Path], None]) -> None:
    run(tmp_path)
    (file,) = kept(tmp_path)
    file.unlink()
    plant(file)
    assert run(tmp_path)[0] == 2
    assert len(CALLS) == 2
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_computed_and_found_results_are_the_same_to_the_order_in_memory(tmp_path: Path) -> None:
    with remembering(tmp_path / "memory"):
        view = np.arange(12.0).reshape(3, 4)[:, ::2]
        computed, found = (memory.kept("view", b"", np.ndarray, lambda: view) for _ in range(2))
    assert computed.strides == found.strides
    np.testing.assert_array_equal(computed, view)
    np.testing.assert_array_equal(found, view)


def test_a_result_that_cannot_be_kept_is_told_at_once(tmp_path: Path) -> None:
    with remembering(tmp_path / "memory"):
        with pytest.raises(TypeError, match="is not kept"):
            memory.kept("name", b"", object, object)
        with pytest.raises(DecodingError):
            memory.kept("name", b"", int, lambda: "text")


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (family.variant_cost, ("F0", 64)),
        (laws._fit_saturating, (np.arange(5.0)[None], np.ones((1, 5)), np.ones((1, 5)))),
    ],
)
def test_remembered_functions_state_what_they_return(
    tmp_path: Path, function: Callable[..., object], arguments: tuple[object, ...]
) -> None:
    plain = function(*arguments)
    with remembering(tmp_path / "memory"):
        computed, found = function(*arguments), function(*arguments)
    assert encode(computed) == encode(plain) == encode(found)
    assert len(kept(tmp_path)) == 1
