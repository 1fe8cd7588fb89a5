"""A folder of one's own: which images train, which are held out, and fine-tuning at first try."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest
from support.networks import quick_jit
from support.pictures import write_digits
from support.tiny_runs import same

from nfnet import VARIANTS, VIT_VARIANTS, UserError
from nfnet.command import main
from nfnet.data.folder import find_splits, open_own_folder
from nfnet.finetune import settings_of
from nfnet.optim.masks import is_body, is_head
from nfnet.optim.settings import OPTIMISERS, OptimiserConfig, make_optimiser
from nfnet.training.checkpoint import load_parameters
from nfnet.training.class_names import read_class_names, write_class_names
from nfnet.training.config import DataConfig, ModelConfig, from_mapping
from nfnet.training.config_file import load_config, overridden_settings
from nfnet.training.initial import Initial, adopt, evaluate_checkpoint, read_initial
from nfnet.training.network import network_shape
from nfnet.training.run_log import read_run_log
from nfnet.training.splits import open_held_out, open_splits
from nfnet.weights.find import Found
from nfnet.weights.origins import OURS, timm_config
from nfnet.weights.pretrained import Weights
from nfnet.weights.zoo import Preprocessing


def touch(folder: Path, **classes: int) -> Path:
    """Makes empty files with the names of images."""
    for name, count in classes.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            (folder / name / f"{number:03}.png").touch()
    return folder


def paths(source) -> set[str]:
    return {str(source.root / file) for file in source.files}


@pytest.mark.parametrize("train", ["train", "Train", "training"])
@pytest.mark.parametrize("held_out", ["val", "validation", "VALID", "test"])
def test_splits_are_found_by_what_people_call_them(tmp_path, train, held_out):
    touch(tmp_path / train, cat=2, dog=1)
    touch(tmp_path / held_out, dog=3)
    assert find_splits(tmp_path) == (tmp_path / train, tmp_path / held_out)
    ours, theirs = (open_own_folder(tmp_path, split, hold_out_every=5) for split in ("train", "held_out"))
    assert ours.class_names == theirs.class_names == ("cat", "dog")
    assert (len(ours), len(theirs)) == (3, 3)
    assert theirs.labels.tolist() == [1, 1, 1]


def test_validation_comes_before_test(tmp_path):
    for split in ("test", "train", "val"):
        touch(tmp_path / split, cat=1, dog=1)
    assert find_splits(tmp_path) == (tmp_path / "train", tmp_path / "val")
    assert open_own_folder(tmp_path, "test", hold_out_every=5).root == tmp_path / "test"


def test_a_class_may_be_called_train(tmp_path):
    touch(tmp_path, train=3, bus=3, val=3)
    assert find_splits(tmp_path) == (tmp_path, None)
    assert open_own_folder(tmp_path, "train", hold_out_every=3).class_names == ("bus", "train", "val")


@pytest.mark.parametrize("layout", [".", "train"])
@pytest.mark.parametrize("every", [2, 3, 5])
def test_a_share_of_each_class_is_held_out(tmp_path, layout, every):
    counts = {"a": 1, "b": 2, "c": 7, "d": 40}
    touch(tmp_path / layout, **counts)
    ours, theirs = (open_own_folder(tmp_path, split, hold_out_every=every) for split in ("train", "held_out"))
    again = open_own_folder(tmp_path, "held_out", hold_out_every=every)
    assert again.files == theirs.files
    assert again.identity == theirs.identity != ours.identity
    assert not paths(ours) & paths(theirs)
    assert len(paths(ours) | paths(theirs)) == sum(counts.values())
    for label, count in enumerate(counts.values()):
        out = int(np.sum(theirs.labels == label))
        assert out == (0 if count == 1 else max(1, count // every))
    for source in (ours, theirs):
        for file, label in zip(source.files, source.labels, strict=True):
            assert file.startswith(f"{source.class_names[label]}/")


def test_the_configuration_opens_both_splits(tmp_path):
    touch(tmp_path, cat=10, dog=10)
    config = load_config("image_folder", [f"--config.data.path={tmp_path}"])
    train, held_out = open_splits(config.data, config.model.num_classes)
    assert (len(train), len(held_out)) == (16, 4)
    assert open_held_out(config.data, 0).identity == held_out.identity
    with pytest.raises(UserError, match="has 2 classes but the model has 3"):
        open_splits(config.data, 3)


def test_classes_that_a_run_does_not_have_are_not_evaluated_by_their_order(tmp_path):
    touch(tmp_path, cat=10, dog=10, zebra=10)
    config = load_config("image_folder", [f"--config.data.path={tmp_path}"])
    loaded = Initial({}, "the run", class_names=("bird", "cat", "dog"))
    with pytest.raises(UserError, match="has the class zebra, which the run was not trained on"):
        evaluate_checkpoint(loaded, config)
    loaded = Initial({}, "the run", class_names=("zebra", "cat", "dog"))
    with pytest.raises(UserError, match="in another order: name its list"):
        evaluate_checkpoint(loaded, config)


def one_class(folder):
    touch(folder, cat=5)


def one_image_each(folder):
    touch(folder, cat=1, dog=1)


def another_class(folder):
    touch(folder / "train", cat=2, dog=2)
    touch(folder / "val", cat=2, cow=2)


def no_training_images(folder):
    touch(folder / "val", cat=2, dog=2)


def images_alone(folder):
    (folder / "1.png").touch()


def empty_classes(folder):
    touch(folder, cat=0, dog=0)


def nothing(folder):
    pass


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (one_class, "has one class alone, 'cat': a classifier needs a folder for each of two"),
        (one_image_each, "has one image a class, so that none can be held out: add images"),
        (another_class, "val/cow is a class that .*train does not have: remove or rename it"),
        (no_training_images, "has the folder val, but none of training images: name that one train"),
        (images_alone, "holds no class folders: it needs one folder of images a class"),
        (empty_classes, "cat holds no images"),
        (nothing, "holds no class folders"),
    ],
)
def test_folders_that_cannot_be_trained_on_are_one_sentence(tmp_path, weights, make, message, capsys):
    data = tmp_path / "data"
    data.mkdir()
    make(data)
    workdir = tmp_path / "run"
    arguments = ["finetune", "image_folder", "--weights", str(weights), "--data", str(data), "--workdir", str(workdir)]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert np.size(np.nonzero([message.split(".*")[0] in said, message.split(".*")[-1] in said])) == 2
    assert not (workdir / "log.jsonl").exists()


@pytest.mark.parametrize(("name", "message"), [("file", "is a file, not a folder"), ("absent", "Missing data folder")])
def test_what_is_no_folder_is_told(tmp_path, name, message):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=message):
        open_own_folder(tmp_path / name, "train", hold_out_every=5)


def test_without_a_share_a_split_is_needed(tmp_path):
    touch(tmp_path, cat=3, dog=3)
    with pytest.raises(UserError, match=r"has no folder val or validation .* --config\.data\.hold_out_every=5"):
        open_own_folder(tmp_path, "train", hold_out_every=0)
    with pytest.raises(UserError, match="pass --data FOLDER"):
        open_splits(DataConfig(source="own_folder"), 0)


def test_names_of_classes_are_kept(tmp_path):
    assert read_class_names(tmp_path) is None
    write_class_names(tmp_path, ("Zwerg", "über", "a\nb", " x"))
    assert read_class_names(tmp_path) == ("Zwerg", "über", "a\\nb", " x")
    (tmp_path / "classes.txt").write_text("a\n\nb\n")
    with pytest.raises(UserError, match="has an empty line"):
        read_class_names(tmp_path)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("own") / "digits")


QUICK = ["--config.training.epochs=2", "--config.training.batch_size=8"]


def test_fine_tuning_works_at_first_try(pictures, weights, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["finetune", "image_folder", "--weights", str(weights), "--data", str(pictures), *QUICK]) == 0
    said = capsys.readouterr()
    assert "data: 3 classes (digit_0, digit_1, digit_2); 24 images to train on (" in said.err
    assert "all but one in 5 of each class), 6 held out (" in said.err
    assert "2 reset (ViT/head/b, ViT/head/w)" in said.err
    assert said.err.endswith("next: nfnet predict IMAGE --weights runs/digits\n")
    run = tmp_path / "runs" / "digits"
    log = read_run_log(run / "log.jsonl")
    assert said.out == f"held-out top-1 {100 * log.held_out_top1:.2f}%, loss {log.held_out_loss:.4f}\n"
    model, data = log.header.config["model"], log.header.config["data"]
    assert (model["family"], model["shape"]["width"], model["num_classes"]) == ("vit", 16, 3)
    assert (data["image_size"], data["evaluation_size"], data["evaluation_margin"]) == (8, 8, 0)
    assert (data["mean"], data["std"]) == ([0.3] * 3, [0.35] * 3)
    assert read_class_names(run) == ("digit_0", "digit_1", "digit_2")
    # The same command again finds the run finished.
    assert main(["finetune", "image_folder", "--weights", str(weights), "--data", str(pictures), *QUICK]) == 0
    assert capsys.readouterr().out == said.out


def test_the_command_line_has_the_last_word(weights):
    """What the weights tell is taken, unless the command line sets it; a network is taken whole or not at all."""
    loaded = read_initial(weights)
    own = ["--config.data.image_size=16", "--config.data.mean=(0.5,0.5,0.5)"]
    config = adopt(loaded, load_config("image_folder", own), keep=overridden_settings(own))
    assert (config.data.image_size, config.data.evaluation_size, config.data.mean) == (16, 8, (0.5,) * 3)
    assert (config.model.family, config.model.shape["width"]) == ("vit", 16)
    own = ["--config.model.variant=F1", "--config.model.bfloat16=true"]
    config = adopt(loaded, load_config("image_folder", own), keep=overridden_settings(own))
    assert (config.model.family, config.model.variant, dict(config.model.shape)) == ("nfnet", "F1", {})
    assert config.data.image_size == 8
    unlike = adopt(loaded, load_config("digits"))  # a configuration that does not ask for it
    assert unlike.model.family == "nfnet"


def test_weights_from_elsewhere_tell_network_and_images():
    """What a file is known to be becomes settings that make the same network."""
    for family, variant, config, options in (
        ("nfnet", "F0", timm_config("F0"), {}),
        ("nfnet", "F1+", VARIANTS["F1+"], {}),
        ("nfnet", None, dataclasses.replace(VARIANTS["F0"], widths=(64, 128, 384, 384), group_width=32), {}),
        ("vit", "S/16", dataclasses.replace(VIT_VARIANTS["S/16"], gelu="erf"), {"head": "cls", "posemb": "learned"}),
    ):
        images = Preprocessing(size=256, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), margin=32)
        weights = Weights({}, family, variant, config, options, 10, OURS, "w", Found(Path("w")), images)
        known = settings_of(weights)
        model = from_mapping(ModelConfig, known["model"])
        assert network_shape(model) == config
        assert model.head == options.get("head", "gap")
        data = from_mapping(DataConfig, known["data"])
        assert (data.evaluation_size, data.evaluation_margin, data.mean, data.std) == (256, 32, images.mean, images.std)
        assert data.image_size == (getattr(config, "train_resolution", None) or 256)


def test_the_body_stays_as_it_is_if_the_classifier_alone_is_trained(pictures, weights, tmp_path):
    arguments = ["--weights", str(weights), "--data", str(pictures), "--workdir", str(tmp_path), *QUICK]
    assert main(["finetune", "image_folder:classifier", *arguments, "--config.optimiser.sam_rho=0.05"]) == 0
    before, after = (load_parameters(folder, average=True).params for folder in (weights, tmp_path))
    heads = {module for module in after if "/head" in module}
    assert heads
    assert same({k: v for k, v in after.items() if k not in heads}, {k: v for k, v in before.items() if k not in heads})
    fresh = load_parameters(tmp_path, average=False).params["ViT/head"]["w"]
    assert np.abs(fresh).max() > 0
    log = read_run_log(tmp_path / "log.jsonl")
    assert log.metrics[-1].flops == pytest.approx(2 * log.header.macs * log.metrics[-1].examples * 2)  # SAM's ascent


@pytest.mark.parametrize("name", OPTIMISERS)
def test_what_is_not_trained_neither_moves_nor_decays(name):
    params = {
        "net/~/stem_conv0": {"w": np.ones((3, 4), np.float32), "gain": np.ones(4, np.float32)},
        "net/~/linear": {"w": np.ones((4, 2), np.float32), "b": np.ones(2, np.float32)},
    }
    optimiser = make_optimiser(OptimiserConfig(name=name, weight_decay=0.1, trainable="classifier"), lambda step: 0.1)
    gradients = jax.tree.map(np.ones_like, params)
    updates, _ = quick_jit(lambda g, p: optimiser.update(g, optimiser.init(p), p))(gradients, params)
    moved = jax.tree.map(lambda u: bool(np.any(u)), updates)
    assert moved == is_head(params)
    assert jax.tree.map(lambda a, b: a is not b, is_head(params), is_body(params)) == jax.tree.map(
        lambda _: True, moved
    )
