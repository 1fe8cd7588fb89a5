"""One convolution for all platforms: the forms agree under every transformation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax
from support.networks import full_jit, quick_jit

from nfnet.kernels.conv import conv

# kernel, stride, groups, channels, filters, height, width
SHAPES = [
    (1, 1, 1, 12, 8, 5, 6),
    (3, 1, 1, 3, 8, 7, 6),
    (3, 2, 1, 3, 8, 7, 6),
    (3, 1, 4, 12, 8, 6, 5),
    (3, 2, 4, 12, 8, 7, 6),
    (3, 2, 3, 12, 9, 8, 8),
    (1, 1, 2, 12, 8, 5, 5),
    (1, 2, 1, 12, 8, 5, 6),
    (3, 1, 48, 48, 48, 4, 4),
    (3, 1, 1, 20, 24, 7, 6),
    (5, 1, 1, 24, 20, 4, 5),
    (3, 1, 2, 40, 48, 5, 4),
    (3, 2, 1, 20, 9, 8, 6),
]


def reference(x, w, *, stride=1, groups=1):
    return lax.conv_general_dilated(
        x, w, (stride, stride), "SAME", feature_group_count=groups, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def operands(kernel, groups, channels, filters, height, width):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, height, width, channels))
    w = rng.standard_normal((kernel, kernel, channels // groups, filters))
    return jnp.asarray(x), jnp.asarray(w)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("kernel", "stride", "groups", "channels", "filters", "height", "width"), SHAPES)
def test_agrees_with_the_plain_operation(kernel, stride, groups, channels, filters, height, width):
    x, w = operands(kernel, groups, channels, filters, height, width)

    def run(function):
        def loss(x, w):
            y = function(x, w, stride=stride, groups=groups)
            return jnp.sum(jnp.sin(y)), y

        return quick_jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(x, w)

    for actual, expected in zip(jax.tree.leaves(run(conv)), jax.tree.leaves(run(reference)), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("kernel", "stride", "groups", "channels", "width"),
    [(1, 1, 1, 12, 5), (3, 1, 4, 12, 5), (3, 1, 1, 20, 5), (3, 2, 1, 20, 8)],
)
def test_survives_every_transformation(kernel, stride, groups, channels, width):
    x, w = operands(kernel, groups, channels, 8, 6, width)

    def run(x, w):
        return conv(x, w, stride=stride, groups=groups)

    expected = reference(x, w, stride=stride, groups=groups)
    close = {"rtol": 1e-12, "atol": 1e-12}
    np.testing.assert_allclose(run(x, w), expected, **close)
    np.testing.assert_allclose(full_jit(run)(x, w), expected, **close)
    np.testing.assert_allclose(jax.checkpoint(run)(x, w), expected, **close)
    np.testing.assert_allclose(jax.vmap(run, (0, None))(x[:, None], w)[:, 0], expected, **close)
    np.testing.assert_allclose(jax.vmap(run, (None, 0))(x, w[None])[0], expected, **close)
    assert jax.eval_shape(run, x, w).shape == expected.shape
    _, tangent = jax.jvp(run, (x, w), (x, w))  # bilinear: the derivative along (x, w) is twice the value
    np.testing.assert_allclose(tangent, 2 * expected, **close)
    plain, ours = (
        jax.grad(
            lambda x, f=f: jnp.sum(jax.grad(lambda x: jnp.sum(f(x, w, stride=stride, groups=groups) ** 3))(x) ** 2)
        )(x)
        for f in (reference, conv)
    )
    np.testing.assert_allclose(ours, plain, rtol=1e-10, atol=1e-10)


def test_weight_gradient_of_a_product_is_row_major():
    """A transposed gradient would be read with the stride of a row wherever it meets the weights."""
    x, w = operands(1, 1, 12, 8, 5, 6)

    def lowered(function):
        gradient = jax.jit(jax.grad(lambda w: jnp.sum(function(x, w) ** 2)))
        return str(export.export(gradient, platforms=["cpu"])(w).mlir_module())

    assert "stablehlo.transpose" not in lowered(conv)
    assert "stablehlo.transpose" in lowered(lambda x, w: jnp.dot(x, w[0, 0]))


@pytest.mark.parametrize(("kernel", "channels"), [(1, 12), (3, 20)])
def test_maps_over_both_operands(kernel, channels):
    x, w = operands(kernel, 1, channels, 8, 5, 6)
    both = jax.vmap(conv)(jnp.stack([x, 2 * x]), jnp.stack([w, 3 * w]))
    np.testing.assert_allclose(both, jnp.stack([reference(x, w), 6 * reference(x, w)]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("channels", "filters", "rows"), [(3, 8, 6), (20, 8, 7), (8, 20, 7), (128, 128, 6)])
def test_narrow_convolutions_compute_a_row_more(channels, filters, rows):
    """XLA's library for convolutions keeps to one thread for these, unless the output is larger than the input."""
    x, w = operands(3, 1, channels, filters, 6, 5)
    module = str(export.export(jax.jit(conv), platforms=["cpu"])(x, w).mlir_module())
    assert f"-> tensor<2x{rows}x5x{filters}xf32>" in next(
        line for line in module.splitlines() if "stablehlo.convolution" in line
    )


def test_keeps_bfloat16():
    x, w = (a.astype(jnp.bfloat16) for a in operands(3, 4, 12, 8, 6, 5))
    assert conv(x, w, groups=4).dtype == jnp.bfloat16


@pytest.mark.parametrize(("kernel", "groups"), [(1, 1), (3, 4)])
def test_each_platform_gets_its_own_form(kernel, groups):
    x, w = operands(kernel, groups, 12, 8, 6, 5)

    def lowered(platform):
        traced = export.export(jax.jit(lambda x, w: conv(x, w, groups=groups)), platforms=[platform])(x, w)
        return str(traced.mlir_module())

    cpu, gpu = lowered("cpu"), lowered("cuda")
    assert f"feature_group_count = {groups} " in gpu
    assert gpu.count("stablehlo.convolution") == 1
    assert "stablehlo.dot_general" not in gpu
    if groups == 1:
        assert cpu.count("stablehlo.dot_general") == 1
        assert "stablehlo.convolution" not in cpu
    else:
        assert cpu.count("stablehlo.convolution") == groups
        assert "feature_group_count = 1 " in cpu
