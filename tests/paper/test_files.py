"""Files are replaced whole or not at all, and nothing is left beside them."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfnet.errors import UserError
from nfnet.files import replacing
from paper.files import write_files


@pytest.fixture
def umask() -> Iterator[int]:
    """One that neither the default permissions of a file nor those of a temporary one hide."""
    before = os.umask(0o027)
    yield 0o027
    os.umask(before)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_as_if_it_had_been_written_to(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "file"
    with replacing(path) as file:
        file.write(b"first")
        assert not path.exists()
        assert Path(file.name).parent == tmp_path
    assert (path.read_bytes(), mode_of(path)) == (b"first", 0o666 & ~umask)
    path.chmod(0o604)
    with replacing(path) as file:
        file.write(b"second")
        assert path.read_bytes() == b"first"
    assert (path.read_bytes(), mode_of(path)) == (b"second", 0o604)
    assert list(tmp_path.iterdir()) == [path]


def fail_half_way(path: Path, error: BaseException) -> None:
    with replacing(path, "make room") as file:
        file.write(b"half")
        raise error


@pytest.mark.parametrize("error", [ValueError("no number"), KeyboardInterrupt(), UserError("bad data")])
def test_other_errors_pass_and_leave_what_was(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with pytest.raises(type(error)) as caught:
        fail_half_way(path, error)
    assert caught.value is error
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_told_and_leaves_what_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with pytest.raises(UserError) as caught:
        fail_half_way(path, OSError(errno.ENOSPC, "No space left on device"))
    assert str(caught.value) == f"{path} cannot be written (No space left on device): make room."
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("place", ["missing/file", "blocked/file", "folder"])
def test_a_place_that_takes_no_file_is_told(tmp_path: Path, place: str) -> None:
    (tmp_path / "blocked").write_bytes(b"a file")
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.iterdir())
    with (
        pytest.raises(UserError, match=r"cannot be written \(.+\): choose another place\.$"),
        replacing(tmp_path / place) as file,
    ):
        file.write(b"")
    assert sorted(tmp_path.iterdir()) == before


def test_a_link_is_replaced_and_what_it_leads_to_is_kept(tmp_path: Path) -> None:
    path, other = tmp_path / "file", tmp_path / "other"
    other.write_bytes(b"another's")
    path.symlink_to(other)
    with replacing(path) as file:
        file.write(b"ours")
    assert not path.is_symlink()
    assert (path.read_bytes(), other.read_bytes()) == (b"ours", b"another's")


def test_of_several_files_none_is_replaced_before_all_are_complete(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    first, second, third = tmp_path / "new" / "first", tmp_path / "second", tmp_path / "folder" / "no" / "third"
    second.write_bytes(b"before")
    write_files({first: b"1", second: b"2"})
    assert (first.read_bytes(), second.read_bytes()) == (b"1", b"2")
    (tmp_path / "folder" / "no").write_bytes(b"a file, no folder")
    with pytest.raises(UserError, match=r"no cannot be made \(File exists\): choose another --out\."):
        write_files({first: b"3", second: b"4", third: b"5"})
    assert (first.read_bytes(), second.read_bytes()) == (b"1", b"2")
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == ["folder", "no", "new", "first", "second"]
