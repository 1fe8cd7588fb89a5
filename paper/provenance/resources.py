"""The CSV files of a data package: every cell is checked against ``datapackage.json``, every file against its hash.

A violation is reported as one sentence that names file, line and field, before anything is computed or written.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nfnet.errors import UserError, printable
from nfnet.files import replacing
from paper.provenance import DATA
from paper.provenance.description import DTYPES, PACKAGE, DataError, Json, is_line, read_package

__all__ = ["read_resource", "rehash"]

_NUMBERS = {
    # 18 digits are what 64 bits hold in any case.
    "integer": re.compile(r"[+-]?[0-9]{1,18}"),
    "number": re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?"),
}
_NOT_FINITE = ("nan", "inf", "infinity")


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
    return "" if directory == DATA else f" --data {shlex.quote(str(directory))}"


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
            text = (json.dumps(package, indent=1, ensure_ascii=False) + "\n").encode()
        except (RecursionError, UnicodeEncodeError) as error:
            raise DataError(
                f"{directory / PACKAGE}: cannot be written anew ({printable(error)}); restore it."
            ) from None
        try:
            with replacing(directory / PACKAGE, "make its folder writable") as file:
                file.write(text)
        except UserError as error:
            raise DataError(str(error)) from None
    return changed


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
    return pd.Series(values, dtype=DTYPES[field["type"]])


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
        if not is_line(cell):
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
