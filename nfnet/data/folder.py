"""Folders of images: ImageNet's layout (one folder a class), one's own, and Tiny-ImageNet's validation file.

Names that begin with a point, and `__MACOSX`, are no data. Links to folders are followed, each folder once a class.
"""

from __future__ import annotations

import functools
import io
import os
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
from jaxtyping import Int, UInt8
from PIL import Image

from nfnet.data.source import Example, UnreadableExampleError, composed, digest
from nfnet.errors import UserError, printable
from nfnet.files import list_folder, read_file, read_text_file, reason

SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff")
_ORIENTATION = 0x0112  # EXIF's number of the tag

# Pillow warns of an image of over 90 million pixels, decodes it, and refuses only twice as many; it also warns of tags
# that are damaged. The filters are the process's own, because Python's `catch_warnings` is not for threads.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", module=r"PIL\.TiffImagePlugin")


def _pixels(image: Image.Image) -> UInt8[np.ndarray, "height width 3"]:
    """Returns a Pillow image as RGB of 8 bits, as `decode` documents."""
    if image.mode == "F" or image.mode.startswith("I"):
        grey = np.asarray(image)
        if image.mode == "F" or grey.min() < 0 or grey.max() > 65535:
            raise ValueError("its values are of 32 bits, whose range is not known")
        scaled = (grey.astype(np.uint32) + 128) // 257
        return np.repeat(scaled.astype(np.uint8)[..., None], 3, axis=-1)
    # Pillow warns of palettes with transparency unless that is kept at first.
    return np.asarray((image.convert("RGBA") if "transparency" in image.info else image).convert("RGB"))


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Returns an image as its camera was held; EXIF numbers the eight ways."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    rows, columns = (-1 if orientation in turned else 1 for turned in ((3, 4, 7, 8), (2, 3, 6, 7)))
    return np.ascontiguousarray(pixels[::rows, ::columns])


def decode(content: bytes, name: str) -> UInt8[np.ndarray, "height width 3"]:
    """Decodes one image file to RGB, turned as its EXIF orientation says.

    Values of 16 bits are scaled to 8; grey is repeated; opacity is dropped; of several frames the first is taken.
    Grey images of 32 bits are taken if their values are those of 16 bits.

    Raises:
        UnreadableExampleError: naming the file.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            pixels = _pixels(image)
            try:
                orientation = image.getexif().get(_ORIENTATION, 1)
            except Exception:  # damaged tags do not make the pixels worse
                orientation = 1
            return _turned(pixels, orientation)
    except PIL.UnidentifiedImageError:
        said = "no known kind of image"
    # Pillow's decoders raise whatever their format's parser meets in damaged bytes, SyntaxError included.
    except Exception as error:
        said = reason(error)
    raise UnreadableExampleError(f"{printable(name)} cannot be decoded ({said}): repair or remove it.")


@dataclass(frozen=True, eq=False)
class FileSource:
    """Images in files, decoded when read.

    Attributes:
        files: paths relative to `root`, with slashes.
        labels: class indices.
        left_out: what lies beside them, in words.
    """

    name: str
    class_names: tuple[str, ...]
    root: Path
    files: tuple[str, ...]
    labels: Int[np.ndarray, " examples"]
    left_out: str = ""

    @functools.cached_property
    def identity(self) -> str:
        """See `Source`: of names and labels, not of what is in the files."""
        return digest(self.class_names, map(composed, self.files), self.labels.astype("<i8"))

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


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    return [entry for entry in list_folder(folder) if not entry.name.startswith(".") and entry.name != "__MACOSX"]


def _kind(name: str, place: str = "") -> str:
    """Returns what to call a file that is left out, or nothing if it is an image where images belong."""
    if not name.lower().endswith(SUFFIXES):
        return f"{Path(name).suffix or 'other'} files"
    return f"images {place}" if place else ""


def _class_folders(root: Path) -> dict[str, str]:
    """Returns the folder of each class in `root`, in the order of the labels: numbers by value, other names as text."""
    try:
        folders = [entry.name for entry in _listed(root) if entry.is_dir()]
    except OSError as error:  # a link that leads in a circle
        raise UserError(f"{printable(error.filename)} cannot be read ({error.strerror}): remove it.") from None
    numbers = all(name.isascii() and name.isdigit() for name in folders)
    found = {composed(folder): folder for folder in sorted(folders, key=int if numbers else composed)}
    if len(found) < len(folders):
        twice = next(folder for folder in folders if folder not in found.values())
        raise UserError(f"{printable(root)} has the class {printable(twice)} in two encodings of accents: merge them.")
    return found


def read_names(file: Path) -> list[str]:
    """Returns the names that a text has, one a line, in NFC; empty lines are none."""
    return [composed(line) for line in map(str.strip, read_text_file(file).split("\n")) if line]


def _read_classes(file: Path, folders: Iterable[str], root: Path) -> tuple[str, ...]:
    """Reads the list of `data.classes`, which has to name the class folders in `root`, if there is one, each once."""
    names = read_names(file)
    counts, known = Counter(names), set(folders if root.is_dir() else names)
    said = [f"names the class {name!r} {count} times, for one folder in" for name, count in counts.items() if count > 1]
    said += [f"names the class {name!r}, which has no folder in" for name in names if name not in known]
    said += [f"lacks the class {name!r}, which has a folder in" for name in folders if name not in counts]
    if said:
        raise UserError(f"{printable(file)} {printable(said[0])} {printable(root)}: correct the list.")
    return tuple(names)


def _images_below(root: Path, name: str, above: Iterable[tuple[int, int]], left_out: Counter[str]) -> list[str]:
    """Returns the images at any depth below a folder, sorted.

    Args:
        root: what the paths are relative to.
        name: of the folder in `root`.
        above: device and inode of the folders that a link must not lead to.
        left_out: counts everything else.
    """
    found, seen = [], set(above)
    folders, links = [name], list[str]()  # what several links lead to is read once, and not by a link if possible
    while folders or links:
        name = folders.pop() if folders else links.pop(0)
        try:
            status, entries = (root / name).stat(), _listed(root / name)
        except (OSError, UserError):
            left_out["folders that cannot be read"] += 1
            continue
        if (place := (status.st_dev, status.st_ino)) in seen:
            continue
        seen.add(place)
        for entry in entries:
            path = f"{name}/{entry.name}"
            if os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir():
                (links if entry.is_symlink() else folders).append(path)
            elif kind := _kind(entry.name):
                left_out[kind] += 1
            else:
                found.append(path)
    return sorted(found, key=composed)


def image_folder(root: Path, classes_from: Path | None = None, classes: Path | None = None) -> FileSource:
    """One folder a class, images at any depth below it.

    Args:
        root: the split's folder.
        classes_from: the folder whose subfolders name the classes, usually the training split: a held-out
            split may lack some of them. Default: `root`.
        classes: a text file that lists these classes in the order of the labels.

    Raises:
        UserError: missing folder, no classes, a class without an image in `root` (if it defines the classes),
            a class that `classes_from` does not have, or a list of other classes.
    """
    found = _class_folders(root)
    trained = classes_from or root
    # A held-out split without its training split beside it can still be evaluated.
    known = found if trained == root or not trained.is_dir() else _class_folders(trained)
    partial = trained != root and (known is not found or classes is not None)  # may lack a class
    if not found:
        raise UserError(f"{printable(root)} holds no class folders: it needs one folder of images a class.")
    if unknown := sorted(found.keys() - known.keys()):
        name = printable(root / found[unknown[0]])
        raise UserError(f"{name} is a class that {printable(trained)} does not have: remove or rename it.")
    class_names = tuple(known) if classes is None else _read_classes(classes, known, trained)
    files: list[str] = []
    labels: list[int] = []
    left_out = Counter(_kind(entry.name, "beside the class folders") for entry in _listed(root) if not entry.is_dir())
    places = [folder.stat() for folder in (root.resolve(), *root.resolve().parents)]
    above = [(place.st_dev, place.st_ino) for place in places]
    for label, name in enumerate(class_names):
        images = _images_below(root, found[name], above, left_out) if name in found else []
        if not images and not partial:
            raise UserError(f"{printable(root / name)} holds no images ({', '.join(SUFFIXES)}): fill or remove it.")
        files += images
        labels += [label] * len(images)
    if not files:
        raise UserError(f"{printable(root)} holds no images ({', '.join(SUFFIXES)}).")
    said = ", ".join(f"{count} {kind}" for kind, count in sorted(left_out.items()))
    name = f"{root.parent.name}/{root.name}".lstrip("/")
    return FileSource(name, class_names, root, tuple(files), np.array(labels), said)


def open_image_folder(folder: Path, split: str, classes: Path | None = None) -> FileSource:
    """A split in ImageNet's layout: FOLDER/SPLIT, with the classes of FOLDER/train."""
    return image_folder(folder / split, folder / "train", classes)


TRAIN_FOLDERS = ("train", "training")
HELD_OUT_FOLDERS = ("val", "validation", "valid", "test")
"""What people call the folders of the splits, the first that there is being taken; in any case of letters."""


def find_splits(folder: Path) -> tuple[Path, Path | None]:
    """Finds the splits in a folder of one's own.

    A folder is a split if it has such a name and folders in it, its classes: `train` may also be a class of vehicles.

    Returns:
        The folder of the training images, `folder` itself if there are no splits, and that of the held-out ones, None
        if some of the training images have to be held out.

    Raises:
        UserError: there is no folder, or it has a held-out split alone.
    """
    inside = [entry for entry in _listed(folder) if entry.is_dir()]
    splits = {entry.name.casefold(): Path(entry.path) for entry in reversed(inside) if _class_folders(Path(entry.path))}
    train, held_out = (
        next((splits[name] for name in names if name in splits), None) for names in (TRAIN_FOLDERS, HELD_OUT_FOLDERS)
    )
    if train is None and held_out is not None:
        raise UserError(
            f"{printable(folder)} has the folder {printable(held_out.name)}, but none of training images: name that "
            f"one {TRAIN_FOLDERS[0]}."
        )
    return train or folder, held_out


def held_out_folder(folder: Path) -> Path:
    """Returns the folder of the held-out images in a folder of one's own, itself if it has none."""
    inside = {entry.name.casefold(): Path(entry.path) for entry in reversed(_listed(folder)) if entry.is_dir()}
    found = (inside[name] for name in HELD_OUT_FOLDERS if name in inside and _class_folders(inside[name]))
    return next(found, folder)


def open_own_folder(folder: Path, split: str, classes: Path | None = None, *, hold_out_every: int) -> FileSource:
    """A folder of one's own, with splits (see `find_splits`) or with the classes' folders alone.

    Args:
        folder: the data set.
        split: "train", "held_out", or the name of a folder in it.
        classes: a list of classes, see `image_folder`.
        hold_out_every: where there is no held-out split, N takes one image in N of each class out of the training
            images, at least one of each that has two.

    Raises:
        UserError: as `image_folder` does, or there is one class alone, or nothing that can be held out.
    """
    train, held_out = find_splits(folder)
    if split not in ("train", "held_out"):
        return image_folder(folder / split, train, classes)
    whole = image_folder(train, classes=classes)
    if len(whole.class_names) < 2:
        name = printable(repr(whole.class_names[0]))
        raise UserError(f"{printable(train)} has one class alone, {name}: a classifier needs a folder for each of two.")
    if held_out is not None:
        return whole if split == "train" else image_folder(held_out, train, classes)
    if not hold_out_every:
        raise UserError(
            f"{printable(folder)} has no folder {' or '.join(HELD_OUT_FOLDERS)} with the classes in it: add one, or "
            "hold out one image in five with --config.data.hold_out_every=5."
        )
    return _divided(whole, hold_out_every, held_out=split == "held_out")


def _divided(whole: FileSource, every: int, *, held_out: bool) -> FileSource:
    """Returns one image in `every` of each class, or all others, which are at least one of each class."""
    counts = np.bincount(whole.labels, minlength=len(whole.class_names))
    rank = np.arange(len(whole)) - (np.cumsum(counts) - counts)[whole.labels]
    step = np.minimum(every, counts)[whole.labels]
    out = (step > 1) & (rank % step == step - 1)
    if not out.any():
        raise UserError(f"{printable(whole.root)} has one image a class, so that none can be held out: add images.")
    kept = np.flatnonzero(out if held_out else ~out)
    return FileSource(
        name=f"{whole.name}, {'' if held_out else 'all but '}one in {every} of each class",
        class_names=whole.class_names,
        root=whole.root,
        files=tuple(whole.files[i] for i in kept),
        labels=whole.labels[kept],
        left_out=whole.left_out,
    )


def open_tiny_imagenet(folder: Path, split: str, classes: Path | None = None) -> FileSource:
    """Tiny-ImageNet: the training split has ImageNet's layout, the validation split a file of labels.

    That file is `val/val_annotations.txt`, of the images in `val/images`. The classes are the folders in `train`.

    Raises:
        UserError: missing or malformed annotations, or a class that the training split lacks.
    """
    train = folder / "train"
    if split == "train":
        return image_folder(train, classes=classes)
    class_names = tuple(_class_folders(train))
    if classes is not None:
        class_names = _read_classes(classes, class_names, train)
    annotations = folder / "val" / "val_annotations.txt"
    name = printable(annotations)
    index = {class_name: label for label, class_name in enumerate(class_names)}
    files, labels = [], []
    for number, line in enumerate(read_text_file(annotations).splitlines(), start=1):
        fields = line.split("\t")
        if len(fields) < 2:
            raise UserError(f"{name}, line {number}: no tab between file and class: unpack the file again.")
        if Path(fields[0]).name != fields[0]:
            raise UserError(f"{name}, line {number}: {printable(fields[0])} is no file's name: unpack the file again.")
        class_name = composed(fields[1])
        if class_name not in index:
            shown = printable(repr(class_name))
            raise UserError(f"{name}, line {number}: class {shown} has no folder in {printable(train)}.")
        files.append(f"images/{fields[0]}")
        labels.append(index[class_name])
    if not files:
        raise UserError(f"{name} is empty: unpack Tiny-ImageNet again.")
    return FileSource(f"{folder.name}/val", class_names, folder / "val", tuple(files), np.array(labels))
