"""Folders of images as users have them."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_digits(folder: Path, per_class: int = 10, first: int = 0, classes: int = 3) -> Path:
    """Writes scikit-learn's digits as files, `per_class` of each of the first classes, one folder a class."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for label in range(classes):
        place = folder / f"digit_{label}"
        place.mkdir(parents=True)
        for number, image in enumerate(digits.images[digits.target == label][first : first + per_class]):
            Image.fromarray((image * 255 / 16).astype(np.uint8)).save(place / f"{first + number:03}.png")
    return folder
