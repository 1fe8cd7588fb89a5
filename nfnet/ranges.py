"""Which values the fields of a dataclass take, read from their annotations: the one table of all settings.

    rate: Annotated[float, Range(0, 1, below=True)] = 0.0
    loss: Literal["softmax", "sigmoid"] = "softmax"

The same annotation checks a value, converts it (whole numbers to floats, lists to tuples) and words the help.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from nfnet.errors import UserError, printable, unknown_name


@dataclasses.dataclass(frozen=True)
class Range:
    """An interval of numbers.

    Attributes:
        low: its lower end.
        high: its upper end.
        above: whether `low` itself is left out.
        below: whether `high` itself is left out.
        unit: what is counted, such as "px"; empty for ratios and for what has no name.
    """

    low: float
    high: float
    above: bool = False
    below: bool = False
    unit: str = ""

    def __contains__(self, value: float) -> bool:
        low = value > self.low if self.above else value >= self.low
        return low and (value < self.high if self.below else value <= self.high)  # never true of nan

    def __str__(self) -> str:
        low, high = (f"{int(end)}" if end == int(end) else f"{end:g}" for end in (self.low, self.high))
        unit = f" {self.unit}" if self.unit else ""
        if not self.above and not self.below:
            return f"from {low} to {high}{unit}"
        limit = "less than" if self.below else "at most"
        return f"{'above' if self.above else 'at least'} {low} and {limit} {high}{unit}"


class Names(tuple[str, ...]):
    """The names of a table, as in Annotated[str, Names(TABLE)]."""


# A mistake of some powers of ten is told; what any sensible run needs is far from the ends.
RATE = Range(0, 1, below=True)
SHARE = Range(0, 1, above=True)
STEPS = Range(0, 10**9, unit="steps")
CLASSES = Range(1, 10**6, unit="classes")


@dataclasses.dataclass(frozen=True)
class Kind:
    """The values that an annotation allows.

    Attributes:
        type: of one value; `object` if anything goes.
        range: of a number.
        choices: of a name.
        optional: whether None is allowed.
        single: whether one value is allowed.
        many: whether a tuple is allowed.
        length: of a tuple; None for any.
    """

    type: Any
    range: Range | None = None
    choices: tuple[str, ...] = ()
    optional: bool = False
    single: bool = True
    many: bool = False
    length: int | None = None

    def __str__(self) -> str:
        if self.choices:
            text = f"one of {', '.join(self.choices)}"
        elif self.many:
            noun = {int: "whole numbers", float: "numbers"}.get(self.type, "values")
            text = f"{self.length} {noun}" if self.length else noun
        else:
            text = {
                bool: "true or false", int: "a whole number", float: "a number", str: "a text", Mapping: "a table",
            }.get(self.type, "a group of settings")  # fmt: skip
        text = f"{text} {self.range}" if self.range else text
        return f"none or {text}" if self.optional else text

    def check(self, name: str, value: Any) -> Any:
        """Returns a value as the type that the annotation asks for.

        Raises:
            UserError: naming the setting and what it takes.
        """
        if value is None and self.optional:
            return None
        if self.many and isinstance(value, (list, tuple)):
            items = tuple(self._one(item) for item in value)
            if not any(item is None for item in items) and self.length in (None, len(items)):
                return items
        elif self.single and (one := self._one(value)) is not None:
            if self.choices and one not in self.choices:
                raise unknown_name(name, shown(one, quote=False), self.choices)
            return one
        raise UserError(f"{name} is {shown(value)}, but must be {self}.")

    def _one(self, value: Any) -> Any:
        """Returns one value converted, or None if it does not fit."""
        if self.type is Mapping:
            return {key: _hashable(item) for key, item in value.items()} if isinstance(value, Mapping) else None
        if self.type is str:
            # No file has a name with a null character, and the system's refusal would name no setting.
            return value if isinstance(value, str) and "\0" not in value else None
        accepted = (int, float) if self.type is float else self.type
        if not isinstance(value, accepted) or isinstance(value, bool) is not (self.type is bool):
            return None
        if self.range is not None and value not in self.range:
            return None
        return float(value) if self.type is float else value


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def shown(value: Any, *, quote: bool = True) -> str:
    """Returns a value from a file for a sentence: short, on one line."""
    try:
        return printable(repr(value) if quote else value, 80)
    except (ValueError, RecursionError):  # Python writes no numbers of more than 4,300 digits
        return "a value too long to print"


def kind_of(hint: Any) -> Kind:
    """Reads an annotation; a range stands outermost: Annotated[float | None, Range(0, 1)]."""
    limit, names = None, Names()
    if typing.get_origin(hint) is typing.Annotated:
        hint, *notes = typing.get_args(hint)
        limit = next((note for note in notes if isinstance(note, Range)), None)
        names = next((note for note in notes if isinstance(note, Names)), names)
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    tuples = [option for option in options if typing.get_origin(option) is tuple]
    singles = [option for option in options if option is not type(None) and option not in tuples]
    one = singles[0] if singles else typing.get_args(tuples[0])[0]
    items = typing.get_args(tuples[0]) if tuples else ()
    origin = typing.get_origin(one)
    choices = typing.get_args(one) if origin is typing.Literal else tuple(names)
    return Kind(
        type=str if choices else Mapping if origin is not None and issubclass(origin, Mapping) else one,
        range=limit,
        choices=choices,
        optional=type(None) in options,
        single=bool(singles),
        many=bool(tuples),
        length=len(items) if tuples and Ellipsis not in items else None,
    )


def kinds_of(group: type) -> Mapping[str, Kind]:
    """Returns the kind of each field of a dataclass, in order."""
    hints = typing.get_type_hints(group, include_extras=True)
    return {field.name: kind_of(hints[field.name]) for field in dataclasses.fields(group)}


def check_fields(instance: Any, prefix: str = "") -> None:
    """Checks and converts all fields of a dataclass that has just been made.

    Raises:
        UserError: naming the first field that does not fit, and its range.
    """
    for name, kind in kinds_of(type(instance)).items():
        if not dataclasses.is_dataclass(kind.type):
            object.__setattr__(instance, name, kind.check(prefix + name, getattr(instance, name)))


def check_value(name: str, value: Any, hint: Any) -> Any:
    """Checks one value, e.g. an argument, against an annotation; see `Kind.check`."""
    return kind_of(hint).check(name, value)


def meanings(group: type) -> dict[str, str]:
    """Returns what the docstring of a dataclass says about its fields; nothing if Python runs without docstrings."""
    found: dict[str, str] = {}
    name = ""
    for line in (group.__doc__ or "").partition("Attributes:")[2].splitlines():
        key, colon, text = line.strip().partition(": ")
        if colon and line.startswith(" " * 8) and not line.startswith(" " * 9):
            name, found[key] = key, text
        elif name and line.startswith(" " * 9):
            found[name] += f" {line.strip()}"
    return found


def read_text(kind: Kind, text: str) -> Any:
    """Reads a value from a command line; what cannot be read is returned as it is, for `Kind.check` to refuse."""
    import ast

    if kind.optional and text.lower() == "none":
        return None
    if kind.type is str:
        return text
    if kind.type is bool:
        return {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}.get(text.lower(), text)
    try:
        return float(text) if kind.type is float and not kind.many else ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
