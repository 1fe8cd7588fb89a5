"""The optimiser, its schedule and the average of parameters against the released code."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import golden
from support.networks import TINY, abstract_parameters, network, quick_jit

from nfnet import UserError
from nfnet.optim.ema import ema_decay, ema_update
from nfnet.optim.masks import is_clipped, is_decayed
from nfnet.optim.schedules import warmup_cosine
from nfnet.optim.settings import OPTIMISERS, OptimiserConfig, make_optimiser
from nfnet.optim.sgd import agc_sgd

OPTIM = np.load(golden.GOLDEN / "optim_agc.npz")
META = json.loads(str(OPTIM["meta"]))
STEPS = len(OPTIM["lr"])


# Largest magnitude of each array along the trajectory; some cross zero on the way.
LARGEST = {
    (kind, name): max(np.max(np.abs(OPTIM[f"{kind}{step + 1}:{name}"])) for step in range(STEPS))
    for kind in ("param", "momentum")
    for name in sorted(key.split(":")[1] for key in OPTIM if key.startswith("grad0:"))
}


def tree(kind, step, dtype):
    """Returns one stored step, e.g. the gradients of step 2, as {module: {name: array}}."""
    prefix = f"{kind}{step}:"
    result = {}
    for key in OPTIM:
        if key.startswith(prefix):
            module, name = key[len(prefix) :].rsplit("/", 1)
            result.setdefault(module, {})[name] = jnp.asarray(OPTIM[key], dtype)
    return result


def trajectory_error(dtype, **changes):
    """Returns the largest deviation of parameters and momentum, as a share of each array's largest value."""
    schedule = META["lr_schedule"]
    rate = warmup_cosine(schedule["max_val"], schedule["num_steps"], schedule["warmup_steps"])
    optimiser = agc_sgd(rate, **{"weight_decay": META["weight_decay"], **changes})
    params = tree("param", 0, dtype)
    state = optimiser.init(params)

    @quick_jit
    def update(params, state, gradients):
        updates, state = optimiser.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    worst = 0.0
    for step in range(STEPS):
        params, state = update(params, state, tree("grad", step, dtype))
        trace = optax.tree_utils.tree_get(state, "trace")
        for kind, actual in (("param", params), ("momentum", trace)):
            for name, value in golden.flatten(actual).items():
                expected = OPTIM[f"{kind}{step + 1}:{name}"]
                difference = np.max(np.abs(np.asarray(value, np.float64) - expected))
                worst = max(worst, difference / LARGEST[kind, name])
    return worst


@pytest.mark.usefixtures("x64")
def test_six_steps_in_float64():
    assert trajectory_error(jnp.float64) < 1e-12


def test_six_steps_in_float32():
    assert trajectory_error(jnp.float32) < 5e-6


@pytest.mark.parametrize(
    "mistake",
    [
        {"weight_decay": 0.0},
        {"clipping": 0.011},
        {"eps": 1e-4},
        {"momentum": 0.89},
        {"nesterov": False},
    ],
    ids=lambda mistake: next(iter(mistake)),
)
def test_the_trajectory_shows_a_wrong_setting(mistake):
    assert trajectory_error(jnp.float32, **mistake) > 5e-6


@pytest.mark.parametrize("mask", ["is_clipped", "is_decayed"])
def test_the_trajectory_shows_a_wrong_mask(mask, monkeypatch):
    monkeypatch.setattr(f"nfnet.optim.masks.{mask}", lambda params: jax.tree.map(lambda _: True, params))
    assert trajectory_error(jnp.float32) > 5e-6


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("shape", sorted(key[12:] for key in OPTIM if key.startswith("unitnorm_in:")))
def test_units_are_output_channels(shape):
    """A huge gradient is clipped to 0.01 times the norm of each unit's weights."""
    weights, norms = jnp.asarray(OPTIM[f"unitnorm_in:{shape}"]), OPTIM[f"unitnorm_out:{shape}"]
    optimiser = agc_sgd(1.0, weight_decay=0.0, momentum=0.0, nesterov=False)
    params = {"net/~/conv": {"w": weights}}
    gradients = jax.tree.map(lambda w: 1e6 * w, params)
    updates, _ = optimiser.update(gradients, optimiser.init(params), params)
    # The update is minus the clipped gradient, which points along the weights with 0.01 times their length.
    expected = -0.01 * np.asarray(weights) * np.maximum(norms, 1e-3) / norms
    np.testing.assert_allclose(updates["net/~/conv"]["w"], expected, rtol=1e-12)


def updates_of(optimiser):
    """Returns the first update of each array under gradients far above any clipping."""
    some = ("NFNet/~/stem_conv0", "NFNet/~/linear")  # each kind of array but the skip gain; updates are not compiled
    params, gradients = ({name: tree(what, 0, jnp.float32)[name] for name in some} for what in ("param", "grad"))
    gradients = jax.tree.map(lambda g: 1e3 * g, gradients)
    return params, gradients, golden.flatten(optimiser.update(gradients, optimiser.init(params), params)[0])


def test_without_clipping_all_parameters_move_by_their_whole_gradient():
    """Nesterov's first step is 1.9 times the gradient, to which the decay of weights alone has been added."""
    for optimiser in (
        agc_sgd(0.1, weight_decay=0.5, clipping=None),
        make_optimiser(OptimiserConfig(name="agc_sgd", weight_decay=0.5, clipping=None), lambda step: 0.1),
        make_optimiser(OptimiserConfig(name="sgd", weight_decay=0.5), lambda step: 0.1),
    ):
        params, gradients, updates = updates_of(optimiser)
        for module, group in params.items():
            for name, value in group.items():
                whole = gradients[module][name] + (0.5 * value if name == "w" else 0.0)
                np.testing.assert_allclose(updates[f"{module}/{name}"], -0.19 * whole, rtol=1e-5)


def test_sgd_clips_the_norm_of_the_whole_gradient_and_need_not_look_ahead():
    settings = OptimiserConfig(name="sgd", clip_norm=2.0, nesterov=False)
    _, gradients, updates = updates_of(make_optimiser(settings, lambda step: 0.1))
    norm = float(optax.tree.norm(gradients))
    for name, gradient in golden.flatten(gradients).items():
        np.testing.assert_allclose(updates[name], -0.1 * gradient * 2 / norm, rtol=1e-5)


def test_states_are_those_of_earlier_checkpoints():
    """Their trees must be the same, empty states included, for a run to go on from them."""
    decay, mask = optax.add_decayed_weights(0.1), lambda params: jax.tree.map(lambda _: True, params)
    last = optax.sgd(lambda step: 0.1, 0.9)
    former = {
        "sgd": optax.chain(optax.clip_by_global_norm(1.0), decay, last),
        "agc_sgd": optax.chain(optax.masked(optax.adaptive_grad_clip(0.01), mask), optax.masked(decay, mask), last),
    }
    for name, optimiser in former.items():
        ours = make_optimiser(OptimiserConfig(name=name), lambda step: 0.1)
        states = (one.init(tree("param", 0, jnp.float32)) for one in (ours, optimiser))
        assert len({jax.tree.structure(state) for state in states}) == 1


@pytest.mark.parametrize("clipping", [0, 0.0, -0.01, float("nan")])
def test_a_clipping_that_lets_nothing_pass_is_refused(clipping):
    with pytest.raises(UserError, match="must be above 0; None turns it off"):
        agc_sgd(0.1, weight_decay=0.0, clipping=clipping)
    with pytest.raises(UserError, match=r"optimiser.clipping is .*must be none or a number above 0"):
        OptimiserConfig(clipping=clipping)


def readers(setting):
    return " and ".join(name for name, entry in OPTIMISERS.items() if setting in entry.reads)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "adamw", "clipping": 0.02}, r"clipping is 0.02, but adamw does not read it \(agc_sgd\)"),
        ({"name": "sgd", "clipping": None}, r"clipping is None, but sgd does not"),
        (
            {"name": "agc_sgd", "clip_norm": 1.0},
            rf"clip_norm is 1.0, but .* \({readers('clip_norm')}\)",
        ),
        ({"name": "agc_sgd", "head_weight_decay": 3.0}, rf"head_weight_decay .*\({readers('head_weight_decay')}\)"),
        ({"name": "adafactor", "nesterov": False}, "nesterov is False, but adafactor does not"),
        ({"name": "adamw", "momentum": 0.8}, "momentum is 0.8, but adamw does not"),
        ({"schedule": "cosine", "cooldown_steps": 5}, r"cooldown_steps is 5, but cosine does not read it \(rsqrt\)"),
        ({"schedule": "cosine", "timescale": 5}, "timescale is 5, but cosine does not"),
    ],
)
def test_settings_that_have_no_effect_are_refused(settings, message):
    with pytest.raises(UserError, match=f"optimiser.{message}"):
        OptimiserConfig(**settings)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_each_optimiser_is_made_of_all_that_it_reads(name):
    other = {"weight_decay": 0.1, "clipping": 0.02, "clip_norm": 1.0, "momentum": 0.5, "nesterov": False}
    other["head_weight_decay"] = 0.2
    settings = OptimiserConfig(name=name, **{key: other[key] for key in OPTIMISERS[name].reads})
    params, _, plain = updates_of(make_optimiser(OptimiserConfig(name=name), lambda step: 0.1))
    _, _, changed = updates_of(make_optimiser(settings, lambda step: 0.1))
    assert len(plain) == len(golden.flatten(params))
    assert all(np.any(plain[key] != changed[key]) for key in plain if key.endswith("/w"))


def test_masks():
    params = abstract_parameters(network(10, TINY))
    clipped, decayed = golden.flatten(is_clipped(params)), golden.flatten(is_decayed(params))
    assert [name for name, mark in clipped.items() if not mark] == ["NFNet/~/linear/w"]
    assert {name.rsplit("/", 1)[1] for name, mark in decayed.items() if mark} == {"w"}
    assert {name.rsplit("/", 1)[1] for name, mark in decayed.items() if not mark} == {
        "b",
        "bias",
        "gain",
        "skip_gain",
    }


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["sched", "sched_b"])
def test_schedule(name):
    config = json.loads(str(OPTIM[f"{name}:config"]))
    rate = warmup_cosine(
        config["max_val"],
        config["num_steps"],
        config["warmup_steps"],
        start=config["start_val"],
        end=config["min_val"],
    )
    actual = [float(rate(jnp.asarray(step))) for step in OPTIM[f"{name}:steps"]]
    np.testing.assert_allclose(actual, OPTIM[f"{name}:lr"], rtol=1e-12, atol=1e-16)


def test_schedule_without_warm_up_starts_at_the_peak():
    rate = warmup_cosine(1.6, 100, 0)
    assert float(rate(0)) == pytest.approx(1.6)
    assert float(rate(100)) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("warmup", [-1, 10, 11])
def test_schedule_refuses_a_warm_up_that_takes_all_steps(warmup):
    with pytest.raises(UserError, match="warmup_steps"):
        warmup_cosine(1.0, 10, warmup)


@settings(deadline=None, derandomize=True)
@given(peak=st.floats(1e-3, 10), total=st.integers(2, 10_000), share=st.floats(0, 0.9), place=st.floats(0, 1.5))
def test_schedule_stays_between_zero_and_its_peak(peak, total, share, place):
    value = float(warmup_cosine(peak, total, share * total)(int(place * total)))
    assert -1e-6 * peak <= value <= peak * (1 + 1e-6)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("decay", [0.99999, 0.3])
def test_average_of_parameters(decay):
    average = jnp.asarray(OPTIM["ema:start"])
    for step, current in enumerate(OPTIM["ema:current"]):
        expected_decay = OPTIM[f"ema:tf1_decay:{decay}"][step]
        assert float(ema_decay(step, decay)) == pytest.approx(expected_decay, rel=1e-12)
        average = ema_update(average, jnp.asarray(current), jnp.asarray(step), decay)
        np.testing.assert_allclose(average, OPTIM[f"ema:tf1:{decay}"][step], rtol=1e-12)


def test_average_keeps_its_precision_in_float32():
    """Far into training the average moves by 1e-5 of the difference: to 1e-6 of that, in float32 too."""
    average = ema_update({"w": jnp.zeros(1)}, {"w": jnp.ones(1)}, 10_000_000, 0.99999)
    assert average["w"].dtype == jnp.float32
    assert float(average["w"][0]) == pytest.approx(1e-5, rel=1e-6)
