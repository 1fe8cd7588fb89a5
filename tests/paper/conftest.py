"""What tests of the analysis share beside the study."""

import shutil
from pathlib import Path

import pytest

from paper.provenance import DATA
from paper.study import Study


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
