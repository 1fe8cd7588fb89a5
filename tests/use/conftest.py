from pathlib import Path

import pytest
from support.fixtures import quick_compilation as quick_compilation
from support.tiny_runs import CONFIG, write_config

from nfnet import train


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a tiny network on digits of 8 px."""
    folder = tmp_path_factory.mktemp("weights")
    config = write_config(folder / "tiny.py", CONFIG)
    assert train.main([str(config), "--workdir", str(folder / "run"), "--config.training.epochs=0.5"]) == 0
    return folder / "run"
