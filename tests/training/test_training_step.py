import contextlib
import dataclasses

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.tiny_runs import ROOT, tiny

from nfnet.data.pipeline import Schedule
from nfnet.errors import UserError
from nfnet.optim.sam import ascend, ascent_rows, take_ascent_rows
from nfnet.optim.settings import make_optimiser
from nfnet.training.config_file import load_config
from nfnet.training.losses import LOSSES, smooth_labels
from nfnet.training.network import make_network, parameter_shapes
from nfnet.training.run import assemble
from nfnet.training.sharding import check_batch_size, make_mesh, put_batch, state_sharding
from nfnet.training.state import EvaluationSums
from nfnet.training.step import StepConfig, init_state, make_evaluation_step, make_train_step

KEY = jax.random.key(7)
RNG = np.random.default_rng(0)
CLASSES, SIDE = 3, 2
FEATURES = 3 * SIDE * SIDE
PLAIN = StepConfig(CLASSES, (0.0,) * 3, (1.0,) * 3)


def linear(params, key, images, is_training):
    """A linear classifier, whose gradients can be written down; training adds no noise."""
    return images.reshape(len(images), -1) @ params["linear"]["w"]


def noisy(params, key, images, is_training):
    logits = linear(params, key, images, is_training)
    return logits + jax.random.normal(key, logits.shape) if is_training else logits


def batch(n: int = 8, weights=None):
    return {
        "image": RNG.integers(0, 256, (n, SIDE, SIDE, 3), np.uint8),
        "label": RNG.integers(0, CLASSES, n).astype(np.int32),
        "weight": np.ones(n, np.float32) if weights is None else np.float32(weights),
        "unreadable": np.zeros(n, bool),
    }


def weights() -> dict:
    return {"linear": {"w": np.random.default_rng(1).normal(size=(FEATURES, CLASSES)).astype(np.float32)}}


def run(config, data, forward=linear, optimiser=None, steps=1, rate=1.0):
    optimiser = optimiser or optax.sgd
    mesh = make_mesh()
    state = init_state(jax.tree.map(jnp.array, weights()), optimiser(rate), config.ema_decay)
    step = make_train_step(forward, optimiser, config, mesh, state)
    for _ in range(steps):
        state, metrics = step(state, put_batch(mesh, data), KEY, rate)
    return jax.device_get(state), jax.device_get(metrics)


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def hand_gradient(w, data, rows=slice(None), smoothing=0.0):
    """Gradient of the softmax cross-entropy of a linear classifier, in float64."""
    x = data["image"][rows].reshape(-1, FEATURES) / 255.0
    y = np.eye(CLASSES)[data["label"][rows]] * (1 - smoothing) + smoothing / CLASSES
    weight = data["weight"][rows].astype(np.float64)
    difference = (softmax(x @ w) - y) * weight[:, None]
    return x.T @ difference / weight.sum()


def moved(state):
    """What plain SGD of rate one subtracted from the parameters: the gradient."""
    return weights()["linear"]["w"] - state.params["linear"]["w"]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("w", [None, [1, 0, 1, 1, 0, 0, 1, 1]])
def test_gradient_of_the_weighted_mean(smoothing, w):
    data = batch(weights=w)
    state, metrics = run(dataclasses.replace(PLAIN, label_smoothing=smoothing), data)
    expected = hand_gradient(weights()["linear"]["w"].astype(np.float64), data, smoothing=smoothing)
    np.testing.assert_allclose(moved(state), expected, rtol=1e-4, atol=2e-6)
    assert metrics.weight == data["weight"].sum()
    assert metrics.gradient_norm == pytest.approx(np.linalg.norm(expected), rel=1e-4)
    assert (state.step, state.first_bad_step) == (1, -1)


@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_sam_step_by_hand(fraction):
    data, rho = batch(), 0.3
    w = weights()["linear"]["w"].astype(np.float64)
    rows = slice(0, round(8 * fraction))
    ascent = hand_gradient(w, data, rows)
    expected = hand_gradient(w + rho * ascent / np.linalg.norm(ascent), data)
    state, _ = run(dataclasses.replace(PLAIN, sam_rho=rho, sam_fraction=fraction), data)
    np.testing.assert_allclose(moved(state), expected, rtol=1e-4, atol=2e-6)
    plain = hand_gradient(w, data)
    assert np.abs(expected - plain).max() > 1e-2  # SAM is no small matter here


def test_ascent_rows_are_spread_and_close_to_the_fraction():
    assert ascent_rows(2048, 0.2) == (13, 64)
    assert ascent_rows(10, 0.2) == (1, 2)  # the closest that blocks of two allow, and at least one
    taken = take_ascent_rows(jnp.arange(256), 0.25)
    assert taken.shape == (64,)
    assert {int(row) // 64 for row in taken} == {0, 1, 2, 3}


def test_ascending_moves_by_rho():
    params = {"a": jnp.ones(3), "b": jnp.zeros((2, 2))}
    gradient = {"a": jnp.full(3, 2.0), "b": jnp.ones((2, 2))}
    difference = jax.tree.map(lambda x, y: x - y, ascend(params, gradient, 0.05), params)
    assert float(optax.tree.norm(difference)) == pytest.approx(0.05, rel=1e-5)
    still = ascend(params, jax.tree.map(jnp.zeros_like, params), 0.05)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(still))


@pytest.mark.parametrize("sam_rho", [pytest.param(0.0, marks=pytest.mark.slow), 0.1])
def test_accumulation_changes_nothing(sam_rho):
    data = batch(16, weights=[1] * 13 + [0] * 3)
    whole = dataclasses.replace(PLAIN, sam_rho=sam_rho)
    expected, one = run(whole, data, optimiser=optax.adam, rate=0.1, steps=3)
    result, four = run(dataclasses.replace(whole, accumulate=4), data, optimiser=optax.adam, rate=0.1, steps=3)
    np.testing.assert_allclose(result.params["linear"]["w"], expected.params["linear"]["w"], rtol=2e-4, atol=1e-5)
    assert four.loss == pytest.approx(one.loss, rel=1e-5)
    assert four.correct == one.correct


def test_accumulation_is_no_loop_on_cpus():
    """In a loop, XLA computes the gradients of convolutions many times slower."""
    config = dataclasses.replace(PLAIN, accumulate=4)
    mesh = make_mesh()
    state = init_state(weights(), optax.sgd(1.0), 0.0)
    step = make_train_step(linear, optax.sgd, config, mesh, state)
    assert "while" not in step.lower(state, put_batch(mesh, batch(16)), KEY, 1.0).as_text()


def test_the_gradient_of_repeated_examples_is_the_mean_over_copies():
    data = batch(4)
    copies = {key: np.concatenate([value] * 2) for key, value in data.items()}
    copies["image"][4:] = 255 - copies["image"][4:]  # another augmentation
    w = weights()["linear"]["w"].astype(np.float64)
    other = {**data, "image": copies["image"][4:]}
    state, _ = run(PLAIN, copies)
    expected = (hand_gradient(w, data) + hand_gradient(w, other)) / 2
    np.testing.assert_allclose(moved(state), expected, rtol=1e-4, atol=2e-6)


def test_repeated_augmentation_costs_nothing():
    # The compiled step is the same function of shapes, so its cost cannot differ; count the shapes' work.
    one, four = Schedule(1000, 3, 64), Schedule(1000, 3, 64, repeats=4)
    assert (one.steps, one.images, one.batch_size) == (four.steps, four.images, four.batch_size)
    assert four.draw(four.images - 1) + 1 <= -(-one.images // 64) * 16  # a quarter of the passes


def test_average_follows_the_warmed_up_decay():
    data, decay = batch(), 0.9
    state, _ = run(dataclasses.replace(PLAIN, ema_decay=decay), data, steps=4)
    average = w = weights()["linear"]["w"].astype(np.float64)
    for step in range(4):
        w = w - hand_gradient(w, data)
        share = min(decay, (1 + step) / (10 + step))
        average = share * average + (1 - share) * w
    np.testing.assert_allclose(state.average["linear"]["w"], average, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(state.params["linear"]["w"], w, rtol=1e-4, atol=1e-5)
    assert state.evaluated is state.average


def test_noise_depends_on_key_and_step_alone():
    data = batch()
    first, _ = run(PLAIN, data, noisy, steps=2)
    again, _ = run(PLAIN, data, noisy, steps=2)
    np.testing.assert_array_equal(first.params["linear"]["w"], again.params["linear"]["w"])
    without, _ = run(PLAIN, data, linear, steps=2)
    assert np.abs(first.params["linear"]["w"] - without.params["linear"]["w"]).max() > 1e-3


def test_the_first_step_that_is_not_finite_is_noted():
    def breaking(params, key, images, is_training):
        logits = linear(params, key, images, is_training)
        # The gradient is infinite as soon as the parameters have moved.
        start = jnp.asarray(weights()["linear"]["w"])
        return jnp.where(jnp.abs(params["linear"]["w"] - start).max() > 0, jnp.inf, 1.0) * logits

    state, _ = run(PLAIN, batch(), breaking, steps=4)
    assert state.first_bad_step == 1


def test_mixing_reaches_the_loss():
    data = batch()
    state, _ = run(dataclasses.replace(PLAIN, mixup_alpha=1.0), data)
    plain = hand_gradient(weights()["linear"]["w"].astype(np.float64), data)
    assert np.abs(moved(state) - plain).max() > 1e-3


def test_losses_by_hand():
    logits = np.array([[1.0, -2.0, 0.5]])
    labels = np.array([[0.2, 0.5, 0.3]])
    softmax_loss = -(labels * np.log(softmax(logits))).sum()
    p = 1 / (1 + np.exp(-logits))
    sigmoid_loss = -(labels * np.log(p) + (1 - labels) * np.log(1 - p)).sum()
    assert float(LOSSES["softmax"](jnp.array(logits), jnp.array(labels))[0]) == pytest.approx(softmax_loss, rel=1e-5)
    assert float(LOSSES["sigmoid"](jnp.array(logits), jnp.array(labels))[0]) == pytest.approx(sigmoid_loss, rel=1e-5)
    np.testing.assert_allclose(smooth_labels(jnp.array([1]), 4, 0.2), [[0.05, 0.85, 0.05, 0.05]], rtol=1e-6)


def test_evaluation_sums_what_weighs():
    data = batch(weights=[1, 1, 0, 1, 0, 1, 1, 1])
    mesh = make_mesh()
    step = make_evaluation_step(noisy, PLAIN, mesh)
    sums = EvaluationSums(*(jnp.zeros(()) for _ in range(3)))
    w = weights()
    for _ in range(2):
        sums = step(w, sums, put_batch(mesh, data))
    logits = data["image"].reshape(8, -1) / 255.0 @ w["linear"]["w"].astype(np.float64)
    losses = -np.log(softmax(logits))[np.arange(8), data["label"]]
    assert float(sums.loss) == pytest.approx(2 * (losses * data["weight"]).sum(), rel=1e-4)
    assert float(sums.correct) == 2 * ((logits.argmax(-1) == data["label"]) * data["weight"]).sum()
    assert float(sums.weight) == 12


def test_large_arrays_are_sharded_along_their_longest_axis():
    # One device repeated stands for eight: only the specification is looked at.
    mesh = jax.sharding.AbstractMesh((2, 4), ("replica", "shard"))
    shapes = {
        "conv": jax.ShapeDtypeStruct((3, 3, 128, 256), jnp.float32),
        "odd": jax.ShapeDtypeStruct((129, 257), jnp.float32),
        "gain": jax.ShapeDtypeStruct((256,), jnp.float32),
        "linear": jax.ShapeDtypeStruct((4096, 1001), jnp.float32),
    }
    specs = {key: value.spec for key, value in state_sharding(mesh, shapes).items()}
    spec = jax.sharding.PartitionSpec
    assert specs == {
        "conv": spec(None, None, None, "shard"),
        "odd": spec(),
        "gain": spec(),
        "linear": spec("shard"),
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"accumulate": 3}}, "accumulate is 3, but must divide the batch size, 64"),
        ({"training": {"loss": "hinge"}}, r"training.loss 'hinge'"),
        ({"training": {"label_smoothing": 1.0}}, "label_smoothing is 1"),
        (
            {"training": {"batch_size": 6}, "data": {"mixup_alpha": 1.0, "cutmix_alpha": 1.0}},
            "multiple of 4, not 6",
        ),
        (
            {"training": {"batch_size": 12}, "data": {"mixup_alpha": 1.0, "repeats": 4}},
            "even number of different",
        ),
        ({"optimiser": {"sam_fraction": 0.0}}, "sam_fraction is 0"),
        ({"optimiser": {"ema_decay": 1.0}}, "ema_decay is 1"),
    ],
)
def test_bad_settings_are_told(changes, message):
    with pytest.raises(UserError, match=message):
        StepConfig.of(tiny(**changes))


def test_sam_share_is_that_of_the_rows():
    config = tiny(training={"batch_size": 2048}, optimiser={"sam_rho": 0.05, "sam_fraction": 0.2})
    assert StepConfig.of(config).ascent_share(2048) == 13 / 64
    assert PLAIN.ascent_share(2048) == 0.0


def test_devices_are_arranged_by_jax():
    mesh = make_mesh()
    assert (mesh.axis_names, mesh.axis_types) == (("replica", "shard"), (jax.sharding.AxisType.Auto,) * 2)


def test_batches_that_devices_cannot_share_are_told():
    mesh = jax.sharding.AbstractMesh((2, 4), ("replica", "shard"))
    check_batch_size(mesh, "batch_size", 64)
    with pytest.raises(UserError, match=r"training.evaluation_batch_size is 12, but .* multiple of .*devices, 8"):
        check_batch_size(mesh, "evaluation_batch_size", 12)


def test_devices_must_fit():
    with pytest.raises(UserError, match="must divide the number of devices, 1"):
        make_mesh(2)


@pytest.mark.slow
def test_nfnet_optimiser_and_forward_fit_the_step():
    # The real thing, traced but not run.

    config = load_config(f"{ROOT}/nfnet/configs/imagenet_finetune.py:F0")
    model = dataclasses.replace(config.model, shape={"depths": (1, 1, 1, 1)})
    config = dataclasses.replace(config, model=model, data=dataclasses.replace(config.data, image_size=64))
    network = make_network(config.model)

    def optimiser(rate):
        return make_optimiser(config.optimiser, lambda _: rate)

    shapes = parameter_shapes(network, 64)
    state = jax.eval_shape(lambda p: init_state(p, optimiser(0.1), config.optimiser.ema_decay), shapes)
    step = make_train_step(network.forward, optimiser, StepConfig.of(config), make_mesh(), state)
    images = {
        "image": jax.ShapeDtypeStruct((64, 64, 64, 3), jnp.uint8),
        "label": jax.ShapeDtypeStruct((64,), jnp.int32),
        "weight": jax.ShapeDtypeStruct((64,), jnp.float32),
        "unreadable": jax.ShapeDtypeStruct((64,), jnp.bool_),
    }
    new_state, metrics = jax.eval_shape(step, state, images, KEY, 0.1)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), new_state) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    assert metrics.loss.shape == ()
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(hk.data_structures.to_mutable_dict(shapes)))


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_one_number_an_example_and_least_at_the_label(name):
    right, wrong = (5.0 * jax.nn.one_hot(jnp.asarray(labels), 3) for labels in ([0, 1, 2, 0], [1, 2, 0, 1]))
    labels = jax.nn.one_hot(jnp.asarray([0, 1, 2, 0]), 3)
    losses = LOSSES[name](right, labels)
    assert losses.shape == (4,)
    assert jnp.isfinite(losses).all()
    assert (losses < LOSSES[name](wrong, labels)).all()


def test_runs_that_differ_in_rate_and_budget_are_one_program(tmp_path):
    """So that a study compiles each network once."""

    def program(rate, epochs):
        run = assemble(tiny(optimiser={"learning_rate": rate}, training={"epochs": epochs}), tmp_path)
        state = jax.eval_shape(run.begin, run.shapes)
        with contextlib.closing(run.batches()) as batches:
            rows = dict(next(batches))
        step = make_train_step(run.network.forward, run.optimiser, run.steps, run.mesh, state)
        return step.lower(state, rows, run.key(1), run.learning_rate(0)).as_text()

    assert program(0.1, 1.0) == program(0.4, 2.0)
