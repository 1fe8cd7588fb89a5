"""Vision Transformers of timm: names and layouts of its `VisionTransformer` become those of `nfnet.ViT`, and back."""

import math
import re

import numpy as np

from nfnet.errors import UserError, printable
from nfnet.weights.files import Arrays, State
from nfnet.weights.vit import check_axes, filters_to_matrix, own_name, with_class_position

# timm's name of each layer -> ours, in a block and outside.
_BLOCK = {
    "norm1": "attention_norm",
    "attn.qkv": "attention/qkv",
    "attn.proj": "attention/out",
    "norm2": "mlp_norm",
    "mlp.fc1": "mlp/hidden",
    "mlp.fc2": "mlp/out",
}
_LAYERS = {
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
_PARAMETERS = {
    "cls_token": ("ViT", "cls_token"),
    "pos_embed": ("ViT", "position_embedding"),
    "attn_pool.latent": ("ViT/pooling", "probe"),
}


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
    params: dict[str, dict[str, np.ndarray]] = {}
    for key, value in state.items():
        module, name = _place(key, source)
        if name == "w":
            check_axes(value, (2, 4), key, source)
            value = value.T if value.ndim == 2 else filters_to_matrix(value.transpose(2, 3, 1, 0))
        params.setdefault(module, {})[name] = value
    return with_class_position(params, source)


def _place(key: str, source: str) -> tuple[str, str]:
    """Returns our module and name of one of timm's parameters."""
    if key in _PARAMETERS:
        return _PARAMETERS[key]
    path, _, kind = key.rpartition(".")
    block = re.fullmatch(r"blocks\.(0|[1-9][0-9]{0,2})\.(.+)", path)
    layer = _BLOCK.get(block[2]) if block else _LAYERS.get(path)
    if layer is None or kind not in ("weight", "bias"):
        raise UserError(
            f"{source}: {printable(key)} is no parameter of a plain Vision Transformer: convert another model."
        )
    module = f"ViT/block_{block[1]}/{layer}" if block else layer
    return module, own_name(module, kind)


def to_timm_vit(params: Arrays, source: str = "parameters") -> dict[str, np.ndarray]:
    """Gives the parameters of a ViT the names and layouts of timm's `VisionTransformer`: inverse of `from_timm_vit`.

    Args:
        params: Arrays by module and name.
        source: Where they come from, for error messages.

    Raises:
        UserError: If timm's network has no such parameter.
    """
    state = {}
    for module, group in params.items():
        for name, value in group.items():
            array = np.asarray(value)
            if name == "w" and module == "ViT/patch_embedding":
                patch = math.isqrt(array.shape[0] // 3)
                array = array.reshape(patch, patch, 3, -1).transpose(3, 2, 0, 1)
            elif name == "w":
                array = array.T
            state[_timm_name(module, name, source)] = array
    return state


_TIMM_PARAMETERS = {ours: timm for timm, ours in _PARAMETERS.items()}
_TIMM_BLOCK = {ours: timm for timm, ours in _BLOCK.items()}
_TIMM_LAYERS = {ours: timm for timm, ours in _LAYERS.items()}


def _timm_name(module: str, name: str, source: str) -> str:
    if (module, name) in _TIMM_PARAMETERS:
        return _TIMM_PARAMETERS[module, name]
    block = re.fullmatch(r"ViT/block_([0-9]+)/(.+)", module)
    layer = _TIMM_BLOCK.get(block[2]) if block else _TIMM_LAYERS.get(module)
    kind = {"w": "weight", "scale": "weight", "b": "bias", "offset": "bias"}.get(name)
    if layer is None or kind is None:
        raise UserError(f"{source}: timm's VisionTransformer has no parameter {printable(f'{module}/{name}')}.")
    return f"blocks.{block[1]}.{layer}.{kind}" if block else f"{layer}.{kind}"
