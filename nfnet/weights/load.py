"""Reads checkpoints made elsewhere: the released NFNets, timm's port of them, and Vision Transformers.

    params = network.init(rng, images, True)
    checkpoint = load_checkpoint("F0_haiku.npz", params)
    logits = network.apply(checkpoint.params, None, images, False)["logits"]

Formats are known by their contents (nfnet/weights/files.py). The released files F0 to F6 are pickles of
{module: {name: array}}, in spite of their suffix; nfnet/weights/pickles.py reads them without running anything
that they ask for. timm's state dicts, and the ViTs of big_vision and vision_transformer, are read from .safetensors or
.npz files.

timm's networks are not quite the same function: they use the exact GELU and, in NFNets, another floor under the
variance in weight standardization, which changes the logits of F0 by about 2%. nfnet/weights/origins.py knows what
weights were trained with: `load_checkpoint` checks the network's `config` against it. `timm_config` returns that of
timm's NFNets; for a ViT it is `dataclasses.replace(VIT_VARIANTS["S/16"], gelu="erf")`.
"""

import dataclasses
import os
from pathlib import Path

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from nfnet.errors import UserError, printable
from nfnet.models.nfnet import NFNetConfig
from nfnet.models.vit import ViTConfig
from nfnet.weights.files import Arrays, read_weights, refuse_non_finite
from nfnet.weights.fit import fit, listing
from nfnet.weights.metadata import read_told
from nfnet.weights.origins import Origin, convert, settings

_OTHER_NETWORK = "build the network that the file belongs to"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Parameters for a network, and where they come from.

    Attributes:
        params: A value for every parameter of the network.
        loaded: Names "module/name" of those taken from the file.
        skipped: Names of those left as they were.
        left_over: Names of those in the file that the network does not have.
        resized: Names of position embeddings taken from the file and interpolated.
        origin: Whose weights they are, and what they were trained with, which the parameters do not show.
    """

    params: hk.Params
    loaded: tuple[str, ...]
    skipped: tuple[str, ...]
    left_over: tuple[str, ...]
    resized: tuple[str, ...] = ()
    origin: Origin | None = None

    def summary(self) -> str:
        """Returns one line: the origin, and how many arrays were loaded, resized, skipped and left over."""
        counts = listing(self.loaded, resized=self.resized, skipped=self.skipped, left_over=self.left_over)
        return f"{self.origin or 'parameters'}: {counts}"


def load_checkpoint(
    path: str | os.PathLike[str],
    initial: hk.Params,
    *,
    replace_head: bool = False,
    strict: bool = True,
    allow_non_finite: bool = False,
    config: NFNetConfig | ViTConfig | None = None,
) -> Checkpoint:
    """Loads a released NFNet or ViT, or timm's weights, into a network.

    The network may be nested in another module, or renamed; what stands around it stays as it is where the file lacks
    it. A ViT's position embedding is interpolated to the network's resolution (bilinear).

    Args:
        path: A released checkpoint, or a timm state dict as .safetensors or .npz.
        initial: The network's parameters as initialized.
        replace_head: Keep the initial classifier, e.g. for another number of classes.
        strict: Refuse files that lack parameters of the network or have others. Shapes must always agree.
        allow_non_finite: Also read weights that are NaN or infinite.
        config: The network's configuration, to be checked: parameters fit a network with another GELU or variance
            floor as well, which then computes something else. Without it, `Checkpoint.origin` tells what to build.

    Raises:
        UserError: If the file cannot be read, holds anything but arrays of finite numbers, or belongs to another
            network.
    """
    found, origin = read_with_origin(path, allow_non_finite=allow_non_finite)
    source = printable(Path(path).name)
    if config is not None and (other := origin.differing(config)):
        ours = settings({key: getattr(config, key) for key in other})
        given = ", ".join(f"{key}={value!r}" for key, value in other.items())
        raise UserError(
            f"{source} is of {origin}, but the network has {ours}: build it with dataclasses.replace(config, {given})."
        )
    merged = merge(found, initial, source, replace_head=replace_head, strict=strict)
    return dataclasses.replace(merged, origin=origin)


def merge(
    found: Arrays | hk.Params,
    initial: hk.Params,
    source: str,
    *,
    replace_head: bool = False,
    strict: bool = True,
) -> Checkpoint:
    """Replaces a network's initial parameters by those found elsewhere, see `nfnet.weights.fit.fit`.

    Args:
        found: Parameters {module: {name: array}} to take.
        initial: The network's parameters as initialized; they give names, shapes and types.
        source: Where the found ones come from, for error messages.
        replace_head: See `load_checkpoint`.
        strict: See `load_checkpoint`.

    Raises:
        UserError: For the first parameter of the network that is missing or has another shape, or the first
            one found that the network does not have; or if none fits.
    """
    fitted = fit(found, initial, replace_head=replace_head, policy="strict" if strict else "lenient")
    if fitted.problem:
        in_head = fitted.mismatch is not None and fitted.mismatch.in_head
        remedy = "pass replace_head=True, or fine-tune it" if in_head else _OTHER_NETWORK
        raise UserError(f"{source}: {fitted.problem}: {remedy}.")
    params = jax.tree.map(lambda value: jnp.asarray(value) if isinstance(value, np.ndarray) else value, fitted.params)
    loaded, skipped = fitted.loaded + fitted.resized, fitted.reset + fitted.skipped
    return Checkpoint(params, loaded, skipped, fitted.left_over, fitted.resized)


def read_checkpoint(path: str | os.PathLike[str], *, allow_non_finite: bool = False) -> Arrays:
    """Reads the parameters of a released checkpoint or of timm's, as {module: {name: array}}.

    Args:
        path: The file.
        allow_non_finite: Also read weights that are NaN or infinite.

    Raises:
        UserError: If the file cannot be read, or holds anything but floating-point arrays of finite numbers.
    """
    return read_with_origin(path, allow_non_finite=allow_non_finite)[0]


def read_with_origin(path: str | os.PathLike[str], *, allow_non_finite: bool = False) -> tuple[Arrays, Origin]:
    """Reads the same as `read_checkpoint`, and tells whose weights they are: the file's metadata, or its names."""
    name = printable(Path(path).name)
    found, origin = convert(read_weights(path), name)
    if not allow_non_finite:
        refuse_non_finite(found, name)
    told = read_told(path)
    return found, origin if told is None else told.origin
