"""Results as bytes: the same value comes back, and nothing else does."""

import json
import math
import struct
from dataclasses import dataclass, make_dataclass
from functools import reduce
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from jaxtyping import Float

from paper.keeping.encoding import DecodingError, decode, encode


@dataclass(frozen=True)
class Inner:
    value: float
    unit: str = "1"


@dataclass(frozen=True)
class Outer:
    inner: tuple[Inner, ...]
    samples: Float[np.ndarray, "r 2"]
    table: pd.DataFrame


arrays = npst.arrays(
    st.sampled_from(["?", "i1", "<i8", ">i4", "u2", "<f4", "<f8", ">f8", "c16"]),
    npst.array_shapes(min_dims=0, min_side=0),
)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
leaves = st.one_of(
    st.just((None, type(None))),
    st.booleans().map(lambda value: (value, bool)),
    st.integers().map(lambda value: (value, int)),
    st.floats().map(lambda value: (value, float)),
    st.integers(0, 2**64 - 1).map(lambda bits: (struct.unpack("<d", struct.pack("<Q", bits))[0], float)),
    st.floats().map(lambda value: (np.float64(value), float)),
    text.map(lambda value: (value, str)),
    st.binary().map(lambda value: (value, bytes)),
    st.tuples(arrays, st.booleans()).map(lambda given: (given[0].T.copy("C" if given[1] else "K"), np.ndarray)),
)


def containers(inner: st.SearchStrategy[tuple[Any, Any]]) -> st.SearchStrategy[tuple[Any, Any]]:
    """Values with their types, from such."""
    return st.one_of(
        st.lists(inner).map(lambda items: (tuple(v for v, _ in items), tuple[tuple(kind for _, kind in items)])),
        inner.flatmap(lambda item: st.just((tuple([item[0]] * 3), tuple[item[1], ...]))),
        inner.map(lambda item: ([item[0]] * 2, list[item[1]])),
        st.tuples(inner, st.lists(text, unique=True)).map(
            lambda given: (dict.fromkeys(given[1], given[0][0]), dict[str, given[0][1]])
        ),
    )


def same(left: object, right: object) -> bool:
    """Whether two values agree in type, in every bit and in the order of arrays in memory."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return struct.pack("<d", left) == struct.pack("<d", right)
    if isinstance(left, np.ndarray):
        layouts = [(a.dtype.str, a.shape, a.flags.fnc, a.flags.writeable, a.tobytes()) for a in (left, right)]
        return layouts[0] == layouts[1]
    if isinstance(left, dict):
        return list(left) == list(right) and same([*left.values()], [*right.values()])
    if isinstance(left, tuple | list):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right


@given(st.recursive(leaves, containers, max_leaves=8))
def test_what_is_decoded_is_what_was_encoded(given: tuple[Any, Any]) -> None:
    value, kind = given
    content = encode(value)
    assert same(decode(content, kind), value)
    assert encode(decode(content, kind)) == content


def outer() -> Outer:
    samples = np.asfortranarray(np.arange(6.0).reshape(3, 2))
    table = pd.DataFrame({"name": ["array", "text"], "n": [1, 2], "x": [math.nan, -0.0], "b": [True, False]})
    return Outer((Inner(1.5, "nats"), Inner(math.inf)), samples, table)


def test_dataclasses_and_tables() -> None:
    found = decode(encode(outer()), Outer)
    assert type(found) is Outer
    assert found.inner == outer().inner
    assert same(found.samples, outer().samples)
    pd.testing.assert_frame_equal(found.table, outer().table, check_exact=True)
    empty = outer().table.iloc[:0]
    pd.testing.assert_frame_equal(decode(encode(empty), pd.DataFrame), empty)


def test_equal_values_of_other_types_have_other_bytes() -> None:
    values = [1, 1.0, True, np.int64(1), np.float32(1), "1", b"1", (1,), [1], np.ones(1), np.ones(1, int), Inner(1)]
    assert len({encode(value) for value in values}) == len(values)
    assert encode({"a": 1, "b": 2}) != encode({"b": 2, "a": 1})


@pytest.mark.parametrize(
    "value",
    [
        object(),
        print,
        Outer,
        {1},
        {1: "a key that is no text"},
        "\ud800",
        np.array([None]),
        np.array(["text"]),
        np.zeros(1, [("a", "f8")]),
        np.datetime64("2020-01-01"),
        make_dataclass("Changing", ["x"])(1),
        pd.DataFrame({"x": [1, 2]}, index=[1, 2]),
        pd.DataFrame({1: [1]}),
        pd.DataFrame({"x": [object()]}),
        pd.DataFrame([[1, 2]], columns=["x", "x"]),
        pd.Series([1]),
    ],
)
def test_other_types_are_refused(value: object) -> None:
    with pytest.raises((TypeError, UnicodeEncodeError)):
        encode((value,))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (1, float),
        (1.0, int),
        (True, int),
        (1, bool),
        (0, type(None)),
        (np.float32(1), float),
        ("a", bytes),
        ((1, 2), tuple[int]),
        ((1, "a"), tuple[int, ...]),
        ([1], tuple[int]),
        ({"a": 1}, dict[str, str]),
        ([], dict[str, str]),
        (np.ones(1), pd.DataFrame),
        (pd.DataFrame({"x": [1]}), np.ndarray),
        (Inner(1.0), Outer),
        (make_dataclass("Inner", ["value"], frozen=True)(1.0), Inner),
        (make_dataclass("Inner", ["value", "unit"], frozen=True)(1.0, 1), Inner),
        (1, object),
    ],
)
def test_a_value_of_another_type_is_not_found(value: object, kind: object) -> None:
    with pytest.raises(DecodingError):
        decode(encode(value), kind)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", int),
        (b"[" * 100_000, tuple[int, ...]),
        (b"1" * 5000, int),
        (b'"\\ud800"', str),
        (b"\xff", str),
        (b"1\nmore", int),
        (b'["bytes",3]\nab', bytes),
        (b'["bytes",-1]\nab', bytes),
        (b'["bytes",true]\na', bytes),
        (b'["bytes",' + b"9" * 40 + b"]\nab", bytes),
        (b'["float","00"]', float),
        (b'["float",0]', float),
        (b'["scalar","|O","00"]', float),
        (b'["array","|O",[1],"C"]\n' + bytes(8), np.ndarray),
        (b'["array","<f8,|O",[1],"C"]\n' + bytes(16), np.ndarray),
        (b'["array","<f3",[1],"C"]\n' + bytes(3), np.ndarray),
        (b'["array",1,[1],"C"]\n' + bytes(8), np.ndarray),
        (b'["array","<f8",[1],"A"]\n' + bytes(8), np.ndarray),
        (b'["array","<f8",[-1],"C"]\n' + bytes(8), np.ndarray),
        (b'["array","<f8",[2],"C"]\n' + bytes(8), np.ndarray),
        (b'["array","<f8",[0,' + b"9" * 40 + b'],"C"]\n', np.ndarray),
        (b'["array","<f8",[' + b"1," * 99 + b'1],"C"]\n' + bytes(8), np.ndarray),
        (b'["array","|b1",[1],"C"]\n\x02', np.ndarray),
        (b'["table",1,{"x":["text","a","b"]}]\n', pd.DataFrame),
        (b'["table",1,{"x":["text",1]}]\n', pd.DataFrame),
        (b'["table",1,{"x":["array","<i8",[1,1],"C"]}]\n' + bytes(8), pd.DataFrame),
        (b'["table",-1,{}]\n', pd.DataFrame),
        (b'["table",1,[]]\n', pd.DataFrame),
    ],
)
def test_bytes_that_stand_for_nothing(content: bytes, kind: object) -> None:
    with pytest.raises(DecodingError):
        decode(content, kind)


@given(st.data())
def test_any_changed_bytes_give_the_type_or_an_error(data: st.DataObject) -> None:
    content = bytearray(encode(outer()))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = decode(bytes(content), Outer)
    except DecodingError:
        return
    assert type(found) is Outer
    assert type(found.table) is pd.DataFrame
    assert {type(item.value) for item in found.inner} <= {float}


def test_deep_values_have_bytes_or_an_error() -> None:
    nested = reduce(lambda inner, _: ["tuple", inner], range(500), ["tuple"])
    with pytest.raises(DecodingError):
        decode(json.dumps(nested).encode(), tuple[int, ...])


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b'["array","<f8","","C"]\n' + bytes(8), np.ndarray),
        (b'["array","<f8",[' + b",".join([b"9" * 4000] * 200) + b'],"C"]\n', np.ndarray),
        (b'["array","<f8",[' + b",".join([b"1"] * 1000) + b'],"C"]\n' + bytes(8), np.ndarray),
        (b'["table",1000000000000000,{}]\n', pd.DataFrame),
        (b'["table",1,{"a":["array","<f8",[],"C"]}]\n' + bytes(8), pd.DataFrame),
    ],
)
def test_shapes_that_no_result_has(content: bytes, kind: type) -> None:
    with pytest.raises(DecodingError):
        decode(content, kind)


def test_a_name_that_stands_twice_is_refused() -> None:
    assert decode(b'{"a":1,"b":2}\n', dict[str, int]) == {"a": 1, "b": 2}
    with pytest.raises(DecodingError, match="twice"):
        decode(b'{"a":1,"a":2}\n', dict[str, int])
