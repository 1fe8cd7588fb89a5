"""Reads checkpoints made elsewhere: the released NFNets, timm's port of them, and Vision Transformers.

    params = network.init(rng, images, True)
    checkpoint = load_checkpoint("F0_haiku.npz", params)
    logits = network.apply(checkpoint.params, None, images, False)["logits"]

Formats are known by their contents (nfnet/weights/files.py). The released files F0 to F6 are pickles of
{module: {name: array}}, in spite of their suffix; nfnet/weights/pickles.py reads them without running anything
that they ask for. timm's state dicts, and the ViTs of big_vision and vision_transformer, are read from .safetensors or
.npz files; nfnet/weights/vit.py says how ViTs become ours.

timm's networks are not quite the same function: they use the exact GELU and another floor under the
variance in weight standardization, which changes the logits of F0 by about 2%. `timm_config` builds the
network that timm's weights belong to; released weights belong to `VARIANTS` as they are.
"""

import dataclasses
import os
import re
from collections.abc import Mapping
from pathlib import Path

import haiku as hk
import jax.numpy as jnp
import numpy as np

from nfnet.errors import UserError, printable
from nfnet.models.nfnet import NFNetConfig, find_variant, is_classifier
from nfnet.weights.files import Arrays, State, read_weights, refuse_non_finite
from nfnet.weights.vit import fit_positions, from_big_vision, from_timm_vit, is_big_vision, is_timm_vit

_OTHER_NETWORK = "build the network that the file belongs to"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Parameters for a network, and where they come from.

    Attributes:
        params: A value for every parameter of the network.
        loaded: Names "module/name" of those taken from the file.
        skipped: Names of those left as they were.
        left_over: Names of those in the file that the network does not have.
    """

    params: hk.Params
    loaded: tuple[str, ...]
    skipped: tuple[str, ...]
    left_over: tuple[str, ...]

    def summary(self) -> str:
        """Returns one line that counts what was loaded, skipped and left over."""
        counts = (
            f"{len(names)} {label}" + (f" ({names[0]} ...)" if names and label != "loaded" else "")
            for label, names in (
                ("loaded", self.loaded),
                ("skipped", self.skipped),
                ("left over", self.left_over),
            )
        )
        return "parameters: " + ", ".join(counts)


def load_checkpoint(
    path: str | os.PathLike[str],
    initial: hk.Params,
    *,
    replace_head: bool = False,
    strict: bool = True,
    allow_non_finite: bool = False,
) -> Checkpoint:
    """Loads a released NFNet or ViT, or timm's weights, into a network.

    A ViT's position embedding is interpolated to the network's resolution (bilinear).

    Args:
        path: A released checkpoint, or a timm state dict as .safetensors or .npz.
        initial: The network's parameters as initialized.
        replace_head: Keep the initial classifier, e.g. for another number of classes.
        strict: Refuse files that lack parameters of the network or have others. Shapes must always agree.
        allow_non_finite: Also read weights that are NaN or infinite.

    Raises:
        UserError: If the file cannot be read, holds anything but arrays of finite numbers, or belongs to another
            network.
    """
    found = fit_positions(read_checkpoint(path, allow_non_finite=allow_non_finite), initial)
    return merge(found, initial, printable(Path(path).name), replace_head=replace_head, strict=strict)


def merge(
    found: Arrays | hk.Params,
    initial: hk.Params,
    source: str,
    *,
    replace_head: bool = False,
    strict: bool = True,
) -> Checkpoint:
    """Replaces a network's initial parameters by those found elsewhere.

    Args:
        found: Parameters {module: {name: array}} to take.
        initial: The network's parameters as initialized; they give names, shapes and types.
        source: Where the found ones come from, for error messages.
        replace_head: See `load_checkpoint`.
        strict: See `load_checkpoint`.

    Raises:
        UserError: For the first parameter of the network that is missing or has another shape, or the first
            one found that the network does not have.
    """
    values, loaded, skipped = {}, [], []
    for module, group in initial.items():
        values[module] = dict(group)
        for name, value in group.items():
            key = f"{module}/{name}"
            candidate = found.get(module, {}).get(name)
            if (replace_head and is_classifier(module)) or (candidate is None and not strict):
                skipped.append(key)
                continue
            if candidate is None:
                raise UserError(f"{source}: parameter {key} is missing: {_OTHER_NETWORK}.")
            if candidate.shape != value.shape:
                remedy = "pass replace_head=True" if is_classifier(module) else _OTHER_NETWORK
                raise UserError(
                    f"{source}: parameter {key} has shape {candidate.shape}, but the network needs "
                    f"{value.shape}: {remedy}."
                )
            values[module][name] = jnp.asarray(candidate, value.dtype)
            loaded.append(key)
    left_over = tuple(
        f"{module}/{name}" for module, group in found.items() for name in group if name not in initial.get(module, {})
    )
    if left_over and strict:
        raise UserError(f"{source}: the network has no parameter {printable(left_over[0])}: {_OTHER_NETWORK}.")
    return Checkpoint(values, tuple(loaded), tuple(skipped), left_over)


def read_checkpoint(path: str | os.PathLike[str], *, allow_non_finite: bool = False) -> Arrays:
    """Reads the parameters of a released checkpoint or of timm's, as {module: {name: array}}.

    Args:
        path: The file.
        allow_non_finite: Also read weights that are NaN or infinite.

    Raises:
        UserError: If the file cannot be read, or holds anything but floating-point arrays of finite numbers.
    """
    name = printable(Path(path).name)
    state, params = read_weights(path)
    found = params if state is None else convert(state, name)
    assert found is not None  # one of both
    if not allow_non_finite:
        refuse_non_finite(found, name)
    return found


def convert(state: State, source: str = "state dict") -> Arrays:
    """Gives arrays from elsewhere the names and shapes that ours have, telling their origin by their names.

    Raises:
        UserError: If a name does not belong to the networks of that origin.
    """
    origin = from_timm_vit if is_timm_vit(state) else from_big_vision if is_big_vision(state) else from_timm
    try:
        return origin(state, source)
    except UserError:
        raise
    except (ValueError, IndexError) as error:  # an array with other axes than the network's
        raise UserError(f"{source} holds arrays of shapes that no such network has ({printable(error)}).") from error


def timm_config(variant: str) -> NFNetConfig:
    """Returns the network that timm's dm_nfnet weights belong to: exact GELU, variance floor added.

    Raises:
        UserError: If the variant is unknown.
    """
    return dataclasses.replace(find_variant(variant), activation="gelu_erf", floor="add")


# timm's name of each layer -> ours, and how its weight becomes ours.
_TIMM_LAYERS = {
    "downsample.conv": "conv_shortcut",
    "conv1": "conv0",
    "conv2": "conv1",
    "conv2b": "conv1b",
    "conv3": "conv2",
    "attn_last.fc1": "squeeze_excite/~/linear",
    "attn_last.fc2": "squeeze_excite/~/linear_1",
}
_TIMM_KINDS = ("weight", "bias", "gain", "skipinit_gain")
_TIMM_NAME = re.compile(
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
    matches = [match for match in map(_TIMM_NAME.match, state) if match]
    blocks = sorted({(int(match["stage"]), int(match["index"])) for match in matches if match["stage"]})
    numbers = {block: number for number, block in enumerate(blocks)}
    params: dict[str, dict[str, np.ndarray]] = {}
    for key, value in state.items():
        path, _, kind = key.rpartition(".")
        match = _TIMM_NAME.fullmatch(path)
        module = _timm_module(match, numbers) if match and kind in _TIMM_KINDS else None
        if module is None:
            raise UserError(f"{source}: {printable(key)} is no parameter of timm's dm_nfnet networks.")
        try:
            name, array = _timm_value(module, kind, value)
        except ValueError as error:
            raise UserError(f"{source}: {key} has shape {value.shape}, which timm's does not have.") from error
        params.setdefault(module, {})[name] = array
    return params


def _timm_module(match: re.Match[str], numbers: Mapping[tuple[int, int], int]) -> str | None:
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
    layer = _TIMM_LAYERS.get(match["layer"])
    return layer and f"{block}/~/{layer}"


def _timm_value(module: str, kind: str, value: np.ndarray) -> tuple[str, np.ndarray]:
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
