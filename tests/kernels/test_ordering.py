"""The order of backward passes, and what is computed once: no value or derivative changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.networks import full_jit

from nfnet.kernels import gelu_tanh
from nfnet.kernels.ordering import late, lean, once, tied


def product(x, w):
    return jnp.tanh(1.0) * (x @ w)


def arrays(*shapes):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.standard_normal(shape)) for shape in shapes]


def assert_same(function, reference, *operands):
    for ours, expected in zip(
        jax.tree.leaves(jax.jit(function)(*operands)), jax.tree.leaves(jax.jit(reference)(*operands)), strict=True
    ):
        np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-12)


OTHERS = [(0, 1), (1, 1), (0, 2), (1, 2), ((0, 1), 2)]


def plain(x, w):
    return product(gelu_tanh(x), w)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("argnums", "parts"), [((0, 1), 1), *(pytest.param(*one, marks=pytest.mark.slow) for one in OTHERS)]
)
def test_lean_functions_have_the_derivatives_of_plain_ones(argnums, parts):
    x, w = arrays((5, 4), (4, 3))
    ours = lean(product, gelu_tanh, parts)

    def loss(function):
        return lambda x, w: jnp.sum(function(x, w) ** 3)

    assert_same(ours, plain, x, w)
    assert_same(jax.grad(loss(ours), argnums), jax.grad(loss(plain), argnums), x, w)
    assert_same(jax.grad(loss(jax.checkpoint(ours)), argnums), jax.grad(loss(plain), argnums), x, w)
    assert_same(jax.hessian(loss(ours), argnums), jax.hessian(loss(plain), argnums), x, w)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "axes", [(1, 2), *(pytest.param(one, marks=pytest.mark.slow) for one in [(0, None), (None, 0)])]
)
def test_lean_functions_map(axes):
    x, w = arrays((5, 4), (4, 3))
    many = [one if axis is None else jnp.stack([one, 2 * one], axis) for one, axis in zip((x, w), axes, strict=True)]
    ours = lean(product, gelu_tanh)
    for transform in (lambda f: f, jax.jacrev, jax.jacfwd, lambda f: jax.grad(lambda x, w: jnp.sum(f(x, w) ** 2), 1)):
        assert_same(jax.vmap(transform(ours), axes), jax.vmap(transform(plain), axes), *many)


@pytest.mark.parametrize("parts", [1, 2])
def test_what_is_late_keeps_its_value_and_derivatives(parts):
    value, first = arrays((3, 4), (2, 2, 6))
    np.testing.assert_array_equal(full_jit(late, static_argnums=2)(value, first, parts), value)
    gradients = jax.grad(lambda value, first: jnp.sum(late(value, first) ** 2), (0, 1))(value, first)
    np.testing.assert_array_equal(gradients[0], 2 * value)
    np.testing.assert_array_equal(gradients[1], 0 * first)
    mapped = jax.vmap(late, (1, 2), 1)(value, jnp.ones((2, 3, 4)))
    np.testing.assert_array_equal(mapped, value)


@pytest.mark.parametrize("number", [np.inf, -np.inf, np.nan, 1e38])
def test_what_is_late_does_not_depend_on_numbers(number):
    value, first = jnp.arange(3.0), jnp.full((2, 4), number)
    for parts in (1, 4):
        np.testing.assert_array_equal(full_jit(late, static_argnums=2)(value, first, parts), value)


def test_once_is_the_identity():
    value = jnp.asarray([[1.5, -0.0, np.inf], [-np.inf, np.nan, 3e38]])
    for function in (once, jax.vmap(once, 1, 1)):
        result = full_jit(function)(value)
        np.testing.assert_array_equal(result, value)
        np.testing.assert_array_equal(np.signbit(result), np.signbit(value))
    (x,) = arrays((3, 4))
    np.testing.assert_array_equal(jax.jit(jax.grad(lambda x: jnp.sum(once(x) ** 2)))(x), 2 * x)
    np.testing.assert_array_equal(jax.jit(jax.jacfwd(lambda x: once(x) ** 2))(x[0]), jnp.diag(2 * x[0]))
    assert_same(jax.hessian(lambda x: jnp.sum(once(x) ** 3)), jax.hessian(lambda x: jnp.sum(x**3)), x[0])


def test_once_spares_readers_the_computation():
    def maxima(function):
        def both(gates, x, y):
            gates = function(jnp.maximum(gates, 0.5))
            return x * gates, y + gates

        arrays = jnp.ones(64), jnp.ones((8, 64)), jnp.ones((16, 64))
        return full_jit(both).lower(*arrays).compile().as_text().count(" maximum(")

    assert maxima(lambda gates: gates) == 2
    assert maxima(once) == 1


@pytest.mark.parametrize("function", [late, lambda value, first: once(value)])
def test_other_platforms_than_cpus_compute_nothing(function):
    value, first = jnp.ones(3), jnp.ones(3)
    traced = jax.jit(function).trace(value, first)
    assert "multiply" in traced.lower(lowering_platforms=("cpu",)).as_text()
    for platform in ("cuda", "tpu"):
        assert "multiply" not in traced.lower(lowering_platforms=(platform,)).as_text()


def descent(function):
    """A step of gradient descent through two layers, whose parameters are donated."""

    def step(params, x):
        def loss(params):
            return jnp.sum(function(jnp.tanh(function(x, params[0])), params[1]) ** 2)

        return jax.tree.map(lambda w, g: w - 0.1 * g, params, jax.grad(loss)(params))

    params, x = [jnp.ones((64, 64)), jnp.ones((64, 64))], jnp.ones((8, 64))
    return jax.jit(step, donate_argnums=0).lower(params, x).compile()


def copies(compiled):
    entry = compiled.as_text().split("\nENTRY", 1)[1]
    return sum(" copy(" in line and "f32[64,64]" in line for line in entry.splitlines())


def test_donated_weights_are_not_copied():
    assert copies(descent(jnp.matmul)) > 0
    assert copies(descent(lambda x, w: jnp.matmul(*tied(x, w)))) == 0


def test_lean_functions_keep_less():
    x, w, layers = jnp.zeros((256, 64)), jnp.zeros((64, 64)), 8

    def memory(function):
        def loss(w):
            y = x
            for _ in range(layers):
                y = function(y, w)
            return jnp.sum(y**2)

        return full_jit(jax.grad(loss)).lower(w).compile().memory_analysis().temp_size_in_bytes

    plain_bytes = memory(lambda x, w: jnp.matmul(gelu_tanh(x), w))
    assert memory(lean(jnp.matmul, gelu_tanh)) <= plain_bytes - layers // 2 * x.nbytes
