"""What a source of examples is, and what is asked of all of them."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypedDict

import numpy as np
from jaxtyping import UInt8

from nfnet.errors import UserError, printable


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
        """What to call the data in messages; it holds no path."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name a class; the label of an example is an index into it."""

    @property
    def left_out(self) -> str:
        """What lies beside the examples and is no part of the data, in words; empty if nothing does."""

    @property
    def identity(self) -> str:
        """A digest that is the same for the same examples in the same order, wherever they are stored."""

    def __len__(self) -> int:
        """The number of examples."""

    def __getitem__(self, index: int) -> Example:
        """Returns one example.

        Raises:
            UnreadableExampleError: the example exists but cannot be decoded.
        """


def composed(name: str) -> str:
    """Returns a name in Unicode's NFC: file systems differ in whether an accent is a character of its own."""
    return unicodedata.normalize("NFC", name)


def digest(class_names: Iterable[str], names: Iterable[str | int], *arrays: np.ndarray) -> str:
    """Returns the SHA-256 of names and arrays, in their order, for `Source.identity`."""
    total = hashlib.sha256(json.dumps([list(class_names), list(names)]).encode())
    for array in arrays:
        total.update(f"{array.dtype.str} {array.shape} ".encode())
        total.update(np.ascontiguousarray(array).data)
    return f"sha256:{total.hexdigest()}"


@dataclass(frozen=True, eq=False)
class Part:
    """Every `every`-th example of a source, or all others, in the source's order: `part` makes it."""

    name: str
    class_names: tuple[str, ...]
    left_out: str
    identity: str
    source: Source
    every: int
    held_out: bool

    def __len__(self) -> int:
        held_out = len(self.source) // self.every
        return held_out if self.held_out else len(self.source) - held_out

    def __getitem__(self, index: int) -> Example:
        if self.held_out:
            return self.source[index * self.every + self.every - 1]
        return self.source[index + index // (self.every - 1)]


def part(source: Source, every: int, *, held_out: bool) -> Part:
    """Divides a source in two that share no example, each class in the same ratio if the source is sorted by class.

    Args:
        source: the whole.
        every: at least 2; the examples `every` - 1, 2 * `every` - 1, ... are the smaller part.
        held_out: whether to return that one.
    """
    name = f"{source.name} ({'' if held_out else 'all but '}one in {every})"
    identity = digest((), (source.identity, every, held_out))
    return Part(name, source.class_names, source.left_out, identity, source, every, held_out)


def check_classes(train: Source, held_out: Source, num_classes: int) -> None:
    """Checks that both splits and the model agree on the classes.

    Raises:
        UserError: naming the first difference.
    """
    for source in (train, held_out):
        if len(source.class_names) != num_classes:
            raise UserError(
                f"{printable(source.name)} has {len(source.class_names)} classes but the model has {num_classes}: "
                f"pass --config.model.num_classes={len(source.class_names)} or point --config.data.path elsewhere."
            )
    if train.class_names != held_out.class_names:
        pairs = zip(train.class_names, held_out.class_names, strict=True)
        ours, theirs = next((a, b) for a, b in pairs if a != b)
        raise UserError(
            f"The classes of {printable(train.name)} and {printable(held_out.name)} differ, first at "
            f"{printable(repr(ours))} and {printable(repr(theirs))}: use two splits of one data set."
        )


def check_readable(unreadable: int, images: int, what: str, share: float = 0.1, remedy: str | None = None) -> None:
    """Checks that a result is computed from the data that it is said to be of.

    Args:
        unreadable: how many of the images could not be read.
        images: how many there are.
        what: what they are of, for the message, e.g. "imagenet/val".
        share: the largest share that may be unreadable, `data.unreadable_share`; never all.
        remedy: what to do, for the message; None names the settings of training.

    Raises:
        UserError: there are no images, none of them could be read, or too many could not.
    """
    if not images:
        raise UserError(f"{printable(what)} has no images: a result needs at least one.")
    if unreadable == images:
        raise UserError(
            f"none of the {images} images of {printable(what)} could be read, so there is no result: "
            f"{remedy or 'restore them (data.unreadable=fatal stops at the first and names it)'}."
        )
    if unreadable > share * images:
        limit = "is allowed" if remedy else "data.unreadable_share allows"
        raise UserError(
            f"{unreadable} of the {images} images of {printable(what)} could not be read, more than the share of "
            f"{share:g} that {limit}: {remedy or 'restore them or raise it'}."
        )
