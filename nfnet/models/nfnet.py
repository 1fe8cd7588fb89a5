"""NFNets: normalizer-free residual networks (Brock, De, Smith and Simonyan 2021, arXiv 2102.06171).

From top to bottom: what a network is made of (`NFNetConfig`), its block, the network, and at the end the
table of published variants. The layers are in nfnet/models/layers.py.

    network = hk.transform(lambda images, is_training: NFNet(1000, "F0")(images, is_training))
    params = network.init(rng, images, True)
    logits = network.apply(params, rng, images, True)["logits"]

Activations keep unit variance at initialization without any normalization layer: every convolution
standardizes its weights, every nonlinearity is scaled to preserve variance, and each residual block
divides its input by the standard deviation expected there (beta) and adds only alpha times its branch.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice
from types import MappingProxyType
from typing import Annotated, Literal

import haiku as hk
import jax.numpy as jnp
import jmp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from nfnet.errors import UserError, unknown_name
from nfnet.kernels import VarianceFloor, deferred, gate
from nfnet.models.activations import ACTIVATIONS, scaled_activation
from nfnet.models.layers import Linear, SqueezeExcite, StochDepth, WSConv2D, average_pool, check_images, spatial_mean
from nfnet.models.parts import Part
from nfnet.models.precision import parameter_dtype
from nfnet.ranges import CLASSES, RATE, Range, check_fields, check_value, shown

PlusWidth = Literal["published", "released"]

# The largest networks published have a hundred blocks and some thousand channels; these bounds keep a slip of the pen
# from exhausting the memory while the network is traced.
_CHANNELS = Range(1, 2**16)
_SIDE = Range(1, 2**14)
_MOST_STAGES = 16
_MOST_BLOCKS = 1000


@dataclasses.dataclass(frozen=True)
class BlockConfig:
    """What one residual block is made of.

    Attributes:
        in_channels: Channels of its input.
        out_channels: Channels of its output.
        bottleneck: Channels of its two 3x3 convolutions.
        groups: Groups of channels that these convolutions keep apart.
        se_hidden: Width of the squeeze-excite layer.
        stride: 2 where a stage halves the resolution, else 1.
        beta: 1 / expected standard deviation of the input.
        alpha: Share of the branch that is added to the shortcut.
        activation: See `nfnet.models.activations.ACTIVATIONS`.
        floor: See `nfnet.kernels.standardize`.
    """

    in_channels: int
    out_channels: int
    bottleneck: int
    groups: int
    se_hidden: int
    stride: int = 1
    beta: float = 1.0
    alpha: float = 0.2
    activation: str = "gelu"
    floor: VarianceFloor = "clamp"

    @property
    def has_projection(self) -> bool:
        """Whether the shortcut is a 1x1 convolution (a transition block) rather than the input itself."""
        return self.stride > 1 or self.in_channels != self.out_channels


@dataclasses.dataclass(frozen=True, kw_only=True)
class NFNetConfig:
    """A member of the family, published (see `VARIANTS`) or of your own making.

    Per-stage fields are tuples of equal length; group_width and expansion may also be one value for all.

    Attributes:
        widths: Output channels of each stage.
        depths: Residual blocks of each stage.
        strides: Stride of each stage's first block, 1 or 2.
        group_width: Channels of a group in the 3x3 convolutions.
        expansion: Bottleneck channels as a share of the stage's width.
        round_bottleneck: Round the bottleneck down to a multiple of the group width, as the released code
            does, rather than refuse the configuration.
        se_ratio: Hidden units of squeeze-excite as a share of the stage's width.
        stem_widths: Filters of the stem's 3x3 convolutions but the last, which has half the width of stage 1.
        stem_strides: Strides of all stem convolutions.
        final_ratio: Channels of the last 1x1 convolution as a multiple of the last stage's width.
        alpha: Share of each residual branch that is added to its shortcut.
        activation: A name in `nfnet.models.activations.ACTIVATIONS`.
        floor: How weight standardization avoids dividing by zero; see `nfnet.kernels.standardize`.
        dropout_rate: Dropout on the pooled features in training.
        stochastic_depth_rate: Rate L of stochastic depth: block i of n is dropped with probability L * i / n.
        train_resolution: Side in pixels of training images in Brock et al. 2021.
        test_resolution: Side in pixels of test images in Brock et al. 2021.

    Raises:
        UserError: If the fields do not describe a network.
    """

    widths: Annotated[tuple[int, ...], _CHANNELS]
    depths: Annotated[tuple[int, ...], Range(1, _MOST_BLOCKS)]
    strides: Annotated[tuple[int, ...], Range(1, 2)] = (1, 2, 2, 2)
    group_width: Annotated[int | tuple[int, ...], _CHANNELS] = 128
    expansion: Annotated[float | tuple[float, ...], Range(0, 16, above=True)] = 0.5
    round_bottleneck: bool = False
    se_ratio: Annotated[float, Range(0, 16, above=True)] = 0.5
    stem_widths: Annotated[tuple[int, ...], _CHANNELS] = (16, 32, 64)
    stem_strides: Annotated[tuple[int, ...], Range(1, 16)] = (2, 1, 1, 2)
    final_ratio: Annotated[int, Range(1, 64)] = 2
    alpha: Annotated[float, Range(0, 10)] = 0.2
    activation: str = "gelu"
    floor: VarianceFloor = "clamp"
    dropout_rate: Annotated[float, RATE] = 0.2
    stochastic_depth_rate: Annotated[float, RATE] = 0.25
    train_resolution: Annotated[int | None, _SIDE] = None
    test_resolution: Annotated[int | None, _SIDE] = None

    def __post_init__(self) -> None:
        check_fields(self)  # which also makes lists tuples: a configuration is hashable
        _validate(self)

    @property
    def stem_channels(self) -> tuple[int, ...]:
        """Filters of every stem convolution."""
        return (*self.stem_widths, self.widths[0] // 2)

    @property
    def features(self) -> int:
        """Number of pooled features."""
        return self.final_ratio * self.widths[-1]

    @property
    def smallest_image(self) -> int:
        """Least side in pixels at which every strided layer still has two pixels to choose from."""
        return math.prod(self.stem_strides) * math.prod(self.strides) // 2 + 1

    def blocks(self) -> tuple[BlockConfig, ...]:
        """Returns the residual blocks in order.

        The expected variance of a block's input grows by alpha^2 per block. The first block of a stage
        applies its activation before the shortcut branches off, so that its output starts again at one
        (Section 3).
        """
        blocks = []
        channels = self.stem_channels[-1]
        expected_std = 1.0
        for stage, width in enumerate(self.widths):
            bottleneck, groups = self._bottleneck(stage)
            for index in range(self.depths[stage]):
                block = BlockConfig(
                    in_channels=channels,
                    out_channels=width,
                    bottleneck=bottleneck,
                    groups=groups,
                    se_hidden=int(width * self.se_ratio),
                    stride=self.strides[stage] if index == 0 else 1,
                    beta=1.0 / expected_std,
                    alpha=self.alpha,
                    activation=self.activation,
                    floor=self.floor,
                )
                blocks.append(block)
                channels = width
                expected_std = math.sqrt((1.0 if index == 0 else expected_std**2) + self.alpha**2)
        return tuple(blocks)

    def _bottleneck(self, stage: int) -> tuple[int, int]:
        """Returns channels and groups of a stage's 3x3 convolutions."""
        width = self.widths[stage]
        group = self.group_width[stage] if isinstance(self.group_width, tuple) else self.group_width
        expansion = self.expansion[stage] if isinstance(self.expansion, tuple) else self.expansion
        channels = int(width * expansion)
        groups = channels // group if group >= 1 else 0
        if groups < 1 or (channels % group and not self.round_bottleneck):
            raise UserError(
                f"stage {stage + 1} has a bottleneck of {channels} channels ({width} x {expansion}), which "
                f"cannot be divided into groups of {group}: change widths, expansion or group_width."
            )
        return groups * group, groups


class NFBlock(hk.Module):
    """Residual block with a bottleneck of two grouped 3x3 convolutions (Section 5).

    Parameter skip_gain []: SkipInit, zero at first, so that training starts from shortcuts alone.
    """

    def __init__(self, config: BlockConfig, *, stochastic_depth_rate: float = 0.0, name: str | None = None):
        """Configures the block.

        Args:
            config: Its shape.
            stochastic_depth_rate: Probability with which training drops its branch for an example.
            name: Haiku module name.
        """
        super().__init__(name=name)
        c = self.config = config
        self.first_activation = scaled_activation(c.activation, c.beta)
        self.activation = scaled_activation(c.activation)
        if c.has_projection:
            self.conv_shortcut = WSConv2D(c.out_channels, 1, floor=c.floor, name="conv_shortcut")
        self.conv0 = WSConv2D(c.bottleneck, 1, floor=c.floor, name="conv0")
        self.conv1 = WSConv2D(c.bottleneck, 3, stride=c.stride, groups=c.groups, floor=c.floor, name="conv1")
        self.conv1b = WSConv2D(c.bottleneck, 3, groups=c.groups, floor=c.floor, name="conv1b")
        self.conv2 = WSConv2D(c.out_channels, 1, floor=c.floor, name="conv2")
        self.squeeze_excite = SqueezeExcite(c.out_channels, c.se_hidden, name="squeeze_excite")
        self.stoch_depth = StochDepth(stochastic_depth_rate, name="stoch_depth")

    def __call__(
        self, x: Float[Array, "batch height width in_channels"], is_training: bool
    ) -> Float[Array, "batch out_height out_width out_channels"]:
        """Returns shortcut + alpha * skip_gain * branch."""
        shortcut = x
        if self.config.has_projection:
            shortcut = self.first_activation(x)
            shortcut = self.conv_shortcut(average_pool(shortcut) if self.config.stride > 1 else shortcut)
        out = self.conv0(deferred(self.first_activation)(x))
        activation = deferred(self.activation)
        out = self.conv1(activation(out))
        out = self.conv1b(activation(out))
        out = self.conv2(activation(out))
        gates = 2 * self.squeeze_excite(out)  # 2: gates are near 1/2 at first
        skip_gain = hk.get_parameter("skip_gain", (), parameter_dtype(x.dtype), jnp.zeros)
        # Stochastic depth drops an example's gates, and so its branch.
        return shortcut + gate(out, self.stoch_depth(gates, is_training), self.config.alpha * skip_gain)


class NFNet(hk.Module):
    """The network: stem, residual stages, final convolution, pooling and a linear classifier."""

    def __init__(
        self,
        num_classes: int,
        variant: str | NFNetConfig = "F0",
        *,
        plus_width: PlusWidth = "published",
        stochastic_depth_rate: float | None = None,
        dropout_rate: float | None = None,
        dtype: DTypeLike | None = None,
        remat: bool = False,
        name: str = "NFNet",
    ):
        """Configures the network.

        Args:
            num_classes: Number of logits.
            variant: A name in `VARIANTS`, or a configuration.
            plus_width: Which reading of a named '+' variant; see `find_variant`.
            stochastic_depth_rate: Overrides the variant's rate.
            dropout_rate: Overrides the variant's rate.
            dtype: Type of the activations, the images' by default. Parameters and results are float32 also
                when this is bfloat16.
            remat: Recompute each block in the backward pass rather than keep its activations. XLA's CPU
                backend saves no memory by it unless told --xla_disable_hlo_passes=cse_barrier_expander.
            name: Haiku module name, which starts the names of all parameters.

        Raises:
            UserError: If the variant is unknown, or a number is out of range.
        """
        super().__init__(name=name)
        check_value("num_classes", num_classes, Annotated[int, CLASSES])
        config = find_variant(variant, plus_width)
        if stochastic_depth_rate is not None:
            config = dataclasses.replace(config, stochastic_depth_rate=stochastic_depth_rate)
        if dropout_rate is not None:
            config = dataclasses.replace(config, dropout_rate=dropout_rate)
        self.config = config
        self.dtype = dtype
        self.remat = remat

        self.activation = scaled_activation(config.activation)
        self.stem_convs = [
            WSConv2D(filters, 3, stride=stride, floor=config.floor, name=f"stem_conv{i}")
            for i, (filters, stride) in enumerate(zip(config.stem_channels, config.stem_strides, strict=True))
        ]
        blocks = config.blocks()
        drop_rates = [config.stochastic_depth_rate * i / len(blocks) for i in range(len(blocks))]
        self.blocks = [
            NFBlock(block, stochastic_depth_rate=rate, name="nf_block")
            for block, rate in zip(blocks, drop_rates, strict=True)
        ]
        self.final_conv = WSConv2D(config.features, 1, floor=config.floor, name="final_conv")
        self.classifier = Linear(num_classes, w_init=hk.initializers.RandomNormal(0.01), name="linear")

    def __call__(
        self, images: Float[Array, "batch height width 3"], is_training: bool
    ) -> Mapping[str, Float[Array, "batch _"]]:
        """Classifies images.

        Args:
            images: Normalized images, of a floating type.
            is_training: Whether to apply dropout and stochastic depth, which need an rng.

        Returns:
            "logits" [batch, num_classes] and "pool" [batch, features], the pooled features before dropout.

        Raises:
            UserError: If the images have the wrong rank, channels or type, or are too small.
        """
        self._check(images)
        dtype = images.dtype if self.dtype is None else self.dtype
        full = parameter_dtype(dtype)
        policy = jmp.Policy(param_dtype=full, compute_dtype=dtype, output_dtype=full)

        x = self.stem(policy.cast_to_compute(images))
        for block in self.blocks:
            apply = partial(block, is_training=is_training)
            x = hk.remat(apply)(x) if self.remat else apply(x)
        outputs: dict[str, Array] = policy.cast_to_output(self.head(x, is_training))
        return outputs

    def stem(self, images: Float[Array, "batch height width 3"]) -> Float[Array, "batch rows columns _"]:
        """Returns the input of the first block: 3x3 convolutions with activations in between."""
        x = self.stem_convs[0](images)
        for stem_conv in self.stem_convs[1:]:
            x = stem_conv(deferred(self.activation)(x))
        return x

    def head(self, x: Float[Array, "batch rows columns _"], is_training: bool) -> Mapping[str, Float[Array, "batch _"]]:
        """Returns logits and pooled features of the last block's output."""
        pool = features = spatial_mean(self.activation(self.final_conv(x)))
        if is_training and self.config.dropout_rate > 0:
            features = hk.dropout(hk.next_rng_key(), self.config.dropout_rate, features)
        return {"logits": self.classifier(features), "pool": pool}

    def _check(self, images: Array) -> None:
        check_images(images)
        _, height, width, _ = images.shape
        smallest = self.config.smallest_image
        if min(height, width) < smallest:
            raise UserError(
                f"images have {height} x {width} pixels, too few for the strides of this network: "
                f"give at least {smallest} x {smallest}."
            )


def find_variant(variant: str | NFNetConfig, plus_width: PlusWidth = "published") -> NFNetConfig:
    """Returns the configuration of a variant.

    Args:
        variant: A name in `VARIANTS`; a configuration is returned as it is.
        plus_width: The '+' variants' first stage has a bottleneck of 0.5 * 384 = 192 channels, no multiple
            of the group width 128. "published" keeps 192 channels in one group, which gives the
            parameters and FLOPs that Brock et al. 2021 print (Table 5). "released" rounds down to 128
            channels, as the released code does. Other variants are the same in both.

    Raises:
        UserError: If the name or the reading is unknown, or a reading is asked of a configuration.
    """
    check_value("plus_width", plus_width, PlusWidth)
    if isinstance(variant, NFNetConfig):
        if plus_width != "published":
            raise UserError("plus_width is for named variants: set group_width in the configuration.")
        return variant
    if variant not in VARIANTS:
        raise unknown_name("variant", shown(variant, quote=False), VARIANTS)
    config = VARIANTS[variant]
    if plus_width == "released":
        return dataclasses.replace(config, group_width=128, round_bottleneck=True)
    return config


def nfnet_parts(config: NFNetConfig, resolution: int, num_classes: int) -> Iterator[Part]:
    """Yields what a network is made of, for a square image: "stem", the blocks of "stage 1" and on, and "head".

    Raises:
        UserError: If the image is too small.
    """
    if resolution < config.smallest_image:
        raise UserError(
            f"resolution is {resolution}, too small for the strides of this network: give at least "
            f"{config.smallest_image}."
        )
    # Stem and head, without what they do not depend on: networks share them. Activations are elementwise, not counted.
    ends = dataclasses.replace(
        config,
        depths=(1,) * len(config.depths),
        activation="identity",
        dropout_rate=0.0,
        stochastic_depth_rate=0.0,
        train_resolution=None,
        test_resolution=None,
    )
    side = resolution
    for stride in config.stem_strides:
        side = -(-side // stride)
    yield Part("stem", _stem, (ends,), (1, resolution, resolution, 3), side)
    blocks = iter(config.blocks())
    for stage, depth in enumerate(config.depths, start=1):
        for block in islice(blocks, depth):
            shape = (1, side, side, block.in_channels)
            side = -(-side // block.stride)
            alike = dataclasses.replace(block, beta=1.0, activation="identity")
            yield Part(f"stage {stage}", _block, (alike,), shape, side, blocks=1)
    yield Part("head", _head, (num_classes, ends), (1, side, side, config.widths[-1]), 1)


def _stem(config: NFNetConfig, x: Array) -> Array:
    return NFNet(1, config).stem(x)


def _block(config: BlockConfig, x: Array) -> Array:
    return NFBlock(config)(x, is_training=False)


def _head(num_classes: int, config: NFNetConfig, x: Array) -> Array:
    return NFNet(num_classes, config).head(x, is_training=False)["logits"]


def _validate(config: NFNetConfig) -> None:
    """Raises UserError unless the fields, each within its range, describe a network together."""
    stages = len(config.widths)
    if not stages:
        raise UserError("widths is empty: a network needs at least one stage.")
    if max(stages, len(config.stem_widths)) > _MOST_STAGES:
        raise UserError(
            f"widths and stem_widths have {stages} and {len(config.stem_widths)} values: give at most {_MOST_STAGES}."
        )
    for name in ("depths", "strides", "group_width", "expansion"):
        values = getattr(config, name)
        if isinstance(values, tuple) and len(values) != stages:
            raise UserError(f"{name} has {len(values)} values for {stages} stages: give one per stage.")
    if sum(config.depths) > _MOST_BLOCKS:
        raise UserError(f"depths is {config.depths}, {sum(config.depths)} blocks: make it at most {_MOST_BLOCKS}.")
    if config.widths[0] < 2:
        raise UserError("widths starts with 1, but the stem needs half of the first stage's width.")
    if len(config.stem_strides) != len(config.stem_channels):
        raise UserError(
            f"stem_strides has {len(config.stem_strides)} values for {len(config.stem_channels)} stem "
            "convolutions: give one for each of stem_widths and one for the last."
        )
    if int(min(config.widths) * config.se_ratio) < 1:
        raise UserError(f"se_ratio is {config.se_ratio}, which leaves squeeze-excite no channel: make it larger.")
    if config.activation not in ACTIVATIONS:
        raise unknown_name("activation", shown(config.activation, quote=False), ACTIVATIONS)
    config.blocks()  # raises where a bottleneck cannot be divided into groups


# Dropout rate, training resolution and test resolution of F0 to F7.
_RECIPES = (
    (0.2, 192, 256),
    (0.3, 224, 320),
    (0.4, 256, 352),
    (0.4, 320, 416),
    (0.5, 384, 512),
    (0.5, 416, 544),
    (0.5, 448, 576),
    (0.5, 480, 608),
)


def _family(suffix: str, widths: tuple[int, ...], group_width: int | tuple[int, ...]) -> dict[str, NFNetConfig]:
    return {
        f"F{n}{suffix}": NFNetConfig(
            widths=widths,
            depths=tuple((n + 1) * blocks for blocks in (1, 2, 6, 3)),
            group_width=group_width,
            dropout_rate=dropout_rate,
            train_resolution=train_resolution,
            test_resolution=test_resolution,
        )
        for n, (dropout_rate, train_resolution, test_resolution) in enumerate(_RECIPES)
    }


VARIANTS: Mapping[str, NFNetConfig] = MappingProxyType(
    {
        **_family("", (256, 512, 1536, 1536), 128),
        **_family("+", (384, 768, 2048, 2048), (192, 128, 128, 128)),
    }
)
