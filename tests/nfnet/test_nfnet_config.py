"""Bad input to the family: one sentence that names the field and the remedy."""

import dataclasses
import math

import haiku as hk
import jax
import jax.numpy as jnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import golden
from support.networks import MICRO, TINY, abstract_parameters, network

import nfnet
from nfnet import VARIANTS, NFNetConfig, UserError
from nfnet.models.layers import WSConv2D
from nfnet.models.nfnet import find_variant
from nfnet.ranges import kinds_of


def refusal(function):
    with pytest.raises(UserError) as error:
        function()
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def apply(images, *args, **kwargs):
    net = network(*args, **kwargs)
    return jax.eval_shape(lambda x: net.init(jax.random.key(0), x, False), images)


IMAGES = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)


@pytest.mark.parametrize(("name", "nearest"), [("F8", "F7"), ("f7+", "F7+"), ("F10+", "F1+"), ("NFNet-F3", "F3")])
def test_unknown_variants_list_the_known_and_the_nearest(name, nearest):
    text = refusal(lambda: apply(IMAGES, 10, name))
    assert repr(name) in text
    assert ", ".join(VARIANTS) in text
    assert f"nearest is {nearest!r}" in text


@pytest.mark.parametrize("shape", [(64, 64, 3), (1, 64, 64, 1), (1, 3, 64, 64), (1, 64, 64, 4), (1, 1, 64, 64, 3)])
def test_images_of_the_wrong_rank_or_channels(shape):
    text = refusal(lambda: apply(jax.ShapeDtypeStruct(shape, jnp.float32), 10, TINY))
    assert str(shape) in text
    assert "[batch, height, width, 3]" in text


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int32, jnp.bool_])
def test_images_of_integers(dtype):
    assert "floating" in refusal(lambda: apply(jax.ShapeDtypeStruct((1, 64, 64, 3), dtype), 10, TINY))


def test_too_few_pixels():
    small = jax.ShapeDtypeStruct((1, 64, 16, 3), jnp.float32)
    text = refusal(lambda: apply(small, 10, MICRO))
    assert "64 x 16" in text
    assert "17 x 17" in text
    apply(jax.ShapeDtypeStruct((1, 17, 17, 3), jnp.float32), 10, MICRO)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"widths": ()}, ("widths", "at least one stage")),
        ({"widths": (64,) * 17}, ("17", "at most 16")),
        ({"depths": (300, 300, 300, 300)}, ("1200 blocks", "at most 1000")),
        ({"widths": (16, 0, 96, 96)}, ("widths", "whole numbers from 1 to 65536")),
        ({"widths": (1, 32, 96, 96)}, ("widths", "half")),
        ({"widths": (16, 36, 96, 96)}, ("stage 2", "18 channels", "groups of 8")),
        ({"widths": (8, 32, 96, 96)}, ("stage 1", "4 channels")),
        ({"depths": (1, 2, 6)}, ("depths", "3 values for 4 stages")),
        ({"depths": (1, 2, 6, 0)}, ("depths", "whole numbers from 1 to 1000")),
        ({"depths": (1, 2, 6, 1.5)}, ("depths", "whole")),
        ({"strides": (1, 2, 2)}, ("strides", "3 values for 4 stages")),
        ({"strides": (1, 2, 3, 2)}, ("strides", "from 1 to 2")),
        ({"group_width": (8, 8)}, ("group_width", "2 values")),
        ({"group_width": 7}, ("groups of 7",)),
        ({"group_width": 0}, ("group_width is 0", "from 1 to 65536")),
        ({"expansion": (0.5, 0.5)}, ("expansion", "2 values")),
        ({"stem_strides": (2, 2)}, ("stem_strides", "4 stem")),
        ({"final_ratio": 0}, ("final_ratio",)),
        ({"se_ratio": 0.01}, ("se_ratio",)),
        ({"dropout_rate": 1.0}, ("dropout_rate", "less than 1")),
        ({"stochastic_depth_rate": -0.1}, ("stochastic_depth_rate", "at least 0")),
        ({"activation": "gelo"}, ("activation 'gelo'", "nearest is 'gelu'")),
        ({"floor": "clip"}, ("floor 'clip'", "clamp, add")),
    ],
)
def test_configurations_that_are_no_network(changes, words):
    text = refusal(lambda: dataclasses.replace(MICRO, **changes))
    for word in words:
        assert word in text


NUMBERS = sorted(name for name, kind in kinds_of(NFNetConfig).items() if kind.range)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize(
    "value", [-1, math.nan, math.inf, 1e308, 10**9, pytest.param(10**5000, id="huge"), True, "1", [[1]], 1 + 2j]
)
def test_every_number_has_a_range(name, value):
    kind = kinds_of(NFNetConfig)[name]
    for wrong in [value] if kind.single else [value, (value,) * 4]:
        text = refusal(lambda wrong=wrong: dataclasses.replace(MICRO, **{name: wrong}))
        assert text.startswith(f"{name} is ")
        assert str(kind) in text


@pytest.mark.parametrize(
    ("kwargs", "word"),
    [
        ({"dropout_rate": math.nan}, "dropout_rate is nan"),
        ({"dropout_rate": 1.5}, "dropout_rate is 1.5"),
        ({"stochastic_depth_rate": 1.0}, "stochastic_depth_rate is 1.0"),
        ({"plus_width": "paper"}, "published, released"),
        ({"plus_width": "released"}, "group_width"),
    ],
)
def test_arguments_out_of_range(kwargs, word):
    assert word in refusal(lambda: apply(IMAGES, 10, TINY, **kwargs))


def test_no_classes():
    assert "num_classes is 0" in refusal(lambda: apply(IMAGES, 0, TINY))


@pytest.mark.parametrize(("filters", "channels"), [(6, 8), (8, 6)])
def test_convolutions_that_cannot_be_grouped(filters, channels):
    net = hk.transform(lambda x: WSConv2D(filters, 3, groups=4)(x))
    x = jax.ShapeDtypeStruct((1, 4, 4, channels), jnp.float32)
    assert "4 groups" in refusal(lambda: jax.eval_shape(net.init, jax.random.key(0), x))


def test_released_reading_rounds_down_and_changes_plus_variants_alone():
    assert find_variant("F0+").blocks()[0].bottleneck == 192
    assert find_variant("F0+", "released").blocks()[0].bottleneck == 128
    assert find_variant("F3", "released").blocks() == find_variant("F3").blocks()


def test_configurations_are_hashable_even_from_lists():
    config = NFNetConfig(widths=[16, 32, 96, 96], depths=[1, 2, 6, 3], group_width=[8, 8, 8, 8])
    assert config == dataclasses.replace(MICRO, group_width=(8, 8, 8, 8))
    assert isinstance(hash(config), int)


@settings(deadline=None, derandomize=True, max_examples=10)
@given(
    stages=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 2), st.sampled_from([1, 2])), min_size=1, max_size=3),
    group_width=st.sampled_from([2, 4]),
    activation=st.sampled_from(["gelu", "relu", "silu", "tanh"]),
)
def test_any_valid_configuration_builds_what_it_says(stages, group_width, activation):
    config = NFNetConfig(
        widths=tuple(8 * width for width, _, _ in stages),
        depths=tuple(depth for _, depth, _ in stages),
        strides=tuple(stride for _, _, stride in stages),
        group_width=group_width,
        stem_widths=(4,),
        stem_strides=(1, 2),
        activation=activation,
    )
    params = golden.flatten(abstract_parameters(network(3, config), side=config.smallest_image + 8))
    blocks = config.blocks()
    assert sum(key.endswith("skip_gain") for key in params) == len(blocks) == sum(config.depths)
    assert params["NFNet/~/linear/w"].shape == (config.features, 3)
    for block, number in zip(blocks, range(len(blocks)), strict=True):
        prefix = f"NFNet/~/nf_block_{number}/~" if number else "NFNet/~/nf_block/~"
        assert params[f"{prefix}/conv1/w"].shape == (3, 3, group_width, block.bottleneck)
        assert (f"{prefix}/conv_shortcut/w" in params) == block.has_projection


def test_exports_are_lazy_and_complete():
    for name in nfnet.__all__:
        assert getattr(nfnet, name) is not None
        assert name in dir(nfnet)
    with pytest.raises(AttributeError, match="NFnet"):
        _ = nfnet.NFnet
