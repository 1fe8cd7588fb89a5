"""The table of data sets: which function opens each, and which settings that function reads."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, NamedTuple

from nfnet.errors import UserError, unknown_name
from nfnet.files import local_path

if TYPE_CHECKING:
    from nfnet.data.source import Source


class Opener(NamedTuple):
    """A function of (folder, split), or of (folder, split, classes), that returns a `Source`.

    Attributes:
        place: module below `nfnet.data`, imported when it is needed, and function.
        path: whether it reads `data.path`.
        classes: whether it takes the file of `data.classes` as a third argument.
        holds_out: whether it holds out images itself, and takes `data.hold_out_every` by name.
    """

    place: str
    path: bool = True
    classes: bool = False
    holds_out: bool = False


SOURCES = {
    "array_record": Opener("records:array_record"),
    "arrays": Opener("arrays:arrays"),
    "cifar10": Opener("arrays:cifar10"),
    "digits": Opener("arrays:digits", path=False),
    "fashion_mnist": Opener("arrays:fashion_mnist"),
    "image_folder": Opener("folder:open_image_folder", classes=True),
    "own_folder": Opener("folder:open_own_folder", classes=True, holds_out=True),
    "tiny_imagenet": Opener("folder:open_tiny_imagenet", classes=True),
}


def open_source(kind: str, path: str, split: str, classes: str = "", *, hold_out_every: int = 0) -> Source:
    """Opens one split of a data set.

    Args:
        kind: a key of `SOURCES`.
        path: folder of the data set, where `~` is the home folder; ignored where `Opener.path` is false.
        split: "train" or the name of the held-out split ("test", "val", "validation").
        classes: a text file with the name of one class folder a line, in the order of the labels.
        hold_out_every: for a source that holds out images itself.

    Raises:
        UserError: unknown kind, or data that is missing, empty or damaged.
    """
    if kind not in SOURCES:
        raise unknown_name("data.source", kind, SOURCES)
    opener = SOURCES[kind]
    if opener.path and not path:
        raise UserError(f"The data source {kind!r} needs a folder: pass --data FOLDER.")
    if classes and not opener.classes:
        raise UserError(f"data.classes names class folders, which {kind!r} does not have: leave it empty.")
    module, _, function = opener.place.partition(":")
    listed = (local_path(classes, "data.classes"),) if classes else ()
    where = local_path(path if opener.path else "", "data.path")
    share = {"hold_out_every": hold_out_every} if opener.holds_out else {}
    source: Source = getattr(importlib.import_module(f"nfnet.data.{module}"), function)(where, split, *listed, **share)
    return source
