import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nfnet.data.augment import Augmentation, evaluation_image, random_resized_crop, random_shift, train_image
from nfnet.data.randaugment import DISTORTIONS, rand_augment
from nfnet.errors import UserError

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
sides = st.integers(1, 90)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(sides, sides, st.integers(1, 40), st.integers(0, 1000))
def test_crops_have_the_size_asked_for(height, width, size, seed):
    image = np.full((height, width, 3), 77, np.uint8)
    crop = random_resized_crop(image, size, 0.08, np.random.default_rng(seed))
    assert crop.shape == (size, size, 3)
    assert (crop == 77).all()  # nothing from outside the image moves in


def test_crops_cover_the_areas_asked_for():
    # On a horizontal ramp, the range of a crop's values tells its width.
    ramp = np.broadcast_to(np.linspace(0, 255, 200).astype(np.uint8)[None, :, None], (200, 200, 3))
    rng = np.random.default_rng(0)
    widths = [np.ptp(random_resized_crop(ramp, 64, 0.08, rng)) / 255 for _ in range(300)]
    assert min(widths) < 0.35 < 0.9 < max(widths)
    full = [np.ptp(random_resized_crop(ramp, 64, 1.0, rng)) / 255 for _ in range(20)]
    assert min(full) > 0.7


def test_evaluation_squashes_and_cuts_the_centre():
    image = np.zeros((30, 90, 3), np.uint8)
    image[:, 45:] = 255
    result = evaluation_image(image, 32, 8)
    assert result.shape == (32, 32, 3)
    assert (result[:, :14] == 0).all()
    assert (result[:, 18:] == 255).all()
    assert evaluation_image(IMAGE, 40, 0).shape == (40, 40, 3)


def test_shift_moves_zeros_in():
    image = np.full((8, 8, 3), 9, np.uint8)
    shifted = [random_shift(image, 2, np.random.default_rng(i)) for i in range(60)]
    counts = {int((s[..., 0] == 9).sum()) for s in shifted}
    assert counts <= {a * b for a in (6, 7, 8) for b in (6, 7, 8)}
    assert {36, 64} <= counts


@pytest.mark.parametrize("crop", ["random_resized", "pad", "none"])
def test_training_images_depend_on_the_generator_alone(crop):
    augmentation = Augmentation(24, crop, randaugment_layers=2, randaugment_magnitude=5)
    first, again, other = (train_image(IMAGE, augmentation, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == (24, 24, 3)
    assert first.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_half_of_the_images_are_flipped():
    augmentation = Augmentation(16, "none")
    image = np.zeros((16, 16, 3), np.uint8)
    image[:, 8:] = 255
    rng = np.random.default_rng(0)
    flipped = sum(train_image(image, augmentation, rng)[0, 0, 0] == 255 for _ in range(400))
    assert 160 < flipped < 240


@pytest.mark.parametrize("name", DISTORTIONS)
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0, 1.5])
def test_distortions_keep_the_shape(name, level):
    from PIL import Image

    result = np.asarray(DISTORTIONS[name](Image.fromarray(IMAGE), level, np.random.default_rng(0)))
    assert result.shape == IMAGE.shape
    assert result.dtype == np.uint8


@pytest.mark.parametrize(
    "name", ["rotate", "shear_x", "shear_y", "translate_x", "translate_y", "cutout", "solarize_add"]
)
def test_geometric_distortions_do_nothing_at_magnitude_zero(name):
    from PIL import Image

    result = np.asarray(DISTORTIONS[name](Image.fromarray(IMAGE), 0.0, np.random.default_rng(0)))
    np.testing.assert_array_equal(result, IMAGE)


def test_rand_augment_draws_all_distortions():
    results = {rand_augment(IMAGE, 1, 7, np.random.default_rng(seed)).tobytes() for seed in range(150)}
    assert len(results) >= len(DISTORTIONS)


def test_bad_settings_are_told():
    with pytest.raises(UserError, match=r"data.crop.*'pad'"):
        Augmentation(24, "padd")
    with pytest.raises(UserError, match=r"min_area is 0"):
        Augmentation(24, min_area=0)
