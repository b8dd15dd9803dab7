"""Which events the codec accepts, which it rejects, and what its errors tell."""

import datetime as dt
import decimal
import enum
import re
import uuid
from typing import Any

import msgpack
import msgspec
import pytest

from bridge.bus.codec import Codec
from bridge.bus.rejection import Limits, Reason, Rejected
from bridge.core.errors import InvalidError

GOOD: dict[str, Any] = {
    "id": 7,
    "event_type": "data.updated",
    "payload": {"a": [1, 2.5, None, True, "ü", b"\x00\xff"]},
    "timestamp": 1_700_000_000_000,
    "source": "app",
    "correlation_id": None,
}


def pack(**changes: Any) -> bytes:
    """A valid event with some keys changed."""
    return msgpack.packb({**GOOD, **changes})


def without(key: str) -> bytes:
    """A valid event without one key."""
    return msgpack.packb({name: value for name, value in GOOD.items() if name != key})


def rejected(body: bytes, frame: bytes = b"data.updated", limits: Limits | None = None) -> Rejected:
    """The rejection of these frames."""
    with pytest.raises(Rejected) as caught:
        Codec(limits or Limits()).decode(frame, body)
    return caught.value


@pytest.mark.parametrize(
    "body",
    [
        pack(),
        pack(headers={"seq": "1"}),
        pack(headers=None),
        pack(extra={"x": 1}),
        pack(headers={}, extra=1),
        msgpack.packb(list(GOOD.values())),
        b"\xde\x00\x06" + pack()[1:],
        b"\xdd\x00\x00\x00\x06" + msgpack.packb(list(GOOD.values()))[1:],
    ],
    ids=["map", "headers", "nil headers", "unknown key", "both", "array", "map16", "array32"],
)
def test_good(body: bytes) -> None:
    """All forms of a valid event are decoded to the same event."""
    event = Codec().decode(b"data.updated", body)
    assert (event.id, event.event_type, event.timestamp) == (7, "data.updated", 1_700_000_000_000)
    assert (event.source, event.correlation_id) == ("app", None)
    assert event.payload == GOOD["payload"]


@pytest.mark.parametrize("key", list(GOOD))
def test_missing_key(key: str) -> None:
    """The rejection names a missing key."""
    error = rejected(without(key))
    assert (error.reason, error.detail) == (Reason.MISSING_KEY, f"key `{key}` is missing")


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"id": "secret"}, "key `id` is str, not uint64"),
        ({"id": -1}, "key `id` is a negative int, not uint64"),
        ({"id": True}, "key `id` is bool, not uint64"),
        ({"id": 1.0}, "key `id` is float, not uint64"),
        ({"timestamp": None}, "key `timestamp` is nil, not uint64"),
        ({"event_type": b"data.updated"}, "key `event_type` is bin, not str"),
        ({"source": 5}, "key `source` is int, not str or nil"),
        ({"correlation_id": []}, "key `correlation_id` is array, not str or nil"),
        ({"headers": {"seq": 1}}, "key `headers` is map, not a map of str to str"),
        ({"headers": "x"}, "key `headers` is str, not a map of str to str"),
    ],
)
def test_mistyped_key(changes: dict[str, Any], detail: str) -> None:
    """The rejection names a key of a wrong type, its type and the right one, and not its value."""
    error = rejected(pack(**changes))
    assert (error.reason, error.detail) == (Reason.MISTYPED_KEY, detail)


def nest(depth: int) -> Any:
    """A value of so many nested containers."""
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"x": value}
    return value


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", Reason.MSGPACK),
        (b"\xc1", Reason.MSGPACK),
        (pack()[:-1], Reason.MSGPACK),
        (pack() + b"\x00", Reason.MSGPACK),
        (pack(payload=1).replace(b"\xa7payload\x01", b"\xa7payload\xc1"), Reason.MSGPACK),
        (pack(payload="x").replace(b"\xa1x", b"\xa1\xff"), Reason.MSGPACK),
        (pack(payload=1).replace(b"\xa7payload\x01", b"\xa7payload\x81\x80\x01"), Reason.MSGPACK),
        (b"\x2a", Reason.NOT_AN_EVENT),
        (msgpack.packb([1, 2, 3]), Reason.NOT_AN_EVENT),
        (msgpack.packb([*GOOD.values(), {}]), Reason.NOT_AN_EVENT),
        (b"\x87" + pack()[1:] + msgpack.packb("id") + b"\x09", Reason.DUPLICATE_KEY),
        (b"\x88" + pack()[1:] + (msgpack.packb("x") + b"\x09") * 2, Reason.DUPLICATE_KEY),
        (pack(payload=msgpack.ExtType(5, b"x")), Reason.EXTENSION),
        (pack(payload=[msgpack.Timestamp(1, 0)]), Reason.EXTENSION),
        (pack(extra={"x": msgpack.Timestamp(1, 0)}), Reason.EXTENSION),
        (pack(payload=nest(33)), Reason.DEPTH),
        (pack(payload=1).replace(b"\xa7payload\x01", b"\xa7payload" + b"\x91" * 5000 + b"\x01"), Reason.DEPTH),
        (b"\x91" * 100_000, Reason.NOT_AN_EVENT),
        (pack(event_type="data.other"), Reason.TYPE_MISMATCH),
    ],
)
def test_rejected(body: bytes, reason: Reason) -> None:
    """Each kind of malformed body has its reason."""
    assert rejected(body).reason is reason


def test_depth_limit_is_exact() -> None:
    """32 nested containers are valid for both decoders, and so are many that are not nested."""
    for payload in (nest(32), [[]] * 1000, [{"a": [1.5]}] * 100, b"\x91" * 1000):
        assert Codec().decode(b"data.updated", pack(payload=payload)).payload == payload


def test_size_limit() -> None:
    """The size limit counts exactly the bytes of the second frame."""
    body = pack()
    assert Codec(Limits(max_message=len(body))).decode(b"data.updated", body).id == 7
    assert rejected(body, limits=Limits(max_message=len(body) - 1)).reason is Reason.SIZE


@pytest.mark.parametrize("frame", [b"", b".", b"a..b", b"a b", b"a\n", b"\xff", b"a." * 200 + b"a", b"a\x85"])
def test_type_frame(frame: bytes) -> None:
    """A first frame that is no event type is rejected before anything else."""
    assert rejected(pack(event_type=frame.decode("latin-1")), frame).reason is Reason.TYPE_FRAME


def test_many_types_are_forgotten_not_hoarded() -> None:
    """The memory of known event types is bounded, however many a sender invents."""
    codec = Codec()
    for number in range(10_000):
        name = f"t.{number}"
        codec.decode(name.encode(), pack(event_type=name))
        codec.encode(name, None, event_id=1, timestamp=1, source=None)
    assert len(codec._types) <= 4096
    assert len(codec._frames) <= 4096


def encode(payload: Any, **more: Any) -> bytes:
    """The second frame."""
    arguments: dict[str, Any] = {"event_id": 1, "timestamp": 2, "source": "bridge", **more}
    return Codec(Limits(max_message=1000)).encode("a.b", payload, **arguments)[1]


def test_encode_is_the_map_form() -> None:
    """An event is encoded as a map with the contract's keys, and with headers only where there are some."""
    assert msgpack.unpackb(encode(1)).keys() == GOOD.keys()
    assert msgpack.unpackb(encode(1, headers={"hop": "1"}))["headers"] == {"hop": "1"}


def test_own_events_are_known_by_their_first_bytes() -> None:
    """Events of a source whose name only begins like ours are not our own."""
    own = Codec.own_prefix("bridge")
    assert encode(1, headers={"hop": "1"}).startswith(own)
    assert not encode(1, headers={"hop": "1"}, source="bridge/two").startswith(own)
    assert not encode(1, headers={"hop": "1"}, source=None).startswith(own)


class Colour(enum.StrEnum):
    RED = "red"


@pytest.mark.parametrize(("bytes_as", "wanted"), [("object", {"$bytes": "eA=="}), ("bin", b"x")])
def test_encode_takes(bytes_as: Any, wanted: Any) -> None:
    """All types of the data model are encoded, and tuples, string enumerations, raw values, and bytes as configured."""
    raw = msgspec.Raw(msgpack.packb([42, b"x", "ŀ"]))
    payload = {"a": (1, Colour.RED), "b": bytearray(b"x"), "i": [2**64 - 1, -(2**63)], "r": raw}
    codec = Codec(bytes_as=bytes_as)
    body = codec.encode("a", payload, event_id=1, timestamp=1, source=None)[1]
    expected = {"a": [1, "red"], "b": wanted, "i": [2**64 - 1, -(2**63)], "r": [42, wanted, "ŀ"]}
    assert msgpack.unpackb(body)["payload"] == expected
    assert msgpack.unpackb(codec.encode_payload(payload)) == expected


@pytest.mark.parametrize("shape", [dict, lambda event: list(event.values())], ids=["map", "array"])
def test_both_forms_of_bytes_are_read(shape: Any) -> None:
    """`bin` and objects mean the same, in both shapes; an object that has more than the key is none."""
    other = {"$bytes": "AP8=", "b": 1}
    payload = {"a": [{"$bytes": "AP8="}, b"\x00\xff", {"$bytes": ""}], "other": other, "text": "$bytes"}
    event = Codec().decode(b"data.updated", msgpack.packb(shape({**GOOD, "payload": payload})))
    event.check()
    assert event.payload == {"a": [b"\x00\xff", b"\x00\xff", b""], "other": other, "text": "$bytes"}
    assert msgpack.unpackb(bytes(event.raw)) == event.payload


@pytest.mark.parametrize(
    ("payload", "where", "why"),
    [
        ({"$bytes": 5}, "payload", "is not text"),
        ({"$bytes": b"x"}, "payload", "is not text"),
        ({"$bytes": {"$bytes": "AP8="}}, "payload", "is not text"),
        ({"a": [0, {"$bytes": "AP8"}]}, "payload.a[1]", "is not valid base64"),
        ([{"$bytes": "AP8=\n"}], "payload[0]", "is not valid base64"),
        ([{"$bytes": "_w=="}], "payload[0]", "is not valid base64"),
        ([{"$bytes": "/x=="}], "payload[0]", "is not valid base64"),
        ([{"$bytes": "AA==AA=="}], "payload[0]", "is not valid base64"),
        ({"ä": {"$bytes": "é"}}, "payload.ä", "is not valid base64"),
    ],
)
def test_bytes_that_are_not_valid(payload: Any, where: str, why: str) -> None:
    """They are an event all the same, as it came; who uses it is told the place. No part of them is repeated."""
    event = Codec().decode(b"data.updated", pack(payload=payload))
    assert event.payload == payload
    with pytest.raises(InvalidError, match=re.escape(f"{where}: `$bytes` {why}")):
        event.check()


def test_objects_for_bytes_do_not_count_for_the_depth() -> None:
    """What is sent with bytes at the greatest depth is read; any other object there is one too many."""
    deepest: Any = b"x"
    for _ in range(32):
        deepest = [deepest]
    frame, body = Codec().encode("a", deepest, event_id=1, timestamp=1, source=None)
    assert Codec().decode(frame, body).payload == deepest
    assert rejected(body.replace(b"$bytes", b"$other"), b"a").reason is Reason.DEPTH
    assert rejected(body.replace(b"eA==", b"eA=x"), b"a").reason is Reason.DEPTH


@pytest.mark.parametrize(
    ("payload", "where"),
    [
        ({"a": [1, float("nan")]}, r"payload\.a\[1\]"),
        (float("inf"), "payload"),
        ({"a": {"b": 2**64}}, r"payload\.a\.b"),
        ([-(2**63) - 1], r"payload\[0\]"),
        ({"a": {1: 2}}, r"payload\.a: a key is int"),
        ({None: 2}, "a key is NoneType"),
        ({"d": dt.datetime.now(dt.UTC)}, r"payload\.d: datetime"),
        ([decimal.Decimal(1)], "Decimal"),
        ([uuid.uuid4()], "UUID"),
        ({1, 2}, "set"),
        (object(), "object"),
        ("x" * 1000, "the limit is 1000"),
        ("\ud800", "surrogate"),
        ({"\ud800": 1}, "surrogate"),
        (nest(33), "deeper than"),
    ],
)
def test_encode_refuses(payload: Any, where: str) -> None:
    """A payload that others could not decode is refused, and the message names the place."""
    with pytest.raises(InvalidError, match=where):
        encode(payload)


def test_encode_refuses_itself() -> None:
    """A value that contains itself ends at the depth limit."""
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InvalidError, match="deeper than"):
        encode(loop)


@pytest.mark.parametrize("name", ["", "a..b", "a b", "x" * 256, "\ud800"])
def test_encode_refuses_bad_type(name: str) -> None:
    """An event type that is not valid is refused."""
    with pytest.raises(InvalidError, match="event_type"):
        Codec().encode(name, None, event_id=1, timestamp=1, source=None)


def test_encode_refuses_bad_headers() -> None:
    """Headers that are not str to str are refused."""
    with pytest.raises(InvalidError, match=r"headers\.n"):
        encode(1, headers={"n": 1})


def test_msgspec_alone_would_let_pass() -> None:
    """The library encodes values that others cannot decode, which is why we check them."""
    for value in (float("nan"), float("inf"), {1: 2}, {1, 2}, uuid.uuid4(), decimal.Decimal(1)):
        assert msgspec.msgpack.encode(value)
