"""Which network parameters belong to, told from their shapes: the variant if it has a name, else its configuration.

Shapes do not show everything. Strides and alpha of an NFNet, and the heads of a ViT, are those of the variant that has
these shapes. Without such a variant, strides and alpha are what all published NFNets have, and a ViT's heads those that
its file tells (big_vision's does) or 64 features wide, as in all published ViTs but one.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from nfnet.errors import UserError
from nfnet.models.families import FAMILIES, roots
from nfnet.models.nfnet import VARIANTS, NFNetConfig, find_variant
from nfnet.models.vit import VIT_VARIANTS, ViTConfig
from nfnet.weights.files import Arrays, State

Config = NFNetConfig | ViTConfig
_HEAD_FEATURES = 64
_GIVE = "pass the network's configuration (config=...)"


@dataclasses.dataclass(frozen=True)
class Inferred:
    """What shapes tell.

    Attributes:
        family: A key of `FAMILIES`.
        variant: Name of the variant, or None if none has these shapes.
        config: The network's configuration.
        options: What the family's module takes beside it: head and posemb of a ViT.
        classes: Number of logits, or None without a classifier.
    """

    family: str
    variant: str | None
    config: Config
    options: Mapping[str, Any]
    classes: int | None


def infer(params: Arrays, source: str, config: Config | None = None, *, num_heads: int | None = None) -> Inferred:
    """Tells the network of parameters that have our names.

    Args:
        params: Arrays by module and name, of one network under its own name.
        source: Where they come from, for error messages.
        config: The configuration, if it is known.
        num_heads: Attention heads, if they are known.

    Raises:
        UserError: There is no network in them, or one whose shapes leave its configuration open.
    """
    found = roots(params)
    if len(found) != 1:
        raise UserError(f"{source} holds {len(found)} networks of {', '.join(FAMILIES)}: give a file with one.")
    ((root, family),) = found.items()
    shapes = {
        f"{module}/{name}".removeprefix(root): value.shape
        for module, group in params.items()
        for name, value in group.items()
    }
    head = shapes.get(f"{family.classifier}/w")
    classes = head[-1] if head else None
    options: dict[str, Any] = {}
    if family.name == "vit":
        pooled = "map" if "pooling/probe" in shapes else "gap"
        options["head"] = "cls" if "cls_token" in shapes else pooled
        options["posemb"] = "learned" if "position_embedding" in shapes else "sincos2d"
    variant = None
    try:
        if config is None and family.name == "vit":
            variant, config = _vit(shapes, num_heads)
        elif config is None:
            variant, config = _nfnet(shapes)
    except (LookupError, ValueError, ZeroDivisionError) as error:
        said = str(error).rstrip(".") if isinstance(error, UserError) else "arrays are missing or have other axes"
        raise UserError(f"{source}: no network is known by its shapes ({said}): {_GIVE}.") from None
    if config is None or not isinstance(config, family.config):
        raise UserError(f"{source} is of a {family.title}: {_GIVE}, of that family.")
    return Inferred(family.name, variant, config, options, classes)


Shapes = Mapping[str, tuple[int, ...]]


def _nfnet(shapes: Shapes) -> tuple[str | None, NFNetConfig]:
    seen = _Seen.of(shapes)
    for name in VARIANTS:
        for reading in ("published", "released"):
            config = find_variant(name, reading)
            if _Seen.of_config(config) == seen:
                return name, config
    template = NFNetConfig(widths=VARIANTS["F0"].widths, depths=VARIANTS["F0"].depths)
    if len(seen.depths) != len(template.depths) or len(seen.stem) != len(template.stem_channels):
        raise UserError(f"{len(seen.stem)} stem convolutions and {len(seen.depths)} stages, which leave strides open")
    widths = seen.widths
    return None, dataclasses.replace(
        template,
        widths=widths,
        depths=seen.depths,
        group_width=seen.group_widths,
        expansion=tuple(bottleneck / width for bottleneck, width in zip(seen.bottlenecks, widths, strict=True)),
        se_ratio=seen.hidden[0] / widths[0],
        stem_widths=seen.stem[:-1],
        final_ratio=seen.features // widths[-1],
    )


@dataclasses.dataclass(frozen=True)
class _Seen:
    """What an NFNet's shapes show: stem, and by stage the blocks, widths, bottlenecks, groups and squeeze-excite."""

    stem: tuple[int, ...]
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    bottlenecks: tuple[int, ...]
    group_widths: tuple[int, ...]
    hidden: tuple[int, ...]
    features: int

    @classmethod
    def of(cls, shapes: Shapes) -> _Seen:
        stem = tuple(shapes[f"~/stem_conv{i}/w"][3] for i in range(sum("~/stem_conv" in key for key in shapes)) if
                     f"~/stem_conv{i}/w" in shapes)  # fmt: skip
        blocks = list(_blocks(shapes))
        starts = [i for i, block in enumerate(blocks) if i == 0 or f"{block}/~/conv_shortcut/w" in shapes]
        first = [blocks[i] for i in starts]
        return cls(
            stem=stem,
            depths=tuple(end - start for start, end in zip(starts, [*starts[1:], len(blocks)], strict=True)),
            widths=tuple(shapes[f"{block}/~/conv2/w"][3] for block in first),
            bottlenecks=tuple(shapes[f"{block}/~/conv1/w"][3] for block in first),
            group_widths=tuple(shapes[f"{block}/~/conv1/w"][2] for block in first),
            hidden=tuple(shapes[f"{block}/~/squeeze_excite/~/linear/w"][1] for block in first),
            features=shapes["~/final_conv/w"][3],
        )

    @classmethod
    def of_config(cls, config: NFNetConfig) -> _Seen:
        blocks = config.blocks()
        starts = [sum(config.depths[:i]) for i in range(len(config.depths))]
        first = [blocks[i] for i in starts]
        return cls(
            stem=config.stem_channels,
            depths=config.depths,
            widths=config.widths,
            bottlenecks=tuple(block.bottleneck for block in first),
            group_widths=tuple(block.bottleneck // block.groups for block in first),
            hidden=tuple(block.se_hidden for block in first),
            features=config.features,
        )


def _blocks(shapes: Shapes) -> Iterator[str]:
    block, number = "~/nf_block", 0
    while f"{block}/skip_gain" in shapes:
        yield block
        number += 1
        block = f"~/nf_block_{number}"


def _vit(shapes: Shapes, num_heads: int | None) -> tuple[str | None, ViTConfig]:
    pixels, width = shapes["patch_embedding/w"]
    patch = math.isqrt(pixels // 3)
    depth = 0
    while f"block_{depth}/mlp/hidden/w" in shapes:
        depth += 1
    mlp_width = shapes["block_0/mlp/hidden/w"][1]
    resolution = None
    if positions := shapes.get("position_embedding"):
        resolution = patch * math.isqrt(positions[1] - ("cls_token" in shapes))
    for name, config in VIT_VARIANTS.items():
        shape = (config.patch, config.width, config.depth, config.mlp_width)
        if shape == (patch, width, depth, mlp_width) and num_heads in (None, config.num_heads):
            return name, dataclasses.replace(config, resolution=resolution or config.resolution)
    alike = {
        config.num_heads
        for config in VIT_VARIANTS.values()
        if (config.width, config.depth, config.mlp_width) == (width, depth, mlp_width)
    }
    if num_heads is None and not alike and width % _HEAD_FEATURES:
        raise UserError(f"a width of {width} leaves the number of heads open")
    heads = num_heads or next(iter(alike), width // _HEAD_FEATURES)
    side = resolution or patch * max(1, 224 // patch)
    return None, ViTConfig(patch=patch, width=width, depth=depth, mlp_width=mlp_width, num_heads=heads, resolution=side)


def told_heads(state: State) -> int | None:
    """Returns the attention heads that a file of big_vision tells by the shape [in, head, feature] of its queries."""
    for key, value in state.items():
        if re.search(r"MultiHeadDotProductAttention_[01]/query/kernel$", key) and value.ndim == 3:
            return int(value.shape[1])
    return None
