"""Reads the CSV files of a Frictionless data package, checking every cell against its schema.

The schema lives in ``datapackage.json`` beside the files. A violation is reported as one sentence that names
file, line and field, before anything is computed or written.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nfnet.errors import UserError, printable

__all__ = [
    "DataError",
    "check_columns",
    "field_of",
    "half_width",
    "read_package",
    "read_resource",
    "rehash",
    "resource_of",
]

Json = Mapping[str, Any]
PACKAGE = "datapackage.json"

_DTYPES = {"number": "float64", "integer": "int64", "boolean": "bool", "string": "str"}
_TEXTS = (
    ("name", re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*"), "letters, digits, '.', '_' and '-'"),
    ("path", re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*"), "the name of a file in the same folder"),
    ("hash", re.compile(r"sha256:[0-9a-f]{64}"), "'sha256:' with 64 digits from 0 to f"),
)
_NUMBERS = {
    # 18 digits are what 64 bits hold in any case.
    "integer": re.compile(r"[+-]?[0-9]{1,18}"),
    "number": re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?"),
}
_NOT_FINITE = ("nan", "inf", "infinity")


class DataError(UserError):
    """A logged result that is missing, malformed or altered."""


def read_package(directory: Path) -> dict[str, Any]:
    """Returns the parsed ``datapackage.json`` of ``directory``.

    Raises:
        DataError: If the file is missing, is not JSON, or describes its files in another way than this module reads.
    """
    path = directory / PACKAGE
    if path.is_fifo() or path.is_char_device():  # reading would wait, or never end
        raise DataError(f"{path}: no file; restore it from version control.")
    try:
        package = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise DataError(f"{path}: not found; point to a folder that holds datapackage.json.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); restore it from version control.") from None
    except RecursionError:
        raise DataError(f"{path}: not valid JSON (nested too deeply); restore it from version control.") from None
    except ValueError as error:  # no JSON, no UTF-8, or a number of thousands of digits
        raise DataError(f"{path}: not valid JSON ({printable(error)}); restore it from version control.") from None
    _check_package(str(path), package)
    return dict(package)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _require(holds: bool, where: str, what: str) -> None:
    if not holds:
        raise DataError(f"{where}: {what}; restore it from version control.")


def _check_package(where: str, package: Any) -> None:
    """Checks all of the description that is used later."""
    _require(isinstance(package, dict) and isinstance(package.get("resources"), list), where, "no list `resources`")
    names: list[str] = []
    for number, resource in enumerate(package["resources"], start=1):
        here = f"{where}, resource {number}"
        _require(isinstance(resource, dict), here, "no mapping")
        for key, pattern, what in _TEXTS:
            value = resource.get(key)
            _require(isinstance(value, str) and bool(pattern.fullmatch(value)), here, f"field {key!r} must be {what}")
        names.append(resource["name"])
        _check_schema(f"{where}, resource {resource['name']!r}", resource.get("schema"))
    _require(len(set(names)) == len(names), where, "two resources have the same name")


def _check_schema(where: str, schema: Any) -> None:
    fields = schema.get("fields") if isinstance(schema, dict) else None
    if not isinstance(fields, list) or not fields:
        raise DataError(f"{where}: field 'schema' must hold a list `fields`; restore it from version control.")
    names: list[str] = []
    for number, field in enumerate(fields, start=1):
        here = f"{where}, column {number}"
        _require(isinstance(field, dict), here, "no mapping")
        _require(_is_line(field.get("name")), here, "field 'name' must be a line of text")
        names.append(field["name"])
        _check_field(f"{where}, column {field['name']!r}", field)
    _require(len(set(names)) == len(names), where, "two columns have the same name")
    key = schema.get("primaryKey", [])
    known = isinstance(key, list) and all(isinstance(name, str) and name in names for name in key)
    _require(known, where, "field 'primaryKey' must be a list of columns")


def _check_field(where: str, field: Json) -> None:
    kind = field.get("type")
    _require(isinstance(kind, str) and kind in _DTYPES, where, f"field 'type' must be one of {', '.join(_DTYPES)}")
    if kind in ("number", "integer"):
        _require(_is_line(field.get("unit")), where, "field 'unit' must be a line of text")
        pieces = field.get("uncertainty")
        if not isinstance(pieces, list) or not all(isinstance(piece, dict) for piece in pieces):
            raise DataError(
                f"{where}: field 'uncertainty' must be a list of mappings; restore it from version control."
            )
        for piece in pieces:
            widths = [piece[key] for key in ("from", "below", "absolute", "relative") if key in piece]
            stated = bool({"absolute", "relative", "column"} & set(piece))
            _require(stated and all(map(_is_number, widths)), where, "field 'uncertainty' must state numbers")
    constraints = field.get("constraints", {})
    _require(isinstance(constraints, dict), where, "field 'constraints' must be a mapping")
    bounds = [constraints[key] for key in ("minimum", "maximum") if key in constraints]
    _require(all(map(_is_number, bounds)), where, "'minimum' and 'maximum' must be numbers")
    _require(isinstance(constraints.get("required", False), bool), where, "'required' must be true or false")
    known = constraints.get("enum", [])
    if not isinstance(known, list) or not all(_is_line(value) or _is_number(value) for value in known):
        raise DataError(f"{where}: 'enum' must be a list of texts or numbers; restore it from version control.")


def _is_line(value: object) -> bool:
    return isinstance(value, str) and value.isprintable() and value.strip() == value != ""


def _is_number(value: object) -> bool:
    """Whether ``value`` is a number that a float can hold."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def resource_of(package: Json, name: str) -> dict[str, Any]:
    """Returns the description of resource ``name``.

    Raises:
        DataError: If the package has no such resource.
    """
    for resource in package["resources"]:
        if resource["name"] == name:
            return dict(resource)
    known = ", ".join(resource["name"] for resource in package["resources"])
    raise DataError(f"datapackage.json: no resource {name!r}; it has {known}.")


def field_of(resource: Json, name: str) -> dict[str, Any]:
    """Returns the description of field ``name`` of ``resource``.

    Raises:
        DataError: If the resource has no such field.
    """
    for field in resource["schema"]["fields"]:
        if field["name"] == name:
            return dict(field)
    raise DataError(f"datapackage.json: resource {resource['name']!r} has no field {name!r}; restore the file.")


def check_columns(resource: Json, known: Json) -> None:
    """Checks that ``resource`` has every column of ``known`` with the same type, unit and need of a value.

    Raises:
        DataError: If it has not: what is computed from the table would mean something else.
    """
    for expected in known["schema"]["fields"]:
        field = field_of(resource, expected["name"])
        for key in ("type", "unit"):
            if field.get(key) != expected.get(key):
                raise DataError(
                    f"datapackage.json: resource {resource['name']!r}, column {expected['name']!r}: field {key!r} "
                    f"must be {expected.get(key)!r}; convert the column or restore the file."
                )
        if field.get("constraints", {}).get("required", False) < expected.get("constraints", {}).get("required", False):
            raise DataError(
                f"datapackage.json: resource {resource['name']!r}, column {expected['name']!r}: 'required' must be "
                "true; restore it."
            )


def read_resource(directory: Path, resource: Json, *, verify_hash: bool = True) -> pd.DataFrame:
    """Reads and validates one CSV file.

    Args:
        directory: Folder of the data package.
        resource: The resource's description.
        verify_hash: Whether the file must have the recorded SHA-256. The tamper tests switch this off to see
            what the other checks catch.

    Returns:
        One row a record, columns in schema order: ``float64`` for number (NaN where an optional cell is empty),
        ``int64`` for integer, ``bool`` for boolean, ``str`` for string.

    Raises:
        DataError: On a missing file, a wrong hash, a missing or unknown column, or a cell that breaks its field's
            type or constraints, or a repeated primary key.
    """
    file, content = resource["path"], _content(directory, resource)
    # The cells are checked first, since a sentence about a cell says more than one about a hash.
    table = _parse(file, content, resource)
    if verify_hash and _digest(content) != resource["hash"]:
        raise DataError(
            f"{file}: its SHA-256 is not the one in datapackage.json; restore the file, or, if the change "
            f"is meant, record it with `python -m paper.results --rehash{_data_option(directory)}`."
        )
    return table


def _content(directory: Path, resource: Json) -> bytes:
    path = directory / resource["path"]
    try:
        if path.exists() and not path.is_file():  # a folder cannot be read, and a pipe may never end
            raise DataError(f"{path.name}: no file in {directory}; restore it from version control.")
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path.name}: not found in {directory}; restore it from version control.") from None
    except OSError as error:
        raise DataError(f"{path.name}: cannot be read ({error.strerror}); make it readable.") from None


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _data_option(directory: Path) -> str:
    """What a command line needs to find the data package, unless it is the one that ships with the code."""
    from paper.results import DATA

    return "" if directory == DATA else f" --data {shlex.quote(str(directory))}"


def half_width(field: Json, values: np.ndarray | pd.Series) -> np.ndarray:
    """Reading uncertainty of each value: the half-width of the interval that holds the true value.

    Args:
        field: The field's description, whose ``uncertainty`` is a list of pieces, each ``absolute`` or ``relative``,
            optionally limited to values ``from`` or ``below`` a bound.
        values: Values in the field's unit.

    Returns:
        Half-widths in the field's unit, same shape as ``values``.

    Raises:
        DataError: If the uncertainty is stated in a column.
    """
    array = np.asarray(values, dtype=float)
    result = np.full(array.shape, np.nan)
    for piece in field["uncertainty"]:
        if not {"absolute", "relative"} & piece.keys():
            raise DataError(f"field {printable(field['name'])}: its uncertainty stands in a column of its own.")
        inside = (array >= piece.get("from", -math.inf)) & (array < piece.get("below", math.inf))
        width = np.abs(array) * piece["relative"] if "relative" in piece else np.full(array.shape, piece["absolute"])
        result = np.where(inside, width, result)
    return result


def rehash(directory: Path) -> list[str]:
    """Records the current size and SHA-256 of every file whose cells are valid; returns the names that changed.

    Raises:
        DataError: If any file breaks its schema; ``datapackage.json`` is then left as it was.
    """
    package = read_package(directory)
    changed = []
    for resource in package["resources"]:
        content = _content(directory, resource)
        _parse(resource["path"], content, resource)
        if resource["hash"] != _digest(content):
            resource.update(hash=_digest(content), bytes=len(content))
            changed.append(resource["name"])
    if changed:
        try:
            text = json.dumps(package, indent=1, ensure_ascii=False) + "\n"
            _replace(directory / PACKAGE, text.encode())
        except (RecursionError, UnicodeEncodeError) as error:
            raise DataError(
                f"{directory / PACKAGE}: cannot be written anew ({printable(error)}); restore it."
            ) from None
    return changed


def _replace(path: Path, content: bytes) -> None:
    """Replaces a file whole, or leaves it as it was."""
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as scratch:
            temporary = Path(scratch) / path.name
            temporary.write_bytes(content)
            shutil.copymode(path, temporary)
            os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror}); make its folder writable.") from None


def _parse(file: str, content: bytes, resource: Json) -> pd.DataFrame:
    try:
        text = content.decode("utf-8")
        if "\0" in text:
            raise csv.Error("it has a zero byte")
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{file}: not a UTF-8 CSV file ({printable(error)}); restore it from version control."
        ) from None
    fields = resource["schema"]["fields"]
    names = [field["name"] for field in fields]
    header = rows[0] if rows else []
    for name in names:
        if name not in header:
            raise DataError(f"{file}, line 1: column {name!r} is missing; add it, or restore the file.")
    for name in header:
        if name not in names:
            raise DataError(
                f"{file}, line 1: column {_shown(name)} is not in datapackage.json; describe it or remove it."
            )
        if header.count(name) > 1:
            raise DataError(f"{file}, line 1: column {name!r} appears twice; remove one.")
    if len(rows) == 1:
        raise DataError(f"{file}: has no rows; restore the file.")
    for line, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise DataError(
                f"{file}, line {line}: {len(row)} cells where the header has {len(header)}; the file may be cut off."
            )
    columns = {}
    for field in fields:
        position = header.index(field["name"])
        cells = [row[position] for row in rows[1:]]
        columns[field["name"]] = _column(file, field, cells)
    frame = pd.DataFrame(columns)
    _require_unique(file, frame, resource["schema"].get("primaryKey", []))
    return frame


def _column(file: str, field: Json, cells: Sequence[str]) -> pd.Series:
    values = [_cell(f"{file}, line {line}, field {field['name']!r}", field, cell) for line, cell in enumerate(cells, 2)]
    return pd.Series(values, dtype=_DTYPES[field["type"]])


def _shown(cell: str) -> str:
    return f"'{printable(cell, 60)}'"


def _cell(where: str, field: Json, cell: str) -> object:
    constraints = field.get("constraints", {})
    if cell == "":
        if constraints.get("required") or field["type"] != "number":
            raise DataError(f"{where}: is empty; give a value.")
        return math.nan
    kind = field["type"]
    if kind == "string":
        if not _is_line(cell):
            raise DataError(f"{where}: {_shown(cell)} has spaces around it or does not print; write plain text.")
        value: Any = cell
    elif kind == "boolean":
        if cell not in ("true", "false"):
            raise DataError(f"{where}: {_shown(cell)} is neither true nor false.")
        return cell == "true"
    else:
        if cell.lower().lstrip("+-") in _NOT_FINITE:
            raise DataError(f"{where}: {_shown(cell)} is not a finite number; give a value.")
        if not _NUMBERS[kind].fullmatch(cell):
            raise DataError(f"{where}: {_shown(cell)} is not a valid {kind}; write plain digits.")
        value = int(cell) if kind == "integer" else float(cell)
        if not math.isfinite(value):
            raise DataError(f"{where}: {_shown(cell)} is not a finite number; give a value.")
        unit = field["unit"]
        if value < constraints.get("minimum", -math.inf):
            raise DataError(f"{where}: {_shown(cell)} is below the minimum {constraints['minimum']} {unit}.")
        if value > constraints.get("maximum", math.inf):
            raise DataError(f"{where}: {_shown(cell)} is above the maximum {constraints['maximum']} {unit}.")
    if "enum" in constraints and value not in constraints["enum"]:
        allowed = ", ".join(str(item) for item in constraints["enum"])
        raise DataError(f"{where}: unknown value {_shown(cell)}; known are {allowed}.")
    return value


def _require_unique(file: str, frame: pd.DataFrame, key: Sequence[str]) -> None:
    if not key:
        return
    repeated = frame.duplicated(list(key))
    if repeated.any():
        row = int(np.flatnonzero(repeated.to_numpy())[0])
        what = ", ".join(f"{name} {frame[name].iloc[row]}" for name in key)
        raise DataError(f"{file}, line {row + 2}, field {key[0]!r}: a second row for {what}; remove one.")
