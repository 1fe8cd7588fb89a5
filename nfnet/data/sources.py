"""Where examples come from: the interface of a source and the table of known ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypedDict

import numpy as np
from jaxtyping import UInt8

from nfnet.errors import UserError, printable, unknown_name


class Example(TypedDict):
    """One undistorted example."""

    image: UInt8[np.ndarray, "height width 3"]
    label: int


class UnreadableExampleError(UserError):
    """One example cannot be decoded; training may skip it, see `nfnet.data.pipeline`."""


class Source(Protocol):
    """A random-access collection of labelled images, picklable so that worker processes can read it."""

    @property
    def name(self) -> str:
        """What identifies the data in logs and checkpoints; it holds no path, so that data may be moved."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name a class; the label of an example is an index into it."""
        ...

    def __len__(self) -> int:
        """The number of examples."""
        ...

    def __getitem__(self, index: int) -> Example:
        """Returns one example.

        Raises:
            UnreadableExampleError: the example exists but cannot be decoded.
        """
        ...


def _digits(path: str, split: str) -> Source:
    from nfnet.data.arrays import digits

    return digits(split)


def _cifar10(path: str, split: str) -> Source:
    from nfnet.data.arrays import cifar10

    return cifar10(Path(path), split)


def _fashion_mnist(path: str, split: str) -> Source:
    from nfnet.data.arrays import fashion_mnist

    return fashion_mnist(Path(path), split)


def _image_folder(path: str, split: str) -> Source:
    from nfnet.data.folder import image_folder

    return image_folder(Path(path) / split, classes_from=Path(path) / "train")


def _tiny_imagenet(path: str, split: str) -> Source:
    from nfnet.data.folder import image_folder, tiny_imagenet_validation

    root = Path(path)
    return image_folder(root / "train") if split == "train" else tiny_imagenet_validation(root)


def _array_record(path: str, split: str) -> Source:
    from nfnet.data.records import array_record

    return array_record(path, split)


SOURCES: dict[str, Callable[[str, str], Source]] = {
    "array_record": _array_record,
    "cifar10": _cifar10,
    "digits": _digits,
    "fashion_mnist": _fashion_mnist,
    "image_folder": _image_folder,
    "tiny_imagenet": _tiny_imagenet,
}


def open_source(kind: str, path: str, split: str) -> Source:
    """Opens one split of a data set.

    Args:
        kind: a key of `SOURCES`.
        path: folder of the data set; ignored by `digits`. For `array_record` a folder or a pattern, see
            `nfnet.data.records`.
        split: "train" or the name of the held-out split ("test", "val", "validation").

    Raises:
        UserError: unknown kind, or data that is missing, empty or damaged.
    """
    if kind not in SOURCES:
        raise unknown_name("data.source", kind, SOURCES)
    if kind != "digits" and not path:
        raise UserError(f"The data source {kind!r} needs a folder: pass --config.data.path=FOLDER.")
    return SOURCES[kind](path, split)


def check_classes(train: Source, held_out: Source, num_classes: int) -> None:
    """Checks that both splits and the model agree on the classes.

    Raises:
        UserError: naming the first difference.
    """
    for source in (train, held_out):
        if len(source.class_names) != num_classes:
            raise UserError(
                f"{printable(source.name)} has {len(source.class_names)} classes but the model has {num_classes}: "
                f"pass --config.model.num_classes={len(source.class_names)} or point --config.data.path "
                f"elsewhere."
            )
    if train.class_names != held_out.class_names:
        pairs = zip(train.class_names, held_out.class_names, strict=True)
        ours, theirs = next((a, b) for a, b in pairs if a != b)
        raise UserError(
            f"The classes of {printable(train.name)} and {printable(held_out.name)} differ, first at "
            f"{printable(repr(ours))} and {printable(repr(theirs))}: "
            "use two splits of one data set."
        )
