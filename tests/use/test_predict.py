"""`nfnet predict`: classes, probabilities, files, folders, patterns, and what cannot be read."""

import json

import numpy as np
import pytest
from support.fixtures import quick_compilation as quick_compilation
from support.small_weights import NAMES, logits_of, write_pictures, write_tiny

from nfnet import predict
from nfnet.weights.files import read_metadata, write_safetensors


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict")
    network, params = write_tiny(folder / "tiny.safetensors")
    write_pictures(folder / "pictures", ["a.png", "b.PNG", "deeper.png"])
    (folder / "pictures" / "notes.txt").write_text("no image")
    return folder, network, params


def run(capsys, *arguments):
    code = predict.main([*map(str, arguments), "--no-compilation-cache"])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_classes_and_probabilities_are_those_of_the_original(made, capsys):
    folder, network, params = made
    (folder / "broken.png").write_bytes(b"\x89PNG nothing more")
    files = ["pictures/a.png", "pictures/b.PNG", "pictures/deeper.png"]
    code, out, _ = run(
        capsys, folder / "pictures", folder / "broken.png", folder / "gone.png", "--weights",
        folder / "tiny.safetensors", "--json", "--batch", 2,
    )  # fmt: skip
    record = json.loads(out)
    assert code == 1
    by_file = {one["file"]: one for one in record["images"]}
    assert list(by_file) == [str(folder / name) for name in (*files, "broken.png", "gone.png")]
    logits = logits_of(network, params, [folder / name for name in files])
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for name, row in zip(files, shares, strict=True):
        found = by_file[str(folder / name)]["predictions"]
        assert [one["name"] for one in found] == [NAMES[k] for k in np.argsort(-row)]
        np.testing.assert_allclose([one["probability"] for one in found], np.sort(row)[::-1], atol=1e-5)
    assert "cannot be decoded" in by_file[str(folder / "broken.png")]["error"]
    assert "does not exist" in by_file[str(folder / "gone.png")]["error"]


def test_plain_text_names_a_file_and_its_classes(made, capsys, tmp_path):
    folder, _, _ = made
    names = tmp_path / "names.txt"
    names.write_text("eins\nzwei\ndrei\n")
    given = ["--weights", folder / "tiny.safetensors", "--top", 2, "--classes", names]
    code, out, err = run(capsys, folder / "pictures" / "[a]*.png", *given)
    first, *lines = out.splitlines()
    assert (code, err) == (0, "")
    assert first == str(folder / "pictures" / "a.png")
    assert len(lines) == 2
    assert all(line.split()[0].endswith("%") and line.split()[1] in ("eins", "zwei", "drei") for line in lines)


def test_outputs_that_are_not_finite_are_no_prediction(made, capsys):
    """Weights may be finite and their sums not; the first class would win."""
    folder, _, params = made
    arrays = {f"{module}/{key}": np.asarray(value) for module, group in params.items() for key, value in group.items()}
    arrays["NFNet/~/final_conv/bias"] = np.full_like(arrays["NFNet/~/final_conv/bias"], 1e38)
    write_safetensors(folder / "large.safetensors", arrays, read_metadata(folder / "tiny.safetensors"))
    code, out, err = run(capsys, folder / "pictures", "--weights", folder / "large.safetensors", "--json")
    assert (code, out) == (2, "")
    assert "large.safetensors of this package" in err
    assert "outputs are not finite" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gone.png"], "none of the 1 images could be read"),
        (["nothing*.png"], "nothing fits the pattern"),
        (["pictures/a.png", "--size", "1"], "too small for this network"),
        (["pictures/a.png", "--size", "32", "--resize", "16"], "less than the 32 px"),
        (["pictures/a.png", "--size", "16384"], "resized to 16388 px, more than the 4096 that are computed"),
        (["pictures/a.png", "--classes", "pictures/notes.txt"], "has 1 names for 3 classes"),
    ],
)
def test_bad_input_is_one_sentence(made, capsys, monkeypatch, arguments, said):
    monkeypatch.chdir(made[0])
    code, out, err = run(capsys, *arguments, "--weights", "tiny.safetensors")
    assert (code, out) == (2, "")
    assert said in err.splitlines()[-1]
