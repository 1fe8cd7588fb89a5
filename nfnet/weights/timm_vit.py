"""Vision Transformers of timm: names and layouts of its `VisionTransformer` become those of `nfnet.ViT`."""

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
