"""What is read back from a run's folder: JSON, and records whose every field is checked."""

from __future__ import annotations

import json
import math
import stat
import typing
from collections.abc import Collection, Iterable, Mapping
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from nfnet.errors import UserError, printable

_LARGEST = 2**63  # what fits the integers of other programs
_DEEPEST = 64  # far more than any settings, far less than Python's own limit, which depends on who calls
_NOT_FINITE = ("nan", "inf", "-inf")

Record = TypeVar("Record")


def read_file(path: Path) -> bytes:
    """Reads a file, and nothing that would make the reader wait, such as a pipe.

    Raises:
        OSError: it cannot be read.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(0, "not a file", str(path))
    return path.read_bytes()


def parse_json(content: bytes) -> Any:
    """Parses JSON.

    Raises:
        ValueError: it is no JSON, no UTF-8, or has deeper nesting or longer numbers than this package writes.
    """
    try:
        value = json.loads(content.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None
    level, depth = [value], 0
    while level:
        level = [child for node in level for child in _children(node)]
        depth += 1
        if depth > _DEEPEST:
            raise ValueError("nested too deeply")
    return value


def _children(node: object) -> Iterable[Any]:
    if isinstance(node, dict):
        return node.values()
    return node if isinstance(node, list) else ()


def _fits(value: object, annotation: Any) -> bool:
    """Whether a value parsed from JSON has a type."""
    if annotation is Any:
        return True
    if typing.get_origin(annotation) is Mapping:  # from text, JSON having no other keys
        _, values = typing.get_args(annotation)
        return isinstance(value, dict) and all(_fits(entry, values) for entry in value.values())
    if annotation is float:
        # What another program writes may have lost its decimal point; beyond 2^1000 there is no such float.
        return isinstance(value, float) or (type(value) is int and abs(value) < 2**1000)
    if annotation is int:
        return type(value) is int and 0 <= value < _LARGEST  # `True` is an `int` of Python, but no number
    return isinstance(value, annotation)


def _described(annotation: Any) -> str:
    if typing.get_origin(annotation) is Mapping:
        _, values = typing.get_args(annotation)
        return "an object" if values is Any else f"an object of which each value is {_described(values)}"
    names = {int: "an integer from 0 to 2^63 - 1", float: "a finite number of at least 0", str: "text"}
    return names[annotation]


def _checked(value: Any, annotation: Any, *, unbounded: bool) -> Any:
    """Returns a value of the type, or raises ValueError."""
    options = [option for option in typing.get_args(annotation) if option is not type(None)]
    if not typing.get_origin(annotation) or typing.get_origin(annotation) is Mapping:
        options = [annotation]
    elif value is None:
        return None
    (wanted,) = options
    if wanted is float and unbounded and isinstance(value, str) and value in _NOT_FINITE:
        return float(value)  # JSON has no such numbers: they are written as text
    fits = _fits(value, wanted)
    if wanted is float and not unbounded:
        fits = fits and math.isfinite(value) and value >= 0
    if not fits:
        raise ValueError("a number" if unbounded else _described(wanted))
    return value


@cache
def _annotations(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def build(
    kind: type[Record], record: Mapping[str, Any], where: str, remedy: str, unbounded: Collection[str] = ()
) -> Record:
    """Makes a dataclass of what was parsed from JSON; fields that it does not have are ignored.

    Args:
        kind: a dataclass whose annotations are `int`, `float`, `str`, mappings of them, or these or None.
            Integers must not be negative; floats neither, and finite.
        record: the values.
        where: what to call the place in messages.
        remedy: what to do about bad ones.
        unbounded: floats that may be negative or not finite.

    Raises:
        UserError: a field is missing or has another type.
    """
    annotations = _annotations(typing.cast(Any, kind))
    values: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]  # typeshed's protocol of dataclasses is private
        name = field.name
        if name not in record:
            if field.default is MISSING:
                raise UserError(f"{where}: {name!r} is missing: {remedy}.")
            continue
        try:
            values[name] = _checked(record[name], annotations[name], unbounded=name in unbounded)
        except ValueError as error:
            shown = printable(repr(record[name]), 60)
            raise UserError(f"{where}: {name!r} is {shown}, but must be {error}: {remedy}.") from None
    return kind(**values)
