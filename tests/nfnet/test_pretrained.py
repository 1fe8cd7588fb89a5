"""Checkpoints made elsewhere: what is read, what is refused, what is reported."""

import dataclasses
import os
import pickle

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import golden
from support.networks import abstract_parameters, network, quick_jit

from nfnet import NFNetConfig, UserError
from nfnet.weights.load import from_timm, load_checkpoint, merge, timm_config

FILES = golden.GOLDEN.parent / "pretrained"
TINY_CHECKPOINT = NFNetConfig(
    widths=(8, 16), depths=(1, 2), strides=(1, 2), group_width=4, stem_widths=(4,), stem_strides=(2, 1)
)


def initial(num_classes=5, config=TINY_CHECKPOINT):
    shapes = abstract_parameters(network(num_classes, config))
    return jax.tree.map(lambda leaf: jnp.full(leaf.shape, 7.0, leaf.dtype), shapes)


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
