"""Logged results: what is loaded, and what every kind of bad file says."""

import csv
import errno
import json
import os
import shlex
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import frictionless
import numpy as np
import pytest

from paper import results
from paper.provenance import DATA
from paper.provenance.description import DataError, field_of, half_width, read_package, resource_of
from paper.provenance.resources import read_resource, rehash


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
    return DATA / name


def test_every_field_has_description_and_numbers_have_unit_and_uncertainty():
    package = read_package(DATA)
    files = {path.name for path in DATA.glob("*.csv")}
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
        field_of(resource_of(results.package, "smith2023-figure2"), "loss")


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


def edit_package(data: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Applies ``change`` to the parsed ``datapackage.json``."""
    path = data / "datapackage.json"
    package = json.loads(path.read_text(encoding="utf-8"))
    change(package)
    path.write_text(json.dumps(package), encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"[]", "no list `resources`"),
        (b'"text"', "no list `resources`"),
        (b'{"resources": {}}', "no list `resources`"),
        (b'{"resources": [1]}', "resource 1: no mapping"),
        (b'{"resources": []}', "no resource 'smith2023-figure2'"),
        (b"\xff{}", "not valid JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"9" * 5_000, "not valid JSON"),
        (b'{"resources": NaN}', "NaN is no JSON"),
        (b"{\x00", "not valid JSON"),
    ],
)
def test_package_that_is_no_description(data: Path, content: bytes, expected: str) -> None:
    (data / "datapackage.json").write_bytes(content)
    assert expected in error_of(data)
    assert (data / "datapackage.json").read_bytes() == content


def test_folders_in_place_of_files(data: Path) -> None:
    (data / "hardware.csv").unlink()
    (data / "hardware.csv").mkdir()
    assert "hardware.csv: no file in" in error_of(data)
    (data / "hardware.csv").rmdir()
    os.mkfifo(data / "hardware.csv")
    assert "hardware.csv: no file in" in error_of(data)
    (data / "datapackage.json").unlink()
    (data / "datapackage.json").mkdir()
    assert "datapackage.json: cannot be read (Is a directory)" in error_of(data)
    assert "cannot be read (Not a directory)" in error_of(data / "smith2023_text.csv")


NOTHING = object()


@pytest.mark.parametrize(
    ("where", "key", "value", "expected"),
    [
        ([], "name", NOTHING, "resource 3: field 'name' must be"),
        ([], "name", "\x1b[2J", "resource 3: field 'name' must be"),
        ([], "name", ["a"], "resource 3: field 'name' must be"),
        ([], "name", "smith2023-figure1", "two resources have the same name"),
        ([], "path", "../data.csv", "field 'path' must be the name of a file in the same folder"),
        ([], "path", "..", "field 'path' must be"),
        ([], "path", "/etc/passwd", "field 'path' must be"),
        ([], "path", "C:\\data.csv", "field 'path' must be"),
        ([], "path", "data.csv\n", "field 'path' must be"),
        ([], "path", NOTHING, "field 'path' must be"),
        ([], "hash", NOTHING, "field 'hash' must be"),
        ([], "hash", 7, "field 'hash' must be"),
        ([], "hash", "md5:00", "field 'hash' must be"),
        ([], "schema", NOTHING, "field 'schema' must hold a list `fields`"),
        ([], "schema", [], "field 'schema' must hold a list `fields`"),
        (["schema"], "fields", {}, "field 'schema' must hold a list `fields`"),
        (["schema"], "fields", [], "field 'schema' must hold a list `fields`"),
        (["schema"], "fields", [None], "column 1: no mapping"),
        (["schema"], "primaryKey", "model", "field 'primaryKey' must be a list of columns"),
        (["schema"], "primaryKey", [["model"]], "field 'primaryKey' must be a list of columns"),
        (["schema"], "primaryKey", ["modal"], "field 'primaryKey' must be a list of columns"),
        (["schema", "fields", 1], "name", NOTHING, "column 2: field 'name' must be"),
        (["schema", "fields", 1], "name", "\u202e", "column 2: field 'name' must be"),
        (["schema", "fields", 1], "name", "model", "two columns have the same name"),
        (["schema", "fields", 3], "name", "loss", "has no field 'jft4b_val_loss'"),
        (["schema", "fields", 1], "type", "year", "column 'epochs': field 'type' must be one of number, integer"),
        (["schema", "fields", 1], "type", {}, "field 'type' must be one of"),
        (["schema", "fields", 1], "type", "integer", "column 'epochs': field 'type' must be 'number'"),
        (["schema", "fields", 1], "unit", NOTHING, "field 'unit' must be"),
        (["schema", "fields", 1], "unit", "steps", "field 'unit' must be 'epochs'"),
        (["schema", "fields", 1], "uncertainty", NOTHING, "field 'uncertainty' must be a list"),
        (["schema", "fields", 1], "uncertainty", [1], "field 'uncertainty' must be a list"),
        (["schema", "fields", 1], "uncertainty", [{"from": 1}], "field 'uncertainty' must state numbers"),
        (["schema", "fields", 1], "uncertainty", [{"absolute": "1"}], "field 'uncertainty' must state numbers"),
        (["schema", "fields", 1], "uncertainty", [{"absolute": 1e999}], "Infinity is no JSON"),
        (["schema", "fields", 1], "uncertainty", [{"absolute": 10**400}], "field 'uncertainty' must state numbers"),
        (["schema", "fields", 1], "constraints", [], "field 'constraints' must be a mapping"),
        (["schema", "fields", 1, "constraints"], "minimum", "0", "'minimum' and 'maximum' must be numbers"),
        (["schema", "fields", 1, "constraints"], "maximum", True, "'minimum' and 'maximum' must be numbers"),
        (["schema", "fields", 1, "constraints"], "enum", 1, "'enum' must be a list"),
        (["schema", "fields", 1, "constraints"], "enum", [None], "'enum' must be a list"),
        (["schema", "fields", 1, "constraints"], "required", "yes", "'required' must be true or false"),
        (["schema", "fields", 1, "constraints"], "required", False, "'required' must be true; restore it"),
    ],
)
def test_descriptions_of_other_types(data: Path, where: list[Any], key: str, value: object, expected: str) -> None:
    def change(package: dict[str, Any]) -> None:
        resource = next(one for one in package["resources"] if one["name"] == "smith2023-figure2")
        package["resources"].remove(resource)
        package["resources"].insert(2, resource)
        target = reduce(lambda part, step: part[step], where, resource)
        if value is NOTHING:
            del target[key]
        else:
            target[key] = value

    edit_package(data, change)
    message = error_of(data)
    assert expected in message
    assert "datapackage.json" in message


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("1_0", "'1_0' is not a valid integer"),
        ("\uff11\uff10", "is not a valid integer"),  # full-width digits
        ("\u0661", "is not a valid integer"),  # an Arabic-Indic digit
        (" 4900", "' 4900' is not a valid integer"),
        ("4900 ", "is not a valid integer"),
        ("0x10", "is not a valid integer"),
        ("4.9e3", "is not a valid integer"),
        ("9" * 400, "is not a valid integer"),
        ("9" * 20, "is not a valid integer"),
        ("\x1b[31m4900", "'\\x1b[31m4900' is not a valid integer"),
        ("49\x0000", "not a UTF-8 CSV file (it has a zero byte)"),
        ("9" * 200_000, "is not a valid integer"),
        ('"4900', "not a UTF-8 CSV file"),
    ],
)
@pytest.mark.parametrize("read", [results.load, rehash])
def test_integers_are_plain_digits_for_reading_and_recording(
    data: Path, read: Callable[[Path], object], cell: str, expected: str
) -> None:
    before = (data / "datapackage.json").read_bytes()
    spoil(data, "smith2023_figure2.csv", "F3,1,4900,2.658", f"F3,1,{cell},2.658")
    with pytest.raises(DataError) as caught:
        read(data)
    message = str(caught.value)
    assert expected in message
    assert message.isprintable()
    assert len(message) < 300
    assert (data / "datapackage.json").read_bytes() == before


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("2_0.5", "is not a valid number"),
        ("2.", "is not a valid number"),
        (".5", "is not a valid number"),
        ("0x1p1", "is not a valid number"),
        ("\uff12.5", "is not a valid number"),
        ("2.658 ", "is not a valid number"),
        ("1e999", "is not a finite number"),
        ("9" * 400, "is not a finite number"),
        ("-Infinity", "is not a finite number"),
    ],
)
def test_numbers_are_plain_digits(data: Path, cell: str, expected: str) -> None:
    spoil(data, "smith2023_figure2.csv", "F3,1,4900,2.658", f"F3,1,4900,{cell}")
    assert expected in error_of(data)


@pytest.mark.parametrize(("cell", "value"), [("2.6580", 2.658), ("+2.658e0", 2.658), ("26580E-4", 2.658), ("3", 3.0)])
def test_numbers_in_other_plain_forms_are_read(data: Path, cell: str, value: float) -> None:
    spoil(data, "smith2023_figure2.csv", "F3,1,4900,2.658", f"F3,1,4900,{cell}")
    assert rehash(data) == ["smith2023-figure2"]
    assert results.load(data).pretraining.jft4b_val_loss[14] == value


@pytest.mark.parametrize("text", [" Section 2", "Section 2 ", "Sec\u202etion", "Sec\x1b[2Jtion", "Sec\u00a0tion"])
def test_texts_are_plain(data: Path, text: str) -> None:
    with (data / "smith2023_text.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    rows[1][rows[0].index("location")] = text
    with (data / "smith2023_text.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    message = error_of(data)
    assert "smith2023_text.csv, line 2, field 'location'" in message
    assert message.isprintable()


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("model,epochs,tpu_v4_core_hours,jft4b_val_loss,epochs", "column 'epochs' appears twice"),
        ("model,epochs,tpu_v4_core_hours, jft4b_val_loss", "column 'jft4b_val_loss' is missing"),
        ("model,epochs,tpu_v4_core_hours,jft4b_val_loss,\x1b]0;x\x07", "column '\\x1b]0;x\\x07' is not in"),
    ],
)
def test_columns_are_unique_and_known(data: Path, header: str, expected: str) -> None:
    spoil(data, "smith2023_figure2.csv", "model,epochs,tpu_v4_core_hours,jft4b_val_loss", header)
    assert expected in error_of(data)


def test_the_hint_names_the_folder_that_was_given(data: Path) -> None:
    folder = data.rename(data.with_name("my data"))
    spoil(folder, "smith2023_figure2.csv", "2.985", "2.984")
    message = error_of(folder)
    assert f"`python -m paper.results --rehash --data '{folder}'`" in message
    assert results.main(shlex.split(message.partition("paper.results ")[2].partition("`")[0])) == 0


def test_recording_nothing_writes_nothing(data: Path) -> None:
    (data / "datapackage.json").write_text((data / "datapackage.json").read_text(encoding="utf-8") + "\n")
    before = (data / "datapackage.json").read_bytes()
    assert rehash(data) == []
    assert (data / "datapackage.json").read_bytes() == before


def test_a_description_that_cannot_be_written_anew_is_kept(data: Path) -> None:
    edit_package(data, lambda package: package.update(title="\ud800"))
    spoil(data, "smith2023_figure2.csv", "2.985", "2.984")
    before = sorted(data.iterdir()), (data / "datapackage.json").read_bytes()
    with pytest.raises(DataError, match="cannot be written anew"):
        rehash(data)
    assert (sorted(data.iterdir()), (data / "datapackage.json").read_bytes()) == before


def test_fields_longer_than_the_limit_of_csv_files(data: Path) -> None:
    spoil(data, "smith2023_figure2.csv", "F3,1,4900,2.658", "F3,1,4900,2.65800")
    limit = csv.field_size_limit(6)  # that of the process, which other packages raise
    try:
        message = error_of(data)
    finally:
        csv.field_size_limit(limit)
    assert "not a UTF-8 CSV file (field larger than field limit (6))" in message


def test_a_folder_that_cannot_be_written_to_is_told(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    spoil(data, "smith2023_figure2.csv", "2.985", "2.984")
    before = sorted(data.iterdir())
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(DataError, match=r"cannot be written \(No space left on device\)"):
        rehash(data)
    assert sorted(data.iterdir()) == before
