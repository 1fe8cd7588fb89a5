"""`nfnet features`: rows named by file, of the pooled features or of a stage."""

import json

import numpy as np
import pytest
from safetensors import safe_open
from support.fixtures import quick_compilation as quick_compilation
from support.networks import TINY
from support.small_weights import write_pictures, write_tiny

from nfnet import features


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    write_tiny(folder / "tiny.safetensors")
    write_pictures(folder / "pictures", ["a.png", "b.png"])
    return folder


def run(folder, out, *arguments):
    given = [str(folder / "pictures"), "--weights", str(folder / "tiny.safetensors"), "--out", str(folder / out)]
    return features.main([*given, "--no-compilation-cache", *arguments])


def test_pooled_features_and_those_of_a_stage(folder):
    (folder / "pictures" / "c.png").write_text("no image")
    assert run(folder, "pooled.npz") == 1
    assert run(folder, "maps.safetensors", "--stage", "2", "--maps") == 1
    assert run(folder, "mean.npz", "--stage", "2") == 1
    files = [str(folder / "pictures" / name) for name in ("a.png", "b.png")]
    with np.load(folder / "pooled.npz") as pooled:
        assert pooled["files"].tolist() == files
        assert pooled["features"].shape == (2, TINY.features)
    with safe_open(folder / "maps.safetensors", "numpy") as stored:
        maps = stored.get_tensor("features")
        assert json.loads(stored.metadata()["files"]) == files
    assert maps.shape == (2, 8, 8, TINY.widths[-1])
    with np.load(folder / "mean.npz") as mean:
        np.testing.assert_allclose(mean["features"], maps.mean(axis=(1, 2)), atol=1e-5)


@pytest.mark.parametrize(
    ("out", "arguments", "said"),
    [
        ("out.csv", [], "must end with .npz or .safetensors"),
        ("out.npz", ["--stage", "3"], "pooled or a number from 1 to 2"),
        ("out.npz", ["--stage", "9" * 5000], "pooled or a number from 1 to 2"),
        ("out.npz", ["--maps"], "pooled features have no maps"),
        ("missing/out.npz", ["--stage", "0"], "cannot be written (No such file or directory): choose another --out"),
    ],
)
def test_bad_input_writes_nothing(folder, capsys, out, arguments, said):
    assert run(folder, out, *arguments) == 2
    assert said in capsys.readouterr().err
    assert not (folder / out).exists()
