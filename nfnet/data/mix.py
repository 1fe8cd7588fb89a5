"""MixUp and CutMix on the device, inside the train step: they cost no host time and no second copy.

An example is mixed with its neighbour: 0 with 1, 2 with 3, ... Batches are shuffled, so neighbours are as
random a pair as any other, and they lie on one device.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

Images = Float[Array, "batch height width channels"]
Labels = Float[Array, "batch classes"]


def _neighbour(x: Array) -> Array:
    pairs = x.reshape(x.shape[0] // 2, 2, *x.shape[1:])
    return pairs[:, ::-1].reshape(x.shape)


def _beta(key: PRNGKeyArray, alpha: float, batch: int) -> Float[Array, " batch"]:
    # One draw a pair, shared by its two examples: the second gets the complement of what the first gives
    # away.
    shape = (batch // 2,)
    # Beta(1, 1) is uniform, and far cheaper to draw and to compile.
    draws = jax.random.uniform(key, shape) if alpha == 1 else jax.random.beta(key, alpha, alpha, shape)
    return jnp.repeat(draws, 2)


def _box(key: PRNGKeyArray, kept: Float[Array, " batch"], height: int, width: int) -> Bool[Array, "batch h w 1"]:
    """Rectangles whose area is a share 1 - `kept` of the image, centred anywhere and clipped at its edges."""
    batch = kept.shape[0]
    centre = jnp.repeat(jax.random.uniform(key, (batch // 2, 2)), 2, axis=0)
    half = jnp.sqrt(1 - kept) / 2
    rows, columns = jnp.arange(height) + 0.5, jnp.arange(width) + 0.5
    in_rows = jnp.abs(rows - centre[:, :1] * height) < half[:, None] * height
    in_columns = jnp.abs(columns - centre[:, 1:] * width) < half[:, None] * width
    return (in_rows[:, :, None] & in_columns[:, None, :])[..., None]


def mix(
    key: PRNGKeyArray,
    images: Images,
    labels: Labels,
    weights: Float[Array, " batch"],
    mixup_alpha: float,
    cutmix_alpha: float,
) -> tuple[Images, Labels]:
    """Mixes images and labels with their neighbours.

    With both methods on, MixUp (Zhang et al. 2018) takes the first half of every four examples and CutMix
    (Yun et al. 2019) the second, half of the batch each as in Brock et al. 2021.

    Args:
        key: source of randomness.
        images: float images; the batch size is even, and a multiple of four with both methods on.
        labels: one-hot or smoothed.
        weights: an example whose neighbour weighs nothing stays as it is.
        mixup_alpha: parameter of MixUp's Beta distribution; 0 turns it off.
        cutmix_alpha: parameter of CutMix's; 0 turns it off.
    """
    batch, height, width = images.shape[:3]
    if not mixup_alpha and not cutmix_alpha:
        return images, labels
    group = 4 if mixup_alpha and cutmix_alpha else 2
    if batch % group:
        raise ValueError(f"mixing needs a batch size that is a multiple of {group}, not {batch}")
    mixup_key, cutmix_key, box_key = jax.random.split(key, 3)
    share = jnp.ones(images.shape[:1])  # of an example's own image and label
    mask = jnp.zeros((batch, height, width, 1), bool)
    if cutmix_alpha:
        mask = _box(box_key, _beta(cutmix_key, cutmix_alpha, batch), height, width)
        share = 1 - mask.mean((1, 2, 3))
    use_mixup = jnp.zeros(batch, bool)
    if mixup_alpha:
        use_mixup = (jnp.arange(batch) % group) < 2
        share = jnp.where(use_mixup, _beta(mixup_key, mixup_alpha, batch), share)
    share = jnp.where(_neighbour(weights) > 0, share, 1.0)
    mask = mask & (_neighbour(weights) > 0)[:, None, None, None]
    blend = share[:, None, None, None]
    other = _neighbour(images)
    # The two examples of a pair share `share`: each keeps that much of itself and takes the rest from the
    # other.
    mixed = jnp.where(
        use_mixup[:, None, None, None], blend * images + (1 - blend) * other, jnp.where(mask, other, images)
    )
    return mixed, share[:, None] * labels + (1 - share[:, None]) * _neighbour(labels)
