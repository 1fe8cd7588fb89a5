"""What errors show of foreign text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfnet.errors import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("smith2023-figure2", "smith2023-figure2"),
        ("Größe 日本", "Größe 日本"),
        ("a\nerror: b\r\t\0", "a\\nerror: b\\r\\t\\x00"),
        ("\x1b[2J\x9b31m", "\\x1b[2J\\x9b31m"),
        ("\u202egpj.exe\u2066", "\\u202egpj.exe\\u2066"),
        ("\u2028\ud800\U000e0001", "\\u2028\\ud800\\U000e0001"),
        (None, "None"),
        (10**9, "1000000000"),
    ],
)
def test_what_does_not_print_is_escaped(text: object, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [
        ("abcdefghij", 10, "abcdefghij"),
        ("abcdefghijk", 10, "abcdef…ijk"),
        ("a" * 10**7 + "z", 10, "aaaaaa…aaz"),
        ("\0" * 5, 10, "\\x00\\x…x00"),
        ("abc", 2, "a…"),
    ],
)
def test_long_text_keeps_its_ends(text: str, limit: int, shown: str) -> None:
    assert printable(text, limit) == shown


@given(st.text(st.characters(), max_size=500), st.integers(2, 50))
def test_any_text_fits_a_line(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert shown.isprintable()
    assert len(shown) <= limit
    shown.encode("utf-8")
