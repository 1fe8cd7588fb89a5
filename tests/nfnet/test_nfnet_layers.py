"""Single layers against the released code, and their statistics against theory."""

import json
from functools import partial

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats
from support import golden
from support.networks import full_jit, quick_jit

from nfnet.kernels import gelu_tanh, standardize
from nfnet.models.activations import ACTIVATIONS, scaled_activation
from nfnet.models.layers import SqueezeExcite, StochDepth, WSConv2D, average_pool
from nfnet.models.nfnet import BlockConfig, NFBlock

LAYERS = np.load(golden.GOLDEN / "layers.npz")
CONVOLUTIONS = sorted({key.split(":")[0] for key in LAYERS if key.startswith("ws_")})
BLOCKS = sorted({key.split(":")[0] for key in LAYERS if key.startswith("block_")})
GOLDEN_ACTIVATIONS = sorted(key[4:] for key in LAYERS if key.startswith("act:") and key[4:] in ACTIVATIONS)


def wide(key):
    return jnp.asarray(LAYERS[key], jnp.float64)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_weight_standardized_convolution(name):
    w, gain = wide(f"{name}:w"), wide(f"{name}:gain")
    stride, groups = (int(value) for value in LAYERS[f"{name}:stride_groups"])
    expected = LAYERS[f"{name}:w_std"]
    np.testing.assert_allclose(standardize(w, gain), expected, rtol=0, atol=1e-14)
    net = hk.without_apply_rng(
        hk.transform(lambda x: WSConv2D(w.shape[-1], w.shape[0], stride=stride, groups=groups, name="c")(x))
    )
    params = {"c": {"w": w, "gain": gain, "bias": wide(f"{name}:bias")}}
    assert golden.deviation(net.apply(params, wide(f"{name}:x")), LAYERS[f"{name}:y"]) < 1e-13


@pytest.mark.usefixtures("x64")
def test_constant_filters_become_zero():
    w = jnp.concatenate([jnp.ones((3, 3, 4, 1)), jax.random.normal(jax.random.key(0), (3, 3, 4, 1))], axis=3)
    for floor in ("clamp", "add"):
        assert not np.any(np.asarray(standardize(w, jnp.ones(2), floor=floor))[..., 0])


@pytest.mark.usefixtures("x64")
def test_squeeze_excite():
    net = hk.without_apply_rng(hk.transform(lambda x: SqueezeExcite(64, 32)(x)))
    prefix = "se:param:"
    params = {}
    for key in LAYERS:
        if key.startswith(prefix):
            module, name = key[len(prefix) :].rsplit("/", 1)
            params.setdefault(module, {})[name] = wide(key)
    gates = net.apply(params, wide("se:x"))
    assert gates.shape == LAYERS["se:y"].shape
    assert golden.deviation(gates, LAYERS["se:y"]) < 1e-13


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", BLOCKS)
def test_residual_block(name):
    case = json.loads(str(LAYERS[f"{name}:config"]))
    bottleneck = int(case["out_ch"] * case["expansion"]) // case["group_size"] * case["group_size"]
    config = BlockConfig(
        in_channels=case["in_ch"],
        out_channels=case["out_ch"],
        bottleneck=bottleneck,
        groups=bottleneck // case["group_size"],
        se_hidden=int(case["out_ch"] * case["se_ratio"]),
        stride=case["stride"],
        beta=case["beta"],
        alpha=case["alpha"],
    )
    net = hk.without_apply_rng(hk.transform(lambda x: NFBlock(config)(x, False)))
    manifest = {key: tuple(shape) for key, shape in case["manifest"].items()}
    params = golden.make_parameters(manifest, case["seed"], np.float64)
    x = wide(f"{name}:x")
    shapes = {key: value.shape for key, value in golden.flatten(jax.eval_shape(net.init, jax.random.key(0), x)).items()}
    assert shapes == manifest
    y = jax.jit(net.apply)(params, x)
    assert y.shape == LAYERS[f"{name}:y"].shape
    assert golden.deviation(y, LAYERS[f"{name}:y"]) < 1e-13


@pytest.mark.usefixtures("x64")
def test_average_pool_ignores_padding():
    np.testing.assert_allclose(average_pool(wide("avgpool:x")), LAYERS["avgpool:y"], rtol=1e-14)


def test_every_golden_activation_is_known():
    assert set(GOLDEN_ACTIVATIONS) | {"gelu_erf"} == set(ACTIVATIONS)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", GOLDEN_ACTIVATIONS)
def test_scaled_activation(name):
    grid = wide("act:grid")
    np.testing.assert_allclose(scaled_activation(name)(grid), LAYERS[f"act:{name}"], rtol=1e-13, atol=1e-15)


@pytest.mark.usefixtures("x64")
def test_gradient_of_gelu():
    slope = jax.vmap(jax.grad(scaled_activation("gelu")))(wide("act:grid"))
    np.testing.assert_allclose(slope, LAYERS["act:gelu_grad"], rtol=1e-12, atol=1e-14)


@pytest.mark.usefixtures("x64")
def test_derivatives_of_gelu_are_those_of_its_formula():
    def derivatives(function):
        first = jax.grad(function)
        second, third = jax.grad(first), jax.jacfwd(jax.grad(first))
        return [jax.vmap(f)(wide("act:grid")) for f in (function, first, second, third)]

    for ours, plain in zip(derivatives(gelu_tanh), derivatives(jax.nn.gelu), strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-10, atol=1e-13)


def test_gelu_in_float32():
    grid = np.linspace(-40, 40, 4001, dtype=np.float32)
    value, slope = jax.jit(jax.vmap(jax.value_and_grad(gelu_tanh)))(grid)
    with jax.enable_x64(True):
        exact, exact_slope = jax.vmap(jax.value_and_grad(partial(jax.nn.gelu, approximate=True)))(grid.astype(float))
    np.testing.assert_allclose(value, exact, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(slope, exact_slope, rtol=2e-5, atol=1e-6)
    assert np.isfinite(full_jit(jax.grad(gelu_tanh))(jnp.float32(-1e6)))


def test_gelu_keeps_less_for_the_backward_pass():
    x, w = jnp.zeros((256, 64)), jnp.zeros((64, 64))

    def memory(activation):
        def loss(w):
            return jnp.sum(activation(activation(activation(x @ w) @ w) @ w) ** 2)

        return full_jit(jax.grad(loss)).lower(w).compile().memory_analysis().temp_size_in_bytes

    assert memory(gelu_tanh) < memory(jax.nn.gelu)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gains_give_unit_variance_by_integration(name):
    """The released gains are estimates from samples: they agree with the integrals to 0.2%, not better."""
    function, gain = ACTIVATIONS[name]
    value = jax.jit(function)

    def moment(power):
        return integrate.quad(
            lambda z: float(value(z)) ** power * stats.norm.pdf(z), -12, 12, points=(0.0, 6.0), epsabs=1e-10
        )[0]

    exact = 1 / np.sqrt(moment(2) - moment(1) ** 2)
    assert gain == pytest.approx(exact, rel=2e-3)


def stochastic_depth(x, rate, is_training, seed=0):
    net = hk.transform(lambda x: StochDepth(rate)(x, is_training))
    return net.apply({}, jax.random.key(seed), x)


def test_stochastic_depth_drops_whole_examples_without_rescaling():
    rate, n = float(LAYERS["stochdepth:rate"]), 40_000
    kept = np.asarray(stochastic_depth(jnp.ones((n, 2, 1, 3)), rate, True))
    assert set(np.unique(kept)) == set(LAYERS["stochdepth:values"]) == {0.0, 1.0}
    assert np.all(kept == kept[:, :1, :1, :1])
    share = kept[:, 0, 0, 0].mean()
    assert abs(share - (1 - rate)) < 4 * np.sqrt(rate * (1 - rate) / n)
    # Neighbours are drawn independently.
    correlation = np.corrcoef(kept[:-1, 0, 0, 0], kept[1:, 0, 0, 0])[0, 1]
    assert abs(correlation) < 4 / np.sqrt(n)


def test_stochastic_depth_is_the_identity_in_evaluation():
    x = jax.random.normal(jax.random.key(1), (5, 2, 2, 3))
    np.testing.assert_array_equal(stochastic_depth(x, 0.9, False), x)


def test_bfloat16_gradients_of_biases_and_gates_are_sums_in_float32():
    # Ones at each of 32 x 32 pixels: bfloat16 would stop at 256, where the next number is 258.
    x = jnp.ones((8, 32, 32, 4), jnp.bfloat16)
    conv = hk.without_apply_rng(hk.transform(lambda x: WSConv2D(4, 1, name="conv")(x)))
    params = quick_jit(conv.init)(jax.random.key(0), x)
    gradient = quick_jit(jax.grad(lambda p: jnp.sum(conv.apply(p, x), dtype=jnp.float32)))(params)["conv"]["bias"]
    np.testing.assert_array_equal(gradient, np.full(4, x.size / 4, np.float32))

    config = BlockConfig(in_channels=4, out_channels=4, bottleneck=2, groups=1, se_hidden=2)
    block = hk.without_apply_rng(hk.transform(lambda x: NFBlock(config, name="block")(x, False)))
    params = quick_jit(block.init)(jax.random.key(0), x)
    params["block/~/conv2"] |= {"gain": jnp.zeros(4), "bias": jnp.ones(4)}  # a branch of ones
    params["block"] = {"skip_gain": jnp.ones(())}

    def gradients(dtype):
        return quick_jit(jax.grad(lambda p: jnp.sum(block.apply(p, x.astype(dtype)), dtype=jnp.float32)))(params)

    full, short = gradients(jnp.float32), gradients(jnp.bfloat16)
    np.testing.assert_allclose(short["block"]["skip_gain"], full["block"]["skip_gain"], rtol=0.01)
    gates = "block/~/squeeze_excite/~/linear_1"
    np.testing.assert_allclose(short[gates]["b"], full[gates]["b"], rtol=0.01)
