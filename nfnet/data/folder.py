"""Folders of images: ImageNet's layout (one folder a class) and Tiny-ImageNet's validation file."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from nfnet.data.sources import Example, UnreadableExampleError
from nfnet.errors import UserError

_SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".webp", ".ppm")


def decode(content: bytes, name: str) -> UInt8[np.ndarray, "height width 3"]:
    """Decodes one image file to RGB.

    Raises:
        UnreadableExampleError: naming the file.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as image:
            return np.asarray(image.convert("RGB"))
    # Pillow's decoders raise whatever their format's parser meets in damaged bytes, SyntaxError included.
    except Exception as error:
        raise UnreadableExampleError(f"{name} cannot be decoded ({error}): repair or remove it.") from None


@dataclass(frozen=True, eq=False)
class FileSource:
    """Images in files, decoded when read.

    Attributes:
        files: paths relative to `root`.
        labels: class indices.
    """

    name: str
    class_names: tuple[str, ...]
    root: Path
    files: tuple[str, ...]
    labels: Int[np.ndarray, " examples"]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Example:
        path = self.root / self.files[index]
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UnreadableExampleError(f"{path} cannot be read ({error.strerror}): restore it.") from None
        return {"image": decode(content, str(path)), "label": int(self.labels[index])}


def _subfolders(root: Path) -> tuple[str, ...]:
    try:
        with os.scandir(root) as entries:
            return tuple(sorted(entry.name for entry in entries if entry.is_dir()))
    except FileNotFoundError:
        raise UserError(f"Missing data folder {root}: pass the data set's folder with --config.data.path.") from None
    except NotADirectoryError:
        raise UserError(f"{root} is a file, not a folder of images: pass the data set's folder.") from None


def _images_below(folder: Path, root: Path) -> list[str]:
    found = []
    for where, _, names in os.walk(folder):
        found += [os.path.relpath(os.path.join(where, n), root) for n in names if n.lower().endswith(_SUFFIXES)]
    return sorted(found)


def image_folder(root: Path, classes_from: Path | None = None) -> FileSource:
    """One folder a class, images at any depth below it.

    Args:
        root: the split's folder.
        classes_from: the folder whose subfolders name the classes, usually the training split: a held-out
            split may lack some of them. Default: `root`.

    Raises:
        UserError: missing folder, no classes, a class without an image in `root` (if it defines the classes),
            or a class that `classes_from` does not have.
    """
    found = _subfolders(root)
    # A held-out split without its training split beside it can still be evaluated.
    elsewhere = classes_from is not None and classes_from != root and classes_from.is_dir()
    class_names = _subfolders(classes_from) if classes_from is not None and elsewhere else found
    if not found:
        raise UserError(f"{root} holds no class folders: it needs one folder of images a class.")
    unknown = sorted(set(found) - set(class_names))
    if unknown:
        raise UserError(f"{root / unknown[0]} is a class that {classes_from} does not have: remove or rename it.")
    files: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(class_names):
        images = _images_below(root / name, root)
        if not images and not elsewhere:
            raise UserError(f"{root / name} holds no images ({', '.join(_SUFFIXES)}): fill or remove it.")
        files += images
        labels += [label] * len(images)
    if not files:
        raise UserError(f"{root} holds no images ({', '.join(_SUFFIXES)}).")
    return FileSource(f"{root.parent.name}/{root.name}", class_names, root, tuple(files), np.array(labels))


def tiny_imagenet_validation(root: Path) -> FileSource:
    """Tiny-ImageNet's validation split: `val/images` with labels in `val/val_annotations.txt`.

    The classes are the folders of `root`/train.

    Raises:
        UserError: missing or malformed annotations, or a class that the training split lacks.
    """
    class_names = _subfolders(root / "train")
    annotations = root / "val" / "val_annotations.txt"
    try:
        lines = annotations.read_text().splitlines()
    except FileNotFoundError:
        raise UserError(f"Missing {annotations}: unpack Tiny-ImageNet again.") from None
    index = {name: label for label, name in enumerate(class_names)}
    files, labels = [], []
    for number, line in enumerate(lines, start=1):
        fields = line.split("\t")
        if len(fields) < 2:
            raise UserError(f"{annotations}, line {number}: no tab between file and class: unpack the file again.")
        if fields[1] not in index:
            raise UserError(f"{annotations}, line {number}: class {fields[1]!r} has no folder in {root / 'train'}.")
        files.append(f"images/{fields[0]}")
        labels.append(index[fields[1]])
    if not files:
        raise UserError(f"{annotations} is empty: unpack Tiny-ImageNet again.")
    return FileSource(f"{root.name}/val", class_names, root / "val", tuple(files), np.array(labels))
