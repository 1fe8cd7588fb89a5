"""`nfnet evaluate --weights --data`: accuracies with intervals, by class, and how classes are matched."""

import csv
import json

import numpy as np
import pytest
from support.fixtures import quick_compilation as quick_compilation
from support.small_weights import NAMES, logits_of, write_pictures, write_tiny

from nfnet import UserError, evaluate
from nfnet.inference.class_names import imagenet_classes, label_map
from nfnet.inference.score import score, wilson


def test_wilson_interval():
    # Newcombe 1998 (Statistics in Medicine 17), Table I, method 3.
    for right, total, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611)):
        assert wilson(right, total) == pytest.approx((low, high), abs=5e-5)
    assert wilson(7, 7)[1] == 1


def test_score_counts_the_first_and_the_first_five():
    best = np.array([[3, 1, 2, 0, 5, 4], [0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0]])
    found = score(np.array([3, 4, 0]), best)
    assert found.top1.tolist() == [True, False, False]
    assert found.top5.tolist() == [True, True, False]


def test_a_folder_is_evaluated_and_its_classes_matched_by_name(tmp_path, capsys):
    network, params = write_tiny(tmp_path / "tiny.safetensors")
    paths, labels = [], []
    for seed, name in enumerate(("blue", "red")):  # sorted, these are logits 2 and 0
        write_pictures(tmp_path / "data" / "val" / name, [f"{i}.png" for i in range(4)], seed=seed)
        paths += [tmp_path / "data" / "val" / name / f"{i}.png" for i in range(4)]
        labels += [NAMES.index(name)] * 4
    (paths.pop()).write_text("no image")
    right = logits_of(network, params, paths).argmax(axis=1) == labels[:-1]
    arguments = ["--weights", tmp_path / "tiny.safetensors", "--data", tmp_path / "data", "--batch", 4]
    arguments += ["--per-class", tmp_path / "classes.csv", "--json", "--no-compilation-cache"]
    assert evaluate.main([*map(str, arguments)]) == 2  # one of eight is more than may be missing
    err = capsys.readouterr().err
    assert "could not be read, more than the share of 0.1 that is allowed: restore or remove them" in err
    assert not (tmp_path / "classes.csv").exists()
    (tmp_path / "data" / "val" / "red" / "3.png").unlink()
    assert evaluate.main([*map(str, arguments)]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["images"] == 7
    assert record["top1"] == pytest.approx(right.mean())
    assert record["top5"] == 1  # of three classes
    assert tuple(record["top1_interval"]) == wilson(int(right.sum()), 7)
    assert record["classes_by"] == "class names of the weights"
    with (tmp_path / "classes.csv").open() as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert {name: int(row["images"]) for name, row in rows.items()} == {"red": 3, "blue": 4}
    assert float(rows["blue"]["top1"]) == pytest.approx(right[:4].mean())


class Weights:
    """What `label_map` reads of a network."""

    def __init__(self, num_classes, class_names=None, trained_with=None):
        self.num_classes, self.class_names = num_classes, class_names
        self.origin = type("Origin", (), {"trained_with": trained_with or {}})


def test_folders_are_matched_by_name_by_number_or_by_order():
    imagenet = Weights(1000, trained_with={"activation": "gelu"})
    names = [words for _, words in imagenet_classes()]
    assert label_map(["n01443537", "n01440764"], imagenet, names) == ([1, 0], "WordNet numbers")
    assert label_map(["x", "y"], Weights(2), ["class 0", "class 1"]) == ([0, 1], "order of the sorted folders")
    with pytest.raises(UserError, match="2 class folders, of which x is the first"):
        label_map(["x", "y"], Weights(3), ["a", "b", "c"])
    with pytest.raises(
        UserError, match="class folder dgo is none of the class names of the weights, though others are"
    ):
        label_map(["bird", "cat", "dgo"], Weights(3), ["bird", "cat", "dog"])
    assert label_map(["a\nb", "c"], Weights(2), ["c", "a\\nb"]) == ([1, 0], "class names of the weights")
    with pytest.raises(UserError, match="two logits are of the class crane"):  # a bird, and a machine
        label_map(["crane"], imagenet, names)
    with pytest.raises(UserError, match="--classes lacks the class folder y"):
        label_map(["x", "y"], Weights(2), ["x", "z"], listed=True)


def test_the_names_of_imagenet_are_in_the_order_of_its_numbers():
    numbers = [number for number, _ in imagenet_classes()]
    assert len(set(numbers)) == 1000
    assert numbers == sorted(numbers)
    assert dict(imagenet_classes())["n02123045"].startswith("tabby")
