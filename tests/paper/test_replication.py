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
from paper.replication.plan import PLANS
from paper.replication.prepare import PRETRAINING_SIDE, main, prepare

FOLDER = Path(__file__).parents[2] / "paper" / "replication"
DESIGN = (FOLDER / "design.md").read_text(encoding="utf-8")
STUDIES = {plan.name: {family: load_study(path) for family, path in plan.studies.items()} for plan in PLANS.values()}


def configs(family, plan="cpu"):
    """The settings of a run of each model of a study, as the study starts it."""
    study = STUDIES[plan][family]
    made = {}
    for model in study.models:
        arguments = run_arguments(study, Trial(model, study.epochs[0], study.learning_rates.centre))
        made[model] = load_config(study.config, [one for one in arguments if one.startswith("--config.")])
    return made


def macs(family, plan="cpu"):
    return {
        model: network_cost(network_shape(config.model), PRETRAINING_SIDE, num_classes=config.model.num_classes).macs
        for model, config in configs(family, plan).items()
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


def test_sizes_on_a_gpu_are_those_of_the_design():
    """Larger than the others, over like spans, and what is in both plans is the same network."""
    said = re.findall(r"([\d.]+) to ([\d.]+)\s+million", DESIGN[DESIGN.index("the same study on a GPU") :])
    for family, ends in zip(("nfnets", "vits"), said, strict=True):
        small, large = macs(family), macs(family, "gpu")
        assert list(large.values()) == sorted(large.values())
        assert (f"{min(large.values()) / 1e6:.1f}", f"{max(large.values()) / 1e6:.1f}") == ends
        assert max(large.values()) > 5 * max(small.values())
        both = small.keys() & large.keys()
        assert len(both) == 2
        assert {model: small[model] for model in both} == {model: large[model] for model in both}
    spans = [max(one.values()) / min(one.values()) for one in (macs("nfnets", "gpu"), macs("vits", "gpu"))]
    assert f"({spans[0]:.0f}-fold)" in DESIGN
    assert spans[1] == pytest.approx(spans[0], rel=0.25)


def test_on_a_gpu_batches_are_larger_and_all_else_is_alike():
    for family in ("nfnets", "vits"):
        one, other = (STUDIES[plan][family] for plan in ("cpu", "gpu"))
        assert (one.config, one.epochs, one.strategy) == (other.config, other.epochs, other.strategy)
        assert other.learning_rates.centre == 2 * one.learning_rates.centre
        settings = configs(family)["S1+" if family == "nfnets" else "V5"]
        theirs = configs(family, "gpu")["S1+" if family == "nfnets" else "V5"]
        assert theirs.training.batch_size == 4 * settings.training.batch_size
        assert 4 * theirs.optimiser.warmup_steps == settings.optimiser.warmup_steps
        assert theirs.model == settings.model
        kept = {"learning_rate": 1.0, "warmup_steps": 0}
        assert replace(theirs.optimiser, **kept) == replace(settings.optimiser, **kept)


def test_budgets_span_what_the_design_says():
    study, sizes = STUDIES["cpu"]["nfnets"], macs("nfnets")
    span = max(sizes.values()) * max(study.epochs) / (min(sizes.values()) * min(study.epochs))
    assert f"{span:.0f}-fold" in DESIGN
    assert span > 10**2.5


@pytest.mark.parametrize("plan", PLANS)
def test_both_families_have_the_same_budgets_trials_and_data(plan):
    nfnets, vits = STUDIES[plan].values()
    assert nfnets.epochs == vits.epochs
    assert nfnets.strategy == vits.strategy == "two-trial"
    for mine, theirs in zip(configs("nfnets", plan).values(), configs("vits", plan).values(), strict=False):
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
