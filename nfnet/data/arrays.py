"""Data sets that fit into memory: digits, Fashion-MNIST (idx files), CIFAR-10 (binary version), arrays of one's own."""

from __future__ import annotations

import functools
import gzip
import math
import mmap
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from nfnet.data.source import Example, Source, composed, digest
from nfnet.errors import UserError, printable, unknown_name
from nfnet.files import LARGEST, open_file, read_text_file, reason, replacing

_FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
_CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
_CIFAR10_RECORD = 1 + 3 * 32 * 32  # label, then the red, green and blue planes
_MOST_AXES = 4  # of an idx file; a header may claim 255
_DIGITS_HELD_OUT = 360  # a fifth of the 1,797 digits
_HELD_OUT = ("test", "val", "validation")


@dataclass(frozen=True, eq=False)
class ArraySource:
    """Examples held in memory.

    Attributes:
        images: uint8; one channel (repeated into three when read) or three.
        labels: class indices.
    """

    name: str
    class_names: tuple[str, ...]
    images: UInt8[np.ndarray, "examples height width channels"]
    labels: Int[np.ndarray, " examples"]
    left_out: str = ""

    def __post_init__(self) -> None:
        if (most := self.labels.max(initial=0)) >= len(self.class_names):
            raise UserError(
                f"{self.name}: labels reach {most}, over {len(self.class_names) - 1}: fetch the data again."
            )

    @functools.cached_property
    def identity(self) -> str:
        """See `Source`: of classes, images and labels."""
        return digest(self.class_names, (), self.images, self.labels.astype("<i8"))

    def __reduce__(self) -> tuple[Any, ...]:
        # A process that reads images maps the file again: to be sent all that it holds takes seconds.
        mapped = isinstance(self.images, np.memmap) and isinstance(self.images.base, mmap.mmap)
        images = Path(str(self.images.filename)) if mapped else self.images  # type: ignore[attr-defined]
        return _from_parts, (self.name, self.class_names, images, self.labels, self.left_out)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Example:
        image = self.images[index]
        if image.shape[-1] == 1:
            image = np.repeat(image, 3, axis=-1)
        return {"image": image, "label": int(self.labels[index])}


def _from_parts(
    name: str, class_names: tuple[str, ...], images: np.ndarray | Path, labels: np.ndarray, left_out: str
) -> ArraySource:
    return ArraySource(name, class_names, _array(images) if isinstance(images, Path) else images, labels, left_out)


def _is_train(split: str) -> bool:
    if split != "train" and split not in _HELD_OUT:
        raise unknown_name("split", split, ("train", *_HELD_OUT))
    return split == "train"


def digits(folder: Path, split: str) -> ArraySource:
    """Scikit-learn's 1,797 8x8 digits, which are in no folder; a fixed random fifth is held out."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    order = np.random.Generator(np.random.PCG64(0)).permutation(len(images))
    chosen = order[_DIGITS_HELD_OUT:] if _is_train(split) else order[:_DIGITS_HELD_OUT]
    labels = bunch.target.astype(np.int64)
    name = f"digits/{'train' if _is_train(split) else 'held-out'}"
    return ArraySource(name, tuple("0123456789"), images[chosen], labels[chosen])


def _read(path: Path, most: int) -> bytes:
    """Reads up to `most` bytes of a file, gzipped or not: `path` itself or `path`.gz, unpacked no further than that."""
    zipped = path.with_name(path.name + ".gz")
    try:
        try:
            with open_file(path) as file:
                return file.read(most)
        except FileNotFoundError:
            with open_file(zipped) as file, gzip.open(file) as unpacked:
                return unpacked.read(most)
    except FileNotFoundError:
        raise UserError(
            f"Missing {printable(path)} (or {printable(zipped.name)}): fetch the data set and pass its folder."
        ) from None
    except (EOFError, OSError, zlib.error) as error:
        raise UserError(f"{printable(zipped)} is damaged ({reason(error)}): fetch it again.") from None


def read_idx(path: Path) -> UInt8[np.ndarray, "*shape"]:
    """Reads one idx file of unsigned bytes (the format of MNIST and Fashion-MNIST).

    Raises:
        UserError: the file is missing, truncated, too large or of another kind.
    """
    name = printable(path)
    header = _read(path, 4 + 4 * _MOST_AXES)
    if len(header) < 4 or header[:3] != b"\x00\x00\x08" or not 1 <= header[3] <= _MOST_AXES:
        raise UserError(f"{name} is no idx file of unsigned bytes: fetch it again.")
    start = 4 + 4 * header[3]
    if len(header) < start:
        raise UserError(f"{name} is truncated in its header: fetch it again.")
    shape = struct.unpack(f">{header[3]}I", header[4:start])
    wanted = start + math.prod(shape)
    if wanted > LARGEST:
        raise UserError(f"{name} has a header that asks for {wanted} bytes, over {LARGEST}: fetch it again.")
    content = _read(path, wanted + 1)
    if len(content) != wanted:
        has = f"{len(content)} bytes" if len(content) < wanted else "more bytes than fit"
        raise UserError(f"{name} has {has} where its header asks for {wanted}: fetch it again.")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def fashion_mnist(folder: Path, split: str) -> ArraySource:
    """Fashion-MNIST (28x28, 60,000 + 10,000) from its four idx files."""
    prefix = "train" if _is_train(split) else "t10k"
    images = read_idx(folder / f"{prefix}-images-idx3-ubyte")
    labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte")
    if images.shape[1:] != (28, 28) or labels.ndim != 1 or len(images) != len(labels) or not len(labels):
        raise UserError(
            f"{printable(folder)}: {prefix} images {images.shape} and labels {labels.shape} do not belong together: "
            "fetch both files again."
        )
    return ArraySource(f"fashion_mnist/{prefix}", _FASHION_CLASSES, images[..., None], labels.astype(np.int64))


def cifar10(folder: Path, split: str) -> ArraySource:
    """CIFAR-10's binary version (32x32, 50,000 + 10,000)."""
    nested = folder / "cifar-10-batches-bin"
    folder = nested if nested.is_dir() else folder
    files = [f"data_batch_{i}.bin" for i in range(1, 6)] if _is_train(split) else ["test_batch.bin"]
    rows = []
    for name in files:
        content = _read(folder / name, LARGEST)
        if not content or len(content) % _CIFAR10_RECORD:
            raise UserError(
                f"{printable(folder / name)} has {len(content)} bytes, no multiple of {_CIFAR10_RECORD}: "
                "fetch the binary version of CIFAR-10 again."
            )
        rows.append(np.frombuffer(content, np.uint8).reshape(-1, _CIFAR10_RECORD))
    records = np.concatenate(rows)
    labels = records[:, 0].astype(np.int64)
    images = np.ascontiguousarray(records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return ArraySource(f"cifar10/{'train' if _is_train(split) else 'test'}", _CIFAR10_CLASSES, images, labels)


def _array(path: Path) -> np.ndarray:
    """Maps the array of an .npy file into memory; what asks for pickle is refused."""
    try:
        open_file(path, 2**40).close()
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise UserError(
            f"Missing {printable(path)}: write it with nfnet.data.arrays.write_arrays, or pass its folder."
        ) from None
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise UserError(f"{printable(path)} is no .npy file of numbers ({reason(error)}): write it again.") from None
    return array


def arrays(folder: Path, split: str) -> ArraySource:
    """Images of one size, decoded before: SPLIT_images.npy, SPLIT_labels.npy and classes.txt, see `write_arrays`.

    Args:
        folder: of the files.
        split: what the files' names begin with.

    Raises:
        UserError: a file is missing, of another kind, or does not belong to the others.
    """
    images, labels = (_array(folder / f"{split}_{what}.npy") for what in ("images", "labels"))
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise UserError(
            f"{printable(folder)}: {printable(split)}_images.npy is {images.dtype} {images.shape}, but must be uint8 "
            "[examples, height, width, 1 or 3]: write it again."
        )
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1] or (labels < 0).any():
        raise UserError(
            f"{printable(folder)}: {printable(split)}_labels.npy is {labels.dtype} {labels.shape}, but must hold the "
            f"index of a class for each of {len(images)} images: write it again."
        )
    names = tuple(map(composed, read_text_file(folder / "classes.txt").splitlines()))
    return ArraySource(f"{folder.name}/{split}", names, images, labels.astype(np.int64))


def write_arrays(folder: Path, split: str, source: Source, side: int) -> None:
    """Decodes a whole split once, so that no step waits for it: what `arrays` reads.

    Args:
        folder: where to write; it is made.
        split: what the files' names begin with.
        source: the examples; their order is kept.
        side: of the images in pixels; each pixel is the mean of those that it covers.
    """
    from PIL import Image

    images = np.empty((len(source), side, side, 3), np.uint8)
    labels = np.empty(len(source), np.int32)
    for i in range(len(source)):
        example = source[i]
        images[i] = np.asarray(Image.fromarray(example["image"]).resize((side, side), Image.Resampling.BOX))
        labels[i] = example["label"]
    folder.mkdir(parents=True, exist_ok=True)
    for what, array in (("images", images), ("labels", labels)):
        with replacing(folder / f"{split}_{what}.npy") as file:
            np.save(file, array)
    with replacing(folder / "classes.txt") as file:
        file.write("".join(f"{name}\n" for name in source.class_names).encode())
