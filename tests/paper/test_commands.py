"""Output that nobody reads, and folders that cannot be written to."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nfnet.errors import UserError
from paper import claims
from paper.commands import GONE, require_writable
from paper.study import Study
from paper.tables import __main__ as tables


def unread(*arguments: str) -> tuple[int, str]:
    """Exit code and errors of a command whose reader is gone before it prints."""
    # Unbuffered, argparse itself would see the error, and pass over it.
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    read, write = os.pipe()
    os.close(read)
    try:
        command = [sys.executable, *arguments]
        run = subprocess.run(
            command, stdout=write, stderr=subprocess.PIPE, text=True, check=False, timeout=120, env=buffered
        )
    finally:
        os.close(write)
    return run.returncode, run.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["paper.results"],
        ["paper.results", "--help"],
        ["paper.claims", "--help"],
        ["paper.tables", "--help"],
        ["paper.tamper", "--help"],
        ["figures", "--help"],
        ["figures.reproduce", "--help"],
    ],
)
def test_a_reader_that_goes_away_is_no_error(arguments: list[str]) -> None:
    assert unread("-m", *arguments) == (GONE, "")


def test_other_commands_end_as_they_do() -> None:
    script = "import sys; from paper.commands import run; sys.exit(run(lambda: print('read') or 3))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (3, "read\n", "")
    assert unread("-c", script.replace("print('read')", "None")) == (3, "")


def test_a_writable_folder_is_left_as_it_was(tmp_path: Path) -> None:
    require_writable(tmp_path)
    require_writable(tmp_path / "new" / "folder")
    assert list(tmp_path.iterdir()) == []


def a_file(path: Path) -> Path:
    path.write_text("a file")
    return path


def below_a_file(path: Path) -> Path:
    return a_file(path) / "folder" / "below"


def a_broken_link(path: Path) -> Path:
    path.symlink_to("nowhere")
    return path


@pytest.mark.parametrize("make", [a_file, below_a_file, a_broken_link])
def test_what_is_no_folder_is_told(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    folder = make(tmp_path / "out")
    with pytest.raises(UserError, match="cannot be written") as caught:
        require_writable(folder)
    assert str(caught.value) == f"{folder}: cannot be written ({tmp_path / 'out'} is no folder); choose another --out."


def test_a_folder_that_refuses_files_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(UserError, match=r"cannot be written \(Read-only file system\); choose another --json"):
        require_writable(tmp_path, "--json")


@pytest.mark.parametrize(
    ("main", "option"), [(tables.main, "--out"), (claims.main, "--json")], ids=["tables", "claims"]
)
def test_commands_notice_before_they_compute(
    main: Callable[[list[str]], int],
    option: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Study, "load", lambda *_: pytest.fail("computes first"))
    a_file(tmp_path / "file")
    assert main([option, str(tmp_path / "file" / "below")]) == 2
    assert f"{tmp_path / 'file'} is no folder); choose another {option}." in capsys.readouterr().err


def test_claims_do_not_replace_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Study, "load", lambda *_: pytest.fail("computes first"))
    assert claims.main(["--json", str(tmp_path)]) == 2
    assert "it is a folder" in capsys.readouterr().err
