"""`make` installs once, installs again after a change, and leaves no mark of an install that failed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Stands for any interpreter: writes down what it is asked, and makes .venv/bin/python a copy of itself.
PYTHON = f"""#!/bin/sh
case "$1 $2" in
  "-c "*) exec "{sys.executable}" -c "import sys; sys.version_info = ($VERSION, 0); $2" ;;
  "--version "*) echo "Python stand-in"; exit ;;
  "-m venv") mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
esac
echo "$*" >> log
case "$*" in *"$FAIL"*) exit 1 ;; esac
"""


class Clone:
    """A directory with what installation needs, and a stand-in for Python."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = 0
        for name in ("Makefile", "pyproject.toml", "requirements"):
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, path / name)
        (path / "stand-in").write_text(PYTHON, encoding="utf-8")
        (path / "stand-in").chmod(0o755)

    def make(self, target: str, fail: str = "nothing", version: str = "3, 11") -> subprocess.CompletedProcess[str]:
        """Runs make; its environment is empty but for what the stand-in reads."""
        python = str(self.path / "stand-in")
        environment = {"PATH": os.environ["PATH"], "PYTHON": python, "FAIL": fail, "VERSION": version}
        command = ["make", *target.split()]
        return subprocess.run(
            command, cwd=self.path, env=environment, capture_output=True, text=True, check=False, timeout=30
        )

    def asked(self) -> list[str]:
        """What the stand-in was asked since the last time."""
        log = self.path / "log"
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines

    def installs(self) -> list[str]:
        """The locks that were installed since the last time."""
        return [line.rpartition("/")[2] for line in self.asked() if "--require-hashes" in line]

    def change(self, name: str) -> None:
        """Makes a file newer than everything that make has written."""
        self.clock += 10
        newer = (self.path / ".venv" / ".created").stat().st_mtime + self.clock
        os.utime(self.path / name, (newer, newer))


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """A fresh clone, in a directory with a space in its name."""
    path = tmp_path / "a clone"
    path.mkdir()
    return Clone(path)


def test_first_install_is_whole_and_hashed(clone: Clone) -> None:
    assert clone.make("reproduce").returncode == 0
    venv, lock, package, run = clone.asked()
    assert venv == "-m venv .venv"
    assert lock.endswith("install --require-hashes -r requirements/analysis.lock")
    assert package.endswith("install --no-deps --no-build-isolation --editable .")
    assert run == "-m figures.reproduce --jobs 2"


def test_nothing_is_installed_twice(clone: Clone) -> None:
    clone.make("reproduce")
    clone.asked()
    assert clone.make("reproduce").returncode == 0
    assert clone.asked() == ["-m figures.reproduce --jobs 2"]


def test_dev_install_serves_the_analysis(clone: Clone) -> None:
    assert clone.make("lint").returncode == 0
    assert clone.installs() == ["dev.lock"]
    clone.make("reproduce")
    clone.make("lint")
    assert clone.installs() == []


def test_dev_install_adds_to_the_analysis(clone: Clone) -> None:
    clone.make("reproduce")
    clone.make("lint")
    assert clone.installs() == ["analysis.lock", "dev.lock"]


@pytest.mark.parametrize("name", ["pyproject.toml", "requirements/dev.lock"])
def test_change_installs_again(clone: Clone, name: str) -> None:
    clone.make("lint")
    clone.asked()
    clone.change(name)
    assert clone.make("lint").returncode == 0
    assert clone.installs() == ["dev.lock"]


@pytest.mark.parametrize("step", ["-m venv", "--require-hashes", "--editable"])
def test_interrupted_install_is_done_again(clone: Clone, step: str) -> None:
    assert clone.make("reproduce", fail=step).returncode == 2
    assert not (clone.path / ".venv" / ".analysis").exists()
    assert "-m figures.reproduce --jobs 2" not in clone.asked()
    assert clone.make("reproduce").returncode == 0
    assert clone.installs() == ["analysis.lock"]


def test_failed_update_is_done_again(clone: Clone) -> None:
    clone.make("reproduce")
    clone.change("requirements/analysis.lock")
    clone.make("reproduce", fail="--require-hashes")
    clone.asked()
    clone.make("reproduce")
    assert clone.installs() == ["analysis.lock"]


@pytest.mark.parametrize("check", ["ruff check", "ruff format", "mypy", "pytest"])
def test_every_check_decides_the_exit_code(clone: Clone, check: str) -> None:
    assert clone.make("test").returncode == 0
    assert clone.make("test", fail=check).returncode == 2


def test_old_python_is_refused_in_one_sentence(clone: Clone) -> None:
    run = clone.make("test", version="3, 10")
    assert run.returncode == 2
    sentence, *rest = run.stderr.splitlines()
    assert sentence.startswith("nfnet-companion needs Python 3.11 or newer, and ")
    assert sentence.endswith(" is 3.10; name another one, as in: make PYTHON=python3.12 test")
    assert all(line.startswith("make: ") for line in rest)
    assert not (clone.path / ".venv").exists()


def test_missing_python_is_refused_in_one_sentence(clone: Clone) -> None:
    (clone.path / "stand-in").unlink()
    run = clone.make("reproduce")
    assert run.returncode == 2
    assert "is not installed; name another one" in run.stderr.splitlines()[0]


def test_help_lists_every_target(clone: Clone) -> None:
    listed = {line.split()[1] for line in clone.make("help").stdout.splitlines()}
    text = (clone.path / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    (phony,) = (line.split()[1:] for line in text.splitlines() if line.startswith(".PHONY:"))
    assert listed == set(phony)
    assert clone.make("").stdout == clone.make("help").stdout
