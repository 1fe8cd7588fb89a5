"""Logged results: what is loaded, and what every kind of bad file says."""

import json
from pathlib import Path

import frictionless
import numpy as np
import pytest

from paper import datapackage, results
from paper.datapackage import DataError, half_width, read_package, read_resource, rehash, resource_of


def spoil(data: Path, file: str, old: str, new: str) -> None:
    text = (data / file).read_text()
    assert text.count(old) >= 1
    (data / file).write_text(text.replace(old, new, 1))


def error_of(data: Path) -> str:
    with pytest.raises(DataError) as caught:
        results.load(data)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


def test_every_table_is_typed_and_complete(results):
    assert len(results.pretraining) == 36
    assert len(results.finetuning) == 26
    assert results.pretraining.tpu_v4_core_hours.dtype == "int64"
    assert results.pretraining.jft4b_val_loss.dtype == "float64"
    assert results.finetuning.repeated_augmentation.dtype == "bool"
    assert results.finetuning.repeated_augmentation.sum() == 1
    assert results.stated("pretrain.images").value == 4e9
    assert results.stated("pretrain.images").unit == "images"


def test_package_is_valid_for_frictionless():
    report = frictionless.validate(str(results_path("datapackage.json")))
    assert report.valid, report.flatten(["resourceName", "message"])


def results_path(name: str) -> Path:
    return results.DATA / name


def test_every_field_has_description_and_numbers_have_unit_and_uncertainty():
    package = read_package(results.DATA)
    files = {path.name for path in results.DATA.glob("*.csv")}
    assert files == {resource["path"] for resource in package["resources"]}
    for resource in package["resources"]:
        assert resource["sources"]
        assert resource["description"]
        assert resource["howRead"]
        assert resource["licenceNote"]
        for field in resource["schema"]["fields"]:
            assert field["description"], field
            if field["type"] in ("number", "integer"):
                assert field["unit"]
                assert field["uncertainty"]


def test_half_width_by_range(results):
    hours = np.array([400, 9_999, 10_000, 107_000])
    width = results.half_width("smith2023-figure2", "tpu_v4_core_hours", hours)
    np.testing.assert_allclose(width, [50, 50, 30, 321])
    assert np.isnan(half_width({"uncertainty": [{"from": 10, "absolute": 1}]}, np.array([1.0]))).all()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("F3,1,4900,2.658", "F3,1,4900,2.659", ["smith2023_figure2.csv", "SHA-256", "--rehash"]),
        ("jft4b_val_loss", "val_loss", ["line 1", "'jft4b_val_loss' is missing"]),
        ("F3,1,4900,2.658", "F3,1,4900,", ["line 16", "'jft4b_val_loss'", "empty"]),
        ("F3,1,4900,2.658", "F3,1,4900,nan", ["line 16", "'jft4b_val_loss'", "not a finite number"]),
        ("F3,1,4900,2.658", "F3,1,-4900,2.658", ["line 16", "'tpu_v4_core_hours'", "below the minimum 1"]),
        ("F3,1,4900,2.658", "F3,1,4900.5,2.658", ["line 16", "'tpu_v4_core_hours'", "not a valid integer"]),
        ("F3,1,4900,2.658", "F3,2,4900,2.658", ["line 17", "a second row for model F3, epochs 2.0"]),
        ("F3,1,4900,2.658", "F4,1,4900,2.658", ["line 16", "'model'", "unknown value 'F4'", "F3+"]),
        ("F3,1,4900,2.658", "F3,1,4900", ["line 16", "3 cells where the header has 4", "cut off"]),
        ("F3,1,4900,2.658", "F3,3,4900,2.658", ["line 16", "'epochs'", "unknown value '3'"]),
    ],
)
def test_bad_cells_are_named(data, old, new, expected):
    spoil(data, "smith2023_figure2.csv", old, new)
    message = error_of(data)
    for part in ["smith2023_figure2.csv", *expected]:
        assert part in message


def test_bad_boolean_empty_file_extra_column_and_encoding(data):
    spoil(data, "smith2023_figure1.csv", "9.61,true", "9.61,yes")
    assert "'yes' is neither true nor false" in error_of(data)
    header = (data / "smith2023_figure1.csv").read_text().splitlines()[0]
    (data / "smith2023_figure1.csv").write_text(header + "\n")
    assert "has no rows" in error_of(data)
    (data / "smith2023_figure1.csv").write_text(header + ",colour\n")
    assert "'colour' is not in datapackage.json" in error_of(data)
    (data / "smith2023_figure1.csv").write_bytes(b"model\xff\n")
    assert "not a UTF-8 CSV file" in error_of(data)


def test_missing_files_and_broken_package(data, tmp_path):
    (data / "hardware.csv").unlink()
    assert "hardware.csv: not found" in error_of(data)
    (data / "datapackage.json").write_text("{")
    assert "not valid JSON" in error_of(data)
    (data / "datapackage.json").write_text("{}")
    assert "no list `resources`" in error_of(data)
    assert "not found" in error_of(tmp_path / "elsewhere")


def test_unknown_names(results):
    with pytest.raises(DataError, match=r"no quantity 'pretrain\.imges'"):
        results.stated("pretrain.imges")
    with pytest.raises(DataError, match="no resource 'figure9'"):
        resource_of(results.package, "figure9")
    with pytest.raises(DataError, match="no field 'loss'"):
        datapackage.field_of(resource_of(results.package, "smith2023-figure2"), "loss")


def test_rehash_records_valid_changes_only(data):
    spoil(data, "smith2023_figure2.csv", "F3,1,4900,2.658", "F3,1,4900,2.659")
    assert rehash(data) == ["smith2023-figure2"]
    assert results.load(data).pretraining.jft4b_val_loss[14] == 2.659
    before = (data / "datapackage.json").read_bytes()
    spoil(data, "smith2023_figure2.csv", "2.659", "low")
    with pytest.raises(DataError, match="not a valid number"):
        rehash(data)
    assert (data / "datapackage.json").read_bytes() == before


def test_read_resource_past_the_hash(data):
    spoil(data, "smith2023_figure3.csv", "F0,8,0.8", "F0,8,0.4")
    resource = resource_of(read_package(data), "smith2023-figure3")
    assert read_resource(data, resource, verify_hash=False).optimal_learning_rate[5] == 0.4


def test_command_line(data, capsys):
    assert results.main([]) == 0
    assert "smith2023-figure2: 36 rows, valid" in capsys.readouterr().out
    spoil(data, "smith2023_figure2.csv", "2.985", "2.984")
    assert results.main(["--data", str(data)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert results.main(["--data", str(data), "--rehash"]) == 0


def test_copies_equal_the_recorded_hashes():
    for resource in json.loads(results_path("datapackage.json").read_text())["resources"]:
        assert results_path(resource["path"]).stat().st_size == resource["bytes"]
