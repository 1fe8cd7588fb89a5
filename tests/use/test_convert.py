"""`nfnet convert`: names of timm and ours, the same bits back and forth, and what the other side cannot express."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from support import golden, vits
from support.golden_timm import make_timm_state_dict, read_timm_manifest
from support.networks import MICRO

from nfnet import VARIANTS, VIT_VARIANTS, UserError
from nfnet.convert import convert, main
from nfnet.models.families import FAMILIES
from nfnet.weights.files import read_metadata, read_weights, write_safetensors
from nfnet.weights.load import read_with_origin
from nfnet.weights.metadata import Told, metadata_of, read_told, trained_with
from nfnet.weights.origins import OURS
from nfnet.weights.pretrained import read_pretrained
from nfnet.weights.timm_nfnet import from_timm, to_timm
from nfnet.weights.timm_vit import from_timm_vit, to_timm_vit


def same(one: Any, other: Any) -> None:
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert value.dtype == other[key].dtype, key
        assert value.shape == other[key].shape, key
        assert np.ascontiguousarray(value).tobytes() == np.ascontiguousarray(other[key]).tobytes(), key


def micro(dtype: Any = np.float32) -> dict[str, np.ndarray]:
    return golden.flatten(golden.make_parameters(golden.read_manifest("micro.json", 10), 3, dtype))


def of_config(path: Path, state: dict[str, np.ndarray], config: Any, **options: str) -> Path:
    family = next(name for name, one in FAMILIES.items() if isinstance(config, one.config))
    told = Told(family, config, options, trained_with(OURS, config))
    write_safetensors(path, state, metadata_of(told, licence="MIT"))
    return path


def by_module(state: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    groups: dict[str, dict[str, np.ndarray]] = {}
    for key, value in state.items():
        module, name = key.rsplit("/", 1)
        groups.setdefault(module, {})[name] = value
    return groups


def test_names_and_shapes_of_f0_are_timms() -> None:
    hollow = {key: np.broadcast_to(np.float32(0), shape) for key, shape in golden.read_manifest("F0.json").items()}
    state = to_timm(by_module(hollow), VARIANTS["F0"].depths)
    assert {key: value.shape for key, value in state.items()} == read_timm_manifest("dm_nfnet_f0")


def test_names_and_shapes_of_a_deeper_nfnet_are_timms() -> None:
    hollow = {key: np.broadcast_to(np.float32(0), shape) for key, shape in golden.read_manifest("F7.json").items()}
    state = to_timm(by_module(hollow), VARIANTS["F7"].depths)
    theirs = read_timm_manifest("nfnet_f7")  # which has no gains of skips
    assert {key: value.shape for key, value in state.items() if not key.endswith("skipinit_gain")} == theirs


@pytest.mark.parametrize("model", ["vit_small_patch16_224", "vit_base_patch16_224"])
def test_names_and_shapes_of_vits_are_timms(model: str) -> None:
    manifest = read_timm_manifest(model)
    hollow = {key: np.broadcast_to(np.float32(0), shape) for key, shape in manifest.items()}
    state = to_timm_vit(from_timm_vit(hollow))
    assert {key: value.shape for key, value in state.items()} == manifest


def test_values_go_where_they_came_from() -> None:
    shapes = {key: value.shape for key, value in to_timm(by_module(micro()), MICRO.depths).items()}
    state = make_timm_state_dict(shapes, 5)
    same(to_timm(from_timm(state), MICRO.depths), state)
    manifest = {key: shape for key, shape in read_timm_manifest("vit_small_patch16_224").items() if "blocks.0." in key}
    manifest |= {"patch_embed.proj.weight": (24, 3, 4, 4), "cls_token": (1, 1, 24), "pos_embed": (1, 5, 24)}
    state = make_timm_state_dict(manifest, 6)
    same(to_timm_vit(from_timm_vit(state)), state)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64, jnp.bfloat16])
def test_back_and_forth_is_the_same_bit_for_bit(dtype: Any, tmp_path: Path) -> None:
    ours, timm, back = (tmp_path / f"{name}.safetensors" for name in ("ours", "timm", "back"))
    of_config(ours, micro(dtype), dataclasses.replace(MICRO, activation="gelu", floor="clamp"))
    assert main([str(ours), str(timm), "--to", "timm"]) == 0
    assert main([str(timm), str(back)]) == 0
    same(read_weights(back), micro(dtype))
    for path in (ours, timm, back):  # the network stays the same too, whoever's names it has
        told = read_told(path)
        assert told is not None
        assert (told.config, told.origin.name) == (MICRO, OURS.name)
        assert read_with_origin(path)[1].trained_with == {"activation": "gelu", "floor": "clamp"}


def test_vits_back_and_forth(tmp_path: Path) -> None:
    config = dataclasses.replace(vits.TINY, gelu="erf")
    state = {
        key: np.asarray(value)
        for key, value in golden.flatten(vits.random_parameters(vits.vit_network(5, config, head="map"), 16)).items()
    }
    ours, timm, back = (tmp_path / f"{name}.safetensors" for name in ("ours", "timm", "back"))
    of_config(ours, state, config, head="map", posemb="learned")
    said = convert(str(ours), timm, to="timm")
    assert not any("differ" in line for line in said)
    assert "attn_pool.latent" in read_weights(timm)
    convert(str(timm), back)
    same(read_weights(back), state)
    assert read_pretrained(back).config == config  # heads, which no shape shows


def test_a_state_dict_of_timm_becomes_ours_and_comes_back(tmp_path: Path) -> None:
    torch, ours, back = (tmp_path / f"{name}.safetensors" for name in ("torch", "ours", "back"))
    state = {key: np.array(value, order="C") for key, value in to_timm(by_module(micro()), MICRO.depths).items()}
    safetensors.numpy.save_file(state, torch, {"format": "pt"})
    assert not any("differ" in line for line in convert(str(torch), ours) + convert(str(ours), back, to="timm"))
    assert set(read_weights(ours)) == set(micro())
    same(safetensors.numpy.load_file(back), state)
    assert read_pretrained(ours).config.activation == "gelu_erf"  # type: ignore[union-attr]


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    source = golden.GOLDEN.parent / "pretrained" / "tiny_timm.safetensors"
    ours = of_config(tmp_path / "ours.safetensors", micro(), MICRO)
    convert(str(ours), tmp_path / "out.safetensors", to="timm")
    with safetensors.safe_open(tmp_path / "out.safetensors", "np") as file:
        metadata = file.metadata()
    assert metadata["format"] == "pt"
    assert metadata["source"] == "ours.safetensors"
    assert metadata["licence"] == "MIT"
    assert metadata["origin"] == OURS.name
    assert len(metadata["source_sha256"]) == 64
    assert json.loads(metadata["nfnet_companion"])["config"]["widths"] == list(MICRO.widths)
    assert read_metadata(source) == {"format": "pt"}


def test_others_may_read_the_file_as_if_it_had_been_written_in_place(tmp_path: Path) -> None:
    ours, out = of_config(tmp_path / "ours.safetensors", micro(), MICRO), tmp_path / "out.safetensors"
    usual = tmp_path / "usual"
    usual.write_bytes(b"")
    convert(str(ours), out)
    assert out.stat().st_mode == usual.stat().st_mode
    out.chmod(0o640)
    convert(str(ours), out)
    assert out.stat().st_mode & 0o777 == 0o640


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, out = of_config(tmp_path / "ours.safetensors", micro(), MICRO), tmp_path / "out.safetensors"

    def full(*_: Any) -> None:
        raise safetensors.SafetensorError("No space left on device")

    monkeypatch.setattr(safetensors.numpy, "save_file", full)
    with pytest.raises(UserError, match=r"out\.safetensors cannot be written \(No space left"):
        convert(str(ours), out)
    assert [path.name for path in tmp_path.iterdir()] == ["ours.safetensors"]


def test_what_differs_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours = of_config(tmp_path / "ours.safetensors", micro(), MICRO)
    assert main([str(ours), str(tmp_path / "out.safetensors"), "--to", "timm"]) == 0
    said = capsys.readouterr().err
    assert "timm computes activation gelu_erf, floor add, but these weights were trained with activation gelu" in said
    assert "no model of this shape under a name" in said


def refused(tmp_path: Path, state: dict[str, np.ndarray], config: Any, **options: str) -> str:
    ours, out = of_config(tmp_path / "ours.safetensors", state, config, **options), tmp_path / "out.safetensors"
    out.write_bytes(b"as it was")
    with pytest.raises(UserError) as caught:
        convert(str(ours), out, to="timm")
    assert out.read_bytes() == b"as it was"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours.safetensors", "out.safetensors"]
    return str(caught.value)


def test_what_timm_cannot_have_is_refused(tmp_path: Path) -> None:
    assert "alpha 0.5" in refused(tmp_path, micro(), dataclasses.replace(MICRO, alpha=0.5))
    strides = dataclasses.replace(MICRO, strides=(1, 2, 2, 1))
    assert "strides (1, 2, 2, 1)" in refused(tmp_path, micro(), strides)
    extra = {**micro(), "NFNet/~/extra/w": np.zeros(2, np.float32)}
    assert "no parameter NFNet/~/extra/w" in refused(tmp_path, extra, MICRO)


@pytest.mark.parametrize(("head", "posemb"), [("gap", "learned"), ("cls", "sincos2d")])
def test_vits_that_timm_cannot_have_are_refused(head: str, posemb: str, tmp_path: Path) -> None:
    net = vits.vit_network(5, vits.SHALLOW, head=head, posemb=posemb)
    state = {key: np.asarray(value) for key, value in golden.flatten(vits.random_parameters(net, 16)).items()}
    assert "VisionTransformer" in refused(tmp_path, state, vits.SHALLOW, head=head, posemb=posemb)


def test_bad_input_is_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.npz"), str(tmp_path / "out.safetensors")]) == 2
    assert "no name of weights" in capsys.readouterr().err
    assert main(["F0_haiku", str(tmp_path / "out.npz")]) == 2
    assert "does not end in .safetensors" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_models_of_timm_are_named(tmp_path: Path) -> None:
    state = make_timm_state_dict(read_timm_manifest("vit_small_patch16_224"), 6, np.float16)
    path = tmp_path / "vit.safetensors"
    safetensors.numpy.save_file(state, path)
    (said,) = convert(str(path), tmp_path / "out.safetensors", to="timm")
    assert "timm.create_model('vit_small_patch16_224', num_classes=1000)" in said
    assert read_pretrained(tmp_path / "out.safetensors").config == dataclasses.replace(VIT_VARIANTS["S/16"], gelu="erf")
