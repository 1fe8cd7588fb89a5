"""Networks for inference alone: all that does not depend on the images is computed beforehand.

An NFNet standardizes its weights whenever it is called, and scales by an activation's gain, by beta, by alpha and by
skip gains. Convolutions are linear: each of these factors belongs as well to the weights beside it. What remains is a
plain convolutional network,

    block(x) = shortcut + conv2(f(conv1b(f(conv1(f(conv0(f(x)))))))) * gates,

with the logits of the original up to rounding. In the notation of Brock et al. 2021 (arXiv 2102.06171), Sections 3 and
5, with gamma the gain of the activation f and W the standardized weights:

- conv(gamma f(x), W) = conv(f(x), gamma W), and so for conv1, conv1b, conv2 and the classifier;
- conv(gamma beta f(x), W) = conv(f(x), gamma beta W), for conv0 and, through the mean of pixels, for the shortcut;
- alpha * skip_gain * 2 * sigmoid(s) * (conv(x, W) + b) = sigmoid(s) * (conv(x, c W) + c b) with c = 2 alpha skip_gain;
  squeeze-excite, which reads this output, has its first weights divided by c.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import haiku as hk
import jax.numpy as jnp
import jmp
import numpy as np
from jax import Array, lax
from jax.typing import DTypeLike
from jaxtyping import Float

from nfnet.errors import UserError
from nfnet.kernels import VarianceFloor, conv, gate
from nfnet.models.activations import ACTIVATIONS, Activation
from nfnet.models.families import find_family, roots
from nfnet.models.layers import Linear, SqueezeExcite, average_pool, check_images, spatial_mean
from nfnet.models.nfnet import BlockConfig, NFNetConfig
from nfnet.models.precision import parameter_dtype
from nfnet.models.vit import Head, PositionEmbedding, ViT, ViTConfig

Params = Mapping[str, Mapping[str, Any]]
ROOT = "FoldedNFNet/~/"
"""What the names of a folded NFNet's modules start with; the rest is as in the original."""

# A branch that is scaled by less adds nothing to its shortcut, and squeeze-excite could not be divided by it.
_NOTHING = 1e-20


def activation(name: str) -> Activation:
    """Returns a function of `ACTIVATIONS` without its gain, in the form that takes least time to evaluate.

    The exact GELU is x (1 + erf(x / sqrt 2)) / 2, as PyTorch computes it; the other form, by erfc, keeps more digits of
    large negative x, which are lost when results are added up.
    """
    if name != "gelu_erf":
        return ACTIVATIONS[name].function

    def gelu(x: Array) -> Array:
        full = x.astype(parameter_dtype(x.dtype))
        return (0.5 * full * (1 + lax.erf(full * math.sqrt(0.5)))).astype(x.dtype)

    return gelu


class Conv2D(hk.Module):
    """Convolution, SAME padding, with parameters w [kernel, kernel, channels / groups, filters] and b [filters]."""

    def __init__(self, filters: int, kernel: int, *, stride: int = 1, groups: int = 1, name: str | None = None):
        """Configures the convolution.

        Args:
            filters: Number of output channels.
            kernel: Side of the square filters.
            stride: Step of the filters in both directions.
            groups: Number of groups of channels.
            name: Haiku module name.
        """
        super().__init__(name=name)
        self.filters, self.kernel, self.stride, self.groups = filters, kernel, stride, groups

    def __call__(
        self, x: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch out_height out_width filters"]:
        """Convolves images; ones of ceil(side / stride) pixels come out."""
        shape = (self.kernel, self.kernel, x.shape[3] // self.groups, self.filters)
        w = hk.get_parameter("w", shape, parameter_dtype(x.dtype), jnp.zeros)
        b = hk.get_parameter("b", (self.filters,), parameter_dtype(x.dtype), jnp.zeros)
        return (conv(x, w.astype(x.dtype), stride=self.stride, groups=self.groups) + b).astype(x.dtype)


class FoldedBlock(hk.Module):
    """An NFBlock (Section 5) without any factor beside the gates."""

    def __init__(self, config: BlockConfig, name: str | None = None):
        """Configures the block.

        Args:
            config: Its shape.
            name: Haiku module name.
        """
        super().__init__(name=name)
        c = self.config = config
        self.activation = activation(c.activation)
        if c.has_projection:
            self.conv_shortcut = Conv2D(c.out_channels, 1, name="conv_shortcut")
        self.conv0 = Conv2D(c.bottleneck, 1, name="conv0")
        self.conv1 = Conv2D(c.bottleneck, 3, stride=c.stride, groups=c.groups, name="conv1")
        self.conv1b = Conv2D(c.bottleneck, 3, groups=c.groups, name="conv1b")
        self.conv2 = Conv2D(c.out_channels, 1, name="conv2")
        self.squeeze_excite = SqueezeExcite(c.out_channels, c.se_hidden, name="squeeze_excite")

    def __call__(
        self, x: Float[Array, "batch height width in_channels"]
    ) -> Float[Array, "batch out_height out_width out_channels"]:
        """Returns shortcut + branch * gates."""
        shortcut, x = x, self.activation(x)
        if self.config.has_projection:
            shortcut = self.conv_shortcut(average_pool(x) if self.config.stride > 1 else x)
        x = self.activation(self.conv0(x))
        x = self.activation(self.conv1(x))
        x = self.activation(self.conv1b(x))
        x = self.conv2(x)
        return shortcut + gate(x, self.squeeze_excite(x))


class FoldedNFNet(hk.Module):
    """The network of Brock et al. 2021 for inference: stem, stages, final convolution, pooling and classifier."""

    def __init__(self, num_classes: int, config: NFNetConfig, *, dtype: DTypeLike | None = None):
        """Configures the network.

        Args:
            num_classes: Number of logits.
            config: That of the original.
            dtype: Type of the activations, the images' by default.
        """
        super().__init__(name=ROOT.partition("/")[0])
        self.config, self.dtype = config, dtype
        self.activation, self.gain = activation(config.activation), ACTIVATIONS[config.activation].gain
        self.stem = [
            Conv2D(filters, 3, stride=stride, name=f"stem_conv{i}")
            for i, (filters, stride) in enumerate(zip(config.stem_channels, config.stem_strides, strict=True))
        ]
        self.blocks = [FoldedBlock(block, name="nf_block") for block in config.blocks()]
        self.final_conv = Conv2D(config.features, 1, name="final_conv")
        self.classifier = Linear(num_classes, w_init=jnp.zeros, name="linear")

    def __call__(
        self, images: Float[Array, "batch height width 3"], is_training: bool = False
    ) -> Mapping[str, Float[Array, "batch _"]]:
        """Classifies images.

        Args:
            images: Normalized images, of a floating type.
            is_training: For the sake of the original's signature; must be False.

        Returns:
            "logits" [batch, num_classes] and "pool" [batch, features], the pooled features.

        Raises:
            UserError: If it is to be trained, or the images have the wrong rank, channels or type.
        """
        if is_training:
            raise UserError("a folded network cannot be trained: train the original, and fold it again.")
        check_images(images)
        dtype = images.dtype if self.dtype is None else self.dtype
        policy = jmp.Policy(parameter_dtype(dtype), dtype, parameter_dtype(dtype))
        first, *others = self.stem
        x = first(policy.cast_to_compute(images))
        for stem_conv in others:
            x = stem_conv(self.activation(x))
        for block in self.blocks:
            x = block(x)
        mean = spatial_mean(self.activation(self.final_conv(x)))
        outputs: dict[str, Array] = policy.cast_to_output({"logits": self.classifier(mean), "pool": mean * self.gain})
        return outputs


def fold(
    params: Params, config: NFNetConfig | ViTConfig, *, dtype: DTypeLike | None = None
) -> tuple[hk.Transformed, dict[str, dict[str, np.ndarray]]]:
    """Returns a network for inference with the outputs of the original up to rounding, and its parameters.

    A Vision Transformer is returned as it is: its weights are those that it multiplies with. Its parameters tell the
    head and whether positions are learned.

    Args:
        params: Parameters of an NFNet or ViT, also nested in another module or renamed. Others are left out.
        config: What the original was built with.
        dtype: Type of the activations, the images' by default.

    Returns:
        The network, as `hk.transform` gives it: `network.apply(params, None, images, is_training=False)["logits"]`;
        and its parameters. They are computed in float64 and rounded once.

    Raises:
        UserError: If the parameters are not those of one network of this configuration.
    """
    family = find_family(config)
    found = [root for root, one in roots(params).items() if one is family]
    if len(found) != 1:
        raise UserError(f"the parameters are of {len(found)} {family.title}s: give those of one.")
    (root,) = found
    own = {name[len(root) :]: one for name, one in params.items() if f"{name}/".startswith(root)}
    try:
        num_classes = np.shape(own[family.classifier]["w"])[1]
        if isinstance(config, ViTConfig):
            named = {f"ViT/{name}".removesuffix("/"): dict(one) for name, one in own.items()}
            return _transform(partial(_vit, num_classes, config, named, dtype)), named
        return _transform(partial(FoldedNFNet, num_classes, config, dtype=dtype)), _fold(own, config)
    except KeyError as error:
        raise UserError(f"the parameters lack {error}, which a network of this configuration has.") from None


def _transform(build: Callable[[], Callable[..., Any]]) -> hk.Transformed:
    return hk.transform(lambda images, is_training=False: build()(images, is_training))


def _vit(num_classes: int, config: ViTConfig, params: Params, dtype: DTypeLike | None) -> ViT:
    """Returns the network that has these parameters: they tell its head and positions."""
    head: Head = "map" if "ViT/pooling" in params else "cls" if "cls_token" in params.get("ViT", {}) else "gap"
    posemb: PositionEmbedding = "learned" if "position_embedding" in params.get("ViT", {}) else "sincos2d"
    return ViT(num_classes, config, head=head, posemb=posemb, dtype=dtype)


def _fold(own: Params, config: NFNetConfig) -> dict[str, dict[str, np.ndarray]]:
    """Returns the parameters of the folded network; `own` has those of the original by what follows "NFNet/"."""
    gain = ACTIVATIONS[config.activation].gain
    folded: dict[str, dict[str, np.ndarray]] = {}

    def put(name: str, w: np.ndarray, b: np.ndarray, like: Any) -> None:
        dtype = np.promote_types(np.float32, like.dtype)
        folded[ROOT + name] = {"w": w.astype(dtype), "b": b.astype(dtype)}

    def put_conv(name: str, before: float, after: float = 1.0) -> None:
        one = own[f"~/{name}"]
        w = standardized(one["w"], one["gain"], config.floor)
        put(name, w * (before * after), _exact(one["bias"]) * after, one["w"])

    def put_linear(name: str, before: float) -> None:
        one = own[f"~/{name}"]
        put(name, _exact(one["w"]) * before, _exact(one["b"]), one["w"])

    for i in range(len(config.stem_channels)):
        put_conv(f"stem_conv{i}", gain if i else 1.0)
    for i, block in enumerate(config.blocks()):
        name = f"nf_block_{i}" if i else "nf_block"
        scale = 2 * block.alpha * float(own[f"~/{name}"]["skip_gain"])
        if block.has_projection:
            put_conv(f"{name}/~/conv_shortcut", gain * block.beta)
        put_conv(f"{name}/~/conv0", gain * block.beta)
        put_conv(f"{name}/~/conv1", gain)
        put_conv(f"{name}/~/conv1b", gain)
        put_conv(f"{name}/~/conv2", gain, scale)
        put_linear(f"{name}/~/squeeze_excite/~/linear", 1 / scale if abs(scale) > _NOTHING else 0.0)
        put_linear(f"{name}/~/squeeze_excite/~/linear_1", 1.0)
    put_conv("final_conv", 1.0)
    put_linear("linear", gain)
    return folded


def _exact(values: Any) -> np.ndarray:
    return np.asarray(values).astype(np.float64)


def standardized(w: Any, gain: Any, floor: VarianceFloor) -> Float[np.ndarray, "*fan_in filters"]:
    """Returns what `nfnet.kernels.standardize` does, in float64.

    Args:
        w: Filters, the last axis counting them.
        gain: One factor per filter.
        floor: As there.
    """
    rows = _exact(w).reshape(-1, np.shape(w)[-1])
    fan_in = len(rows)
    rows -= rows.mean(axis=0)
    square = np.einsum("ij,ij->j", rows, rows)  # variance * fan_in
    square = np.maximum(square, 1e-4) if floor == "clamp" else square + fan_in * 1e-5
    rows *= _exact(gain) / np.sqrt(square)
    return rows.reshape(np.shape(w))
