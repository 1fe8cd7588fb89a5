"""Configuration files: read, overridden from the command line, and checked before anything is opened."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nfnet.errors import UserError, printable
from nfnet.files import local_path
from nfnet.ranges import read_text
from nfnet.training.config import RunConfig, find_setting, from_mapping


def _get_config(path: str) -> Any:
    file, _, argument = str(local_path(path, "--config")).partition(":")
    if not Path(file).is_file():
        raise UserError(f"Missing configuration {printable(file)}: the ones provided are in nfnet/configs.")
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
        path: a Python file with a function `get_config` that returns a `ConfigDict`. An argument for it may
            follow a colon, as in nfnet/configs/jft_pretrain.py:F3.
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
