"""Folders of images: ImageNet's layout (one folder a class) and Tiny-ImageNet's validation file."""

from __future__ import annotations

import functools
import io
import os
import types
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from nfnet.data.sources import Example, UnreadableExampleError
from nfnet.errors import UserError, printable
from nfnet.files import list_folder, read_file, read_text_file, reason

_SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".webp", ".ppm")


@functools.cache
def _pillow() -> types.ModuleType:
    from PIL import Image

    # Pillow warns of an image of over 90 million pixels, decodes it, and refuses only twice as many. The filter is the
    # process's own, because Python's `catch_warnings` is not for threads.
    warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
    return Image


def decode(content: bytes, name: str) -> UInt8[np.ndarray, "height width 3"]:
    """Decodes one image file to RGB.

    Raises:
        UnreadableExampleError: naming the file.
    """
    image_module = _pillow()
    try:
        with image_module.open(io.BytesIO(content)) as image:
            return np.asarray(image.convert("RGB"))
    except image_module.UnidentifiedImageError:
        said = "no known kind of image"
    # Pillow's decoders raise whatever their format's parser meets in damaged bytes, SyntaxError included.
    except Exception as error:
        said = reason(error)
    raise UnreadableExampleError(f"{printable(name)} cannot be decoded ({said}): repair or remove it.")


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
            content = read_file(path)
        except FileNotFoundError:
            raise UnreadableExampleError(f"{printable(path)} cannot be read (it is gone): restore it.") from None
        except UserError as error:
            raise UnreadableExampleError(str(error)) from None
        return {"image": decode(content, str(path)), "label": int(self.labels[index])}


def _subfolders(root: Path) -> tuple[str, ...]:
    try:
        return tuple(entry.name for entry in list_folder(root) if entry.is_dir())
    except OSError as error:  # a link that leads in a circle
        raise UserError(f"{printable(error.filename)} cannot be read ({error.strerror}): remove it.") from None


def _images_below(folder: Path, root: Path) -> list[str]:
    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # a held-out split may lack a class
            raise UserError(f"{printable(error.filename)} cannot be read ({error.strerror}): check its permissions.")

    found = []
    for where, _, names in os.walk(folder, onerror=refuse):
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
        raise UserError(f"{printable(root)} holds no class folders: it needs one folder of images a class.")
    unknown = sorted(set(found) - set(class_names))
    if unknown:
        raise UserError(
            f"{printable(root / unknown[0])} is a class that {printable(classes_from)} does not have: "
            "remove or rename it."
        )
    files: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(class_names):
        images = _images_below(root / name, root)
        if not images and not elsewhere:
            raise UserError(f"{printable(root / name)} holds no images ({', '.join(_SUFFIXES)}): fill or remove it.")
        files += images
        labels += [label] * len(images)
    if not files:
        raise UserError(f"{printable(root)} holds no images ({', '.join(_SUFFIXES)}).")
    return FileSource(f"{root.parent.name}/{root.name}", class_names, root, tuple(files), np.array(labels))


def tiny_imagenet_validation(root: Path) -> FileSource:
    """Tiny-ImageNet's validation split: `val/images` with labels in `val/val_annotations.txt`.

    The classes are the folders of `root`/train.

    Raises:
        UserError: missing or malformed annotations, or a class that the training split lacks.
    """
    class_names = _subfolders(root / "train")
    annotations = root / "val" / "val_annotations.txt"
    name = printable(annotations)
    index = {class_name: label for label, class_name in enumerate(class_names)}
    files, labels = [], []
    for number, line in enumerate(read_text_file(annotations).splitlines(), start=1):
        fields = line.split("\t")
        if len(fields) < 2:
            raise UserError(f"{name}, line {number}: no tab between file and class: unpack the file again.")
        if Path(fields[0]).name != fields[0]:
            raise UserError(f"{name}, line {number}: {printable(fields[0])} is no file's name: unpack the file again.")
        if fields[1] not in index:
            class_name = printable(repr(fields[1]))
            raise UserError(f"{name}, line {number}: class {class_name} has no folder in {printable(root / 'train')}.")
        files.append(f"images/{fields[0]}")
        labels.append(index[fields[1]])
    if not files:
        raise UserError(f"{name} is empty: unpack Tiny-ImageNet again.")
    return FileSource(f"{root.name}/val", class_names, root / "val", tuple(files), np.array(labels))
