"""Decoded images: what `write_arrays` writes is what the source "arrays" reads, and nothing else is taken for it."""

import numpy as np
import pytest

from nfnet.data.arrays import ArraySource, write_arrays
from nfnet.data.sources import open_source
from nfnet.errors import UserError


def source(side: int = 4) -> ArraySource:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, side, side, 3), dtype=np.uint8)
    return ArraySource("made/train", ("a", "b"), images, np.array([0, 1, 0, 1, 1, 0]))


@pytest.fixture
def folder(tmp_path):
    write_arrays(tmp_path / "data", "train", source(), 4)
    return tmp_path / "data"


def test_what_is_written_is_read_in_order(folder):
    read, made = open_source("arrays", str(folder), "train"), source()
    assert (read.class_names, len(read)) == (made.class_names, len(made))
    for i in range(len(made)):
        np.testing.assert_array_equal(read[i]["image"], made[i]["image"])
        assert read[i]["label"] == made[i]["label"]
    assert read.identity == made.identity


def test_smaller_images_have_the_mean_of_the_pixels_that_each_covers(tmp_path):
    write_arrays(tmp_path, "train", source(8), 4)
    means = source(8).images.reshape(6, 4, 2, 4, 2, 3).mean((2, 4))
    read = open_source("arrays", str(tmp_path), "train")
    # Columns are averaged and rounded, then rows: each rounding moves a value by up to a half.
    assert np.max(np.abs(np.stack([read[i]["image"] for i in range(6)]) - means)) <= 1


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("train_images", np.zeros((6, 4, 4, 3)), "must be uint8"),
        ("train_images", np.zeros((6, 4, 4), np.uint8), "must be uint8"),
        ("train_images", np.zeros((5, 4, 4, 3), np.uint8), "for each of 5 images"),
        ("train_labels", np.zeros(6), "must hold the index of a class"),
        ("train_labels", np.array([0, 1, 0, -1, 0, 0]), "must hold the index of a class"),
        ("train_labels", np.array([0, 1, 0, 2, 0, 0]), "labels reach 2"),
        ("train_labels", np.array([{}] * 6, object), "no .npy file of numbers"),
    ],
)
def test_arrays_of_another_kind_are_refused(folder, name, array, message):
    np.save(folder / f"{name}.npy", array, allow_pickle=True)
    with pytest.raises(UserError, match=message):
        open_source("arrays", str(folder), "train")


def test_missing_and_truncated_files_are_named(folder):
    with pytest.raises(UserError, match=r"Missing .*val_images\.npy"):
        open_source("arrays", str(folder), "val")
    path = folder / "train_images.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"train_images\.npy is no \.npy file of numbers"):
        open_source("arrays", str(folder), "train")
