"""What docs/use.md says: its Python runs, on a small network and a few digits, and its commands and links are there."""

import dataclasses
import re
import shlex

import haiku as hk
import jax
import numpy as np
import pytest
from support.networks import TINY, network, quick_jit
from support.pictures import write_digits
from support.tiny_runs import ROOT

from nfnet.command import COMMANDS
from nfnet.training.config import find_setting
from nfnet.training.config_file import find_provided
from nfnet.weights.files import write_safetensors
from nfnet.weights.metadata import Told, metadata_of
from nfnet.weights.origins import RELEASED
from nfnet.weights.zoo import ENTRIES, Preprocessing

TEXT = (ROOT / "docs/use.md").read_text(encoding="utf-8")
NAME = "dm_nfnet_f0.dm_in1k"
SMALL = dataclasses.replace(TINY, depths=(1, 1))


@pytest.fixture(scope="module")
def small_weights(tmp_path_factory):
    """A file of weights of a small network, which says how its images are prepared."""
    init = quick_jit(lambda key: network(10, SMALL).init(key, np.zeros((1, 16, 16, 3), np.float32), False))
    params = init(jax.random.key(0))
    arrays = {f"{module}/{name}": np.asarray(value) for module, name, value in hk.data_structures.traverse(params)}
    images = Preprocessing(size=16, mean=(0.3,) * 3, std=(0.35,) * 3, margin=0)
    names = tuple(f"digit {number}" for number in range(10))
    told = Told("nfnet", SMALL, {}, RELEASED, preprocessing=images, class_names=names)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    write_safetensors(path, arrays, metadata_of(told))
    return path


@pytest.mark.slow
def test_the_python_runs(small_weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_digits(tmp_path / "photos", per_class=8)
    found: dict = {}
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(compile(block.replace(NAME, str(small_weights)), "docs/use.md", "exec"), found)
    assert len(found["said"]) == len(found["paths"]) == 24
    assert set(found["said"]) <= {f"digit {number}" for number in range(10)}
    assert found["names"].tolist() == ["digit_0", "digit_1", "digit_2"]
    assert found["probe_accuracy"] > 0.9  # more parameters than images
    assert np.isfinite(found["losses"]).all()
    assert np.mean(found["losses"][-5:]) < np.mean(found["losses"][:5])


def commands():
    """Every command that the text shows, as words."""
    shown = re.findall(r"`(nfnet [^`]+)`", TEXT) + re.findall(r"^(nfnet .*)$", TEXT, re.MULTILINE)
    return [shlex.split(line) for line in shown]


def test_its_commands_are_there():
    assert {words[1] for words in commands()} - {"COMMAND"} == set(COMMANDS) - {"train", "study"}
    for words in commands():
        if words[1] == "finetune" and len(words) > 3:
            find_provided(words[2].partition(":")[0], "--config")
        if "--weights" in words:
            weights = words[words.index("--weights") + 1]
            assert weights in ENTRIES or weights.startswith("runs/")


def test_its_settings_are_there():
    found = re.findall(r"--config\.([\w.]+)=([\w.]+)", TEXT)
    assert len(found) > 5
    for key, _ in found:
        find_setting(key)


def test_its_links_lead_somewhere():
    targets = re.findall(r"\]\(([^)#:]+)\)", TEXT)
    assert targets
    for target in targets:
        assert (ROOT / "docs" / target).is_file(), target


def test_its_folders_are_those_that_are_looked_for():
    from nfnet.data.folder import HELD_OUT_FOLDERS

    for name in HELD_OUT_FOLDERS:
        assert f"`{name}`" in TEXT
