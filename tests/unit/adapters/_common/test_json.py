"""JSON that may be sent and received."""

import datetime as dt
from typing import Any

import msgspec
import pytest

from bridge.adapters._common import json
from bridge.core.errors import InvalidError, ProtocolError


def nested(levels: int) -> Any:
    """Return that many lists around nothing."""
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ({"items": [0, 1, {"blob": b"x"}]}, "params.items[2].blob: bytes cannot be JSON"),
        ([bytearray(b"x")], "params[0]: bytearray cannot be JSON"),
        ([float("nan")], "params[0]: neither NaN nor infinity can be sent"),
        ({"a": float("-inf")}, "params.a: neither NaN nor infinity can be sent"),
        ([2**64], "params[0]: integers have at most 64 bit"),
        ([-(2**63) - 1], "params[0]: integers have at most 64 bit"),
        ({"a": {1: 2}}, "params.a: a key is int, not str"),
        ([msgspec.msgpack.Ext(1, b"")], "params[0]: Ext cannot be JSON"),
        ([dt.datetime.now(dt.UTC)], "params[0]: datetime cannot be JSON"),
        (nested(json.MAX_DEPTH + 1), f"nested deeper than {json.MAX_DEPTH} levels"),
    ],
)
def test_refused_with_the_path_to_the_place(value: Any, complaint: str) -> None:
    """A value that JSON cannot carry exactly is `invalid`, and the message has the path to it."""
    with pytest.raises(InvalidError) as caught:
        json.check_value(value, "params")
    assert complaint in caught.value.message


@pytest.mark.parametrize(
    "value", [None, True, 0, 2**64 - 1, -(2**63), 1.5, "ä", [], {}, {"a": [1, (2, 3)]}, nested(json.MAX_DEPTH)]
)
def test_accepted_up_to_the_limits(value: Any) -> None:
    """JSON's own values pass, up to 64 bits and the depth that the bus allows."""
    json.check_value(value, "params")


def test_half_a_surrogate_pair_is_invalid() -> None:
    """Text that is not valid Unicode is `invalid`."""
    with pytest.raises(InvalidError, match="surrogate"):
        json.encode({"a": "\ud800"}, "params")


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"", "empty body"),
        (b"\xef\xbb\xbf", "empty body"),
        (b"\xef\xbb\xbf\xef\xbb\xbf{}", "is not JSON"),
        (b"<html><body>Bad gateway: secret</body></html>", "is HTML"),
        (b"hello secret", "is not JSON"),
        (b'{"result": "\xff"}', "not UTF-8"),
        (b'{"result": 1', "is not JSON"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"result": 1e999}', "wrong shape"),
    ],
)
def test_an_unreadable_answer_is_described_not_quoted(body: bytes, complaint: str) -> None:
    """Bytes that are not JSON are a protocol error, whose message describes them and does not quote them."""
    with pytest.raises(ProtocolError) as caught:
        json.parse(body, msgspec.json.Decoder(dict[str, Any]), "the answer")
    assert complaint in caught.value.message
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, nested(json.MAX_DEPTH + 1)])
def test_an_answer_that_the_bus_cannot_carry(value: Any) -> None:
    """`needs_check` is true for whatever `check_answer` refuses."""
    assert json.needs_check(msgspec.json.encode(value))
    with pytest.raises(ProtocolError):
        json.check_answer(value, "result")
