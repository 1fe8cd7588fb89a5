"""The network as a whole: precision, randomness, memory, independence of examples."""

import dataclasses

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import golden
from support.networks import TINY, abstract_parameters, full_jit, network, quick_jit

from nfnet import NFNet
from nfnet.cost.cost import network_cost

SIDE, BATCH, CLASSES = 16, 4, 5
PARAMS = golden.make_parameters(
    {key: leaf.shape for key, leaf in golden.flatten(abstract_parameters(network(CLASSES, TINY))).items()},
    seed=11,
)
NET = network(CLASSES, TINY, stochastic_depth_rate=0.5, dropout_rate=0.5)
EVALUATE = quick_jit(lambda params, images: NET.apply(params, None, images, False))
TRAIN = quick_jit(lambda params, rng, images: NET.apply(params, rng, images, True))

seeds = st.integers(0, 2**31 - 1)
properties = settings(deadline=None, derandomize=True, max_examples=25)


def make_images(seed, batch=BATCH, height=SIDE, width=SIDE):
    return np.random.default_rng(seed).standard_normal((batch, height, width, 3)).astype(np.float32)


@properties
@given(seed=seeds, other=seeds, place=st.integers(0, BATCH - 1))
def test_an_examples_logits_do_not_depend_on_its_neighbours(seed, other, place):
    images, others = make_images(seed), make_images(other)
    others[place] = images[place]
    actual = EVALUATE(PARAMS, others)["logits"][place]
    np.testing.assert_allclose(actual, EVALUATE(PARAMS, images)["logits"][place], rtol=0, atol=1e-6)


@properties
@given(seed=seeds, order=st.permutations(range(BATCH)))
def test_permuting_a_batch_permutes_the_outputs(seed, order):
    images = make_images(seed)
    order = np.array(order)
    actual, expected = EVALUATE(PARAMS, images[order]), EVALUATE(PARAMS, images)
    for name in ("logits", "pool"):
        np.testing.assert_allclose(actual[name], np.asarray(expected[name])[order], rtol=0, atol=1e-6)


@properties
@given(seed=seeds, rng=seeds, other=seeds)
def test_training_is_a_function_of_its_rng(seed, rng, other):
    images = make_images(seed)
    first = TRAIN(PARAMS, jax.random.key(rng), images)["logits"]
    np.testing.assert_array_equal(TRAIN(PARAMS, jax.random.key(rng), images)["logits"], first)
    if rng != other:
        assert not np.array_equal(TRAIN(PARAMS, jax.random.key(other), images)["logits"], first)


@properties
@given(seed=seeds, share=st.floats(-3, 3))
def test_logits_are_linear_in_the_classifier(seed, share):
    images = make_images(seed)
    scaled = {
        **PARAMS,
        "NFNet/~/linear": jax.tree.map(lambda p: np.float32(share) * p, PARAMS["NFNet/~/linear"]),
    }
    expected = share * np.asarray(EVALUATE(PARAMS, images)["logits"])
    np.testing.assert_allclose(EVALUATE(scaled, images)["logits"], expected, rtol=1e-4, atol=1e-5)


def test_evaluation_needs_no_rng_and_training_without_rates_neither():
    images = make_images(0)
    plain = network(CLASSES, TINY, stochastic_depth_rate=0, dropout_rate=0)
    trained = quick_jit(lambda p, x: plain.apply(p, None, x, True))(PARAMS, images)
    np.testing.assert_allclose(trained["logits"], EVALUATE(PARAMS, images)["logits"], rtol=0, atol=1e-6)


@pytest.mark.slow
def test_jit_equals_eager():
    images = make_images(1, batch=1)
    net = network(CLASSES, dataclasses.replace(TINY, widths=(16,), depths=(1,), strides=(2,)))
    shapes = golden.flatten(abstract_parameters(net))
    params = golden.make_parameters({key: leaf.shape for key, leaf in shapes.items()}, seed=11)
    eager = net.apply(params, None, images, False)["logits"]
    jitted = full_jit(lambda params: net.apply(params, None, images, False)["logits"])(params)
    assert golden.deviation(jitted, eager) < 1e-6


def test_dropout_leaves_the_pooled_features_alone():
    images = make_images(2)
    net = network(CLASSES, TINY, stochastic_depth_rate=0, dropout_rate=0.5)
    outputs = quick_jit(lambda p, r, x: net.apply(p, r, x, True))(PARAMS, jax.random.key(0), images)
    expected = EVALUATE(PARAMS, images)
    np.testing.assert_allclose(outputs["pool"], expected["pool"], rtol=0, atol=1e-6)
    assert not np.allclose(outputs["logits"], expected["logits"])


def test_stochastic_depth_drops_later_blocks_more_often():
    n = 4000
    config = dataclasses.replace(TINY, depths=(1, 2), stochastic_depth_rate=0.6, dropout_rate=0.0)
    rates = []

    def run(images):
        net = NFNet(CLASSES, config)
        rates.extend(block.stoch_depth.rate for block in net.blocks)
        return [block.stoch_depth(images, True) for block in net.blocks]

    kept = hk.transform(run).apply({}, jax.random.key(0), jnp.ones((n, 1, 1, 1)))
    assert rates == pytest.approx([0.0, 0.2, 0.4])
    for rate, keep in zip(rates, kept, strict=True):
        share = float(np.mean(keep))
        assert abs(share - (1 - rate)) <= 4 * np.sqrt(rate * (1 - rate) / n)
    # Each block draws for itself.
    assert abs(np.corrcoef(np.ravel(kept[1]), np.ravel(kept[2]))[0, 1]) < 4 / np.sqrt(n)


@pytest.mark.parametrize("how", ["images", pytest.param("argument", marks=pytest.mark.slow)])
def test_bfloat16_activations_keep_float32_parameters_and_results(how):
    images = make_images(3)
    net = network(CLASSES, TINY, dtype=jnp.bfloat16 if how == "argument" else None)
    given_images = images if how == "argument" else jnp.asarray(images, jnp.bfloat16)
    shapes = jax.eval_shape(lambda x: net.init(jax.random.key(0), x, False), given_images)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype(jnp.float32)}
    outputs = quick_jit(lambda p, x: net.apply(p, None, x, False))(PARAMS, given_images)
    assert outputs["logits"].dtype == outputs["pool"].dtype == jnp.float32
    # The logits are near, but not equal to, those of float32.
    assert 1e-5 < golden.deviation(outputs["logits"], EVALUATE(PARAMS, images)["logits"]) < 3e-2


def test_bfloat16_gradients_are_float32():
    net = network(CLASSES, TINY, dtype=jnp.bfloat16)
    gradients = jax.eval_shape(
        jax.grad(lambda p, x: jnp.mean(net.apply(p, None, x, False)["logits"] ** 2)), PARAMS, make_images(0)
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(gradients)} == {jnp.dtype(jnp.float32)}


@pytest.mark.usefixtures("x64")
def test_float64_images_give_float64_throughout():
    net = network(CLASSES, TINY)
    images = make_images(0).astype(np.float64)
    shapes = jax.eval_shape(lambda x: net.init(jax.random.key(0), x, False), images)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype(jnp.float64)}
    jaxpr = str(jax.make_jaxpr(lambda p, x: net.apply(p, None, x, False))(shapes, images))
    assert ":f64[" in jaxpr
    assert ":f32[" not in jaxpr


@pytest.mark.parametrize(("height", "width"), [(16, 23), (33, 17), (7, 5)])
def test_images_of_any_shape(height, width):
    outputs = EVALUATE(PARAMS, make_images(0, 1, height, width))
    assert outputs["logits"].shape == (1, CLASSES)
    assert np.all(np.isfinite(outputs["logits"]))


@pytest.mark.slow
def test_initialization():
    net = network(CLASSES, TINY)
    rng = jax.random.key(0, impl="rbg")  # compiles faster than the default
    params = golden.flatten(quick_jit(net.init, static_argnums=2)(rng, make_images(0), False))
    for key, value in params.items():
        name = key.rsplit("/", 1)[1]
        if name in ("b", "bias", "skip_gain"):
            assert not np.any(value), key
        elif name == "gain":
            assert np.all(np.asarray(value) == 1), key
        else:
            std = 0.01 if key == "NFNet/~/linear/w" else 1 / np.sqrt(np.prod(value.shape[:-1]))
            assert float(jnp.std(value)) == pytest.approx(std, rel=5 / np.sqrt(2 * value.size)), key


@pytest.mark.slow
def test_rematerialization_saves_memory_and_changes_neither_names_nor_results():
    """Measured in the compiled gradient: without, activations of all blocks; with, those of one."""
    config = dataclasses.replace(TINY, depths=(1, 5))
    images = make_images(4, batch=8, height=64, width=64)
    plain_net = network(CLASSES, config)
    shapes = golden.flatten(abstract_parameters(plain_net))
    params = golden.make_parameters({key: leaf.shape for key, leaf in shapes.items()}, seed=12)

    def differentiate(remat):
        net = network(CLASSES, config, remat=remat, stochastic_depth_rate=0.5, dropout_rate=0.5)
        assert golden.flatten(abstract_parameters(net)).keys() == shapes.keys()

        def loss(params, rng, images):
            return jnp.mean(net.apply(params, rng, images, True)["logits"] ** 2)

        rng = jax.random.key(5)
        lowered = jax.jit(jax.grad(loss)).lower(params, rng, images)
        # By default XLA's CPU backend drops the barriers that make recomputation wait for its use.
        options = {"xla_disable_hlo_passes": "cse_barrier_expander", "xla_backend_optimization_level": 0}
        compiled = lowered.compile(compiler_options=options)
        gradients = golden.flatten(compiled(params, rng, images))
        return gradients, compiled.memory_analysis().temp_size_in_bytes

    (plain, plain_bytes), (remat, remat_bytes) = differentiate(False), differentiate(True)
    for key, value in plain.items():  # the same units are dropped: the rng is replayed
        np.testing.assert_allclose(remat[key], value, rtol=1e-5, atol=1e-7, err_msg=key)
    assert remat_bytes < 0.5 * plain_bytes
    # What the accounting says must be kept is kept.
    cost = network_cost(config, 64, num_classes=CLASSES, dtype="float32")
    assert plain_bytes > len(images) * cost.activation_bytes
