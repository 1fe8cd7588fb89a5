"""The replication's studies are what its design says: sizes, budgets, the same effort for both families."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nfnet.cost.cost import network_cost
from nfnet.studies.sweep import Trial, load_study, run_arguments
from nfnet.training.config_file import load_config
from nfnet.training.network import network_shape
from paper.replication.prepare import PRETRAINING_SIDE, main, prepare

FOLDER = Path(__file__).parents[2] / "paper" / "replication"
DESIGN = (FOLDER / "design.md").read_text(encoding="utf-8")
STUDIES = {name: load_study(FOLDER / "studies" / f"{name}.toml") for name in ("nfnets", "vits")}


def configs(name):
    """The settings of a run of each model of a study, as the study starts it."""
    study = STUDIES[name]
    made = {}
    for model in study.models:
        arguments = run_arguments(study, Trial(model, study.epochs[0], study.learning_rates.centre))
        made[model] = load_config(study.config, [one for one in arguments if one.startswith("--config.")])
    return made


def macs(name):
    return {
        model: network_cost(network_shape(config.model), PRETRAINING_SIDE, num_classes=config.model.num_classes).macs
        for model, config in configs(name).items()
    }


def test_sizes_are_those_of_the_design():
    nfnets, vits = macs("nfnets"), macs("vits")
    assert list(nfnets.values()) == sorted(nfnets.values())
    least, most = min(nfnets.values()), max(nfnets.values())
    assert most / least >= 16
    said = re.search(r"([\d.]+) to ([\d.]+) million\s+multiply-adds \((\d+)-fold\)", DESIGN)
    assert said is not None
    assert (f"{least / 1e6:.1f}", f"{most / 1e6:.1f}", f"{most / least:.0f}") == said.groups()
    assert len(nfnets) >= 5
    assert len(vits) >= 3
    for end, theirs in ((least, min(vits.values())), (most, max(vits.values()))):  # over the same span
        assert theirs == pytest.approx(end, rel=0.25)


def test_budgets_span_what_the_design_says():
    study, sizes = STUDIES["nfnets"], macs("nfnets")
    span = max(sizes.values()) * max(study.epochs) / (min(sizes.values()) * min(study.epochs))
    assert f"{span:.0f}-fold" in DESIGN
    assert span > 10**2.5


def test_both_families_have_the_same_budgets_trials_and_data():
    nfnets, vits = STUDIES.values()
    assert nfnets.epochs == vits.epochs
    assert nfnets.strategy == vits.strategy == "two-trial"
    for mine, theirs in zip(configs("nfnets").values(), configs("vits").values(), strict=False):
        kinds = {"mean": theirs.data.mean, "std": theirs.data.std}  # each family has the colours of its papers
        assert replace(mine.data, **kinds) == theirs.data
        assert mine.training == theirs.training


def test_prepare_decodes_folders_and_names_what_is_missing(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for place in ("tiny-imagenet-200/train/a/images", "tiny-imagenet-200/train/b/images", *(
        f"cifar10/{split}/{name}" for split in ("train", "test") for name in ("a", "b")
    )):  # fmt: skip
        (tmp_path / place).mkdir(parents=True)
        image = Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
        image.save(tmp_path / place / "0.png")
    prepare(tmp_path, tmp_path / "out")
    shapes = {
        path.relative_to(tmp_path / "out").as_posix(): np.load(path).shape
        for path in tmp_path.glob("out/*/*_images.npy")
    }
    assert shapes == {
        "tiny_imagenet/train_images.npy": (2, 32, 32, 3),
        "cifar10/train_images.npy": (2, 48, 48, 3),
        "cifar10/test_images.npy": (2, 48, 48, 3),
    }
    assert main([str(tmp_path / "nowhere"), "--out", str(tmp_path / "other")]) == 2
    assert "nowhere" in capsys.readouterr().err
