"""Where weights come from: whose names they have, how they become ours, and in which network they were trained.

Each origin is one entry of `ORIGINS`. To read weights of another one, write its conversion in a file beside this one,
as nfnet/weights/timm_nfnet.py is, and enter it here.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from nfnet.errors import UserError, printable
from nfnet.models.nfnet import NFNetConfig, find_variant
from nfnet.weights.big_vision import from_big_vision
from nfnet.weights.files import Arrays, State
from nfnet.weights.timm_nfnet import from_timm
from nfnet.weights.timm_vit import from_timm_vit

_WRAPPERS = ("module.", "_orig_mod.")  # what PyTorch puts before names: DataParallel and torch.compile


@dataclasses.dataclass(frozen=True)
class Origin:
    """A maker of weights.

    Attributes:
        name: What to call it.
        names: Pattern of names, at least one of which its files have, and no earlier entry's.
        convert: Gives arrays by its names our names and shapes; takes the arrays and, for errors, their source.
        trained_with: What its networks compute where ours have a choice that shapes do not show: fields of
            `NFNetConfig` or `ViTConfig`.
    """

    name: str
    names: str
    convert: Callable[[State, str], Arrays]
    trained_with: Mapping[str, Any]

    def __str__(self) -> str:
        return self.name + (f" ({settings(self.trained_with)})" if self.trained_with else "")

    def differing(self, config: object) -> dict[str, Any]:
        """Returns those of `trained_with` that a network's configuration has otherwise."""
        return {key: value for key, value in self.trained_with.items() if getattr(config, key, value) != value}


def settings(values: Mapping[str, Any]) -> str:
    """Returns values by name as a part of a sentence."""
    return ", ".join(f"{key} {printable(value)}" for key, value in values.items())


def _by_module(state: State, source: str) -> Arrays:
    """From arrays by our names "module/name" to those of each module."""
    del source
    params: dict[str, dict[str, np.ndarray]] = {}
    for key, value in state.items():
        module, _, name = key.rpartition("/")
        params.setdefault(module, {})[name] = value
    return params


TIMM_NFNET = Origin(
    "timm's NFNets",
    r"(stem\.conv[1-9]|stages\.[0-9]\.[0-9]+|final_conv|head\.fc)\..*",
    from_timm,
    {"activation": "gelu_erf", "floor": "add"},
)
TIMM_VIT = Origin("timm's ViTs", r"patch_embed\.proj\.weight", from_timm_vit, {"gelu": "erf"})
BIG_VISION = Origin("big_vision's ViTs", r"(.*/)?embedding/kernel", from_big_vision, {"gelu": "tanh"})
RELEASED = Origin("the released NFNets", r"NFNet/.*", _by_module, {"activation": "gelu", "floor": "clamp"})
OURS = Origin("this package", r".*/.*", _by_module, {})
ORIGINS = (TIMM_VIT, BIG_VISION, TIMM_NFNET, RELEASED, OURS)
BY_KEY = {
    "timm-nfnet": TIMM_NFNET,
    "timm-vit": TIMM_VIT,
    "big_vision": BIG_VISION,
    "released": RELEASED,
    "nfnet-companion": OURS,
}
"""Origins by the names that files and tables have for them."""
CHOICES = frozenset(key for origin in ORIGINS for key in origin.trained_with)
"""Fields of configurations in which origins differ and that shapes of parameters do not show."""


def convert(state: State, source: str = "state dict") -> tuple[Arrays, Origin]:
    """Gives arrays from elsewhere the names and shapes that ours have, telling their origin by their names.

    Args:
        state: Arrays by name.
        source: Where they come from, for error messages.

    Raises:
        UserError: If the names are of no known origin, or one does not belong to the networks of that origin.
    """
    if not state:
        raise UserError(f"{source} holds no arrays: save the weights again.")
    state = _unwrapped(state, source)
    for origin in ORIGINS:
        if any(re.fullmatch(origin.names, key, re.DOTALL) for key in state):
            break
    else:
        known = ", ".join(origin.name for origin in ORIGINS)
        raise UserError(f"{source}: {printable(next(iter(state)))} is no parameter of {known}.")
    try:
        return origin.convert(state, source), origin
    except UserError:
        raise
    except (ValueError, IndexError) as error:  # an array with other axes than the network's
        raise UserError(f"{source} holds arrays of shapes that no such network has ({printable(error)}).") from error


def _unwrapped(state: State, source: str) -> State:
    """Removes what PyTorch's wrappers of models put before all names."""
    while prefix := next((one for one in _WRAPPERS if any(key.startswith(one) for key in state)), None):
        bare = [key for key in state if not key.startswith(prefix)]
        if bare:
            raise UserError(
                f"{source}: some names start with {prefix!r}, but {printable(bare[0])} does not: save the state dict "
                "of the model itself, not of its wrapper."
            )
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def key_of(origin: Origin) -> str:
    """Returns the name that `BY_KEY` has for an origin, whatever it was trained with."""
    return next(key for key, one in BY_KEY.items() if one.name == origin.name)


def timm_config(variant: str) -> NFNetConfig:
    """Returns the network that timm's dm_nfnet weights belong to: exact GELU, variance floor added.

    Raises:
        UserError: If the variant is unknown.
    """
    return dataclasses.replace(find_variant(variant), **TIMM_NFNET.trained_with)
