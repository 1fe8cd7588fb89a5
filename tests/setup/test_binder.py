"""Binder builds what `make test` installs: the locked packages that all notebooks need, then the repository itself."""

import os
import subprocess
import tomllib
from pathlib import Path

from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]
BINDER = ROOT / ".binder"


def test_requirements_are_a_lock_with_what_every_notebook_needs_and_nothing_else() -> None:
    lines = (BINDER / "requirements.txt").read_text(encoding="utf-8").split("\n")
    paths = [(BINDER / line.removeprefix("-r ")).resolve() for line in lines if line]
    assert paths == [ROOT / "requirements" / "dev.lock"]  # with training, which 06_use_nfnets does
    assert paths[0].is_file()


def test_python_is_one_that_the_project_runs_on() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    name, _, version = (BINDER / "runtime.txt").read_text(encoding="utf-8").strip().partition("-")
    assert name == "python"
    assert version in SpecifierSet(project["requires-python"])


def test_the_repository_is_installed_as_the_makefile_does(tmp_path: Path) -> None:
    """The script runs with a `python` that writes down what it is asked for."""
    script = BINDER / "postBuild"
    assert os.access(script, os.X_OK)
    (tmp_path / "python").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n', encoding="utf-8")
    (tmp_path / "python").chmod(0o755)
    path = os.pathsep.join((str(tmp_path), os.environ["PATH"]))
    subprocess.run([str(script)], check=True, env={"PATH": path}, cwd=ROOT)
    asked = (tmp_path / "asked").read_text(encoding="utf-8").strip()
    command = asked.removeprefix("-m pip ")
    assert command != asked
    assert command in (ROOT / "Makefile").read_text(encoding="utf-8")
