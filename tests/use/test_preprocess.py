"""Preprocessing is the published evaluation's, and what a user asks for instead."""

import numpy as np
import pytest
from PIL import Image

from nfnet import UserError
from nfnet.data.augment import evaluation_image as published
from nfnet.inference.preprocess import adjust, batches, evaluation_image, find_images, read_image
from nfnet.weights.zoo import Preprocessing

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RELEASED = Preprocessing(size=48, mean=MEAN, std=STD, margin=32)
PICTURE = np.random.default_rng(0).integers(0, 256, (70, 101, 3), dtype=np.uint8)


def test_squashing_is_what_runs_are_evaluated_with():
    np.testing.assert_array_equal(evaluation_image(PICTURE, RELEASED), published(PICTURE, 48, 32))


def test_a_centre_crop_keeps_the_aspect_ratio():
    settings = adjust(RELEASED, crop="center", interpolation="bilinear", resize=56)
    resized = Image.fromarray(PICTURE).resize((56 * 101 // 70, 56), Image.Resampling.BILINEAR)
    expected = np.asarray(resized)[4:52, 16:64]
    np.testing.assert_array_equal(evaluation_image(PICTURE, settings), expected)


def test_a_share_gives_the_side_before_the_crop():
    shared = Preprocessing(size=192, mean=MEAN, std=STD, crop_share=0.9)
    assert shared.resized == 213
    assert adjust(shared, size=256).resized == 284
    assert adjust(shared, resize=224).resized == 224
    assert adjust(RELEASED, size=64).resized == 96
    with pytest.raises(UserError, match="less than the 192 px"):
        adjust(shared, resize=100)


def test_an_image_is_turned_as_its_camera_was_held(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(PICTURE).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(
        read_image(tmp_path / "turned.png", RELEASED), evaluation_image(np.rot90(PICTURE, -1), RELEASED)
    )


def test_folders_patterns_and_files_are_found_once(tmp_path):
    for name in ("b.jpg", "a.png", "sub/c.PNG", "sub/.hidden.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = find_images([str(tmp_path), str(tmp_path / "*.png"), str(tmp_path / "gone.jpg")])
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["a.png", "b.jpg", "sub/c.PNG", "gone.jpg"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no images"):
        find_images([str(tmp_path / "empty")])


def test_names_found_by_a_pattern_are_names_alone(tmp_path, monkeypatch):
    """Not home folders, nor addresses; what a user gives is."""
    monkeypatch.chdir(tmp_path)
    for name in ("~draft.png", "s3:/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [str(path) for path in find_images(["*.png", "s*/*.png"])] == ["~draft.png", "s3:/a.png"]
    with pytest.raises(UserError, match="no such home folder"):
        find_images(["~nobody-of-that-name/a.png"])
    with pytest.raises(UserError, match="https:// is not read"):
        find_images(["https://example.org/cat.png"])


def test_a_strip_is_refused_rather_than_made_enormous(tmp_path):
    Image.new("RGB", (65000, 1)).save(tmp_path / "strip.png")
    centre = Preprocessing(size=256, mean=MEAN, std=STD, mode="center", margin=0)
    (found,) = batches([tmp_path / "strip.png"], centre, 1)
    assert found.places == []
    assert "strip.png cannot be used: its 65000 x 1 pixels would be resized to 16640000 x 256" in found.errors[0]
    assert read_image(tmp_path / "strip.png", RELEASED).shape == (48, 48, 3)


def test_a_share_that_makes_images_enormous_is_refused():
    for share in (1e-9, 5e-324):
        with pytest.raises(UserError, match=r"preprocessing\.crop_share is"):
            Preprocessing(size=32, mean=MEAN, std=STD, crop_share=share)


def test_batches_keep_order_and_tell_what_is_unreadable(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for number, path in enumerate(paths):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(path)
    paths[3].write_text("no image")
    found = list(batches(paths, RELEASED, 2))
    assert [images.places for images in found] == [[0, 1], [2], [4]]
    assert [set(images.errors) for images in found] == [set(), {3}, set()]
    assert [pixels[0, 0, 0] for images in found for pixels in images.pixels] == [0, 1, 2, 4]
