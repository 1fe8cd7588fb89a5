"""What a .safetensors file of this package says of its weights beside the arrays, which shapes do not show."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nfnet.errors import UserError, printable, unknown_name
from nfnet.models.families import FAMILIES
from nfnet.weights.files import read_metadata
from nfnet.weights.infer import Config
from nfnet.weights.origins import BY_KEY, CHOICES, Origin, key_of
from nfnet.weights.zoo import Preprocessing

_MARK = "nfnet_companion"  # the key whose text is all of it, so that programs' own keys are not mistaken for it
_OPTIONS = {"head": ("cls", "gap", "map"), "posemb": ("learned", "sincos2d")}


@dataclasses.dataclass(frozen=True)
class Told:
    """What a file says of its weights.

    Attributes:
        family: A key of `FAMILIES`.
        config: The network's configuration.
        options: What its module takes beside it: head and posemb of a ViT.
        origin: Whose weights they are, trained with what `config` says.
        variant: Name of the variant, or None.
        preprocessing: Of images, or None.
        class_names: One a logit, or None.
    """

    family: str
    config: Config
    options: Mapping[str, str]
    origin: Origin
    variant: str | None = None
    preprocessing: Preprocessing | None = None
    class_names: tuple[str, ...] | None = None


def metadata_of(told: Told, **others: str) -> dict[str, str]:
    """Returns the texts that `read_told` reads, and others for people to read."""
    record = {
        "family": told.family,
        "variant": told.variant,
        "config": dataclasses.asdict(told.config),
        "options": dict(told.options),
        "origin": key_of(told.origin),
        "preprocessing": told.preprocessing and dataclasses.asdict(told.preprocessing),
        "class_names": told.class_names,
    }
    shown = {"variant": told.variant or "", "origin": told.origin.name, **others}
    return {**shown, _MARK: json.dumps(record)}


def trained_with(origin: Origin, config: Config) -> Origin:
    """Returns an origin whose networks compute what a configuration says."""
    own = {one.name for one in dataclasses.fields(config)} & CHOICES
    return dataclasses.replace(origin, trained_with={key: getattr(config, key) for key in sorted(own)})


def read_told(path: str | os.PathLike[str]) -> Told | None:
    """Reads what a file says of its weights, or None if it says nothing.

    Raises:
        UserError: The file cannot be read, or what it says makes no sense.
    """
    text = read_metadata(path).get(_MARK)
    if text is None:
        return None
    try:
        return _told(json.loads(text))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError) as error:
        said = str(error).rstrip(".") if isinstance(error, UserError) else "a field is missing or of another type"
        raise UserError(
            f"{printable(Path(path).name)}: its metadata {_MARK!r} make no sense ({printable(said)}): convert the "
            "weights again."
        ) from None


def _told(record: Mapping[str, Any]) -> Told:
    family = FAMILIES[record["family"]]
    config = family.config(**record["config"])
    if record["options"] and family.name != "vit":
        raise UserError(f"options are of a ViT, and a {family.title} has none")
    for key, value in record["options"].items():
        if value not in _OPTIONS[key]:
            raise unknown_name(key, printable(value), _OPTIONS[key])
    prepared, names, variant = record["preprocessing"], record["class_names"], record["variant"]
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise TypeError
    return Told(
        family.name,
        config,
        dict(record["options"]),
        trained_with(BY_KEY[record["origin"]], config),
        None if variant is None else printable(variant),
        None if prepared is None else Preprocessing(**prepared),
        None if names is None else tuple(names),
    )
