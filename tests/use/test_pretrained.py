"""`nfnet.load`: the origin chooses what is computed, metadata or shapes the variant, a run its settings."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from support import golden, networks, vits
from support.golden_timm import read_timm_manifest
from support.networks import MICRO, abstract_parameters, network, quick_jit
from support.small_weights import logits_for
from support.tiny_runs import tiny

import nfnet
from nfnet import VARIANTS, VIT_VARIANTS, UserError
from nfnet.models.nfnet import find_variant
from nfnet.training.loop import train
from nfnet.weights import find
from nfnet.weights.files import write_safetensors
from nfnet.weights.infer import infer
from nfnet.weights.metadata import Told, metadata_of, trained_with
from nfnet.weights.origins import OURS, RELEASED, TIMM_NFNET, TIMM_VIT, convert
from nfnet.weights.pretrained import load_pretrained
from nfnet.weights.timm_nfnet import to_timm
from nfnet.weights.zoo import ENTRIES

FILES = golden.GOLDEN.parent / "pretrained"
SIDE = 32


def flat(arrays: Any) -> dict[str, np.ndarray]:
    return {key: np.asarray(value) for key, value in golden.flatten(arrays).items()}


def micro(num_classes: int = 10, seed: int = 3) -> dict[str, dict[str, np.ndarray]]:
    return golden.make_parameters(golden.read_manifest("micro.json", num_classes), seed)


def hollow(shapes: dict[str, tuple[int, ...]]) -> dict[str, dict[str, np.ndarray]]:
    """Arrays of shapes that take no memory."""
    arrays: dict[str, dict[str, np.ndarray]] = {}
    for key, shape in shapes.items():
        module, name = key.rsplit("/", 1)
        arrays.setdefault(module, {})[name] = np.broadcast_to(np.float32(0), shape)
    return arrays


def timm_file(path: Path, seed: int = 3) -> Path:
    write_safetensors(path, to_timm(micro(seed=seed), MICRO.depths), {})
    return path


@pytest.mark.parametrize("name", golden.NETWORKS)
def test_variants_are_known_by_their_shapes(name: str) -> None:
    variant, reading, manifest = golden.NETWORKS[name]
    inferred = infer(hollow(golden.read_manifest(manifest, 21)), "file")
    assert (inferred.variant, inferred.classes) == (variant, 21)
    assert inferred.config == find_variant(variant, reading)


def test_other_nfnets_are_known_by_their_shapes() -> None:
    inferred = infer(hollow(golden.read_manifest("micro.json")), "file")
    assert inferred.variant is None
    assert inferred.config.blocks() == MICRO.blocks()
    assert inferred.config.stem_channels == MICRO.stem_channels


def test_shapes_that_leave_the_network_open_ask_for_it() -> None:
    arrays = hollow({key: v.shape for key, v in golden.flatten(abstract_parameters(network(5, networks.TINY))).items()})
    with pytest.raises(UserError, match=r"leave strides open.*config="):
        infer(arrays, "file")
    assert infer(arrays, "file", networks.TINY).config == networks.TINY


@pytest.mark.parametrize(("model", "variant"), [("vit_small_patch16_224", "S/16"), ("vit_base_patch16_224", "B/16")])
def test_timms_vits_are_known_by_their_shapes(model: str, variant: str) -> None:
    state = {key: np.broadcast_to(np.float32(0), shape) for key, shape in read_timm_manifest(model).items()}
    arrays, origin = convert(state)
    inferred = infer(arrays, "file")
    assert origin is TIMM_VIT
    assert (inferred.variant, inferred.config, inferred.classes) == (variant, VIT_VARIANTS[variant], 1000)
    assert inferred.options == {"head": "cls", "posemb": "learned"}


@pytest.mark.parametrize("head", vits.HEADS)
@pytest.mark.parametrize("posemb", ["learned", "sincos2d"])
def test_heads_and_positions_are_known_by_their_names(head: str, posemb: str) -> None:
    config = dataclasses.replace(vits.SHALLOW, width=64, num_heads=1)
    shapes = vits.abstract_vit_parameters(vits.vit_network(7, config, head=head, posemb=posemb), config.resolution)
    inferred = infer(hollow({key: value.shape for key, value in golden.flatten(shapes).items()}), "file")
    assert inferred.options == {"head": head, "posemb": posemb}
    wanted = dataclasses.replace(config, resolution=config.resolution if posemb == "learned" else 224)
    assert inferred.config == wanted


def test_heads_of_a_vit_are_told_or_asked_for() -> None:
    shapes = vits.abstract_vit_parameters(vits.vit_network(7, vits.TINY), vits.TINY.resolution)
    arrays = hollow({key: value.shape for key, value in golden.flatten(shapes).items()})
    with pytest.raises(UserError, match="number of heads"):
        infer(arrays, "file")
    assert infer(arrays, "file", num_heads=2).config == vits.TINY


def test_files_of_several_or_no_networks_are_refused() -> None:
    with pytest.raises(UserError, match="holds 0 networks"):
        infer({"linear": {"w": np.zeros((2, 2))}}, "file")
    both = {f"{name}/{key}": group for key, group in micro().items() for name in ("a", "b")}
    with pytest.raises(UserError, match="holds 2 networks"):
        infer(both, "file")


SMALL = dataclasses.replace(MICRO, widths=(16, 16, 16, 16), depths=(1, 1, 1, 1))


@pytest.mark.parametrize("timm", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_origin_chooses_the_network(timm: bool, tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    shapes = {key: value.shape for key, value in golden.flatten(abstract_parameters(network(5, SMALL))).items()}
    stored = golden.make_parameters(shapes, 3)
    write_safetensors(path, to_timm(stored, SMALL.depths) if timm else flat(stored), {})
    net, params = nfnet.load(path)
    images = golden.make_images(2, SIDE, 3)

    def logits(params: Any) -> tuple[Any, ...]:
        """Of what was loaded, of what it has to be, and of the other origin's."""
        own, other = (TIMM_NFNET, RELEASED) if timm else (RELEASED, TIMM_NFNET)
        known = [network(5, dataclasses.replace(SMALL, **one.trained_with)) for one in (own, other)]
        mine = net.apply(params, None, images, is_training=False)["logits"]
        return mine, *(one.apply(params, None, images, False)["logits"] for one in known)

    mine, own, other = quick_jit(logits)(params)
    np.testing.assert_array_equal(mine, own)
    assert np.any(np.asarray(mine) != np.asarray(other))


def test_all_is_told_of_what_was_loaded(tmp_path: Path) -> None:
    loaded = load_pretrained(timm_file(tmp_path / "micro.safetensors"))
    assert (loaded.family, loaded.variant, loaded.num_classes, loaded.new_head) == ("nfnet", None, 10, False)
    assert loaded.origin is TIMM_NFNET
    assert (loaded.preprocessing.size, loaded.preprocessing.margin) == (224, 32)
    assert loaded.class_names is None
    assert all(isinstance(leaf, jax.Array) and leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(loaded.params))
    for key, value in flat(micro()).items():
        np.testing.assert_array_equal(flat(loaded.params)[key], value)


def test_a_fresh_classifier(tmp_path: Path) -> None:
    path = timm_file(tmp_path / "micro.safetensors")
    loaded = load_pretrained(path, num_classes=3)
    again = load_pretrained(path, num_classes=3, seed=1)
    head = loaded.params["NFNet/~/linear"]
    assert loaded.new_head
    assert head["w"].shape == (192, 3)
    assert not np.any(head["b"])
    assert 0.005 < np.std(head["w"]) < 0.02
    assert np.any(head["w"] != again.params["NFNet/~/linear"]["w"])
    np.testing.assert_array_equal(loaded.params["NFNet/~/final_conv"]["w"], micro()["NFNet/~/final_conv"]["w"])


def test_without_a_classifier_one_has_to_be_asked_for(tmp_path: Path) -> None:
    body = micro()
    del body["NFNet/~/linear"]
    write_safetensors(tmp_path / "body.safetensors", flat(body), {})
    with pytest.raises(UserError, match="holds no classifier: pass num_classes"):
        nfnet.load(tmp_path / "body.safetensors")
    assert nfnet.load(tmp_path / "body.safetensors", 4)[1]["NFNet/~/linear"]["w"].shape == (192, 4)


def test_parameters_do_not_change_with_the_file(tmp_path: Path) -> None:
    path = timm_file(tmp_path / "micro.safetensors")
    params = nfnet.load(path)[1]
    with path.open("r+b") as file:
        file.seek(-4096, 2)
        file.write(b"\0" * 4096)
    for key, value in flat(micro()).items():
        np.testing.assert_array_equal(flat(params)[key], value)


@pytest.mark.parametrize("name", ["tiny_timm.safetensors", "tiny_timm.npz", "tiny_dill_0.4.0.npz"])
def test_files_of_other_programs_with_a_configuration(name: str) -> None:
    config = nfnet.NFNetConfig(
        widths=(8, 16), depths=(1, 2), strides=(1, 2), group_width=4, stem_widths=(4,), stem_strides=(2, 1)
    )
    with pytest.raises(UserError, match="config="):
        nfnet.load(FILES / name)
    loaded = load_pretrained(FILES / name, config=config)
    stored = golden.make_parameters({key: value.shape for key, value in flat(loaded.params).items()}, seed=7)
    for key, value in flat(stored).items():
        np.testing.assert_array_equal(flat(loaded.params)[key], value)


def big_vision(seed: int = 0) -> dict[str, np.ndarray]:
    """A small network in big_vision's names and shapes: two heads of eight features, mean of all tokens."""
    rng = np.random.default_rng(seed)
    attention = "Transformer/encoderblock_0/MultiHeadDotProductAttention_0"
    block = "Transformer/encoderblock_0"
    shapes = {
        "embedding/kernel": (4, 4, 3, 16),
        "embedding/bias": (16,),
        "pos_embedding": (1, 16, 16),
        "Transformer/encoder_norm/scale": (16,),
        "Transformer/encoder_norm/bias": (16,),
        "head/kernel": (16, 5),
        "head/bias": (5,),
        f"{attention}/out/kernel": (2, 8, 16),
        f"{attention}/out/bias": (16,),
        f"{block}/MlpBlock_0/Dense_0/kernel": (16, 24),
        f"{block}/MlpBlock_0/Dense_0/bias": (24,),
        f"{block}/MlpBlock_0/Dense_1/kernel": (24, 16),
        f"{block}/MlpBlock_0/Dense_1/bias": (16,),
    }
    for name in ("query", "key", "value"):
        shapes |= {f"{attention}/{name}/kernel": (16, 2, 8), f"{attention}/{name}/bias": (2, 8)}
    for number in (0, 1):
        shapes |= {f"{block}/LayerNorm_{number}/{name}": (16,) for name in ("scale", "bias")}
    return {key: rng.normal(size=shape).astype(np.float32) for key, shape in shapes.items()}


def test_heads_are_those_that_big_visions_file_has(tmp_path: Path) -> None:
    np.savez(tmp_path / "vit.npz", **big_vision())
    loaded = load_pretrained(tmp_path / "vit.npz")
    assert loaded.config == dataclasses.replace(vits.SHALLOW, gelu="tanh")
    assert loaded.options == {"head": "gap", "posemb": "learned"}
    assert loaded.preprocessing.mean == (0.5,) * 3
    images = golden.make_images(2, 16, 0)
    assert logits_for(loaded.network, loaded.params, images).shape == (2, 5)


def test_a_name_of_the_zoo_brings_its_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = timm_file(tmp_path / "model.safetensors")
    monkeypatch.setattr(find, "_fetch", lambda entry, offline: path)
    loaded = load_pretrained("dm_nfnet_f0.dm_in1k")
    entry = ENTRIES["dm_nfnet_f0.dm_in1k"]
    assert loaded.entry is entry
    assert loaded.preprocessing is entry.preprocessing
    with pytest.raises(UserError, match="but released was expected"):
        load_pretrained("F0_haiku")


def told(**changes: Any) -> dict[str, str]:
    config = dataclasses.replace(MICRO, activation="relu", alpha=0.3)
    names = tuple(f"class {i}" for i in range(10))
    said = Told("nfnet", config, {}, trained_with(OURS, config), None, None, names)
    metadata = metadata_of(said)
    if changes:
        metadata["nfnet_companion"] = json.dumps(json.loads(metadata["nfnet_companion"]) | changes)
    return metadata


def test_metadata_say_what_shapes_do_not(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "own.safetensors", flat(micro()), told())
    loaded = load_pretrained(tmp_path / "own.safetensors")
    assert (loaded.config.activation, loaded.config.alpha, loaded.config.floor) == ("relu", 0.3, "clamp")
    assert loaded.origin.name == OURS.name
    assert loaded.class_names is not None
    assert loaded.class_names[9] == "class 9"
    assert load_pretrained(tmp_path / "own.safetensors", num_classes=10).class_names is None


@pytest.mark.parametrize(
    "changes",
    [
        {"family": "resnet"},
        {"config": {"widths": [1]}},
        {"config": {"colour": "red"}},
        {"config": []},
        {"options": {"head": "none"}},
        {"options": {"head": "gap"}},
        {"options": {"__class__": "gap"}},
        {"origin": "\x1b[31m"},
        {"class_names": [1, 2]},
        {"class_names": "0123456789"},
        {"preprocessing": {"size": 32, "mean": [0, 0, 0], "std": [1, 1, 1], "crop_share": 5e-324}},
        {"preprocessing": {"size": -1}},
        {"variant": ["F0"], "options": 3},
    ],
)
def test_metadata_that_make_no_sense_are_one_sentence(changes: dict[str, Any], tmp_path: Path) -> None:
    write_safetensors(tmp_path / "own.safetensors", flat(micro()), told(**changes))
    with pytest.raises(UserError, match="make no sense") as caught:
        nfnet.load(tmp_path / "own.safetensors")
    assert str(caught.value).isprintable()


def test_names_that_are_not_as_many_as_logits_are_refused(run: Path, tmp_path: Path) -> None:
    """Rather than dropped without a word, after which folders would be matched with logits by their order."""
    write_safetensors(tmp_path / "own.safetensors", flat(micro()), told(class_names=["cat", "dog"]))
    with pytest.raises(UserError, match=r"own\.safetensors names 2 classes for 10 logits: convert"):
        nfnet.load(tmp_path / "own.safetensors")
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    names = (copy / "classes.txt").read_text()
    (copy / "classes.txt").write_bytes(names.replace("\n", "\r\n").encode())
    assert load_pretrained(copy).class_names == tuple("0123456789")
    (copy / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(UserError, match=r"classes\.txt names 2 classes for 10 logits: restore"):
        nfnet.load(copy)


def test_what_is_wrong_with_an_array_is_told_as_such(tmp_path: Path) -> None:
    safetensors.numpy.save_file({"NFNet/~/linear/w": np.zeros(3, np.int32)}, tmp_path / "whole.safetensors")
    with pytest.raises(UserError, match=r"^whole\.safetensors: NFNet/~/linear/w is of type I32"):
        nfnet.load(tmp_path / "whole.safetensors")


def test_a_classifier_of_no_classes_is_refused(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "own.safetensors", flat(micro()), told())
    with pytest.raises(UserError, match="num_classes is 0"):
        nfnet.load(tmp_path / "own.safetensors", num_classes=0)


def test_other_programs_metadata_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "torch.safetensors"
    safetensors.numpy.save_file(
        {key: np.ascontiguousarray(value) for key, value in to_timm(micro(), MICRO.depths).items()},
        path,
        {"format": "pt", "variant": "F9"},
    )
    assert load_pretrained(path).origin is TIMM_NFNET


def test_weights_that_are_not_finite(tmp_path: Path) -> None:
    bad = micro()
    bad["NFNet/~/linear"]["b"] = np.full(10, np.nan, np.float32)
    write_safetensors(tmp_path / "bad.safetensors", flat(bad), {})
    with pytest.raises(UserError, match="not finite"):
        nfnet.load(tmp_path / "bad.safetensors")
    assert nfnet.load(tmp_path / "bad.safetensors", allow_non_finite=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "tiny"
    train(tiny(training={"epochs": 0.1, "save_every": 0, "log_every": 1}, optimiser={"warmup_steps": 0}), workdir)
    return workdir


def test_a_run_brings_its_settings(run: Path) -> None:
    loaded = load_pretrained(run)
    assert (loaded.family, loaded.variant, loaded.num_classes) == ("vit", None, 10)
    assert loaded.config.patch == 4
    assert loaded.preprocessing.size == 8
    assert loaded.preprocessing.margin == 0
    assert loaded.preprocessing.mean == (0.3,) * 3
    assert loaded.class_names == tuple("0123456789")
    raw = load_pretrained(run, average=False)
    assert any(np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (loaded.params, raw.params)), strict=True))
    checkpoint = next((run / "checkpoints").iterdir())
    assert load_pretrained(checkpoint).class_names == loaded.class_names


def test_best_is_for_runs_alone(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="leave best out"):
        nfnet.load(timm_file(tmp_path / "micro.safetensors"), best=True)


def test_published_variants_keep_their_sizes() -> None:
    inferred = infer(hollow(golden.read_manifest("F1.json")), "file")
    assert inferred.config == VARIANTS["F1"]
