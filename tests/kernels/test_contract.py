"""The contract of nfnet.kernels: whatever form computes an operation, JAX users see the same.

The rows of the matrix are in tests/support/contract.py; a kernel that is added there is held to all of it.
"""

import contextlib
import functools
import json
import os
import subprocess
import sys
from collections import Counter

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from support.contract import ALONE, KERNELS, TOGETHER, differences, gradients
from support.tiny_runs import ROOT, environment

from nfnet.kernels import conv, deferred, gelu_tanh, plain, product, standardize

# What differs from the others in one thing only is held to the whole matrix in the slow tests.
VARIATIONS = ("conv 1x1", "strided conv", "deferred gelu")
SLOW = pytest.mark.slow
NAMES = [pytest.param(name, marks=SLOW) if name in VARIATIONS else name for name in KERNELS]
# On several devices each kernel takes five seconds: those of the most forms are held to it in the quick tests.
QUICK = ("grouped conv", "standardize")


@functools.cache
def alone(name: str) -> dict[str, tuple]:
    """Results of all transformations, of our forms and of the plain ones, each computed by one program."""
    kernel = KERNELS[name]
    with jax.enable_x64(True):
        args = kernel.operands()
        failed = {}
        for how, transform in ALONE.items():
            try:
                jax.eval_shape(functools.partial(transform, kernel.function), *args)
            except Exception as error:
                failed[how] = error

        def everything(*args):
            return {how: f(kernel.function, *args) for how, f in ALONE.items() if how not in failed}

        ours = jax.jit(everything)(*args)
        with plain():
            expected = jax.jit(lambda *args: everything(*args))(*args)
    return {how: (failed.get(how), ours.get(how), expected.get(how)) for how in ALONE}


@pytest.mark.parametrize("how", ALONE)
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=SLOW) if name in (*VARIATIONS, "standardize", "conv") else name for name in KERNELS],
)
def test_on_one_device(name: str, how: str) -> None:
    failure, ours, expected = alone(name)[how]
    if failure is not None:
        raise failure
    assert not list(differences(ours, expected, KERNELS[name].dtype))


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Returns the verdicts on kernels, from a process with four devices."""

    @functools.cache
    def run(names: tuple[str, ...]) -> dict[str, str]:
        env = environment(tmp_path_factory.mktemp("home"), devices=4)
        env |= {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
        command = [sys.executable, "-W", "error", "-m", "support.contract", *names]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.mark.parametrize("how", TOGETHER)
@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=SLOW) for name in KERNELS])
def test_on_several_devices(name: str, how: str, together) -> None:
    names = QUICK if name in QUICK else tuple(one for one in KERNELS if one not in QUICK)
    assert together(names)[f"{name}: {how}"] == ""


@pytest.mark.parametrize("platforms", [("cpu",), ("cuda",), ("tpu",), ("cpu", "cuda", "tpu")], ids="+".join)
@pytest.mark.parametrize("name", NAMES)
def test_export_with_a_symbolic_batch(name: str, platforms: tuple[str, ...]) -> None:
    kernel = KERNELS[name]
    (batch,) = export.symbolic_shape("b")
    args = kernel.operands(jnp.float32)
    length = args[0].shape[0]
    shapes = [
        jax.ShapeDtypeStruct(
            (batch, *one.shape[1:]) if one.ndim > 2 and one.shape[0] == length else one.shape, one.dtype
        )
        for one in args
    ]

    def both(*args):
        return kernel.function(*args), gradients(kernel.function)(*args)

    made = export.export(jax.jit(both), platforms=platforms)(*shapes)
    if "cpu" in platforms:
        assert not list(differences(made.call(*args), both(*args), jnp.float32))
    else:
        module = made.mlir_module()
        assert "stablehlo.case" not in module
        with plain():
            expected = export.export(jax.jit(lambda *args: both(*args)), platforms=platforms)(*shapes).mlir_module()
        # GELU's other form serves all platforms; that of standardization differs in cheap operations.
        for operation in ("convolution", "dot_general"):
            assert module.count(f"stablehlo.{operation}") == expected.count(f"stablehlo.{operation}"), operation
        assert module.count("stablehlo.transpose") <= expected.count("stablehlo.transpose")


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16], ids=["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", NAMES)
def test_short_types(name: str, dtype) -> None:
    kernel = KERNELS[name]
    args = kernel.operands(dtype)

    def both(*args):
        return kernel.function(*args), gradients(kernel.function)(*args)

    with jax.enable_x64(True), plain():
        expected = jax.jit(lambda *args: both(*args))(*(one.astype(jnp.float64) for one in args))
    for one, exact in zip(jax.tree.leaves(jax.jit(both)(*args)), jax.tree.leaves(expected), strict=True):
        assert one.dtype == dtype
        # A few roundings of numbers as large as the largest; sums of some hundred products are kept longer.
        bound = 16 * float(jnp.finfo(dtype).eps) * (1 + np.max(np.abs(exact)))
        assert np.max(np.abs(np.asarray(one, np.float64) - np.asarray(exact))) < bound


def primitives(jaxpr) -> Counter:
    """Counts the primitives of a program, inner programs included."""
    found = Counter()
    for equation in jaxpr.eqns:
        found[equation.primitive.name] += 1
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            found += primitives(inner)
    return found


@pytest.mark.parametrize("name", ["conv", "conv 1x1", "grouped conv", "product"])
def test_policies_see_what_is_heavy(name: str) -> None:
    kernel = KERNELS[name]
    args = kernel.operands(jnp.float32)

    def again(policy, forms) -> int:
        def two(*args):
            return jnp.sum(jnp.sin(jnp.sin(kernel.function(*args))))

        with forms:
            pullback = jax.make_jaxpr(jax.grad(jax.checkpoint(lambda *args: two(*args), policy=policy)))(*args)
        counts = primitives(pullback.jaxpr)
        return sum(counts[heavy] for heavy in ("convolution", "product", "conv_general_dilated", "dot_general"))

    keep, drop = jax.checkpoint_policies.dots_saveable, jax.checkpoint_policies.nothing_saveable
    for forms in (contextlib.nullcontext, plain):
        assert again(drop, forms()) - again(keep, forms()) == 1, forms


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6])
@pytest.mark.parametrize("floor", ["clamp", "add"])
def test_standardization_keeps_its_digits(offset: float, floor: str) -> None:
    w = (np.random.default_rng(0).standard_normal((3, 3, 32, 16)) + offset).astype(np.float32)
    gain = np.linspace(0.5, 2, 16, dtype=np.float32)

    cotangent = np.random.default_rng(1).standard_normal(w.shape).astype(np.float32)

    def both(w, gain):
        value, pullback = jax.vjp(lambda w: standardize(w, gain, floor=floor), w)
        return value, pullback(cotangent.astype(value.dtype))[0]

    ours = jax.jit(both)(w, gain)
    with jax.enable_x64(True), plain():
        exact = jax.jit(lambda w, gain: both(w, gain))(w.astype(np.float64), gain.astype(np.float64))
    for one, other in zip(map(np.asarray, ours), map(np.asarray, exact), strict=True):
        assert np.max(np.abs(one - other)) < 2e-6 * np.max(np.abs(other))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_gelu_is_finite_wherever_numbers_are(dtype) -> None:
    largest = float(jnp.finfo(dtype).max)
    x = np.concatenate([-np.geomspace(1, largest, 200), [0.0], np.geomspace(1, largest, 200)])
    x = jnp.asarray(x, dtype)
    slope = np.asarray(jax.vmap(jax.grad(gelu_tanh))(x), np.float64)
    value = np.asarray(gelu_tanh(x), np.float64)
    assert np.isfinite(value).all()
    eps = float(jnp.finfo(dtype).eps)
    wide = np.asarray(x, np.float64)
    np.testing.assert_allclose(value[wide < -12], 0, atol=eps)
    np.testing.assert_allclose(slope[wide < -12], 0, atol=eps)
    np.testing.assert_allclose(slope[wide > 12], 1, atol=2 * eps)
    np.testing.assert_allclose(value[wide > 12], wide[wide > 12], rtol=2 * eps)


def test_the_switch() -> None:
    x, w = jnp.ones((2, 4, 4, 8)), jnp.ones((3, 3, 4, 8))

    def network(x, w):
        y = conv(deferred(gelu_tanh)(x), standardize(w, jnp.ones(8), reader=x), groups=2)
        return jnp.sum(product(y, jnp.ones((8, 2))))

    ours = {"convolution", "convolution_weight_gradient", "product", "late", "once", "tied", "linear"}
    assert ours & set(primitives(jax.make_jaxpr(jax.grad(network, (0, 1)))(x, w).jaxpr))
    with plain():
        assert not ours & set(primitives(jax.make_jaxpr(jax.grad(network, (0, 1)))(x, w).jaxpr))
    code = (
        "import jax, jax.numpy as jnp\n"
        "from nfnet.kernels import conv\n"
        "print(jax.make_jaxpr(conv)(jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2, 2))))"
    )

    def run(value: str) -> subprocess.CompletedProcess:
        env = {**os.environ, "NFNET_KERNELS": value}
        return subprocess.run(
            [sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True, check=False
        )

    assert "conv_general_dilated" in run("plain").stdout
    assert "conv_general_dilated" not in run("auto").stdout
    assert "unknown value of NFNET_KERNELS 'fast'" in run("fast").stderr


def test_accelerators_get_plain_operations(monkeypatch) -> None:
    """Nothing of ours stands in the program that is traced where JAX computes on a GPU."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    x, w = jnp.ones((2, 4, 4, 8)), jnp.ones((3, 3, 4, 8))
    found = primitives(
        jax.make_jaxpr(jax.grad(lambda x, w: jnp.sum(conv(deferred(gelu_tanh)(x), w, groups=2))))(x, w).jaxpr
    )
    assert found["conv_general_dilated"]
    assert not {"convolution", "convolution_input_gradient", "late", "once", "tied", "linear"} & set(found)
