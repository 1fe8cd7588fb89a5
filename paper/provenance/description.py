"""``datapackage.json``, a Frictionless data package's description of its files: read, and checked in all that is used.

A violation is reported as one sentence that names file and field, before anything is computed or written.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nfnet.errors import UserError, printable

__all__ = [
    "DTYPES",
    "PACKAGE",
    "DataError",
    "Json",
    "check_columns",
    "field_of",
    "half_width",
    "is_line",
    "read_package",
    "resource_of",
]

Json = Mapping[str, Any]
PACKAGE = "datapackage.json"

DTYPES = {"number": "float64", "integer": "int64", "boolean": "bool", "string": "str"}
_TEXTS = (
    ("name", re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*"), "letters, digits, '.', '_' and '-'"),
    ("path", re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*"), "the name of a file in the same folder"),
    ("hash", re.compile(r"sha256:[0-9a-f]{64}"), "'sha256:' with 64 digits from 0 to f"),
)


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
        _require(is_line(field.get("name")), here, "field 'name' must be a line of text")
        names.append(field["name"])
        _check_field(f"{where}, column {field['name']!r}", field)
    _require(len(set(names)) == len(names), where, "two columns have the same name")
    key = schema.get("primaryKey", [])
    known = isinstance(key, list) and all(isinstance(name, str) and name in names for name in key)
    _require(known, where, "field 'primaryKey' must be a list of columns")


def _check_field(where: str, field: Json) -> None:
    kind = field.get("type")
    _require(isinstance(kind, str) and kind in DTYPES, where, f"field 'type' must be one of {', '.join(DTYPES)}")
    if kind in ("number", "integer"):
        _require(is_line(field.get("unit")), where, "field 'unit' must be a line of text")
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
    if not isinstance(known, list) or not all(is_line(value) or _is_number(value) for value in known):
        raise DataError(f"{where}: 'enum' must be a list of texts or numbers; restore it from version control.")


def is_line(value: object) -> bool:
    """Whether ``value`` is a text of one line without spaces around it."""
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
