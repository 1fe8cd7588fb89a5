"""From image files to what a network was evaluated on: decoded, resized, cut from the centre.

Colours are normalised with the network, on its device; see `nfnet.inference.classify`.
"""

from __future__ import annotations

import dataclasses
import glob
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from nfnet.data.folder import SUFFIXES, decode
from nfnet.data.source import UnreadableExampleError
from nfnet.errors import UserError, printable
from nfnet.files import local_path, read_file
from nfnet.weights.zoo import Preprocessing

Pixels = UInt8[np.ndarray, "height width 3"]
_THREADS = 2
MOST_PIXELS = 2**24
"""Of a resized image: far more than any network was trained on, where files of some bytes, of weights that tell a size
or of a narrow image that keeps its aspect ratio, could ask for any number."""


def adjust(published: Preprocessing, **given: Any) -> Preprocessing:
    """Returns the published preprocessing with what a user asks for instead.

    Args:
        published: Of the weights.
        **given: `size`, `resize` (side in pixels before the crop), `crop` ("squash" or "center"), `interpolation`,
            `mean`, `std`; None keeps what is published. Another size keeps the margin, or the share, of the crop.

    Raises:
        UserError: If a value is out of range, or the image would be smaller than what is cut from it.
    """
    named = {"mode" if key == "crop" else key: value for key, value in given.items() if value is not None}
    resize = named.pop("resize", None)
    adjusted = dataclasses.replace(published, **named)
    if resize is None:
        return adjusted
    if resize < adjusted.size:
        raise UserError(
            f"--resize is {resize}, less than the {adjusted.size} px that are cut from it: give at least that."
        )
    return dataclasses.replace(adjusted, margin=resize - adjusted.size, crop_share=None)


def evaluation_image(pixels: Pixels, settings: Preprocessing) -> Pixels:
    """Resizes an image and cuts `settings.size` x `settings.size` pixels from its centre.

    "squash" is what Brock et al. 2021 evaluate NFNets with (see `nfnet.data.augment.evaluation_image`), "center" keeps
    the aspect ratio.

    Raises:
        UserError: If that makes a narrow image enormous; the end of a sentence.
    """
    height, width = pixels.shape[:2]
    side, shorter = settings.resized, min(height, width)
    if settings.mode == "squash":
        height = width = side
    else:
        height, width = side * height // shorter, side * width // shorter
    if height * width > MOST_PIXELS:
        raise UserError(
            f"its {pixels.shape[1]} x {pixels.shape[0]} pixels would be resized to {width} x {height}: cut it, or "
            "squash it with --crop squash"
        )
    if pixels.shape[:2] != (height, width):
        how = Image.Resampling[settings.interpolation.upper()]
        pixels = np.asarray(Image.fromarray(pixels).resize((width, height), how))
    top, left = (height - settings.size) // 2, (width - settings.size) // 2
    return np.ascontiguousarray(pixels[top : top + settings.size, left : left + settings.size])


def read_image(path: Path, settings: Preprocessing) -> Pixels:
    """Reads an image file; it is turned as its EXIF orientation says, and values of 16 bits are scaled.

    Raises:
        UserError: If it cannot be read or decoded.
    """
    try:
        content = read_file(path)
    except FileNotFoundError:
        raise UserError(f"{printable(path)} does not exist: check the path.") from None
    pixels = decode(content, str(path))
    try:
        return evaluation_image(pixels, settings)
    except UserError as error:
        raise UnreadableExampleError(f"{printable(path)} cannot be used: {error}.") from None


def find_images(given: Iterable[str]) -> list[Path]:
    """Returns the images that arguments stand for: files, those in folders at any depth, and those of patterns.

    Whatever else is named is returned as it is, to be reported as unreadable.

    Raises:
        UserError: If a folder holds no image, nothing fits a pattern, or what is given is an address.
    """
    return _find(local_path(text, "IMAGE") for text in given)


def _find(paths: Iterable[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = [one for one in sorted(path.rglob("*")) if one.suffix.lower() in SUFFIXES and one.is_file()]
            inside = [one for one in inside if not any(part.startswith(".") for part in one.relative_to(path).parts)]
            if not inside:
                raise UserError(f"{printable(path)} holds no images ({', '.join(SUFFIXES)}): name another folder.")
            found += inside
        elif not path.exists() and glob.has_magic(str(path)):
            fitting = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]
            if not fitting:
                raise UserError(f"nothing fits the pattern {printable(path)}: check it.")
            found += _find(fitting)  # names of files, in which ~ and : mean nothing
        else:
            found.append(path)
    return list(dict.fromkeys(found))


class Images(NamedTuple):
    """Some of the images: their places in the list, their pixels, and what was wrong with the others, by place."""

    places: list[int]
    pixels: UInt8[np.ndarray, "batch size size 3"]
    errors: dict[int, str]


def batches(paths: Sequence[Path], settings: Preprocessing, batch: int) -> Iterator[Images]:
    """Yields images in batches, in order; the next batch is decoded while one is used.

    Args:
        paths: The files.
        settings: How they are resized and cut.
        batch: Most images at once.
    """
    places = [range(start, min(start + batch, len(paths))) for start in range(0, len(paths), batch)]
    with ThreadPoolExecutor(_THREADS) as pool:
        coming: list[list[Future[Pixels]]] = []
        for number in range(len(places) + 1):
            if number < len(places):
                coming.append([pool.submit(read_image, paths[place], settings) for place in places[number]])
            if number:
                yield _gather(places[number - 1], coming.pop(0), settings.size)


def _gather(places: Iterable[int], futures: Iterable[Future[Pixels]], size: int) -> Images:
    read: dict[int, Pixels] = {}
    errors: dict[int, str] = {}
    for place, future in zip(places, futures, strict=True):
        try:
            read[place] = future.result()
        except UserError as error:
            errors[place] = str(error)
    pixels = np.stack(list(read.values())) if read else np.zeros((0, size, size, 3), np.uint8)
    return Images(list(read), pixels, errors)
