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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nfnet.errors import UserError

__all__ = ["DataError", "field_of", "half_width", "read_package", "read_resource", "rehash", "resource_of"]

Json = Mapping[str, Any]


class DataError(UserError):
    """A logged result that is missing, malformed or altered."""


def read_package(directory: Path) -> dict[str, Any]:
    """Returns the parsed ``datapackage.json`` of ``directory``.

    Raises:
        DataError: If the file is missing or is not JSON.
    """
    path = directory / "datapackage.json"
    try:
        package: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: not found; point to a folder that holds datapackage.json.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not valid JSON ({error}); restore it from version control.") from None
    if not isinstance(package.get("resources"), list):
        raise DataError(f"{path}: no list `resources`; restore it from version control.")
    return package


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
    raise DataError(f"datapackage.json: resource {resource['name']!r} has no field {name!r}.")


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
    path = directory / resource["path"]
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path.name}: not found in {directory}; restore it from version control.") from None
    if verify_hash and f"sha256:{hashlib.sha256(content).hexdigest()}" != resource["hash"]:
        # The cells are checked first, since a sentence about a cell says more than one about a hash.
        _parse(path.name, content, resource)
        raise DataError(
            f"{path.name}: its SHA-256 is not the one in datapackage.json; restore the file, or, if the change "
            "is meant, record it with `python -m paper.results --rehash`."
        )
    return _parse(path.name, content, resource)


def half_width(field: Json, values: np.ndarray | pd.Series) -> np.ndarray:
    """Reading uncertainty of each value: the half-width of the interval that holds the true value.

    Args:
        field: The field's description, whose ``uncertainty`` is a list of pieces, each ``absolute`` or ``relative``,
            optionally limited to values ``from`` or ``below`` a bound.
        values: Values in the field's unit.

    Returns:
        Half-widths in the field's unit, same shape as ``values``.
    """
    array = np.asarray(values, dtype=float)
    result = np.full(array.shape, np.nan)
    for piece in field["uncertainty"]:
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
        read_resource(directory, resource, verify_hash=False)
        content = (directory / resource["path"]).read_bytes()
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if resource["hash"] != digest:
            resource.update(hash=digest, bytes=len(content))
            changed.append(resource["name"])
    temporary = directory / "datapackage.json.tmp"
    temporary.write_text(json.dumps(package, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(temporary, directory / "datapackage.json")
    return changed


def _parse(file: str, content: bytes, resource: Json) -> pd.DataFrame:
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8")), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: not a UTF-8 CSV file ({error}); restore it from version control.") from None
    fields = resource["schema"]["fields"]
    names = [field["name"] for field in fields]
    header = rows[0] if rows else []
    for name in names:
        if name not in header:
            raise DataError(f"{file}, line 1: column {name!r} is missing; add it, or restore the file.")
    for name in header:
        if name not in names:
            raise DataError(f"{file}, line 1: column {name!r} is not in datapackage.json; describe it or remove it.")
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
    dtypes = {"number": "float64", "integer": "int64", "boolean": "bool", "string": "str"}
    return pd.Series(values, dtype=dtypes[field["type"]])


def _cell(where: str, field: Json, cell: str) -> object:
    constraints = field.get("constraints", {})
    if cell == "":
        if constraints.get("required") or field["type"] != "number":
            raise DataError(f"{where}: is empty; give a value.")
        return math.nan
    kind = field["type"]
    if kind == "string":
        value: Any = cell
    elif kind == "boolean":
        if cell not in ("true", "false"):
            raise DataError(f"{where}: {cell!r} is neither true nor false.")
        return cell == "true"
    else:
        try:
            value = int(cell) if kind == "integer" else float(cell)
        except ValueError:
            raise DataError(f"{where}: {cell!r} is not a valid {kind}.") from None
        if not math.isfinite(value):
            raise DataError(f"{where}: {cell!r} is not a finite number; give a value.")
        if value < constraints.get("minimum", -math.inf):
            raise DataError(f"{where}: {cell} is below the minimum {constraints['minimum']} {field.get('unit', '')}.")
        if value > constraints.get("maximum", math.inf):
            raise DataError(f"{where}: {cell} is above the maximum {constraints['maximum']} {field.get('unit', '')}.")
    if "enum" in constraints and value not in constraints["enum"]:
        allowed = ", ".join(str(item) for item in constraints["enum"])
        raise DataError(f"{where}: unknown value {cell!r}; known are {allowed}.")
    return value


def _require_unique(file: str, frame: pd.DataFrame, key: Sequence[str]) -> None:
    if not key:
        return
    repeated = frame.duplicated(list(key))
    if repeated.any():
        row = int(np.flatnonzero(repeated.to_numpy())[0])
        what = ", ".join(f"{name} {frame[name].iloc[row]}" for name in key)
        raise DataError(f"{file}, line {row + 2}, field {key[0]!r}: a second row for {what}; remove one.")
