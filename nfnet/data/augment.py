"""Geometry of training and evaluation images, on uint8 arrays with Pillow's antialiased bicubic filter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from nfnet.data.randaugment import rand_augment
from nfnet.ranges import SHARE, check_fields

Pixels = UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class Augmentation:
    """How a training image is distorted.

    Attributes:
        size: height and width of the result, in pixels.
        crop: "random_resized" (ImageNet, JFT), "pad" (random shift, for small images) or "none" (resize
            only).
        min_area: smallest area of a random-resized crop, as a share of the image.
        padding: largest shift of the "pad" crop, in pixels of the result.
        flip: whether half of the images are mirrored.
        randaugment_layers: distortions applied to each image one after the other; 0 turns RandAugment off.
        randaugment_magnitude: their strength, 0 to 10 and beyond.
    """

    size: int
    crop: Literal["random_resized", "pad", "none"] = "random_resized"
    min_area: Annotated[float, SHARE] = 0.08
    padding: int = 4
    flip: bool = True
    randaugment_layers: int = 0
    randaugment_magnitude: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self, "data.")


def resize(image: Pixels, height: int, width: int, box: tuple[float, float, float, float] | None = None) -> Pixels:
    """Resizes (a box of) an image with the antialiased bicubic filter.

    Args:
        image: the image.
        height: of the result.
        width: of the result.
        box: left, upper, right, lower; the whole image if absent.
    """
    if image.shape[:2] == (height, width) and box is None:
        return image
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC, box=box)
    return np.asarray(resized)


def random_resized_crop(image: Pixels, size: int, min_area: float, rng: np.random.Generator) -> Pixels:
    """Cuts a random rectangle (area in [min_area, 1], aspect ratio in [3/4, 4/3]) and resizes it to a square.

    After ten rectangles that do not fit, the largest centred one of a permitted aspect ratio is taken.
    """
    height, width = image.shape[:2]
    for _ in range(10):
        area = rng.uniform(min_area, 1.0) * height * width
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        crop_width, crop_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            left = int(rng.integers(0, width - crop_width + 1))
            top = int(rng.integers(0, height - crop_height + 1))
            break
    else:
        crop_width = min(width, round(height * 4 / 3))
        crop_height = min(height, round(width * 4 / 3))
        left, top = (width - crop_width) // 2, (height - crop_height) // 2
    return resize(image, size, size, (left, top, left + crop_width, top + crop_height))


def random_shift(image: Pixels, padding: int, rng: np.random.Generator) -> Pixels:
    """Shifts an image by up to `padding` pixels along each axis; zeros move in."""
    height, width = image.shape[:2]
    padded = np.zeros((height + 2 * padding, width + 2 * padding, 3), np.uint8)  # np.pad takes many times as long
    padded[padding : padding + height, padding : padding + width] = image
    top, left = rng.integers(0, 2 * padding + 1, size=2)
    return padded[top : top + height, left : left + width]


def train_image(image: Pixels, augmentation: Augmentation, rng: np.random.Generator) -> Pixels:
    """Distorts one training image.

    Args:
        image: of any size.
        augmentation: what to do.
        rng: the only source of randomness.

    Returns:
        An image of `augmentation.size`.
    """
    size = augmentation.size
    if augmentation.crop == "random_resized":
        image = random_resized_crop(image, size, augmentation.min_area, rng)
    else:
        image = resize(image, size, size)
        if augmentation.crop == "pad":
            image = random_shift(image, augmentation.padding, rng)
    if augmentation.flip and rng.random() < 0.5:
        image = image[:, ::-1]
    if augmentation.randaugment_layers:
        image = rand_augment(image, augmentation.randaugment_layers, augmentation.randaugment_magnitude, rng)
    return np.ascontiguousarray(image)


def evaluation_image(image: Pixels, size: int, margin: int) -> Pixels:
    """Squashes an image to (size + margin)^2, ignoring its aspect ratio, and cuts the centre.

    Brock et al. 2021 evaluate NFNets with a margin of 32 pixels.
    """
    image = resize(image, size + margin, size + margin)
    start = margin // 2
    return np.ascontiguousarray(image[start : start + size, start : start + size])
