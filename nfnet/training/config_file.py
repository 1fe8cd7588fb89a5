"""Configuration files: read, overridden from the command line, and checked before anything is opened."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nfnet.errors import UserError, printable, unknown_name
from nfnet.files import local_path
from nfnet.ranges import read_text
from nfnet.training.config import RunConfig, find_setting, from_mapping

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
"""The configurations that come with this package, and, in `studies`, the studies."""


def provided_names(folder: Path = CONFIGS) -> list[str]:
    """Returns the names of the provided configurations, or of the studies in CONFIGS / "studies"."""
    return sorted(path.stem for path in folder.glob("[!_]*.*") if path.suffix in (".py", ".toml"))


def find_provided(text: str, field: str, folder: Path = CONFIGS) -> Path:
    """Returns the file that is meant by a name, such as digits, or by a path.

    A name without folder and suffix is one of those in `folder`, whatever lies in the working directory. So is a path
    as it is from the root of this project, nfnet/configs/digits.py, where there is no such file.

    Args:
        text: the name or path.
        field: the argument that it is of, for messages.
        folder: of what is provided.

    Raises:
        UserError: there is no such file.
    """
    path = local_path(text, field)
    if path.name == text and not path.suffix:
        known = {one.stem: one for one in sorted(folder.glob("[!_]*.*")) if one.suffix in (".py", ".toml")}
        if text not in known and not path.is_file():
            raise unknown_name("study" if folder.name == "studies" else "configuration", printable(text), known)
        return known.get(text, path)
    if not os.path.lexists(path):  # what is no file says so when it is read
        within = CONFIGS.parent.parent / path
        if within.parent != folder or not within.is_file():
            raise UserError(
                f"Missing {'study' if folder.name == 'studies' else 'configuration'} {printable(text)}: the ones "
                f"provided are {', '.join(provided_names(folder))}."
            )
        return within
    return path


def _get_config(path: str) -> Any:
    text, _, argument = path.partition(":")
    if ":/" in path:
        local_path(path, "--config")  # refuses addresses
    file = str(find_provided(text, "--config"))
    spec = importlib.util.spec_from_file_location(f"nfnet_config_{Path(file).stem}", file)
    if spec is None or spec.loader is None:
        raise UserError(f"{printable(file)} is no Python file: pass one of nfnet/configs or your own.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return module.get_config(*([argument] if argument else []))
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        said = printable(f"{type(error).__name__}, {error}")
        raise UserError(f"The configuration {printable(path)} cannot be used: {said}.") from error


def load_config(path: str, overrides: Sequence[str] = ()) -> RunConfig:
    """Reads a configuration file.

    Args:
        path: a Python file with a function `get_config` that returns a `ConfigDict`, or the name of one of
            nfnet/configs. An argument for the function may follow a colon, as in jft_pretrain:F3.
        overrides: flags of the form --config.training.epochs=2.

    Raises:
        UserError: missing file, unknown setting, wrong type, value out of range, or a network that is not possible.
    """
    from ml_collections import ConfigDict

    provided = _get_config(path)
    if not isinstance(provided, ConfigDict):
        raise UserError(
            f"get_config in {printable(path)} returns a {type(provided).__name__}, but must return a ConfigDict."
        )
    try:
        values = provided.to_dict()
    except Exception as error:  # a reference within the ConfigDict that leads nowhere
        raise UserError(f"The configuration {printable(path)} cannot be used: {printable(error)}.") from error
    config = from_mapping(RunConfig, _overridden(values, overrides))
    from nfnet.training.network import network_shape  # loads JAX

    network_shape(config.model)  # that a network is possible is known before any data are opened
    return config


def overridden_settings(overrides: Sequence[str]) -> frozenset[str]:
    """Returns which settings are overridden, such as "training.epochs"."""
    return frozenset(override.removeprefix("--config.").partition("=")[0] for override in overrides)


def _overridden(values: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Returns the values of a configuration file with the overrides filled in."""
    for override in overrides:
        key, _, text = override.removeprefix("--config.").partition("=")
        kind = find_setting(key)
        *path, name = key.split(".")
        place: Any = values
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                return values  # the file's mistake, which `from_mapping` tells
        place[name] = read_text(kind, text)
    return values
