"""A Vision Transformer in NumPy, image by image and head by head, on parameters named as in big_vision's files.

Written from the equations of Dosovitskiy et al. 2021 and Zhai et al. 2022 alone, as a second opinion on ours.
"""

import numpy as np
from scipy.special import softmax


def make_big_vision_arrays(config, head, num_classes, side, seed=0):
    """Returns random float64 arrays with the names and shapes that flax gives them, for side x side patches."""
    rng = np.random.default_rng(seed)
    width, heads = config.width, config.num_heads
    features = width // heads
    arrays = {}

    def add(name, *shape):
        arrays[name] = 0.5 * rng.standard_normal(shape)

    def dense(name, inputs, outputs):
        add(f"{name}/kernel", *inputs, *outputs)
        add(f"{name}/bias", *outputs)

    def norm(name):
        add(f"{name}/scale", width)
        add(f"{name}/bias", width)

    def attention(name):
        for part in ("query", "key", "value"):
            dense(f"{name}/{part}", (width,), (heads, features))
        dense(f"{name}/out", (heads, features), (width,))

    def mlp(name):
        dense(f"{name}/Dense_0", (width,), (config.mlp_width,))
        dense(f"{name}/Dense_1", (config.mlp_width,), (width,))

    dense("embedding", (config.patch, config.patch, 3), (width,))
    add("pos_embedding", 1, side**2, width)
    if head == "cls":
        add("cls", 1, 1, width)
    for i in range(config.depth):
        block = f"Transformer/encoderblock_{i}"
        norm(f"{block}/LayerNorm_0")
        attention(f"{block}/MultiHeadDotProductAttention_0")
        norm(f"{block}/LayerNorm_1")
        mlp(f"{block}/MlpBlock_0")
    norm("Transformer/encoder_norm")
    if head == "map":
        add("MAPHead_0/probe", 1, 1, width)
        attention("MAPHead_0/MultiHeadDotProductAttention_0")
        norm("MAPHead_0/LayerNorm_0")
        mlp("MAPHead_0/MlpBlock_0")
    dense("head", (width,), (num_classes,))
    return arrays


def with_old_names(arrays, class_position):
    """Returns the arrays of a "cls" network as vision_transformer's files have them.

    There, layers are numbered across kinds and the position embedding has a row for the class token.
    """
    renamed = {}
    for name, value in arrays.items():
        name = name.replace("MultiHeadDotProductAttention_0", "MultiHeadDotProductAttention_1")
        name = name.replace("LayerNorm_1", "LayerNorm_2").replace("MlpBlock_0", "MlpBlock_3")
        if name == "pos_embedding":
            name, value = "Transformer/posembed_input/pos_embedding", np.concatenate([class_position, value], axis=1)
        renamed[name] = value
    return renamed


class ReferenceViT:
    def __init__(self, arrays, config, head):
        self.arrays, self.config, self.head = arrays, config, head

    def __call__(self, images):
        """Returns (logits, features) of images [batch, height, width, 3]."""
        features = np.stack([self.features(image) for image in images])
        return features @ self.arrays["head/kernel"] + self.arrays["head/bias"], features

    def features(self, image):
        p = self.arrays
        x = np.stack([self.embed(patch) for patch in self.patches(image)]) + p["pos_embedding"][0]
        if self.head == "cls":
            x = np.concatenate([p["cls"][0], x])
        for i in range(self.config.depth):
            block = f"Transformer/encoderblock_{i}"
            y = self.norm(x, f"{block}/LayerNorm_0")
            x = x + self.attend(y, y, f"{block}/MultiHeadDotProductAttention_0")
            x = x + self.mlp(self.norm(x, f"{block}/LayerNorm_1"), f"{block}/MlpBlock_0")
        x = self.norm(x, "Transformer/encoder_norm")
        if self.head == "cls":
            return x[0]
        if self.head == "gap":
            return x.mean(axis=0)
        y = self.attend(p["MAPHead_0/probe"][0], x, "MAPHead_0/MultiHeadDotProductAttention_0")
        return (y + self.mlp(self.norm(y, "MAPHead_0/LayerNorm_0"), "MAPHead_0/MlpBlock_0"))[0]

    def patches(self, image):
        side = self.config.patch
        for row in range(0, image.shape[0], side):
            for column in range(0, image.shape[1], side):
                yield image[row : row + side, column : column + side]

    def embed(self, patch):
        return np.einsum("hwc,hwcd->d", patch, self.arrays["embedding/kernel"]) + self.arrays["embedding/bias"]

    def attend(self, queries, x, name):
        """Multi-head attention of queries [q, width] to x [t, width]."""
        p = self.arrays
        result = p[f"{name}/out/bias"]
        for head in range(self.config.num_heads):
            q, k, v = (
                source @ p[f"{name}/{part}/kernel"][:, head] + p[f"{name}/{part}/bias"][head]
                for source, part in ((queries, "query"), (x, "key"), (x, "value"))
            )
            weights = softmax(q @ k.T / np.sqrt(q.shape[1]), axis=1)
            result = result + weights @ v @ p[f"{name}/out/kernel"][head]
        return result

    def mlp(self, x, name):
        p = self.arrays
        z = x @ p[f"{name}/Dense_0/kernel"] + p[f"{name}/Dense_0/bias"]
        z = 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))
        return z @ p[f"{name}/Dense_1/kernel"] + p[f"{name}/Dense_1/bias"]

    def norm(self, x, name):
        centred = x - x.mean(axis=-1, keepdims=True)
        z = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6)
        return z * self.arrays[f"{name}/scale"] + self.arrays[f"{name}/bias"]
