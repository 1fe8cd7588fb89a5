"""Checkpoints made elsewhere: what is read, what is refused, what is reported."""

import dataclasses
import functools
import os
import pickle

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import golden
from support.networks import abstract_parameters, network, quick_jit

from nfnet import NFNet, NFNetConfig, UserError
from nfnet.weights.load import load_checkpoint, merge
from nfnet.weights.origins import RELEASED, TIMM_NFNET, convert, timm_config
from nfnet.weights.timm_nfnet import from_timm

FILES = golden.GOLDEN.parent / "pretrained"
TINY_CHECKPOINT = NFNetConfig(
    widths=(8, 16), depths=(1, 2), strides=(1, 2), group_width=4, stem_widths=(4,), stem_strides=(2, 1)
)


@functools.cache
def abstract(num_classes, config):
    """Traces each network once: nearly every test asks for the same one."""
    return abstract_parameters(network(num_classes, config))


def initial(num_classes=5, config=TINY_CHECKPOINT):
    return jax.tree.map(lambda leaf: jnp.full(leaf.shape, 7.0, leaf.dtype), abstract(num_classes, config))


def stored(num_classes=5):
    shapes = {key: value.shape for key, value in golden.flatten(initial(num_classes)).items()}
    return golden.make_parameters(shapes, seed=7)


def check_values(params, expected):
    actual, expected = golden.flatten(params), golden.flatten(expected)
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        assert actual[key].dtype == jnp.float32
        np.testing.assert_array_equal(actual[key], value, err_msg=key)


@pytest.mark.parametrize("name", sorted(path.name for path in FILES.iterdir() if path.suffix != ".md"))
def test_every_format_gives_the_stored_parameters(name):
    checkpoint = load_checkpoint(FILES / name, initial())
    check_values(checkpoint.params, stored())
    assert set(checkpoint.loaded) == set(golden.flatten(stored()))
    assert checkpoint.skipped == checkpoint.left_over == ()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_pickles_of_every_protocol(protocol, tmp_path):
    path = tmp_path / "plain.npz"
    params = stored()
    params["NFNet/~/nf_block"]["skip_gain"] = np.float32(params["NFNet/~/nf_block"]["skip_gain"])  # a scalar
    path.write_bytes(pickle.dumps(params, protocol))
    check_values(load_checkpoint(path, initial()).params, stored())


def test_loaded_parameters_run():
    checkpoint = load_checkpoint(FILES / "tiny_dill_0.3.3.npz", initial())
    net = network(5, TINY_CHECKPOINT)
    images = golden.make_images(1, 16, 0)
    apply = quick_jit(lambda params: net.apply(params, None, images, False)["logits"])
    np.testing.assert_array_equal(apply(checkpoint.params), apply(stored()))


def test_another_head_keeps_its_initial_values():
    checkpoint = load_checkpoint(FILES / "tiny_dill_0.3.3.npz", initial(3), replace_head=True)
    assert set(checkpoint.skipped) == {"NFNet/~/linear/w", "NFNet/~/linear/b"}
    assert checkpoint.params["NFNet/~/linear"]["w"].shape == (32, 3)
    assert np.all(np.asarray(checkpoint.params["NFNet/~/linear"]["w"]) == 7)
    body = {module: group for module, group in checkpoint.params.items() if module != "NFNet/~/linear"}
    check_values(body, {module: group for module, group in stored().items() if module in body})
    assert "2 skipped (NFNet/~/linear/" in checkpoint.summary()


def test_lenient_loading_reports_what_does_not_fit():
    found = stored()
    del found["NFNet/~/nf_block"]["skip_gain"]
    found["NFNet/~/extra"] = {"w": np.zeros(3, np.float32)}
    checkpoint = merge(found, initial(), "found", strict=False)
    assert checkpoint.skipped == ("NFNet/~/nf_block/skip_gain",)
    assert checkpoint.left_over == ("NFNet/~/extra/w",)
    assert len(checkpoint.loaded) == len(golden.flatten(found)) - 1


def test_lenient_loading_of_nothing_is_refused():
    found = {"NFNet/~/extra": {"w": np.zeros(3, np.float32)}}
    with pytest.raises(UserError, match="found: nothing in it fits the network"):
        merge(found, initial(), "found", strict=False)
    head = {"NFNet/~/linear": stored()["NFNet/~/linear"]}
    with pytest.raises(UserError, match="nothing in it fits"):
        merge(head, initial(), "found", strict=False, replace_head=True)


def test_lenient_loading_refuses_other_shapes_of_scalars_too():
    found = stored()
    found["NFNet/~/nf_block"]["skip_gain"] = np.zeros(1, np.float32)
    with pytest.raises(UserError, match=r"skip_gain has shape \(1,\), but the network needs \(\)"):
        merge(found, initial(), "found", strict=False)


def test_files_without_a_classifier_say_so(tmp_path):
    path = tmp_path / "headless.npz"
    path.write_bytes(pickle.dumps({module: group for module, group in stored().items() if module != "NFNet/~/linear"}))
    text = refusal(path)
    assert "holds no classifier (NFNet/~/linear/b is missing): pass replace_head=True, or fine-tune it" in text
    assert len(load_checkpoint(path, initial(), replace_head=True).skipped) == 2
    with pytest.raises(UserError, match=r"NFNet/~/final_conv/bias is missing"):  # what is wrong besides comes first
        merge({"NFNet/~/stem_conv0": stored()["NFNet/~/stem_conv0"]}, initial(), "found")


class Around(hk.Module):
    """A network within another module, which has a parameter of its own."""

    def __init__(self, names):
        super().__init__(name="wrapper")
        self.networks = [NFNet(5, TINY_CHECKPOINT, name=name) for name in names]

    def __call__(self, images, is_training):
        logits = [network(images, is_training)["logits"] for network in self.networks]
        return hk.Linear(2, name="projection")(sum(logits))


def around(*names):
    net = hk.transform(lambda images, is_training: Around(names)(images, is_training))
    return jax.tree.map(lambda leaf: jnp.full(leaf.shape, 7.0, leaf.dtype), abstract_parameters(net, 16))


@pytest.mark.parametrize("name", ["tiny_dill_0.3.3.npz", "tiny_timm.npz"])
def test_a_network_within_another_module_takes_weights(name):
    for inner in ("NFNet", "backbone"):
        checkpoint = load_checkpoint(FILES / name, around(inner))
        assert checkpoint.skipped == ("wrapper/projection/b", "wrapper/projection/w")
        params = dict(checkpoint.params)
        assert np.all(np.asarray(params.pop("wrapper/projection")["w"]) == 7)
        check_values({module.replace(f"wrapper/~/{inner}", "NFNet"): params[module] for module in params}, stored())
        # And back again, from there to the network alone.
        check_values(merge(params, initial(), "found").params, stored())
        with pytest.raises(UserError, match="no parameter wrapper/projection/b"):
            merge(checkpoint.params, initial(), "found")


def test_a_renamed_network_takes_weights_and_keeps_its_head():
    net = network(3, TINY_CHECKPOINT, name="backbone")
    start = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 7.0, leaf.dtype), abstract_parameters(net))
    checkpoint = load_checkpoint(FILES / "tiny_dill_0.3.3.npz", start, replace_head=True)
    assert set(checkpoint.skipped) == {"backbone/~/linear/w", "backbone/~/linear/b"}
    squeeze = {module for module in start if module.endswith("squeeze_excite/~/linear")}
    assert squeeze
    assert {f"{module}/w" for module in squeeze} <= set(checkpoint.loaded)


def test_one_of_several_networks_is_not_guessed():
    with pytest.raises(UserError, match=r"Several networks of one family \(wrapper/~/a, wrapper/~/b\)"):
        merge(stored(), around("a", "b"), "found")


def timm_arrays():
    with np.load(FILES / "tiny_timm.npz") as file:
        return dict(file)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_prefixes_of_pytorchs_wrappers_are_removed(prefix):
    found, origin = convert({f"{prefix}{key}": value for key, value in timm_arrays().items()})
    assert origin is TIMM_NFNET
    check_values(merge(found, initial(), "found").params, stored())


def test_a_prefix_of_some_names_alone_is_told():
    state = timm_arrays()
    state["module.extra"] = state.pop("head.fc.bias")
    with pytest.raises(UserError, match=r"some names start with 'module.', but \S+ does not"):
        convert(state)


def test_the_origin_is_told_and_checked():
    released, timm = (load_checkpoint(FILES / name, initial()) for name in ("tiny_dill_0.3.3.npz", "tiny_timm.npz"))
    assert (released.origin, timm.origin) == (RELEASED, TIMM_NFNET)
    assert "timm's NFNets (activation gelu_erf, floor add): " in timm.summary()
    theirs = dataclasses.replace(TINY_CHECKPOINT, activation="gelu_erf", floor="add")
    for name, right, wrong, words in (
        ("tiny_timm.npz", theirs, TINY_CHECKPOINT, "activation='gelu_erf', floor='add'"),
        ("tiny_dill_0.3.3.npz", TINY_CHECKPOINT, theirs, "activation='gelu', floor='clamp'"),
    ):
        assert load_checkpoint(FILES / name, initial(), config=right).loaded
        assert words in refusal(FILES / name, config=wrong)


def test_names_of_no_known_origin_are_told():
    with pytest.raises(UserError, match="layer1 is no parameter of timm's ViTs, big_vision's ViTs, timm's NFNets"):
        convert({"layer1": np.zeros(2)})
    with pytest.raises(UserError, match="holds no arrays"):
        convert({})


def test_merging_does_not_change_its_arguments():
    before = initial()
    merge(stored(), before, "found")
    assert all(np.all(np.asarray(leaf) == 7) for leaf in jax.tree.leaves(before))


def refusal(path, params=None, **kwargs):
    with pytest.raises(UserError) as error:
        load_checkpoint(path, params or initial(), **kwargs)
    text = str(error.value)
    assert os.path.basename(path) in text
    assert "\n" not in text
    return text


def test_another_variant_is_refused_with_the_first_wrong_shape():
    other = NFNetConfig(
        widths=(8, 24), depths=(1, 2), strides=(1, 2), group_width=4, stem_widths=(4,), stem_strides=(2, 1)
    )
    text = refusal(FILES / "tiny_dill_0.3.3.npz", initial(config=other))
    assert "NFNet/~/final_conv/bias has shape (32,), but the network needs (48,)" in text


def test_another_class_count_is_refused_with_the_remedy():
    text = refusal(FILES / "tiny_dill_0.3.3.npz", initial(3))
    assert "replace_head=True" in text
    assert "NFNet/~/linear/b has shape (5,), but the network needs (3,)" in text


def test_missing_and_unknown_parameters_are_refused(tmp_path):
    path = tmp_path / "partial.npz"
    params = stored()
    del params["NFNet/~/nf_block"]["skip_gain"]
    path.write_bytes(pickle.dumps(params))
    assert "NFNet/~/nf_block/skip_gain is missing" in refusal(path)
    params = stored()
    params["NFNet/~/extra"] = {"w": np.zeros(3, np.float32)}
    path.write_bytes(pickle.dumps(params))
    assert "NFNet/~/extra/w" in refusal(path)


class Malicious:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("function", [os.system, eval, exec, __import__, getattr, np.load, pickle.loads])
def test_no_code_of_the_files_choice_runs(function, tmp_path):
    path, witness = tmp_path / "evil.npz", tmp_path / "witness"
    argument = f"touch {witness}" if function is os.system else f"open({str(witness)!r}, 'w')"
    path.write_bytes(pickle.dumps({"NFNet/~/linear": {"w": Malicious(function, argument)}}))
    assert "only NumPy arrays" in refusal(path)
    assert not witness.exists()


def test_dills_attribute_access_is_no_way_out(tmp_path):
    """dill's helpers take attributes of imported modules; ours look the pair up among what is allowed."""
    path = tmp_path / "evil.npz"
    path.write_bytes(b"cdill._dill\n_get_attr\n(cdill._dill\n_import_module\n(Vposix\ntRVsystem\ntR(Vtrue\ntR.")
    assert "posix.system" in refusal(path)


@pytest.mark.parametrize("name", ["tiny_dill_0.4.0.npz", "tiny_timm.safetensors", "tiny_timm.npz"])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_truncated_files_are_refused(name, share, tmp_path):
    path = tmp_path / name
    data = (FILES / name).read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    assert "truncated" in refusal(path)


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        [1, 2],
        {"NFNet/~/linear": 3},
        {"NFNet/~/linear": {"w": "text"}},
        {"NFNet/~/linear": {"w": np.array([None])}},
        {"NFNet/~/linear": {"w": np.arange(3)}},
    ],
)
def test_pickles_of_other_things_are_refused(content, tmp_path):
    path = tmp_path / "other.npz"
    path.write_bytes(pickle.dumps(content))
    refusal(path)


def test_missing_and_empty_files_are_refused(tmp_path):
    assert "No such file" in refusal(tmp_path / "nowhere.npz")
    (tmp_path / "empty.npz").touch()
    refusal(tmp_path / "empty.npz")
    (tmp_path / "folder.npz").mkdir()
    refusal(tmp_path / "folder.npz")


@pytest.mark.parametrize(
    "state",
    [
        {"layer1.weight": np.zeros((2, 2))},
        {"stages.0.0.conv9.weight": np.zeros((2, 2))},
        {"stem.conv1.weight": np.zeros(2)},
        {"stem.conv1.running_mean": np.zeros(2)},
    ],
)
def test_other_state_dicts_are_refused(state):
    with pytest.raises(UserError, match="timm"):
        from_timm(state)


def timm_state(seed):
    """Returns dm_nfnet_f0's state dict by the golden rule."""
    state = {}
    for key, shape in golden.read_json("manifests/timm_dm_nfnet_f0.json").items():
        z = golden.generator(key, seed).standard_normal(shape)
        if key == "head.fc.weight":
            value = 0.01 * z
        elif key.endswith("skipinit_gain"):
            value = 0.5 + 0.1 * z
        elif key.endswith("gain"):
            value = 1 + 0.1 * z
        elif key.endswith("bias"):
            value = 0.1 * z
        else:
            value = z / np.sqrt(np.prod(shape[1:]))
        state[key] = np.asarray(value, np.float32)
    return state


@pytest.mark.slow
def test_timm_weights_give_timms_outputs():
    expected = np.load(golden.GOLDEN / "timm_dm_nfnet_f0_s64_b2_seed5.npz")
    state = timm_state(seed=5)
    np.testing.assert_allclose(golden.checksum(state.values()), expected["param_checksum"], rtol=1e-12)
    images = golden.make_images(2, 64, seed=5)
    np.testing.assert_allclose(golden.checksum([images]), expected["x_checksum"], rtol=1e-12)

    net = network(1000, timm_config("F0"))
    shapes = abstract_parameters(net)
    checkpoint = merge(from_timm(state), shapes, "golden")
    assert not checkpoint.skipped
    outputs = quick_jit(lambda p, x: net.apply(p, None, x, False))(checkpoint.params, images)
    assert golden.deviation(outputs["logits"], expected["logits"]) < 1e-5
    assert golden.deviation(outputs["pool"], expected["features"]) < 1e-5


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_timm_differs_in_gelu_and_variance_floor_alone():
    """Both changed: equal to 1e-12 in float64. Either one left: far from equal."""
    expected = np.load(golden.GOLDEN / "timm_dm_nfnet_f0_s64_b2_seed5.npz")
    params = from_timm({key: value.astype(np.float64) for key, value in timm_state(seed=5).items()})
    images = golden.make_images(2, 64, seed=5, dtype=np.float64)
    deviations = {}
    for activation in ("gelu", "gelu_erf"):
        for floor in ("clamp", "add"):
            config = dataclasses.replace(timm_config("F0"), activation=activation, floor=floor)
            apply = quick_jit(hk.without_apply_rng(network(1000, config)).apply, static_argnums=2)
            outputs = apply(params, images, False)
            deviations[activation, floor] = golden.deviation(outputs["logits"], expected["logits"])
    assert deviations["gelu_erf", "add"] < 1e-12
    assert deviations["gelu", "add"] > 1e-5
    assert deviations["gelu_erf", "clamp"] > 1e-3
    assert deviations["gelu", "clamp"] > 1e-3
