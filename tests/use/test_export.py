"""`nfnet export`: files whose logits are those of the original, for batches of any size."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from support.fixtures import quick_compilation as quick_compilation
from support.networks import TINY
from support.small_weights import NAMES, PREPROCESSING, logits_for, tiny, write_tiny

from nfnet import UserError, export
from nfnet.inference import fold, onnx_graph
from nfnet.inference.export import write_stablehlo
from nfnet.weights.pretrained import load_pretrained

IMAGES = np.random.default_rng(3).standard_normal((2, 32, 32, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    network, params = write_tiny(folder / "tiny.safetensors")
    return folder, np.asarray(logits_for(network, params, IMAGES))


def test_stablehlo_runs_at_any_batch_and_says_what_it_is(made):
    folder, logits = made
    out = folder / "tiny.stablehlo"
    assert export.main(["--weights", str(folder / "tiny.safetensors"), str(out)]) == 0
    exported = jax.export.deserialize(out.read_bytes())
    assert exported.platforms == ("cpu", "cuda", "tpu")
    np.testing.assert_allclose(exported.call(IMAGES), logits, atol=2e-5)
    np.testing.assert_allclose(exported.call(IMAGES[:1]), logits[:1], atol=2e-5)
    said = json.loads((folder / "tiny.stablehlo.json").read_text())
    assert said["classes"] == list(NAMES)
    assert said["preprocessing"]["size"] == PREPROCESSING.size


def test_onnx_has_the_same_logits(made):
    pytest.importorskip("onnx", reason="the extra onnx is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    folder, logits = made
    out = folder / "tiny.onnx"
    assert export.main(["--weights", str(folder / "tiny.safetensors"), str(out)]) == 0
    session = runtime.InferenceSession(str(out))
    for count in (2, 1):
        (ours,) = session.run(None, {"images": IMAGES[:count].transpose(0, 3, 1, 2)})
        np.testing.assert_allclose(ours, logits[:count], atol=2e-5)
    said = session.get_modelmeta().custom_metadata_map
    assert json.loads(said["classes"]) == list(NAMES)


@pytest.mark.parametrize("side", [pytest.param(32, marks=pytest.mark.slow), 37])
@pytest.mark.parametrize(("activation", "floor"), [("gelu_erf", "add"), ("relu", "clamp")])
def test_onnx_of_other_activations_and_odd_sides(side, activation, floor):
    onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
    from onnx.reference import ReferenceEvaluator

    from nfnet.inference.onnx_graph import build

    config = dataclasses.replace(TINY, activation=activation, floor=floor)
    network, params = tiny(config)
    model = build(fold(params, config)[1], config, side)
    onnx.checker.check_model(model)
    images = np.random.default_rng(4).standard_normal((1, side, side, 3)).astype(np.float32)
    theirs = logits_for(network, params, images)
    (ours,) = ReferenceEvaluator(model).run(None, {"images": images.transpose(0, 3, 1, 2)})
    np.testing.assert_allclose(ours, theirs, atol=5e-5)


def test_weights_in_a_file_of_their_own_are_replaced_too(made, monkeypatch):
    """As those of over 2 GB are."""
    onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
    folder, _ = made
    monkeypatch.setattr(onnx_graph, "_LARGEST", 100)
    given = ["--weights", str(folder / "tiny.safetensors"), str(folder / "two.onnx")]
    sizes = set()
    for _ in range(2):
        assert export.main(given) == 0
        assert sorted(path.name for path in folder.iterdir() if "two" in path.name) == ["two.onnx", "two.onnx.data"]
        sizes.add((folder / "two.onnx.data").stat().st_size)
    assert len(sizes) == 1
    onnx.checker.check_model(str(folder / "two.onnx"))
    (folder / "two.onnx.data").unlink()
    (folder / "two.onnx.data").mkdir()
    before = (folder / "two.onnx").read_bytes()
    assert export.main(given) == 2
    assert (folder / "two.onnx").read_bytes() == before


def test_bad_input_writes_nothing(made, capsys):
    folder, _ = made
    weights = ["--weights", str(folder / "tiny.safetensors")]
    assert export.main([*weights, str(folder / "x.pt")]) == 2
    assert "must end with .stablehlo or .onnx" in capsys.readouterr().err
    assert export.main([*weights, str(folder / "x.stablehlo"), "--platforms", "abacus"]) == 2
    assert "'abacus'" in capsys.readouterr().err
    assert not list(folder.glob("x.*"))
    (folder / "y.stablehlo").mkdir()
    assert export.main([*weights, str(folder / "y.stablehlo")]) == 2
    assert "y.stablehlo cannot be written (Is a directory)" in capsys.readouterr().err
    assert [path.name for path in folder.glob("y.*")] == ["y.stablehlo"]


def test_of_two_files_neither_is_replaced_if_the_other_cannot_be(made):
    folder, _ = made
    out = folder / "z.stablehlo"
    out.write_bytes(b"as it was")
    (folder / "z.stablehlo.json").mkdir()
    loaded = load_pretrained(folder / "tiny.safetensors")
    with pytest.raises(UserError, match=r"z\.stablehlo\.json cannot be written"):
        write_stablehlo(out, loaded, loaded.preprocessing, NAMES, ("cpu",))
    assert out.read_bytes() == b"as it was"
    out.unlink()
    out.mkdir()
    (folder / "z.stablehlo.json").rmdir()
    with pytest.raises(UserError, match=r"z\.stablehlo cannot be written"):
        write_stablehlo(out, loaded, loaded.preprocessing, NAMES, ("cpu",))
    assert not (folder / "z.stablehlo.json").exists()
