"""The study is loaded once a worker; its fits are computed when a test first asks for them."""

import shutil
from pathlib import Path

import pytest

from paper.provenance import DATA
from paper.results import Results, load
from paper.study import Study


@pytest.fixture(scope="session")
def results() -> Results:
    return load()


@pytest.fixture(scope="session")
def study(results: Results) -> Study:
    return Study.of(results)


@pytest.fixture
def loaded(study: Study, monkeypatch: pytest.MonkeyPatch) -> Study:
    """Saves the fits: commands that load the logged results get the study that is already there."""
    load_study = Study.load
    monkeypatch.setattr(Study, "load", lambda directory=DATA: study if directory == DATA else load_study(directory))
    return study


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A copy of the data package that a test may spoil."""
    return Path(shutil.copytree(DATA, tmp_path / "data"))
