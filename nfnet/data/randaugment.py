"""RandAugment (Cubuk et al. 2020): random distortions of one common magnitude.

The sixteen distortions and their ranges are those of the authors' ImageNet code, which Brock et al. 2021 use.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageEnhance, ImageOps

_FULL_SCALE = 10.0  # the magnitude at which a distortion reaches the end of its range
_FILL = (128, 128, 128)
_Picture = Image.Image
_Distortion = Callable[[_Picture, float, np.random.Generator], _Picture]


def _signed(value: float, rng: np.random.Generator) -> float:
    return value if rng.random() < 0.5 else -value


def _affine(image: _Picture, matrix: tuple[float, ...]) -> _Picture:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST, fillcolor=_FILL)


def _shear_x(image: _Picture, level: float, rng: np.random.Generator) -> _Picture:
    return _affine(image, (1, _signed(0.3 * level, rng), 0, 0, 1, 0))


def _shear_y(image: _Picture, level: float, rng: np.random.Generator) -> _Picture:
    return _affine(image, (1, 0, 0, _signed(0.3 * level, rng), 1, 0))


# The authors translate by up to 100 of 224 pixels; a share of the width keeps that meaning at other sizes.
def _translate_x(image: _Picture, level: float, rng: np.random.Generator) -> _Picture:
    return _affine(image, (1, 0, _signed(100 / 224 * level, rng) * image.width, 0, 1, 0))


def _translate_y(image: _Picture, level: float, rng: np.random.Generator) -> _Picture:
    return _affine(image, (1, 0, 0, 0, 1, _signed(100 / 224 * level, rng) * image.height))


def _rotate(image: _Picture, level: float, rng: np.random.Generator) -> _Picture:
    return image.rotate(_signed(30 * level, rng), Image.Resampling.NEAREST, fillcolor=_FILL)


def _auto_contrast(image: _Picture, level: float, rng: np.random.Generator) -> _Picture:
    return ImageOps.autocontrast(image)


def _equalize(image: _Picture, level: float, rng: np.random.Generator) -> _Picture:
    return ImageOps.equalize(image)


def _invert(image: _Picture, level: float, rng: np.random.Generator) -> _Picture:
    return ImageOps.invert(image)


def _posterize(image: _Picture, level: float, rng: np.random.Generator) -> _Picture:
    bits = min(int(4 * level), 8)
    return ImageOps.posterize(image, bits) if bits else Image.new("RGB", image.size)


def _solarize(image: _Picture, level: float, rng: np.random.Generator) -> _Picture:
    return ImageOps.solarize(image, min(int(256 * level), 256))


def _solarize_add(image: _Picture, level: float, rng: np.random.Generator) -> _Picture:
    addition = int(110 * level)
    return image.point([min(value + addition, 255) if value < 128 else value for value in range(256)] * 3)


def _enhance(kind: Callable[[_Picture], ImageEnhance._Enhance]) -> _Distortion:
    def distort(image: _Picture, level: float, rng: np.random.Generator) -> _Picture:
        return kind(image).enhance(0.1 + 1.8 * level)

    return distort


def _cutout(image: _Picture, level: float, rng: np.random.Generator) -> _Picture:
    # Up to 40 pixels of 224 to each side of a random centre.
    half_x, half_y = (round(40 / 224 * level * side) for side in image.size)
    x, y = int(rng.integers(image.width)), int(rng.integers(image.height))
    result = image.copy()
    result.paste(_FILL, (max(x - half_x, 0), max(y - half_y, 0), x + half_x, y + half_y))
    return result


DISTORTIONS: dict[str, _Distortion] = {
    "auto_contrast": _auto_contrast,
    "equalize": _equalize,
    "invert": _invert,
    "rotate": _rotate,
    "posterize": _posterize,
    "solarize": _solarize,
    "color": _enhance(ImageEnhance.Color),
    "contrast": _enhance(ImageEnhance.Contrast),
    "brightness": _enhance(ImageEnhance.Brightness),
    "sharpness": _enhance(ImageEnhance.Sharpness),
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
    "cutout": _cutout,
    "solarize_add": _solarize_add,
}


def rand_augment(
    image: UInt8[np.ndarray, "height width 3"], layers: int, magnitude: float, rng: np.random.Generator
) -> UInt8[np.ndarray, "height width 3"]:
    """Applies `layers` distortions, drawn with replacement, at one magnitude.

    Args:
        image: the image.
        layers: number of distortions; Brock et al. 2021 use 4.
        magnitude: 10 reaches the end of each range; Brock et al. use 5 (F0), 10 (F1, F2) and 15 (larger
            models).
        rng: the only source of randomness.
    """
    picture = Image.fromarray(np.ascontiguousarray(image))
    for choice in rng.integers(len(DISTORTIONS), size=layers):
        distort = list(DISTORTIONS.values())[choice]
        picture = distort(picture, magnitude / _FULL_SCALE, rng)
    return np.asarray(picture)
