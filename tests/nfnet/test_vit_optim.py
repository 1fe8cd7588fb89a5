"""Schedules, optimizers and recipes of the Vision Transformer papers against their formulas in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.networks import quick_jit
from support.vits import SHALLOW, vit_network

from nfnet import UserError
from nfnet.optim.adam import adafactor, adamw
from nfnet.optim.schedules import rsqrt_schedule
from nfnet.optim.vit_recipes import alabdulmohsin2023_pretraining, zhai2022_finetuning, zhai2022_pretraining

SHAPES = {
    "ViT": {"position_embedding": (1, 40, 48)},
    "ViT/patch_embedding": {"w": (40, 48), "b": (48,)},
    "ViT/block_0/mlp/hidden": {"w": (40, 64), "b": (64,)},
    "ViT/norm": {"scale": (48,), "offset": (48,)},
    "ViT/head": {"w": (48, 5), "b": (5,)},
}


def draw(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return {
        module: {name: (scale * rng.standard_normal(shape)).astype(np.float32) for name, shape in group.items()}
        for module, group in SHAPES.items()
    }


def leaves(tree):
    return {(module, name): np.asarray(value) for module, group in tree.items() for name, value in group.items()}


def run(optimizer, steps=4, scale=1.0):
    """Returns the initial parameters, the gradients and the parameters after each step."""
    params = draw(0)
    state = optimizer.init(params)
    update = quick_jit(optimizer.update)
    gradients, path = [], [leaves(params)]
    for step in range(steps):
        gradients.append(leaves(draw(step + 1, scale)))
        updates, state = update(draw(step + 1, scale), state, params)
        params = jax.tree.map(np.add, params, updates)
        path.append(leaves(params))
    return gradients, path, state


def decay_of(key, body, head):
    module, name = key
    return 0.0 if name != "w" else head if module == "ViT/head" else body


def clipped(gradients, norm):
    total = np.sqrt(sum(np.sum(g.astype(np.float64) ** 2) for g in gradients.values()))
    return {key: g * min(1.0, norm / total) for key, g in gradients.items()}


def test_rsqrt_schedule_is_that_of_the_paper():
    rate = rsqrt_schedule(8e-4, 1_000_000)
    assert rate(0) == 0
    assert rate(2_500) == pytest.approx(2e-4)
    assert rate(10_000) == pytest.approx(8e-4)
    for step in (20_000, 40_000, 900_000, 950_000):  # with timescale = warm-up, a plain inverse square root
        assert rate(step) == pytest.approx(8e-4 * np.sqrt(10_000 / step), rel=1e-6)
    assert rate(975_000) == pytest.approx(0.5 * 8e-4 * np.sqrt(10_000 / 975_000), rel=1e-6)
    assert rate(1_000_000) == 0
    assert rate(1_000_001) == 0


@settings(deadline=None, derandomize=True, max_examples=20)
@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 200), st.integers(1, 100), st.floats(1e-5, 10))
def test_rsqrt_schedule_rises_then_falls(warmup, cooldown, rest, timescale, peak):
    total = warmup + cooldown + rest
    rate = rsqrt_schedule(peak, total, warmup_steps=warmup, cooldown_steps=cooldown, timescale=timescale)
    longer = rsqrt_schedule(peak, 2 * total, warmup_steps=warmup, cooldown_steps=cooldown, timescale=timescale)
    values = np.asarray(rate(np.arange(302)))[: total + 1]  # of one length for all, to compile once
    assert values.max() == pytest.approx(peak, rel=1e-6)
    assert values.argmax() == warmup
    assert (np.diff(values[: warmup + 1]) > 0).all()
    assert (np.diff(values[warmup:]) < 0).all()
    np.testing.assert_allclose(longer(np.arange(302))[: rest + warmup], values[: rest + warmup], rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"total_steps": 50_000}, ("10000", "50000", "do not fit")),
        ({"total_steps": 100_000, "warmup_steps": -1}, ("warmup_steps -1", "negative")),
        ({"total_steps": 100_000, "timescale": 0}, ("timescale 0",)),
    ],
)
def test_impossible_schedules_are_refused(arguments, words):
    with pytest.raises(UserError) as error:
        rsqrt_schedule(1e-3, **arguments)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("scale", [1.0, 1e-4])  # the norm of the gradient above and below its limit
def test_adamw_decays_classifier_and_other_weights_apart(scale):
    optimizer = adamw(0.01, weight_decay=0.03, head_weight_decay=3.0, b1=0.9, b2=0.99, clip_norm=1.0)
    gradients, path, _ = run(optimizer, scale=scale)
    first = {key: np.zeros(p.shape) for key, p in path[0].items()}
    second = {key: np.zeros(p.shape) for key, p in path[0].items()}
    for t, gradient in enumerate(gradients, start=1):
        for key, g in clipped(gradient, 1.0).items():
            first[key] = 0.9 * first[key] + 0.1 * g
            second[key] = 0.99 * second[key] + 0.01 * g**2
            step = (first[key] / (1 - 0.9**t)) / (np.sqrt(second[key] / (1 - 0.99**t)) + 1e-8)
            expected = path[t - 1][key] - 0.01 * (step + decay_of(key, 0.03, 3.0) * path[t - 1][key])
            np.testing.assert_allclose(path[t][key], expected, rtol=1e-4, atol=1e-6)


def factored(second):
    """Rank-one estimate of a matrix from its row and column means."""
    return second.mean(axis=1, keepdims=True) * second.mean(axis=0, keepdims=True) / second.mean()


def test_adafactor_is_that_of_zhai_et_al():
    optimizer = adafactor(0.01, weight_decay=0.03, head_weight_decay=3.0, b2_cap=0.5, clip_norm=None)
    gradients, path, _ = run(optimizer)
    momentum = {key: np.zeros(p.shape) for key, p in path[0].items()}
    second = {key: np.zeros(p.shape) for key, p in path[0].items()}
    for t, gradient in enumerate(gradients, start=1):
        decay = min(0.5, 1 - t**-0.8)
        for key, g in gradient.items():
            # Row and column means are linear, so that averaging squares first and factoring then is the same.
            second[key] = decay * second[key] + (1 - decay) * g.astype(np.float64) ** 2
            matrix = second[key].squeeze()
            large = matrix.ndim == 2 and min(matrix.shape) >= 32
            estimate = factored(matrix).reshape(g.shape) if large else second[key]
            fresh = 0.9 * momentum[key] + 0.1 * g / np.sqrt(estimate)
            momentum[key] = np.asarray(jnp.asarray(fresh, jnp.bfloat16), np.float64)
            expected = path[t - 1][key] - 0.01 * (fresh + decay_of(key, 0.03, 3.0) * path[t - 1][key])
            np.testing.assert_allclose(path[t][key], expected, rtol=1e-3, atol=1e-4)


def test_adafactor_keeps_a_fraction_of_adamws_state():
    params = draw(0)
    bytes_of = {
        name: sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(optimizer.init(params)))
        for name, optimizer in {"adafactor": adafactor(1e-3), "adamw": adamw(1e-3)}.items()
    }
    assert bytes_of["adafactor"] < 0.4 * bytes_of["adamw"]  # two bytes a parameter rather than eight, and a few sums


def test_fine_tuning_is_sgd_with_momentum_under_a_cosine():
    gradients, path, _ = run(zhai2022_finetuning(0.03, total_steps=4, warmup_steps=1))
    rates = [0.0, *(0.03 * 0.5 * (1 + np.cos(np.pi * np.arange(3) / 3)))]
    trace = {key: np.zeros(p.shape) for key, p in path[0].items()}
    for t, gradient in enumerate(gradients):
        for key, g in clipped(gradient, 1.0).items():
            trace[key] = 0.9 * trace[key] + g
            np.testing.assert_allclose(path[t + 1][key], path[t][key] - rates[t] * trace[key], rtol=1e-4, atol=1e-6)


def test_pretraining_follows_its_schedule_and_decays_the_classifier_a_hundred_times_more():
    optimizer = zhai2022_pretraining(8, warmup_steps=4, cooldown_steps=2)
    params = draw(0)
    state = optimizer.init(params)
    rate = rsqrt_schedule(8e-4, 8, warmup_steps=4, cooldown_steps=2)
    nothing = jax.tree.map(np.zeros_like, params)
    update = quick_jit(optimizer.update)
    for step in range(9):
        updates, state = update(nothing, state, params)
        for key, value in leaves(updates).items():
            expected = -rate(step) * decay_of(key, 0.03, 3.0) * leaves(params)[key]
            np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-10)


def test_sovit_takes_its_steps_from_the_images_seen():
    params = {"ViT/patch_embedding": {}, "ViT/head": {"w": np.ones((2, 2), np.float32)}}

    def updates(optimizer):
        def step(state, gradient):
            update, state = optimizer.update(gradient, state, params)
            return state, update

        steps = np.linspace(-1, 1, 24, dtype=np.float32).reshape(6, 2, 2)
        gradients = {"ViT/patch_embedding": {}, "ViT/head": {"w": steps}}
        return jax.lax.scan(step, optimizer.init(params), gradients)[1]["ViT/head"]["w"]

    settings = {"warmup_steps": 2, "cooldown_steps": 3}
    expected = updates(zhai2022_pretraining(6, **settings))
    np.testing.assert_array_equal(updates(alabdulmohsin2023_pretraining(1000, images=6_000, **settings)), expected)
    assert not np.array_equal(updates(alabdulmohsin2023_pretraining(1000, images=7_000, **settings)), expected)
    with pytest.raises(UserError, match="do not fit"):
        alabdulmohsin2023_pretraining(16_384, images=1e8)


@pytest.mark.slow
def test_pretraining_learns():
    optimizer = zhai2022_pretraining(60, peak=1e-2, warmup_steps=10, cooldown_steps=20)
    net = vit_network(4, SHALLOW)
    rng = np.random.default_rng(0)
    labels = np.arange(16) % 4
    prototypes = rng.standard_normal((4, SHALLOW.resolution, SHALLOW.resolution, 3), np.float32)
    images = prototypes[labels] + 0.1 * rng.standard_normal((16, SHALLOW.resolution, SHALLOW.resolution, 3), np.float32)

    params = quick_jit(lambda rng, x: net.init(rng, x, True))(jax.random.key(0), images)

    def loss(params):
        logits = net.apply(params, None, images, True)["logits"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    @quick_jit
    def train(params, state):
        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    state = optimizer.init(params)
    losses = []
    for _ in range(60):
        params, state, value = train(params, state)
        losses.append(float(value))
    assert losses[-1] < 0.1 * losses[0]
