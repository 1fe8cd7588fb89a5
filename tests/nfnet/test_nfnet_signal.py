"""Mean and variance along the depth: equal to the released code's, and near one where theory says so."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from support import golden
from support.networks import MICRO, network, quick_jit

from nfnet import NFNet, NFNetConfig
from nfnet.models.layers import WSConv2D
from nfnet.models.nfnet import BlockConfig, NFBlock
from nfnet.models.signal import signal_propagation


def observer(num_classes, config):
    def network(x):
        return NFNet(num_classes, config)(x, False)

    return quick_jit(lambda params, images: signal_propagation(network, params, images))


@pytest.mark.usefixtures("x64")
def test_statistics_are_those_of_the_released_code():
    expected = np.load(golden.GOLDEN / "micro_s32_b2_c10_seed3.npz")
    params = golden.make_parameters(golden.read_manifest("micro.json"), 3, np.float64)
    images = golden.make_images(2, 32, 3, np.float64)
    signal = observer(10, MICRO)(params, images)
    assert golden.deviation(signal.square_mean, expected["avg_sq_mean"]) < 1e-12
    assert golden.deviation(signal.variance, expected["avg_var"]) < 1e-12
    assert golden.deviation(signal.branch_variance, expected["res_avg_var"]) < 1e-12


def with_open_gates(params):
    """Sets all skip gains to 1, so that branches count from the start."""
    return {
        module: {name: jnp.ones_like(v) if name == "skip_gain" else v for name, v in group.items()}
        for module, group in params.items()
    }


def variance(x):
    return float(jnp.mean(jnp.var(x, axis=(0, 1, 2))))


def test_weight_standardized_convolutions_preserve_variance():
    x = jax.random.normal(jax.random.key(0), (4, 16, 16, 128))
    net = hk.transform(lambda x: WSConv2D(256, 3, groups=2)(x))
    y = quick_jit(lambda key, x: net.apply(net.init(key, x), None, x))(jax.random.key(1), x)
    inside = y[:, 1:-1, 1:-1]  # at the border SAME padding adds zeros
    assert variance(inside) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("std", [pytest.param(1.0, marks=pytest.mark.slow), 1.4])
def test_identity_blocks_add_alpha_squared(std):
    config = BlockConfig(256, 256, bottleneck=128, groups=2, se_hidden=128, beta=1 / std, alpha=0.2)
    x = std * jax.random.normal(jax.random.key(0), (8, 12, 12, 256))
    net = hk.transform(lambda x: NFBlock(config)(x, False))
    y = quick_jit(lambda key, x: net.apply(with_open_gates(net.init(key, x)), None, x))(jax.random.key(1), x)
    assert variance(y) == pytest.approx(std**2 + 0.2**2, rel=0.01)
    branch = variance(y - x) / 0.2**2
    assert branch == pytest.approx(1, abs=0.3)  # padding takes some, the gates give some


def test_transition_blocks_start_again_at_one():
    """Smooth images pass average pooling whole: whatever the variance before, it is 1 + alpha^2 after."""
    std = 1.3
    config = BlockConfig(256, 384, bottleneck=192, groups=3, se_hidden=192, stride=2, beta=1 / std, alpha=0.2)
    x = jnp.broadcast_to(std * jax.random.normal(jax.random.key(0), (256, 1, 1, 256)), (256, 8, 8, 256))
    net = hk.transform(lambda x: NFBlock(config)(x, False))
    y = quick_jit(lambda key, x: net.apply(with_open_gates(net.init(key, x)), None, x))(jax.random.key(1), x)
    assert variance(y) == pytest.approx(1 + 0.2**2, rel=0.05)


@pytest.mark.slow
def test_variance_survives_smooth_images_and_dies_on_white_noise():
    """Normalized by what each block expects (beta), over the whole depth of an initialized network."""
    config = NFNetConfig(widths=(64, 128, 192, 192), depths=(1, 1, 2, 1), group_width=32)
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((16, 96, 96, 3))
    smooth = gaussian_filter(noise, (0, 16, 16, 0), mode="wrap")
    betas = np.array([block.beta for block in config.blocks()])
    net = network(10, config)
    rng_key = jax.random.key(0, impl="rbg")
    params = with_open_gates(quick_jit(net.init, static_argnums=2)(rng_key, noise[:1], False))

    observe = observer(10, config)

    def normalized(images):
        images = jnp.asarray(images / images.std(), jnp.float32)
        signal = observe(params, images)
        assert np.all(np.asarray(signal.square_mean) < 0.2)  # means do not drift
        return np.asarray(signal.variance)[:-1] * betas**2

    on_smooth, on_noise = normalized(smooth), normalized(noise)
    assert np.all(on_smooth > 0.2)
    assert np.all(on_smooth < 1.5)
    assert on_smooth[-1] > 0.4 * on_smooth[0]
    assert on_noise[0] > 0.5
    assert on_noise[-1] < 0.1 * on_noise[0]
