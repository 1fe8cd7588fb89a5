"""Vision Transformers: properties that hold for every head, precision and input, and refused inputs."""

import dataclasses
import functools
import math

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import golden
from support.networks import quick_jit
from support.reference_vit import ReferenceViT, make_big_vision_arrays
from support.vits import SHALLOW, TINY, abstract_vit_parameters, random_parameters, vit_network

import nfnet
from nfnet import VIT_VARIANTS, UserError, ViT, ViTConfig
from nfnet.cost.cost import network_cost
from nfnet.cost.counter import count
from nfnet.models.vit import sincos2d
from nfnet.ranges import kinds_of
from nfnet.weights.big_vision import from_big_vision

SIDE = TINY.resolution
few = settings(deadline=None, derandomize=True, max_examples=8)
kinds = st.sampled_from([("cls", "learned"), ("gap", "sincos2d"), ("map", "learned")])
seeds = st.integers(0, 2**16)


@functools.cache
def network(head, posemb):
    """Returns a network, its parameters and its compiled evaluation."""
    net = vit_network(5, TINY, head=head, posemb=posemb)
    return net, random_parameters(net, SIDE), quick_jit(lambda params, images: net.apply(params, None, images, False))


def images_of(seed, batch=4):
    return np.random.default_rng(seed).standard_normal((batch, SIDE, SIDE, 3), np.float32)


@few
@given(kinds, seeds, st.permutations(range(4)))
def test_images_of_a_batch_do_not_see_each_other(kind, seed, order):
    _, params, evaluate = network(*kind)
    images = images_of(seed)
    others = np.concatenate([images[:1], images_of(seed + 1)[1:]])
    whole, permuted, changed = (evaluate(params, x) for x in (images, images[order], others))
    for name in ("logits", "features"):
        np.testing.assert_allclose(permuted[name], whole[name][np.array(order)], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(changed[name][0], whole[name][0], rtol=1e-5, atol=1e-5)
        assert not np.allclose(changed[name][1:], whole[name][1:], rtol=1e-2)


@pytest.mark.slow
@few
@given(seeds)
def test_jit_equals_eager(seed):
    net, params, evaluate = network("map", "learned")
    images = images_of(seed)
    eager, jitted = net.apply(params, None, images, False), evaluate(params, images)
    for name in ("logits", "features"):
        np.testing.assert_allclose(eager[name], jitted[name], rtol=1e-5, atol=1e-5)


@few
@given(kinds, seeds)
def test_bfloat16_is_near_float32(kind, seed):
    _, params, evaluate = network(*kind)
    images = images_of(seed)
    exact, half = evaluate(params, images), evaluate(params, jnp.asarray(images, jnp.bfloat16))
    for name in ("logits", "features"):
        assert half[name].dtype == jnp.float32
        # bfloat16 has eight bits; the errors of a few roundings add up over two blocks.
        assert 0 < golden.deviation(half[name], exact[name]) < 8 * 2**-8


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("head", "columns"), [("cls", 2), ("gap", 3), ("map", 1)])
def test_every_head_is_that_of_the_equations(head, columns):
    rng = np.random.default_rng(columns)
    arrays = make_big_vision_arrays(TINY, head, num_classes=5, side=2)
    params = from_big_vision(arrays)
    # Checkpoints are of square images; the network is not bound to them.
    arrays["pos_embedding"] = positions = rng.standard_normal((1, 2 * columns, TINY.width))
    class_position = np.zeros((1, int(head == "cls"), TINY.width))
    params["ViT"]["position_embedding"] = np.concatenate([class_position, positions], axis=1)
    images = rng.standard_normal((2, 2 * TINY.patch, columns * TINY.patch, 3))

    logits, features = ReferenceViT(arrays, TINY, head)(images)
    net = vit_network(5, TINY, head=head)
    outputs = quick_jit(lambda params, images: net.apply(params, None, images, False))(params, images)
    # JAX's attention takes its softmax in float32.
    assert golden.deviation(outputs["logits"], logits) < 1e-6
    assert golden.deviation(outputs["features"], features) < 1e-6


def test_rematerialization_costs_a_forward_pass_and_changes_nothing():
    images = images_of(0)

    def gradient_of(remat):
        net = vit_network(5, SHALLOW, dropout_rate=0.2, stochastic_depth_rate=0.3, remat=remat)

        def loss(params, images):
            return jnp.mean(net.apply(params, jax.random.key(1), images, True)["logits"] ** 2)

        return jax.grad(loss)

    params = random_parameters(vit_network(5, SHALLOW), SIDE)
    plain, again = (quick_jit(gradient_of(remat))(params, images) for remat in (False, True))
    for expected, actual in zip(jax.tree.leaves(plain), jax.tree.leaves(again), strict=True):
        assert golden.deviation(actual, expected) < 1e-4
    extra = count(gradient_of(True), params, images).macs - count(gradient_of(False), params, images).macs
    encoder = network_cost(SHALLOW, SIDE).stages[1].macs * len(images)
    assert 0.5 * encoder < extra <= encoder


def test_dropping_acts_in_training_alone():
    net = vit_network(5, TINY, head="map", dropout_rate=0.3, stochastic_depth_rate=0.5)
    _, params, evaluate = network("map", "learned")
    images = images_of(0)

    @quick_jit
    def train(rng):
        return net.apply(params, rng, images, True)["logits"]

    evaluated = net.apply(params, None, images, False)["logits"]
    np.testing.assert_allclose(evaluated, evaluate(params, images)["logits"], rtol=1e-5, atol=1e-5)
    first, again, second = train(jax.random.key(0)), train(jax.random.key(0)), train(jax.random.key(1))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, second, rtol=1e-2)
    assert not np.allclose(first, evaluated, rtol=1e-2)


def test_classifier_starts_at_zero_and_its_bias_where_told():
    net = vit_network(5, TINY, logit_bias=-10.0)
    params = quick_jit(lambda rng, x: net.init(rng, x, False))(jax.random.key(0), images_of(0))
    outputs = quick_jit(lambda params, x: net.apply(params, None, x, False))(params, images_of(0))
    np.testing.assert_array_equal(outputs["logits"], np.full((4, 5), -10.0))
    assert np.std(outputs["features"]) > 0.1


def test_initial_weights_have_the_published_scales():
    config = ViTConfig(patch=4, width=256, depth=1, mlp_width=512, num_heads=4, resolution=64)
    net = vit_network(5, config, head="map")
    images = np.zeros((1, 64, 64, 3), np.float32)
    params = quick_jit(lambda rng, x: net.init(rng, x, False))(jax.random.key(0), images)
    xavier = {
        "ViT/block_0/attention/qkv": 2 / (256 + 256),  # each of the three by itself
        "ViT/block_0/attention/out": 2 / (256 + 256),
        "ViT/block_0/mlp/hidden": 2 / (256 + 512),
        "ViT/pooling/key_value": 2 / (256 + 256),
        "ViT/patch_embedding": 1 / (4 * 4 * 3),
    }
    for module, variance in xavier.items():
        assert np.var(params[module]["w"]) == pytest.approx(variance, rel=0.05), module
    assert np.var(params["ViT"]["position_embedding"]) == pytest.approx(1 / 256, rel=0.05)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_parameters_are_float32_whatever_the_activations(dtype):
    params = abstract_vit_parameters(vit_network(5, TINY, head="map", dtype=dtype), SIDE, jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}


@pytest.mark.parametrize("kind", [("cls", "learned"), ("gap", "sincos2d"), ("map", "learned")])
def test_a_batch_may_be_empty(kind):
    _, params, evaluate = network(*kind)
    outputs = evaluate(params, np.zeros((0, SIDE, SIDE, 3), np.float32))
    assert (outputs["logits"].shape, outputs["features"].shape) == ((0, 5), (0, TINY.width))


def test_float16_is_near_float32():
    net = vit_network(5, TINY, head="map", dtype=jnp.float16)
    images = jnp.asarray(np.random.default_rng(0).standard_normal((2, 16, 16, 3)), jnp.float32)
    params = random_parameters(net, 16)
    logits = [
        quick_jit(lambda params, net=one: net.apply(params, None, images, False)["logits"])(params)
        for one in (net, vit_network(5, TINY, head="map"))
    ]
    scale = float(jnp.max(jnp.abs(logits[1])))
    np.testing.assert_allclose(logits[0], logits[1], atol=64 * 2**-11 * scale)  # 64 roundings, all of one sign


def test_fixed_positions_have_no_parameters_and_tell_patches_apart():
    _, params, evaluate = network("gap", "sincos2d")
    assert "ViT" not in params
    images = np.zeros((4, SIDE, SIDE, 3), np.float32)
    for image, column in zip(images, range(0, SIDE, TINY.patch), strict=True):
        image[: TINY.patch, column : column + TINY.patch] = 1  # the same patch at another place
    logits = evaluate(params, images)["logits"]
    assert np.ptp(logits, axis=0).max() > 0.01 * np.abs(logits).max()


def test_sincos2d_rotates_by_its_frequencies():
    embedding = sincos2d(3, 5, 12).reshape(3, 5, 4, 3)
    frequencies = np.array([1.0, 0.01, 0.0001])
    for row in range(3):
        for column in range(5):
            sin_x, cos_x, sin_y, cos_y = embedding[row, column]
            np.testing.assert_allclose(np.arctan2(sin_x, cos_x) % (2 * np.pi), column * frequencies % (2 * np.pi))
            np.testing.assert_allclose(np.arctan2(sin_y, cos_y) % (2 * np.pi), row * frequencies % (2 * np.pi))


def test_names_are_exported_and_configurations_hashable():
    assert nfnet.ViT is ViT
    assert {"ViT", "ViTConfig", "VIT_VARIANTS"} <= set(dir(nfnet))
    assert len(set(VIT_VARIANTS.values())) == len(VIT_VARIANTS)
    with pytest.raises(dataclasses.FrozenInstanceError):
        VIT_VARIANTS["S/16"].width = 8


def construct(*args, **kwargs):
    hk.transform(lambda: ViT(*args, **kwargs)).init(jax.random.key(0))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"variant": "S/61"}, ("variant 'S/61'", "s/28, s/16", "nearest is 'S/16'")),
        ({"variant": "g/15"}, ("nearest is 'g/14'",)),
        ({"variant": "G/15"}, ("nearest is 'G/14'",)),
        ({"variant": "so400M/14"}, ("nearest is 'So400m/14'",)),
        ({"head": "mean"}, ("head 'mean'", "cls, gap, map", "nearest is")),
        ({"posemb": "sincos"}, ("posemb 'sincos'", "learned, sincos2d", "nearest is 'sincos2d'")),
        ({"num_classes": 0}, ("num_classes is 0", "from 1 to 1000000")),
        ({"dropout_rate": 1.0}, ("dropout_rate is 1.0", "less than 1")),
        ({"stochastic_depth_rate": -0.1}, ("stochastic_depth_rate is -0.1", "at least 0")),
        ({"logit_bias": math.nan}, ("logit_bias is nan", "from -100 to 100")),
    ],
)
def test_bad_arguments_are_refused_in_one_sentence(arguments, words):
    with pytest.raises(UserError) as error:
        construct(**{"num_classes": 5, **arguments})
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("name", [name for name, kind in kinds_of(ViTConfig).items() if kind.range])
@pytest.mark.parametrize(
    "value", [-1, 0, math.nan, math.inf, 1e308, 10**9, pytest.param(10**5000, id="huge"), True, "1", [1]]
)
def test_every_number_has_a_range(name, value):
    with pytest.raises(UserError) as error:
        dataclasses.replace(TINY, **{name: value})
    assert str(error.value).startswith(f"{name} is ")
    assert str(kinds_of(ViTConfig)[name]) in str(error.value)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"width": 0}, ("width is 0", "a whole number from 1 to 65536")),
        ({"depth": 1.5}, ("depth is 1.5", "a whole number from 1 to 1000")),
        ({"num_heads": 3}, ("width of 16", "3 heads")),
        ({"gelu": "exact"}, ("gelu 'exact'", "tanh, erf")),
        ({"resolution": 18}, ("18 x 18", "16 or 20")),
    ],
)
def test_impossible_configurations_are_refused(fields, words):
    with pytest.raises(UserError) as error:
        dataclasses.replace(TINY, **fields)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [
        ((1, 16, 16, 1), "float32", ("(1, 16, 16, 1)", "[batch, height, width, 3]")),
        ((16, 16, 3), "float32", ("(16, 16, 3)",)),
        ((1, 16, 16, 3), "uint8", ("uint8", "normalized")),
        ((1, 16, 30, 3), "float32", ("16 x 30", "nearest to 30 is 28 or 32")),
        ((1, 2, 16, 3), "float32", ("2 x 16", "nearest to 2 is 4")),
    ],
)
def test_images_of_the_wrong_kind_are_refused(shape, dtype, words):
    with pytest.raises(UserError) as error:
        vit_network(5, TINY).init(jax.random.key(0), jnp.zeros(shape, dtype), False)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("width", [4, 18])
def test_fixed_positions_need_a_width_of_four_parts(width):
    config = ViTConfig(patch=4, width=width, depth=1, mlp_width=8, num_heads=2, resolution=8)
    with pytest.raises(UserError, match="multiple of four"):
        abstract_vit_parameters(vit_network(5, config, posemb="sincos2d"), 8)
