"""Small Vision Transformers and shorthands that their tests share."""

import dataclasses

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from nfnet import ViT, ViTConfig

HEADS = ("cls", "gap", "map")
# Two blocks of two heads on 4 x 4 patches; compiles in a fraction of a second.
TINY = ViTConfig(patch=4, width=16, depth=2, mlp_width=24, num_heads=2, resolution=16)
SHALLOW = dataclasses.replace(TINY, depth=1)


def vit_network(num_classes, variant, **kwargs):
    """Returns ViT as a pair of pure functions."""
    return hk.transform(lambda images, is_training: ViT(num_classes, variant, **kwargs)(images, is_training))


def abstract_vit_parameters(net, side, dtype=jnp.float32):
    images = jax.ShapeDtypeStruct((1, side, side, 3), dtype)
    return jax.eval_shape(lambda rng, x: net.init(rng, x, False), jax.random.key(0), images)


def random_parameters(net, side, seed=0, scale=0.3):
    """Returns parameters none of which is zero, unlike the classifier and the class token at initialization."""
    rng = np.random.default_rng(seed)
    shapes = abstract_vit_parameters(net, side)
    return jax.tree.map(lambda s: (scale * rng.standard_normal(s.shape)).astype(s.dtype), shapes)
