"""Content of messages by codec: it comes back as it was sent, or is refused."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.adapters._common.content import BYTES, JSON, MSGPACK, TEXT, Codec
from bridge.core.errors import InvalidError, ProtocolError

SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(SCALARS | TEXTS, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=10)


@given(VALUES)
def test_json_and_auto_bring_every_json_value_back(value: Any) -> None:
    """`json`, and `auto` with its own content type, return every JSON value unchanged."""
    for name in ("json", "auto", "msgpack"):
        codec = Codec(name)
        data, content_type = codec.encode(value)
        assert codec.decode(data, content_type) == value


@pytest.mark.parametrize(
    ("data", "content_type", "value"),
    [
        (b'{"a": 1}', None, {"a": 1}),
        (b"12", None, 12),
        (b"12", "text/plain; charset=utf-8", "12"),
        (b"12", BYTES, b"12"),
        (b"plain", None, "plain"),
        (b"plain", JSON, "plain"),
        (b"", None, ""),
        (b"\xff\xfe", None, b"\xff\xfe"),
        (b"\xff\xfe", TEXT, b"\xff\xfe"),
        (b"\x93\x01\x02\x03", MSGPACK, [1, 2, 3]),
        (b"\x93\x01\x02\x03", "application/x-msgpack", [1, 2, 3]),
        (b"\xc1", MSGPACK, b"\xc1"),
        (b"1" * 30, None, "1" * 30),
        (b"[" * 40 + b"]" * 40, None, "[" * 40 + "]" * 40),
    ],
)
def test_auto_reads_by_type_then_by_trying(data: bytes, content_type: str | None, value: Any) -> None:
    """`auto` decodes by content type; without one as JSON, else as text, else it returns the bytes."""
    assert Codec("auto").decode(data, content_type) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("auto", b"x"),
        ("json", b"x"),
        ("json", float("nan")),
        ("json", 2**64),
        ("json", {1: 2}),
        ("text", 1),
        ("text", "\ud800"),
        ("bytes", "x"),
        ("msgpack", float("inf")),
        ("msgpack", 2**64),
        ("msgpack", {1: 2}),
        ("msgpack", {"a": "\ud800"}),
        ("msgpack", {"a": object()}),
    ],
)
def test_what_a_codec_cannot_carry_is_invalid(name: Any, value: Any) -> None:
    """A value that a codec cannot carry is `invalid`, before anything is sent."""
    with pytest.raises(InvalidError, match="message"):
        Codec(name).encode(value)


def _deep(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("json", b"{oops"),
        ("json", b""),
        ("json", b"1" * 30),
        ("text", b"\xff"),
        ("msgpack", b"\xc1"),
        ("msgpack", b""),
        ("msgpack", b"\x01\x02"),
        ("msgpack", msgspec.msgpack.encode({1: 2})),
        ("msgpack", msgspec.msgpack.encode(_deep(40))),
        ("msgpack", msgspec.msgpack.encode(msgspec.msgpack.Ext(5, b"x"))),
        ("msgpack", b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00"),
    ],
)
def test_what_a_codec_cannot_read_is_said(name: Any, data: bytes) -> None:
    """Bytes that a codec other than `auto` cannot decode are a protocol error."""
    with pytest.raises(ProtocolError, match="message"):
        Codec(name).decode(data)
