"""What is shown of texts that others wrote."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.printable import printable, printable_json, printable_values

HOSTILE = {
    "\x1b]52;c;cHduZWQ=\x07": r"\x1b]52;c;cHduZWQ=\x07",
    "fine\r\nnemo-bridge: all is well": r"fine\r\nnemo-bridge: all is well",
    "\x9b31m": r"\x9b31m",
    "user\u202egnp.exe": r"user\u202egnp.exe",
    "a\u2028b": r"a\u2028b",
    "\ud800": r"\ud800",
    "\U000e0041": r"\U000e0041",
}


@pytest.mark.parametrize(("text", "shown"), HOSTILE.items(), ids=ascii)
def test_control_characters_become_escapes(text: str, shown: str) -> None:
    """No escape sequence, faked line or reordered text reaches the terminal; a reader sees what was there."""
    assert printable(text) == shown


@pytest.mark.parametrize("text", ["", "plain", "Übergröße 日本語 ↔ ≤ 😀", "a\u00a0b"])
def test_ordinary_text_stays(text: str) -> None:
    """Letters, signs and spaces of all languages stay as they are."""
    assert printable(text) == text


def test_values_within_values() -> None:
    """Each text of a value is escaped, also keys; what is no text stays."""
    value = {"a\x07": ["b\n", {"c": "\u202e"}], "d": [1, None, True, 1.5]}
    assert printable_values(value) == {"a\\x07": ["b\\n", {"c": "\\u202e"}], "d": [1, None, True, 1.5]}


def test_line_feeds_stay_where_wanted() -> None:
    """Text of several lines keeps its line feeds, and nothing else."""
    assert printable("a\n\tb\x07", keep="\n\t") == "a\n\tb\\x07"


@given(st.recursive(st.text() | st.none(), lambda one: st.lists(one) | st.dictionaries(st.text(), one)))
def test_json_keeps_its_value(value: object) -> None:
    """JSON with escapes is safe to print and still means the same."""
    for indent in (None, 2):
        shown = printable_json(json.dumps(value, ensure_ascii=False, indent=indent))
        assert json.loads(shown) == value
        assert printable(shown, keep="\n") == shown
