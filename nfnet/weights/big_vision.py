"""Vision Transformers of the authors' JAX code, google-research/big_vision and vision_transformer."""

import re
from collections.abc import Sequence

import numpy as np

from nfnet.errors import UserError, printable
from nfnet.weights.files import Arrays, State
from nfnet.weights.vit import filters_to_matrix, own_name, with_class_position

# The authors' name of each layer -> ours, and which part of a joined layer it is. In a block, big_vision and its
# predecessor vision_transformer number layers differently, but never give one number to two layers.
_MHA, _MAP_MHA = "MultiHeadDotProductAttention", "MAPHead_0/MultiHeadDotProductAttention_0"
_QKV = ("query", "key", "value")
_BLOCK = {
    "LayerNorm_0": ("attention_norm", 0),
    **{f"{_MHA}_{n}/{name}": ("attention/qkv", part) for n in (0, 1) for part, name in enumerate(_QKV)},
    **{f"{_MHA}_{n}/out": ("attention/out", 0) for n in (0, 1)},
    **{f"LayerNorm_{n}": ("mlp_norm", 0) for n in (1, 2)},
    **{f"MlpBlock_{n}/Dense_0": ("mlp/hidden", 0) for n in (0, 3)},
    **{f"MlpBlock_{n}/Dense_1": ("mlp/out", 0) for n in (0, 3)},
}
_LAYERS = {
    "embedding": ("ViT/patch_embedding", 0),
    "Transformer/encoder_norm": ("ViT/norm", 0),
    f"{_MAP_MHA}/query": ("ViT/pooling/query", 0),
    f"{_MAP_MHA}/key": ("ViT/pooling/key_value", 0),
    f"{_MAP_MHA}/value": ("ViT/pooling/key_value", 1),
    f"{_MAP_MHA}/out": ("ViT/pooling/out", 0),
    "MAPHead_0/LayerNorm_0": ("ViT/pooling/norm", 0),
    "MAPHead_0/MlpBlock_0/Dense_0": ("ViT/pooling/mlp/hidden", 0),
    "MAPHead_0/MlpBlock_0/Dense_1": ("ViT/pooling/mlp/out", 0),
    "head": ("ViT/head", 0),
}
_PARAMETERS = {
    "cls": ("ViT", "cls_token"),
    "pos_embedding": ("ViT", "position_embedding"),
    "Transformer/posembed_input/pos_embedding": ("ViT", "position_embedding"),
    "MAPHead_0/probe": ("ViT/pooling", "probe"),
}
_JOINED = {"qkv": _QKV, "query": ("query",), "key_value": ("key", "value")}
_ANCHOR = "embedding/kernel"


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
    params: dict[str, dict[str, np.ndarray]] = {}
    parts: dict[tuple[str, str], dict[int, np.ndarray]] = {}
    for path, value in state.items():
        if not path.startswith(prefixes[0]):
            continue
        key = path.removeprefix(prefixes[0])
        module, part, name = _place(key, source)
        if part in parts.setdefault((module, name), {}):
            raise UserError(f"{source}: {printable(key)} is there twice, by the names of two releases.")
        parts[module, name][part] = value
    for (module, name), arrays in parts.items():
        joined = _JOINED.get(module.rpartition("/")[2])
        if (module, name) in _PARAMETERS.values():
            value = arrays[0]
        elif joined is None:
            value = filters_to_matrix(arrays[0])
        elif missing := [which for part, which in enumerate(joined) if part not in arrays]:
            raise UserError(f"{source}: {module} lacks its {missing[0]}: the file is not complete.")
        else:
            value = _join([arrays[part] for part in range(len(joined))], name)
        params.setdefault(module, {})[name] = value
    return with_class_position(params, source)


def _place(key: str, source: str) -> tuple[str, int, str]:
    """Returns our module, the part of it and our name of one of the authors' parameters."""
    if key in _PARAMETERS:
        module, name = _PARAMETERS[key]
        return module, 0, name
    path, _, kind = key.rpartition("/")
    block = re.fullmatch(r"Transformer/encoderblock_(0|[1-9][0-9]{0,2})/(.+)", path)
    place = _BLOCK.get(block[2]) if block else _LAYERS.get(path)
    if place is None or kind not in ("kernel", "bias", "scale"):
        raise UserError(
            f"{source}: {printable(key)} is no parameter of a plain Vision Transformer: convert another model."
        )
    layer, part = place
    module = f"ViT/block_{block[1]}/{layer}" if block else layer
    return module, part, own_name(module, kind)


def _join(arrays: Sequence[np.ndarray], name: str) -> np.ndarray:
    """From weights [in, head, feature] each to [in, out], or biases [head, feature] to [out], side by side."""
    kept = 1 if name == "w" else 0
    return np.concatenate([array.reshape(*array.shape[:kept], -1) for array in arrays], axis=-1)
