"""timm's port of the released NFNets, dm_nfnet: its names and layouts become ours, and ours its."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from nfnet.errors import UserError, printable
from nfnet.weights.files import Arrays, State

# timm's name of each layer -> ours, and how its weight becomes ours.
_LAYERS = {
    "downsample.conv": "conv_shortcut",
    "conv1": "conv0",
    "conv2": "conv1",
    "conv2b": "conv1b",
    "conv3": "conv2",
    "attn_last.fc1": "squeeze_excite/~/linear",
    "attn_last.fc2": "squeeze_excite/~/linear_1",
}
_KINDS = ("weight", "bias", "gain", "skipinit_gain")
_NAME = re.compile(
    r"stem\.conv(?P<stem>[1-9])|stages\.(?P<stage>[0-9])\.(?P<index>0|[1-9][0-9]{0,2})(?:\.(?P<layer>.+))?"
    r"|(?P<final>final_conv)|(?P<head>head\.fc)"
)


def from_timm(state: State, source: str = "state dict") -> Arrays:
    """Renames and transposes a state dict of timm's dm_nfnet models.

    Args:
        state: Arrays by timm's names, filters in OIHW layout.
        source: Where they come from, for error messages.

    Raises:
        UserError: If a name is none of timm's NFNet.
    """
    matches = [match for match in map(_NAME.match, state) if match]
    blocks = sorted({(int(match["stage"]), int(match["index"])) for match in matches if match["stage"]})
    numbers = {block: number for number, block in enumerate(blocks)}
    params: dict[str, dict[str, np.ndarray]] = {}
    for key, value in state.items():
        path, _, kind = key.rpartition(".")
        match = _NAME.fullmatch(path)
        module = _module(match, numbers) if match and kind in _KINDS else None
        if module is None:
            raise UserError(f"{source}: {printable(key)} is no parameter of timm's dm_nfnet networks.")
        try:
            name, array = _value(module, kind, value)
        except ValueError as error:
            raise UserError(f"{source}: {key} has shape {value.shape}, which timm's does not have.") from error
        params.setdefault(module, {})[name] = array
    return params


def _module(match: re.Match[str], numbers: Mapping[tuple[int, int], int]) -> str | None:
    if match["stem"]:
        return f"NFNet/~/stem_conv{int(match['stem']) - 1}"
    if match["final"]:
        return "NFNet/~/final_conv"
    if match["head"]:
        return "NFNet/~/linear"
    number = numbers[int(match["stage"]), int(match["index"])]
    block = f"NFNet/~/nf_block_{number}" if number else "NFNet/~/nf_block"
    if match["layer"] is None:
        return block
    layer = _LAYERS.get(match["layer"])
    return layer and f"{block}/~/{layer}"


def _value(module: str, kind: str, value: np.ndarray) -> tuple[str, np.ndarray]:
    if kind == "skipinit_gain":
        return "skip_gain", value.reshape(())
    if kind == "gain":
        return "gain", value.reshape(-1)
    linear = "linear" in module.rsplit("/", 1)[1]
    if kind == "bias":
        return ("b" if linear else "bias"), value
    if linear:  # [out, in] or, in squeeze-excite, [out, in, 1, 1]
        return "w", value.reshape(value.shape[:2]).T
    return "w", value.transpose(2, 3, 1, 0)


def to_timm(params: Arrays, depths: Sequence[int], source: str = "parameters") -> dict[str, np.ndarray]:
    """Gives the parameters of an NFNet the names and layouts of timm's dm_nfnet models: the inverse of `from_timm`.

    Args:
        params: Arrays by module and name, filters in HWIO layout.
        depths: Residual blocks of each stage.
        source: Where they come from, for error messages.

    Raises:
        UserError: If timm's networks have no such parameter.
    """
    places = [(stage, index) for stage, depth in enumerate(depths) for index in range(depth)]
    state = {}
    for module, group in params.items():
        for name, value in group.items():
            path, kind = _timm_module(module, places), _TIMM_KINDS.get(name)
            if path is None or kind is None:
                raise UserError(
                    f"{source}: timm's dm_nfnet networks have no parameter {printable(f'{module}/{name}')}."
                )
            state[f"{path}.{kind}"] = _timm_value(module, name, np.asarray(value))
    return state


_TIMM_KINDS = {"w": "weight", "b": "bias", "bias": "bias", "gain": "gain", "skip_gain": "skipinit_gain"}
_OURS = re.compile(r"NFNet/~/nf_block(?:_(?P<number>[1-9][0-9]{0,3}))?(?:/~/(?P<layer>.+))?")
_OUTSIDE = {"NFNet/~/final_conv": "final_conv", "NFNet/~/linear": "head.fc"}
_TIMM_LAYERS = {ours: timm for timm, ours in _LAYERS.items()}


def _timm_module(module: str, places: Sequence[tuple[int, int]]) -> str | None:
    if stem := re.fullmatch(r"NFNet/~/stem_conv([0-8])", module):
        return f"stem.conv{int(stem[1]) + 1}"
    match = _OURS.fullmatch(module)
    if match is None:
        return _OUTSIDE.get(module)
    number = int(match["number"] or 0)
    if number >= len(places):
        return None
    block = "stages.{}.{}".format(*places[number])
    if match["layer"] is None:
        return block
    layer = _TIMM_LAYERS.get(match["layer"])
    return layer and f"{block}.{layer}"


def _timm_value(module: str, name: str, value: np.ndarray) -> np.ndarray:
    if name == "gain":
        return value.reshape(-1, 1, 1, 1)
    if name != "w":
        return value
    if "squeeze_excite" in module:  # 1x1 convolutions
        return value.T[:, :, None, None]
    return value.T if value.ndim == 2 else value.transpose(3, 2, 0, 1)
