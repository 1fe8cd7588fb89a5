"""Weights that have a name: `ENTRIES`, read from zoo.toml, where every number has its source.

`nfnet.load(NAME)` and the commands' `--weights NAME` take these names. docs/models.md is the table of them, with the
parameters and multiply-adds that `nfnet.cost` counts.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from nfnet.errors import UserError, printable
from nfnet.ranges import SHARE, Range, check_fields

_SIDE = Range(1, 2**14, unit="px")
Colours = tuple[float, float, float]


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes what a network sees: resized, a square cut from its centre, colours normalised.

    Attributes:
        size: Side of the square in pixels.
        mean: Subtracted from values in [0, 1], per channel.
        std: What the difference is divided by.
        mode: "squash" resizes to `resized` x `resized` and ignores the aspect ratio, "center" makes the shorter side
            `resized` long and keeps it.
        margin: `resized` less `size`, in pixels; Brock et al. 2021 evaluate NFNets with 32. None with a share.
        crop_share: Share of `resized` that `size` is (what timm calls crop_pct), or None.
        interpolation: "bicubic" or "bilinear".
    """

    size: Annotated[int, _SIDE]
    mean: Annotated[Colours, Range(-1000, 1000)]
    std: Annotated[Colours, Range(1e-6, 1000)]
    mode: Literal["squash", "center"] = "squash"
    margin: Annotated[int | None, Range(0, 2**14)] = None
    crop_share: Annotated[float | None, SHARE] = None
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"

    def __post_init__(self) -> None:
        check_fields(self, "preprocessing.")
        if self.crop_share is not None and self.size > _SIDE.high * self.crop_share:
            raise UserError(
                f"preprocessing.crop_share is {self.crop_share:g}, so that images would be resized to more than "
                f"{_SIDE.high} px: give a larger share."
            )

    @property
    def resized(self) -> int:
        """Side in pixels before the crop."""
        if self.crop_share is not None:
            return math.floor(self.size / self.crop_share)
        return self.size + (self.margin or 0)


@dataclass(frozen=True)
class Entry:
    """Weights that have a name.

    Attributes:
        name: What to call them.
        family: A key of `nfnet.models.families.FAMILIES`.
        variant: The network, by its name in that family.
        origin: A key of `nfnet.weights.origins.BY_KEY`: whose names the file has, and what it was trained with.
        licence: SPDX identifier.
        data: What they were trained on.
        classes: Number of logits.
        train_size: Side in pixels of the images that training ended with.
        test_size: Side in pixels of the images that `top1` was measured on.
        preprocessing: Of these images.
        file: Name of the file.
        repo: Repository of the Hugging Face Hub that holds it, or None.
        url: Address of the file if it is in no such repository, or None.
        sha256: Published digest of the file, or None where none was found.
        md5: The same of MD5, which finds damage but proves no authorship.
        bytes: Size of the file, or None where none was found.
        top1: Published top-1 accuracy in percent on ImageNet's validation images, or None.
        note: What else is to be known.
        sources: Where each group of facts was found.
    """

    name: str
    family: str
    variant: str
    origin: str
    licence: str
    data: str
    classes: int
    train_size: int
    test_size: int
    preprocessing: Preprocessing
    file: str
    repo: str | None
    url: str | None
    sha256: str | None
    md5: str | None
    bytes: int | None
    top1: float | None
    note: str
    sources: Mapping[str, str]

    @property
    def address(self) -> str:
        """Where a browser finds the file."""
        return self.url or f"https://huggingface.co/{self.repo}/resolve/main/{self.file}"


def _entry(record: Mapping[str, Any], sources: Mapping[str, str]) -> Entry:
    values = {**dict.fromkeys(("repo", "url", "sha256", "md5", "bytes", "top1")), "note": "", **record}
    own = [one.name for one in fields(Preprocessing) if one.name != "size"]
    prepared = {key: values.pop(key) for key in own if key in values}
    prepared = {key: tuple(value) if isinstance(value, list) else value for key, value in prepared.items()}
    values["preprocessing"] = Preprocessing(size=values["test_size"], **prepared)
    values["sources"] = {what: sources[key] for what, key in values["sources"].items()}
    values.setdefault("file", (values["url"] or "").rpartition("/")[2])
    return Entry(**values)


def _read() -> Mapping[str, Entry]:
    table = tomllib.loads(Path(__file__).with_name("zoo.toml").read_text(encoding="utf-8"))
    entries = {}
    for record in table["entries"]:
        group = table["groups"][record.pop("group")]
        entry = _entry({**group, **record}, table["sources"])
        entries[entry.name] = entry
    return MappingProxyType(entries)


ENTRIES: Mapping[str, Entry] = _read()
"""All weights that have a name, by name, in the order of the table."""


def find_entry(name: str) -> Entry | None:
    """Returns the weights of a name, also with the owner's name before it as on the Hub ("timm/..."), or None."""
    bare = name.removeprefix("hf-hub:").removeprefix("hf_hub:").removeprefix("timm/")
    return ENTRIES.get(name) or ENTRIES.get(bare)


def unknown_weights(name: str) -> UserError:
    """Returns the error for what is neither a name nor a path."""
    from difflib import get_close_matches

    near = get_close_matches(name, ENTRIES, n=1, cutoff=0.4)
    hint = f"; the nearest name is {near[0]!r}" if near else ""
    return UserError(
        f"{printable(name)} is no name of weights, file or folder of a run{hint}: docs/models.md lists the names."
    )
