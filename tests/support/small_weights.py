"""A small NFNet whose parameters are none of those it starts with, as a file, and pictures."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from safetensors.numpy import save_file
from support.networks import TINY, quick_jit

from nfnet import NFNet
from nfnet.weights.metadata import Told, metadata_of
from nfnet.weights.origins import OURS
from nfnet.weights.zoo import Preprocessing

NAMES = ("red", "green", "blue")
PREPROCESSING = Preprocessing(size=32, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), margin=4)


def perturbed(shapes, seed=0):
    """Parameters of given shapes: gains, biases and skip gains that differ from their first values."""
    generator = np.random.default_rng(seed)

    def draw(path, one):
        noise = generator.standard_normal(one.shape).astype(np.float32)
        name = path[-1].key
        if name in ("w", "cls_token", "position_embedding", "probe"):
            return noise / np.sqrt(max(np.prod(one.shape[:-1]), 1)).astype(np.float32) + np.float32(0.01)
        return (
            1 + 0.3 * noise if name in ("gain", "scale") else 0.6 + 0.2 * noise if name == "skip_gain" else 0.2 * noise
        )

    return jax.tree_util.tree_map_with_path(draw, shapes)


def tiny(config=TINY, classes=3, side=32, **options):
    """Returns a small NFNet and its parameters."""
    network = hk.transform(lambda images, is_training=False: NFNet(classes, config, **options)(images, is_training))
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), jnp.zeros((1, side, side, 3)), False))
    return network, perturbed(shapes)


def write_tiny(path, config=TINY, names=NAMES):
    """Writes such a network as `nfnet convert` does, and returns it."""
    network, params = tiny(config, len(names))
    arrays = {f"{module}/{key}": np.asarray(value) for module, group in params.items() for key, value in group.items()}
    told = Told("nfnet", config, {}, OURS, None, PREPROCESSING, tuple(names))
    save_file(arrays, path, metadata_of(told))
    return network, params


def write_pictures(folder, names, size=(40, 30), seed=0):
    """Writes noise as PNG files."""
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(generator.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)).save(folder / name)


def logits_of(network, params, paths, settings=PREPROCESSING):
    """Logits of image files, by the original network and Pillow alone."""
    images = []
    for path in paths:
        side = settings.size + settings.margin
        with Image.open(path) as image:
            resized = np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC))
        start = settings.margin // 2
        cut = resized[start : start + settings.size, start : start + settings.size]
        images.append((cut / 255 - np.array(settings.mean)) / np.array(settings.std))
    return np.asarray(logits_for(network, params, jnp.asarray(np.stack(images), jnp.float32)))


def logits_for(network, params, images):
    """Logits of normalised images [batch, height, width, 3], by the original network."""
    return quick_jit(lambda params, images: network.apply(params, None, images, False)["logits"])(params, images)
