"""Vision Transformers (ViT), the baselines of Smith et al. 2023, Figure 1, and their smaller relatives.

From top to bottom: the shape of a network (`ViTConfig`), what a block is made of, the block, attention
pooling, the network, and at the end the table of variants.

    network = hk.transform(lambda images, is_training: ViT(1000, "S/16")(images, is_training))
    params = network.init(rng, images, True)
    logits = network.apply(params, rng, images, True)["logits"]

The encoder is that of Dosovitskiy et al. 2021 (arXiv 2010.11929, Section 3.1), the shapes and heads are those of
Zhai et al. 2022 (arXiv 2106.04560, Table 2) and Alabdulmohsin et al. 2023 (arXiv 2305.13035). Two details that are
easily missed: layer norms add 1e-6 to the variance, and GELU is the tanh form in the authors' JAX code but the erf
form in timm.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Annotated, Literal

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from nfnet.errors import UserError, unknown_name
from nfnet.models.layers import Linear, StochDepth, check_images
from nfnet.models.parts import Part
from nfnet.models.precision import parameter_dtype
from nfnet.ranges import CLASSES, RATE, Range, check_fields, check_value, shown

GELU = Literal["tanh", "erf"]
Head = Literal["cls", "gap", "map"]
PositionEmbedding = Literal["learned", "sincos2d"]

# Some ten times what the largest network published has: a slip of the pen must not exhaust the memory in tracing.
_WIDTH = Range(1, 2**16)

_XAVIER = hk.initializers.VarianceScaling(1.0, "fan_avg", "uniform")
# Query, key and value are square matrices side by side in one array: by its fan-in, each is Xavier uniform.
_XAVIER_SIDE_BY_SIDE = hk.initializers.VarianceScaling(1.0, "fan_in", "uniform")
_LECUN = hk.initializers.VarianceScaling(1.0, "fan_in", "truncated_normal")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """The shape of a Vision Transformer, published (see `VIT_VARIANTS`) or of your own making.

    Attributes:
        patch: Side of the square patches in pixels.
        width: Features of a token.
        depth: Number of encoder blocks.
        mlp_width: Hidden features of each block's two linear layers.
        num_heads: Attention heads; each has width / num_heads features.
        gelu: "tanh" (the authors' JAX code) or "erf" (timm).
        resolution: Side in pixels of the images that it is pre-trained on. The network takes any multiple
            of the patch.

    Raises:
        UserError: If the fields do not describe a network.
    """

    patch: Annotated[int, Range(1, 1024)]
    width: Annotated[int, _WIDTH]
    depth: Annotated[int, Range(1, 1000)]
    mlp_width: Annotated[int, Range(1, 2**18)]
    num_heads: Annotated[int, Range(1, 1024)]
    gelu: GELU = "tanh"
    resolution: Annotated[int, Range(1, 2**14)] = 224

    def __post_init__(self) -> None:
        check_fields(self)
        if self.width % self.num_heads:
            raise UserError(f"a width of {self.width} cannot be divided into {self.num_heads} heads: change either.")
        self.grid(self.resolution, self.resolution)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Returns the rows and columns of patches of an image.

        The authors' code drops incomplete patches at the border: where the papers say 384 px for a patch of
        14, the network sees 378 px. Here the images' size has to say so.

        Args:
            height: Pixels.
            width: Pixels.

        Raises:
            UserError: If the patch does not divide a side.
        """
        for side in (height, width):
            if side < self.patch or side % self.patch:
                below = side // self.patch * self.patch
                nearest = f"{below} or {below + self.patch}" if below else f"{self.patch}"
                raise UserError(
                    f"images have {height} x {width} pixels, but each side must be a multiple of the patch "
                    f"of {self.patch}: the nearest to {side} is {nearest}."
                )
        return height // self.patch, width // self.patch


class _Layer(hk.Module):
    """What the layers and blocks of the network have in common."""

    def __init__(
        self,
        config: ViTConfig,
        *,
        dropout_rate: float = 0.0,
        stochastic_depth_rate: float = 0.0,
        name: str | None = None,
    ):
        """Configures the layer.

        Args:
            config: The network's shape.
            dropout_rate: Dropout in training, on the branches of a block and the hidden layer of an MLP.
            stochastic_depth_rate: Probability with which training drops either branch of a block for an example.
            name: Haiku module name.
        """
        super().__init__(name=name)
        self.config = config
        self.dropout_rate = dropout_rate
        self.stoch_depth = StochDepth(stochastic_depth_rate, name="stoch_depth")


class MLP(_Layer):
    """Two linear layers with a GELU between, applied to each token by itself."""

    def __call__(self, x: Float[Array, "batch tokens width"], is_training: bool) -> Float[Array, "batch tokens width"]:
        """Returns as many features as came in."""
        hidden = Linear(self.config.mlp_width, w_init=_XAVIER, name="hidden")(x)
        hidden = jax.nn.gelu(hidden, approximate=self.config.gelu == "tanh")
        hidden = _dropout(hidden, self.dropout_rate, is_training)
        return Linear(x.shape[-1], w_init=_XAVIER, name="out")(hidden)


class SelfAttention(_Layer):
    """Multi-head self-attention with biases; one matrix product gives queries, keys and values."""

    def __call__(self, x: Float[Array, "batch tokens width"]) -> Float[Array, "batch tokens width"]:
        """Returns for each token a mixture of all tokens' values."""
        qkv = Linear(3 * x.shape[-1], w_init=_XAVIER_SIDE_BY_SIDE, name="qkv")(x)
        query, key, value = _split_heads(qkv, 3, self.config.num_heads)
        mixture = _attend(query, key, value)
        return Linear(x.shape[-1], w_init=_XAVIER, name="out")(mixture.reshape(x.shape))


class EncoderBlock(_Layer):
    """Pre-norm encoder block (Dosovitskiy et al. 2021, equations 2 and 3)."""

    def __call__(self, x: Float[Array, "batch tokens width"], is_training: bool) -> Float[Array, "batch tokens width"]:
        """Returns y + mlp(norm(y)), where y = x + attention(norm(x))."""
        attention = SelfAttention(self.config, name="attention")
        mlp = MLP(self.config, dropout_rate=self.dropout_rate, name="mlp")
        branch = attention(_layer_norm(x, "attention_norm"))
        x += self.stoch_depth(_dropout(branch, self.dropout_rate, is_training), is_training)
        branch = mlp(_layer_norm(x, "mlp_norm"), is_training)
        return x + self.stoch_depth(_dropout(branch, self.dropout_rate, is_training), is_training)


class AttentionPooling(_Layer):
    """Multi-head attention pooling, "MAP" (Zhai et al. 2022, Section 3.2): one learnt query for all images.

    Parameter probe [1, 1, width]: what the query is projected from.
    """

    def __call__(self, x: Float[Array, "batch tokens width"]) -> Float[Array, "batch width"]:
        """Returns y + mlp(norm(y)), where y is the query's mixture of all tokens' values."""
        batch, _, width = x.shape
        num_heads = self.config.num_heads
        probe = hk.get_parameter("probe", (1, 1, width), parameter_dtype(x.dtype), _XAVIER)
        query = Linear(width, w_init=_XAVIER, name="query")(probe)
        # Repeated at its own precision, and so its gradient, a sum over the images of a batch.
        query = jnp.broadcast_to(query, (batch, 1, width)).astype(x.dtype)
        (query,) = _split_heads(query, 1, num_heads)
        key_value = Linear(2 * width, w_init=_XAVIER_SIDE_BY_SIDE, name="key_value")(x)
        key, value = _split_heads(key_value, 2, num_heads)
        mixture = _attend(query, key, value)
        y = Linear(width, w_init=_XAVIER, name="out")(mixture.reshape(batch, 1, width))
        return (y + MLP(self.config, name="mlp")(_layer_norm(y, "norm"), False))[:, 0]


class ViT(hk.Module):
    """The network: embedding of patches, encoder blocks, one of three heads and a linear classifier."""

    def __init__(
        self,
        num_classes: int,
        variant: str | ViTConfig = "B/16",
        *,
        head: Head = "gap",
        posemb: PositionEmbedding = "learned",
        dropout_rate: float = 0.0,
        stochastic_depth_rate: float = 0.0,
        logit_bias: float = 0.0,
        dtype: DTypeLike | None = None,
        remat: bool = False,
        name: str = "ViT",
    ):
        """Configures the network.

        Args:
            num_classes: Number of logits.
            variant: A name in `VIT_VARIANTS`, or a configuration.
            head: What the classifier sees: "cls" a learnt token beside the patches (Dosovitskiy et al.
                2021), "gap" the mean of all tokens, "map" attention pooling. Table 2 of Zhai et al. 2022
                counts networks with "gap"; the authors' configuration trains g/14 and G/14 with "map", and the
                428M parameters of So400m/14 include it.
            posemb: "learned", a vector per position; or "sincos2d", the fixed one of `sincos2d`.
            dropout_rate: Dropout after the position embedding and in each block in training.
            stochastic_depth_rate: Rate L of stochastic depth: each branch of block i of n is dropped with
                probability L * i / n, and not rescaled where it is kept, as in NFNets.
            logit_bias: Initial bias of the classifier, whose weights start at zero. The authors'
                configuration for the sigmoid loss over 29,593 classes has -10.
            dtype: Type of the activations, the images' by default. Parameters and results are float32 also
                when this is bfloat16.
            remat: Recompute each block in the backward pass rather than keep its activations.
            name: Haiku module name, which starts the names of all parameters.

        Raises:
            UserError: If the variant, head or posemb is unknown, or a number is out of range.
        """
        super().__init__(name=name)
        for key, value, hint in (
            ("num_classes", num_classes, Annotated[int, CLASSES]),
            ("head", head, Head),
            ("posemb", posemb, PositionEmbedding),
            ("dropout_rate", dropout_rate, Annotated[float, RATE]),
            ("stochastic_depth_rate", stochastic_depth_rate, Annotated[float, RATE]),
            ("logit_bias", logit_bias, Annotated[float, Range(-100, 100)]),
        ):
            check_value(key, value, hint)
        self.num_classes = num_classes
        self.config = config = find_vit_variant(variant)
        self.head = head
        self.posemb = posemb
        self.dropout_rate = dropout_rate
        self.logit_bias = logit_bias
        self.dtype = dtype
        self.remat = remat
        self.block_rates = [stochastic_depth_rate * i / config.depth for i in range(config.depth)]

    def __call__(
        self, images: Float[Array, "batch height width 3"], is_training: bool
    ) -> Mapping[str, Float[Array, "batch _"]]:
        """Classifies images.

        Args:
            images: Normalized images, of a floating type; the patch divides both sides.
            is_training: Whether to apply dropout and stochastic depth, which need an rng.

        Returns:
            "logits" [batch, num_classes] and "features" [batch, width], what the classifier sees.

        Raises:
            UserError: If the images have the wrong rank, channels, type or size.
        """
        check_images(images)
        dtype = images.dtype if self.dtype is None else self.dtype
        x = self.embed(images.astype(dtype), is_training)
        for i, rate in enumerate(self.block_rates):
            block = EncoderBlock(
                self.config, dropout_rate=self.dropout_rate, stochastic_depth_rate=rate, name=f"block_{i}"
            )
            apply = partial(block, is_training=is_training)
            x = hk.remat(apply)(x) if self.remat else apply(x)
        features = self.pool(x).astype(parameter_dtype(dtype))
        return {"logits": self.classify(features), "features": features}

    @hk.transparent
    def embed(
        self, images: Float[Array, "batch height width 3"], is_training: bool = False
    ) -> Float[Array, "batch tokens width"]:
        """Returns the input of the first block: projected patches, class token if any, positions."""
        grid = self.config.grid(*images.shape[1:3])
        x = _cut_patches(images, self.config.patch)
        x = Linear(self.config.width, w_init=_LECUN, name="patch_embedding")(x)
        x = _add_positions(x, grid, self.head, self.posemb)
        return _dropout(x, self.dropout_rate, is_training)

    @hk.transparent
    def pool(self, x: Float[Array, "batch tokens width"]) -> Float[Array, "batch width"]:
        """Returns one vector per image of the last block's output."""
        x = _layer_norm(x, "norm")
        if self.head == "map":
            return AttentionPooling(self.config, name="pooling")(x)
        return x[:, 0] if self.head == "cls" else jnp.mean(x, axis=1, dtype=parameter_dtype(x.dtype))

    @hk.transparent
    def classify(self, features: Float[Array, "batch width"]) -> Float[Array, "batch num_classes"]:
        """Returns logits."""
        bias = hk.initializers.Constant(self.logit_bias)
        return Linear(self.num_classes, w_init=jnp.zeros, b_init=bias, name="head")(features)


def sincos2d(rows: int, columns: int, width: int) -> Float[np.ndarray, "tokens width"]:
    """Returns fixed two-dimensional position embeddings (Chen et al. 2021, arXiv 2104.02057, "MoCo v3").

    Args:
        rows: Rows of patches.
        columns: Columns of patches.
        width: Features; a multiple of four.

    Returns:
        One vector for each patch, row by row: sin(f x), cos(f x), sin(f y), cos(f y) at column x and row y,
        for width / 4 frequencies f from 1 to 1 / 10,000 in geometric progression. float64.

    Raises:
        UserError: If the width is no multiple of four, or less than eight.
    """
    if width % 4 or width < 8:
        raise UserError(
            f"a width of {width} cannot hold posemb 'sincos2d': use a multiple of four from eight on, or "
            "posemb 'learned'."
        )
    frequencies = np.geomspace(1.0, 1e-4, width // 4)
    y, x = (np.multiply.outer(index.ravel(), frequencies) for index in np.mgrid[:rows, :columns])
    return np.concatenate([np.sin(x), np.cos(x), np.sin(y), np.cos(y)], axis=1)


def _cut_patches(images: Float[Array, "batch height width 3"], side: int) -> Float[Array, "batch patches pixels"]:
    """Cuts images into patches, row by row; a patch lists its values by row, column and channel."""
    batch, height, width, channels = images.shape
    rows, columns = height // side, width // side
    x = images.reshape(batch, rows, side, columns, side, channels)
    return jnp.swapaxes(x, 2, 3).reshape(batch, rows * columns, side * side * channels)


def _add_positions(
    x: Float[Array, "batch patches width"], grid: tuple[int, int], head: Head, posemb: PositionEmbedding
) -> Float[Array, "batch tokens width"]:
    """Adds the class token, if the head wants one, and the position embedding.

    The class token has a learned position (as in Dosovitskiy et al. 2021), but no fixed one. Both come in at parameter
    precision, and so do their gradients, sums over the images of a batch.
    """
    batch, _, width = x.shape
    full = parameter_dtype(x.dtype)
    y = x.astype(full)
    if posemb == "sincos2d":
        y += jnp.asarray(sincos2d(*grid, width), full)
    if head == "cls":
        token = hk.get_parameter("cls_token", (1, 1, width), full, jnp.zeros)
        y = jnp.concatenate([jnp.broadcast_to(token, (batch, 1, width)), y], axis=1)
    if posemb == "learned":
        init = hk.initializers.RandomNormal(width**-0.5)
        y += hk.get_parameter("position_embedding", (1, *y.shape[1:]), full, init)
    return y.astype(x.dtype)


def _attend(query: Array, key: Array, value: Array) -> Float[Array, "batch tokens num_heads head_features"]:
    """Returns mixtures of values; from float16 in float32, since CPUs lack products of such scores."""
    dtype = jnp.promote_types(query.dtype, jnp.float32) if query.dtype == jnp.float16 else query.dtype
    return jax.nn.dot_product_attention(*(one.astype(dtype) for one in (query, key, value))).astype(query.dtype)


def _split_heads(
    x: Float[Array, "batch tokens features"], parts: int, num_heads: int
) -> Float[Array, "parts batch tokens num_heads head_features"]:
    """Splits features that are laid out by part, head and feature."""
    *axes, features = x.shape
    return jnp.moveaxis(x.reshape(*axes, parts, num_heads, features // (parts * num_heads)), 2, 0)


def _layer_norm(x: Float[Array, "*axes width"], name: str) -> Float[Array, "*axes width"]:
    """Normalizes each token at parameter precision: bfloat16 would lose most of the variance's digits."""
    norm = hk.LayerNorm(axis=-1, create_scale=True, create_offset=True, eps=1e-6, name=name)
    return norm(x.astype(parameter_dtype(x.dtype))).astype(x.dtype)


def _dropout(x: Float[Array, "*axes"], rate: float, is_training: bool) -> Float[Array, "*axes"]:
    return hk.dropout(hk.next_rng_key(), rate, x) if is_training and rate > 0 else x


def find_vit_variant(variant: str | ViTConfig) -> ViTConfig:
    """Returns the configuration of a variant.

    Args:
        variant: A name in `VIT_VARIANTS`; a configuration is returned as it is.

    Raises:
        UserError: If the name is unknown.
    """
    if isinstance(variant, ViTConfig):
        return variant
    if variant not in VIT_VARIANTS:
        raise unknown_name("variant", shown(variant, quote=False), VIT_VARIANTS)
    return VIT_VARIANTS[variant]


def vit_parts(
    config: ViTConfig,
    resolution: int,
    num_classes: int,
    *,
    head: Head = "gap",
    posemb: PositionEmbedding = "learned",
) -> Iterator[Part]:
    """Yields what a network is made of: "embedding", "encoder" (all blocks), "pooling" and "classifier".

    The embedding has patches and positions, the pooling the last norm and the head.

    Raises:
        UserError: If the patch does not divide the image.
    """
    side, _ = config.grid(resolution, resolution)
    tokens = (1, side**2 + (head == "cls"), config.width)
    network = (num_classes, config, head, posemb)
    yield Part("embedding", _apply, ("embed", *network), (1, resolution, resolution, 3), side)
    yield Part("encoder", _block, (config,), tokens, side, blocks=config.depth)
    yield Part("pooling", _apply, ("pool", *network), tokens, 1)
    yield Part("classifier", _apply, ("classify", *network), (1, config.width), 1)


def _apply(method: str, num_classes: int, config: ViTConfig, head: Head, posemb: PositionEmbedding, x: Array) -> Array:
    result: Array = getattr(ViT(num_classes, config, head=head, posemb=posemb), method)(x)
    return result


def _block(config: ViTConfig, x: Array) -> Array:
    return EncoderBlock(config)(x, False)


# Width, depth, MLP and heads: Table 2 of Zhai et al. 2022, where case tells s from S and g from G.
_SHAPES = {
    "s": (256, 6, 1024, 8),
    "Ti": (192, 12, 768, 3),
    "S": (384, 12, 1536, 6),
    "B": (768, 12, 3072, 12),
    "L": (1024, 24, 4096, 16),
    "g": (1408, 40, 6144, 16),
    "G": (1664, 48, 8192, 16),
    "So400m": (1152, 27, 4304, 16),  # Alabdulmohsin et al. 2023
    "mini": (192, 6, 768, 3),  # ours, for images of 64 px
    "micro": (96, 4, 384, 3),  # ours, for images of 32 px
}


def _variant(name: str, resolution: int = 224) -> ViTConfig:
    letters, patch = name.split("/")
    width, depth, mlp_width, num_heads = _SHAPES[letters]
    return ViTConfig(
        patch=int(patch), width=width, depth=depth, mlp_width=mlp_width, num_heads=num_heads, resolution=resolution
    )


# fmt: off
_PUBLISHED = (
    "s/28", "s/16", "S/32", "Ti/16", "B/32", "S/16", "B/28", "B/16", "L/16", "g/14", "G/14", "So400m/14",
)
# fmt: on

VIT_VARIANTS: Mapping[str, ViTConfig] = {
    **{name: _variant(name) for name in _PUBLISHED},
    "mini/8": _variant("mini/8", resolution=64),
    "micro/4": _variant("micro/4", resolution=32),
}
