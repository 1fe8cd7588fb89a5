"""Weights of Vision Transformers made elsewhere: by timm, and by the authors' JAX code.

Both converters return {module: {name: array}} with the names and shapes of `nfnet.ViT`. Arrays are reshaped,
transposed and joined, never approximated; `fit_positions` interpolates the position embedding where the network has
another resolution. `nfnet.weights.load.load_checkpoint` does all of it for a file.

timm's networks use the exact form of GELU: build `dataclasses.replace(VIT_VARIANTS["S/16"], gelu="erf")` for them.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from nfnet.errors import UserError, printable, unknown_name

Interpolation = Literal["bilinear", "bicubic"]
State = Mapping[str, np.ndarray]
Arrays = dict[str, dict[str, np.ndarray]]

# timm's name of each layer -> ours, in a block and outside.
_TIMM_BLOCK = {
    "norm1": "attention_norm",
    "attn.qkv": "attention/qkv",
    "attn.proj": "attention/out",
    "norm2": "mlp_norm",
    "mlp.fc1": "mlp/hidden",
    "mlp.fc2": "mlp/out",
}
_TIMM_LAYERS = {
    "patch_embed.proj": "ViT/patch_embedding",
    "norm": "ViT/norm",
    "attn_pool.q": "ViT/pooling/query",
    "attn_pool.kv": "ViT/pooling/key_value",
    "attn_pool.proj": "ViT/pooling/out",
    "attn_pool.norm": "ViT/pooling/norm",
    "attn_pool.mlp.fc1": "ViT/pooling/mlp/hidden",
    "attn_pool.mlp.fc2": "ViT/pooling/mlp/out",
    "head": "ViT/head",
}
_TIMM_PARAMETERS = {
    "cls_token": ("ViT", "cls_token"),
    "pos_embed": ("ViT", "position_embedding"),
    "attn_pool.latent": ("ViT/pooling", "probe"),
}


def is_timm_vit(state: State) -> bool:
    """Returns whether names are those of timm's `VisionTransformer`."""
    return "patch_embed.proj.weight" in state


def from_timm_vit(state: State, source: str = "state dict") -> Arrays:
    """Renames and transposes a state dict of timm's `VisionTransformer`.

    Its global_pool "token" is our head "cls", "map" is "map". With "avg", timm has the last norm after the mean, which
    is another function than the head "gap": its "fc_norm" is refused.

    Args:
        state: Arrays by timm's names: [out, in] for linear layers, OIHW for the patches' filters; queries, keys and
            values side by side.
        source: Where they come from, for error messages.

    Raises:
        UserError: If a name is none of a plain Vision Transformer's.
    """
    params: Arrays = {}
    for key, value in state.items():
        module, name = _timm_place(key, source)
        if name == "w":
            _check_axes(value, (2, 4), key, source)
            value = value.T if value.ndim == 2 else _filters_to_matrix(value.transpose(2, 3, 1, 0))
        params.setdefault(module, {})[name] = value
    return _with_class_position(params, source)


def _check_axes(value: np.ndarray, allowed: tuple[int, ...], key: str, source: str) -> None:
    """Raises UserError unless an array has one of the allowed numbers of axes."""
    if value.ndim not in allowed:
        raise UserError(
            f"{source}: {printable(key)} has shape {value.shape}, but needs {' or '.join(map(str, allowed))} axes."
        )


def _timm_place(key: str, source: str) -> tuple[str, str]:
    """Returns our module and name of one of timm's parameters."""
    if key in _TIMM_PARAMETERS:
        return _TIMM_PARAMETERS[key]
    path, _, kind = key.rpartition(".")
    block = re.fullmatch(r"blocks\.(0|[1-9][0-9]{0,2})\.(.+)", path)
    layer = _TIMM_BLOCK.get(block[2]) if block else _TIMM_LAYERS.get(path)
    if layer is None or kind not in ("weight", "bias"):
        raise UserError(
            f"{source}: {printable(key)} is no parameter of a plain Vision Transformer: convert another model."
        )
    module = f"ViT/block_{block[1]}/{layer}" if block else layer
    return module, _own_name(module, kind)


# The authors' name of each layer -> ours, and which part of a joined layer it is. In a block, big_vision and its
# predecessor vision_transformer number layers differently, but never give one number to two layers.
_JAX_BLOCK = {
    "LayerNorm_0": ("attention_norm", 0),
    **{
        f"MultiHeadDotProductAttention_{n}/{theirs}": ours
        for n in (0, 1)
        for theirs, ours in {
            "query": ("attention/qkv", 0),
            "key": ("attention/qkv", 1),
            "value": ("attention/qkv", 2),
            "out": ("attention/out", 0),
        }.items()
    },
    **{f"LayerNorm_{n}": ("mlp_norm", 0) for n in (1, 2)},
    **{f"MlpBlock_{n}/Dense_0": ("mlp/hidden", 0) for n in (0, 3)},
    **{f"MlpBlock_{n}/Dense_1": ("mlp/out", 0) for n in (0, 3)},
}
_JAX_LAYERS = {
    "embedding": ("ViT/patch_embedding", 0),
    "Transformer/encoder_norm": ("ViT/norm", 0),
    "MAPHead_0/MultiHeadDotProductAttention_0/query": ("ViT/pooling/query", 0),
    "MAPHead_0/MultiHeadDotProductAttention_0/key": ("ViT/pooling/key_value", 0),
    "MAPHead_0/MultiHeadDotProductAttention_0/value": ("ViT/pooling/key_value", 1),
    "MAPHead_0/MultiHeadDotProductAttention_0/out": ("ViT/pooling/out", 0),
    "MAPHead_0/LayerNorm_0": ("ViT/pooling/norm", 0),
    "MAPHead_0/MlpBlock_0/Dense_0": ("ViT/pooling/mlp/hidden", 0),
    "MAPHead_0/MlpBlock_0/Dense_1": ("ViT/pooling/mlp/out", 0),
    "head": ("ViT/head", 0),
}
_JAX_PARAMETERS = {
    "cls": ("ViT", "cls_token"),
    "pos_embedding": ("ViT", "position_embedding"),
    "Transformer/posembed_input/pos_embedding": ("ViT", "position_embedding"),
    "MAPHead_0/probe": ("ViT/pooling", "probe"),
}
_JOINED = {"qkv": ("query", "key", "value"), "query": ("query",), "key_value": ("key", "value")}
_ANCHOR = "embedding/kernel"


def is_big_vision(state: State) -> bool:
    """Returns whether names are those of a ViT of big_vision or vision_transformer."""
    return any(f"/{key}".endswith(f"/{_ANCHOR}") for key in state)


def from_big_vision(state: State, source: str = "arrays") -> Arrays:
    """Renames, reshapes and joins the arrays of google-research/big_vision or google-research/vision_transformer.

    Its pool_type "tok" (vision_transformer: classifier "token") is our head "cls"; "gap" and "map" are called so.
    What stands beside the image network in the file, such as a text network, is left out.

    Args:
        state: Arrays by path, as in the released .npz files: queries, keys and values apart, as [in, head, feature].
        source: Where they come from, for error messages.

    Raises:
        UserError: If a name is none of a plain Vision Transformer's, or queries, keys or values are missing.
    """
    prefixes = [key.removesuffix(_ANCHOR) for key in state if f"/{key}".endswith(f"/{_ANCHOR}")]
    if len(prefixes) != 1:
        raise UserError(f"{source}: holds {len(prefixes)} arrays called {_ANCHOR}: give a file with one image network.")
    params: Arrays = {}
    parts: dict[tuple[str, str], dict[int, np.ndarray]] = {}
    for path, value in state.items():
        if not path.startswith(prefixes[0]):
            continue
        key = path.removeprefix(prefixes[0])
        if key in _JAX_PARAMETERS:
            module, name = _JAX_PARAMETERS[key]
            if name in params.get(module, {}):
                raise UserError(f"{source}: {printable(key)} is there twice, by the names of two releases.")
            params.setdefault(module, {})[name] = value
        else:
            module, part, name = _jax_place(key, source)
            if part in parts.setdefault((module, name), {}):
                raise UserError(f"{source}: {printable(key)} is there twice, by the names of two releases.")
            parts[module, name][part] = value
    for (module, name), arrays in parts.items():
        joined = _JOINED.get(module.rpartition("/")[2])
        if joined is None:
            value = _filters_to_matrix(arrays[0])
        elif missing := [which for part, which in enumerate(joined) if part not in arrays]:
            raise UserError(f"{source}: {module} lacks its {missing[0]}: the file is not complete.")
        else:
            value = _join([arrays[part] for part in range(len(joined))], name)
        params.setdefault(module, {})[name] = value
    return _with_class_position(params, source)


def _jax_place(key: str, source: str) -> tuple[str, int, str]:
    """Returns our module, the part of it and our name of one of the authors' parameters."""
    path, _, kind = key.rpartition("/")
    block = re.fullmatch(r"Transformer/encoderblock_(0|[1-9][0-9]{0,2})/(.+)", path)
    place = _JAX_BLOCK.get(block[2]) if block else _JAX_LAYERS.get(path)
    if place is None or kind not in ("kernel", "bias", "scale"):
        raise UserError(
            f"{source}: {printable(key)} is no parameter of a plain Vision Transformer: convert another model."
        )
    layer, part = place
    module = f"ViT/block_{block[1]}/{layer}" if block else layer
    return module, part, _own_name(module, kind)


def _own_name(module: str, kind: str) -> str:
    weight, bias = ("scale", "offset") if module.endswith("norm") else ("w", "b")
    return bias if kind == "bias" else weight


def _filters_to_matrix(value: np.ndarray) -> np.ndarray:
    """From [..., out], as filters [height, width, in, out] or [head, feature, out], to [in, out]."""
    return value.reshape(-1, value.shape[-1]) if value.ndim > 1 else value


def _join(arrays: Sequence[np.ndarray], name: str) -> np.ndarray:
    """From weights [in, head, feature] each to [in, out], or biases [head, feature] to [out], side by side."""
    kept = 1 if name == "w" else 0
    return np.concatenate([array.reshape(*array.shape[:kept], -1) for array in arrays], axis=-1)


def _with_class_position(params: Arrays, source: str) -> Arrays:
    """Gives the class token a position of zero where the checkpoint has positions of patches alone."""
    tokens = params.get("ViT", {})
    if "position_embedding" in tokens:
        _check_axes(tokens["position_embedding"], (3,), "the position embedding", source)
    if "cls_token" in tokens and "position_embedding" in tokens:
        embedding = tokens["position_embedding"]
        if math.isqrt(embedding.shape[1]) ** 2 == embedding.shape[1]:
            padded = np.concatenate([np.zeros_like(embedding[:, :1]), embedding], axis=1)
            return {**params, "ViT": {**tokens, "position_embedding": padded}}
    return params


def fit_positions(
    params: Mapping[str, Mapping[str, np.ndarray]], initial: hk.Params, interpolation: Interpolation = "bilinear"
) -> Mapping[str, Mapping[str, np.ndarray]]:
    """Interpolates the position embedding to that of a network for square images of another size.

    Args:
        params: Parameters of a checkpoint.
        initial: Those of the network as initialized; they give the number of positions.
        interpolation: See `resize_position_embedding`.

    Returns:
        The same parameters if there is nothing to interpolate.
    """
    tokens = params.get("ViT", {})
    if "position_embedding" not in tokens or "position_embedding" not in initial.get("ViT", {}):
        return params
    with_class = "cls_token" in tokens
    wanted, width = initial["ViT"]["position_embedding"].shape[1:]
    shape = tokens["position_embedding"].shape
    if len(shape) != 3 or shape[0] != 1 or shape[1] <= with_class or shape[2] != width:
        raise UserError(
            f"weights: the position embedding has shape {shape}, but the network needs [1, tokens, {width}]: "
            "build the network that the file belongs to."
        )
    side, found = math.isqrt(wanted), shape[1]
    if found == wanted or side**2 + with_class != wanted:
        return params
    resized = resize_position_embedding(
        tokens["position_embedding"], (side, side), with_class=with_class, interpolation=interpolation
    )
    return {**params, "ViT": {**tokens, "position_embedding": resized}}


def resize_position_embedding(
    embedding: Float[np.ndarray, "1 tokens width"],
    grid: tuple[int, int],
    *,
    old_grid: tuple[int, int] | None = None,
    with_class: bool = False,
    interpolation: Interpolation = "bilinear",
) -> Float[np.ndarray, "1 new_tokens width"]:
    """Interpolates a learned position embedding to another grid (Dosovitskiy et al. 2021, Section 3.2).

    A position stands for the centre of its patch, and a coarser grid averages (antialiasing). The authors' code lays
    the centres of the outermost patches on top of each other instead, and does not average.

    Args:
        embedding: Positions of the patches row by row, after that of the class token if there is one.
        grid: Rows and columns of patches to come; see `nfnet.ViTConfig.grid`.
        old_grid: Rows and columns now; by default as many of either.
        with_class: Whether the first position is the class token's, which is kept.
        interpolation: "bilinear" or "bicubic".

    Raises:
        UserError: If the embedding is not of such a grid, or the interpolation is unknown.
    """
    if interpolation not in get_args(Interpolation):
        raise unknown_name("interpolation", interpolation, get_args(Interpolation))
    _, tokens, width = embedding.shape
    rows, columns = old_grid or (math.isqrt(tokens - with_class),) * 2
    if rows * columns + with_class != tokens:
        raise UserError(
            f"a position embedding of {tokens} tokens, {'one' if with_class else 'none'} of them a class token, is not "
            f"of {rows} x {columns} patches: give old_grid and with_class."
        )
    if (rows, columns) == grid:
        return embedding
    first, patches = np.split(np.asarray(embedding), [int(with_class)], axis=1)
    resized = jax.image.resize(jnp.asarray(patches.reshape(rows, columns, width)), (*grid, width), interpolation)
    return np.concatenate([first, np.asarray(resized).reshape(1, -1, width)], axis=1)
