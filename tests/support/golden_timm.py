"""Golden outputs of timm's networks, and the rule that regenerates their parameters.

See tests/data/golden/README_vit.md. Keys are names of timm's state dict; images are made as in support.golden.
"""

import json

import numpy as np
from support.golden import GOLDEN, generator


def read_timm_manifest(model):
    """Returns {name: shape} of a timm network's state dict."""
    text = (GOLDEN / "manifests" / f"timm_{model}.json").read_text()
    return {name: tuple(shape) for name, shape in json.loads(text).items()}


def make_timm_state_dict(manifest, seed, dtype=np.float32):
    """Returns {name: array} by the rule, rounded to float32 and then cast."""
    return {name: _value(name, shape, seed).astype(np.float32).astype(dtype) for name, shape in manifest.items()}


def _value(name, shape, seed):
    z = generator(name, seed).standard_normal(shape)
    if name in ("head.fc.weight", "head.weight"):
        return 0.01 * z
    if name.endswith(".weight") and len(shape) > 1:
        return z / np.sqrt(np.prod(shape[1:]))
    if name.endswith((".weight", ".gain")):
        return 1 + 0.1 * z
    if name.endswith(".skipinit_gain"):
        return 0.5 + 0.1 * z
    return 0.1 * z  # biases, cls_token, pos_embed
