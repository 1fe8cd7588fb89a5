"""Results as bytes and back, exactly and without running anything that the bytes say.

Unlike a pickle, what is written names no function: a line of JSON, then the bytes and arrays it refers to. Reading
builds only the type that the reader asks for, so bytes of any origin give a value of that type or an error.

Values are None, bools, ints, floats (every bit of them, NaNs included), NumPy scalars, text that has a UTF-8 form,
bytes, tuples, lists, dicts with text for keys, numeric and boolean arrays, tables of numbers, truth values and text
with the default index, and frozen dataclasses of these.
"""

from __future__ import annotations

import dataclasses
import io
import json
import re
import struct
import sys
import typing
from collections.abc import Sequence
from functools import cache
from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["DecodingError", "decode", "encode"]

_NUMERIC = re.compile(r"[<>|=][biufc][0-9]{1,2}")
"""Types of arrays, as NumPy writes them; those of objects and records are none of these."""


class DecodingError(ValueError):
    """Bytes that hold no value of the type asked for."""


def encode(value: object) -> bytes:
    """Returns ``value`` as bytes, the same for the same value and type in every process.

    Raises:
        TypeError: If a part of it is of no type that the module lists.
        ValueError: If a text has no UTF-8 form.
    """
    parts: list[bytes] = []
    head = json.dumps(_node(value, parts), ensure_ascii=False, separators=(",", ":")).encode()
    return b"\n".join([head, b"".join(parts)])


def decode(content: bytes, kind: Any) -> Any:
    """Returns the value of type ``kind`` that :func:`encode` wrote.

    Args:
        content: Bytes of any origin.
        kind: A type as annotations write it, such as ``tuple[float, ...]``, ``dict[str, bytes]``, ``np.ndarray``
            (jaxtyping's too; neither element type nor shape are compared), ``pd.DataFrame`` or a frozen dataclass.

    Raises:
        DecodingError: If ``content`` is anything else.
    """
    head, _, parts = content.partition(b"\n")
    rest = io.BytesIO(parts)
    try:
        value = _value(json.loads(head, object_pairs_hook=_unique), kind, rest)
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError, MemoryError, struct.error) as error:
        raise DecodingError(f"no {kind}: {error}") from None
    if rest.read(1):
        raise DecodingError("more bytes than the value has")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose names differ; the last of equal ones would win in silence."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice")
    return found


def _node(value: object, parts: list[bytes]) -> object:
    """What JSON says of ``value``; its bytes are added to ``parts``."""
    kind: Any = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if isinstance(value, dict) and kind is dict:
        if not all(type(key) is str for key in value):
            raise TypeError("a dict with keys other than text is not kept")
        return {key: _node(item, parts) for key, item in value.items()}
    if kind in (tuple, list):
        assert isinstance(value, Sequence)
        return [kind.__name__, *(_node(item, parts) for item in value)]
    if kind is float:
        return ["float", struct.pack("<d", value).hex()]
    if isinstance(value, bytes) and kind is bytes:
        parts.append(value)
        return ["bytes", len(value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type) and kind.__dataclass_params__.frozen:
        fields = {field.name: _node(getattr(value, field.name), parts) for field in dataclasses.fields(value)}
        return ["dataclass", kind.__qualname__, fields]
    # Neither is imported here: without it there is no value of its types.
    numpy, pandas = (sys.modules.get(name) for name in ("numpy", "pandas"))
    if numpy and isinstance(value, numpy.generic) and _NUMERIC.fullmatch(value.dtype.str):
        return ["scalar", value.dtype.str, value.tobytes().hex()]
    if numpy and kind is numpy.ndarray:
        return _array_node(typing.cast("np.ndarray", value), parts)
    if pandas and kind is pandas.DataFrame:
        return _table_node(typing.cast("pd.DataFrame", value), parts)
    raise TypeError(f"a result or argument of type {kind.__module__}.{kind.__qualname__} is not kept")


def _array_node(array: np.ndarray, parts: list[bytes]) -> list[object]:
    if not _NUMERIC.fullmatch(array.dtype.str):
        raise TypeError(f"an array of {array.dtype} is not kept")
    # Sums depend on the order in memory in their last bits.
    order: typing.Literal["C", "F"] = "F" if array.flags.fnc else "C"
    parts.append(array.tobytes(order))
    return ["array", array.dtype.str, list(array.shape), order]


def _table_node(table: pd.DataFrame, parts: list[bytes]) -> list[object]:
    import pandas as pd

    names = list(table.columns)
    default = pd.RangeIndex(len(table))
    if not all(type(name) is str for name in names) or len(set(names)) < len(names):
        raise TypeError("a table whose columns have no names of their own is not kept")
    if type(table.index) is not pd.RangeIndex or not table.index.equals(default) or table.index.name is not None:
        raise TypeError("a table with an index is not kept")
    columns: dict[str, object] = {}
    for name in names:
        if table[name].dtype.kind in "biufc":
            columns[name] = _array_node(table[name].to_numpy(), parts)
        elif all(type(cell) is str for cell in table[name]):
            columns[name] = ["text", *table[name]]
        else:
            raise TypeError(f"column {name!r} of {table[name].dtype} is not kept")
    return ["table", len(table), columns]


def _value(node: Any, kind: Any, parts: io.BytesIO) -> Any:
    """The value of type ``kind`` that ``node`` and the next of ``parts`` stand for."""
    if kind in (None, type(None), bool, int, str):
        return _plain(node, kind)
    if kind is float:
        return _float(node)
    if kind is bytes:
        return _take(parts, _tagged(node, "bytes", 1)[0])
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is dict and arguments[0] is str:
        if type(node) is not dict:
            raise ValueError("no dict")
        return {key: _value(item, arguments[1], parts) for key, item in node.items()}
    if origin is list:
        return [_value(item, arguments[0], parts) for item in _tagged(node, "list")]
    if origin is tuple:
        items = _tagged(node, "tuple")
        kinds = [arguments[0]] * len(items) if arguments[1:] == (...,) else arguments
        return tuple(_value(item, each, parts) for item, each in zip(items, kinds, strict=True))
    if dataclasses.is_dataclass(kind):
        return _dataclass(node, kind, parts)
    numpy, pandas = (sys.modules.get(name) for name in ("numpy", "pandas"))
    if numpy and getattr(kind, "array_type", kind) is numpy.ndarray:
        return _array(node, parts)
    if pandas and kind is pandas.DataFrame:
        return _table(node, parts)
    raise TypeError(f"{kind} is no type of results that are kept")


def _tagged(node: Any, tag: str, count: int | None = None) -> list[Any]:
    """What follows ``tag``: ``count`` items, by default any number."""
    if type(node) is not list or node[:1] != [tag] or count not in (None, len(node) - 1):
        raise ValueError(f"no {tag}")
    return node[1:]


def _plain(node: Any, kind: Any) -> Any:
    if type(node) is not (type(None) if kind is None else kind):
        raise ValueError(f"no {kind}")
    if isinstance(node, str):
        node.encode()  # JSON can spell text that cannot be written
    return node


def _float(node: Any) -> float:
    """A float, or NumPy's, which is one too."""
    import numpy as np

    if type(node) is list and node[:1] == ["scalar"]:
        dtype, content = _tagged(node, "scalar", 2)
        if dtype != np.dtype(np.float64).str:
            raise ValueError("no float")
        return np.float64(struct.unpack("=d", bytes.fromhex(content))[0])
    (content,) = _tagged(node, "float", 1)
    return float(struct.unpack("<d", bytes.fromhex(content))[0])


def _take(parts: io.BytesIO, count: object) -> bytes:
    if type(count) is not int or count < 0:
        raise ValueError("no size")
    content = parts.read(count)
    if len(content) < count:
        raise ValueError("cut off")
    return content


def _array(node: Any, parts: io.BytesIO) -> np.ndarray:
    import numpy as np

    text, shape, order = _tagged(node, "array", 3)
    if not _NUMERIC.fullmatch(text) or order not in ("C", "F") or type(shape) is not list or len(shape) > 64:
        raise ValueError("no array")
    if any(type(n) is not int or not 0 <= n < 2**63 for n in shape):
        raise ValueError("no shape")
    dtype = np.dtype(text)
    content = _take(parts, prod(shape) * dtype.itemsize)
    if dtype.kind == "b" and content.strip(b"\0\1"):
        raise ValueError("truth values are 0 or 1")
    return np.ndarray(shape, dtype, content, order=order).copy("K")  # which can be written to


def _table(node: Any, parts: io.BytesIO) -> pd.DataFrame:
    import pandas as pd

    count, columns = _tagged(node, "table", 2)
    if type(columns) is not dict or type(count) is not int or not 0 <= count < 2**63 or (count and not columns):
        raise ValueError("no table")
    found = {name: pd.Series(_column(column, parts)) for name, column in columns.items()}
    if any(len(column) != count for column in found.values()):
        raise ValueError("columns of different lengths")
    return pd.DataFrame(found, index=pd.RangeIndex(count))


def _column(node: Any, parts: io.BytesIO) -> Any:
    import pandas as pd

    if type(node) is list and node[:1] == ["text"]:
        return pd.Series([_plain(cell, str) for cell in _tagged(node, "text")], dtype="str")
    array = _array(node, parts)
    if array.ndim != 1:
        raise ValueError("no column")
    return array


def _dataclass(node: Any, kind: Any, parts: io.BytesIO) -> Any:
    name, fields = _tagged(node, "dataclass", 2)
    kinds = _fields(kind)
    if name != kind.__qualname__ or type(fields) is not dict or list(fields) != list(kinds):
        raise ValueError(f"no {kind.__qualname__}")
    return kind(**{name: _value(fields[name], hint, parts) for name, hint in kinds.items()})


@cache
def _fields(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}
