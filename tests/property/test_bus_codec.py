"""The two decoders agree; garbage is rejected and nothing else happens."""

import json
from typing import Any

import msgpack
from hypothesis import given
from hypothesis import strategies as st

from bridge.bus.codec import Codec
from bridge.bus.reference import decode_reference
from bridge.bus.rejection import DEFAULT_LIMITS, Rejected
from bridge.core.model import Event


def _nest(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


uint64 = st.integers(0, 2**64 - 1)
text = st.text(max_size=20)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text
    | st.binary(max_size=40)
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4), max_leaves=40
)
headers = st.none() | st.dictionaries(text, text, max_size=3)
ENVELOPE: dict[str, st.SearchStrategy[Any]] = {
    "event_id": uint64,
    "timestamp": uint64,
    "source": st.none() | text,
    "correlation_id": st.none() | text,
}
types = st.sampled_from(["a", "data.updated", "integration.x.request", "ä.ß"])
# What may stand where it does not belong.
odd = (
    values
    | st.dictionaries(st.just("$bytes"), values | st.sampled_from(["", "AP8=", "AP8"]), min_size=1)
    | st.floats()
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=20))
    | st.builds(msgpack.Timestamp, st.integers(0, 2**40), st.integers(0, 10**9 - 1))
    | st.dictionaries(st.integers(0, 9) | st.binary(max_size=3), values, max_size=2)
    | st.integers(1, 60).map(_nest)
)


def fields(event: Event) -> tuple[Any, ...]:
    """Return all fields of an event."""
    return (
        event.id,
        event.event_type,
        repr(event.payload),
        event.timestamp,
        event.source,
        event.correlation_id,
        event.headers,
    )


def outcome(decode: Any) -> Any:
    """Return the event's fields, or the reason of its rejection."""
    try:
        return fields(decode())
    except Rejected as rejected:
        return rejected.reason


def both(body: bytes, name: str) -> tuple[Any, Any]:
    """Return the result of the codec and that of the reference decoder alone."""

    def reference() -> Event:
        event = decode_reference(body, DEFAULT_LIMITS)
        if event.event_type != name:
            return Codec().decode(name.encode(), body)
        return event

    return outcome(lambda: Codec().decode(name.encode(), body)), outcome(reference)


@given(types, values, st.fixed_dictionaries(ENVELOPE), headers, st.sampled_from(["object", "bin"]))
def test_round_trip(
    name: str, payload: Any, envelope: dict[str, Any], more: dict[str, str] | None, bytes_as: Any
) -> None:
    """What is encoded is decoded as it was, by both decoders, and from the array form, with bytes in either form.

    With objects nothing is on the bus that JSON lacks.
    """
    frame, body = Codec(bytes_as=bytes_as).encode(name, payload, **envelope, headers=more)
    sent = msgpack.unpackb(body)["payload"]
    if bytes_as == "object":
        json.dumps(sent, allow_nan=False)
    else:
        assert repr(sent) == repr(payload)
    event = Codec().decode(frame, body)
    number, at = envelope["event_id"], envelope["timestamp"]
    source, correlation_id = envelope["source"], envelope["correlation_id"]
    assert fields(event) == (number, name, repr(payload), at, source, correlation_id, more)
    assert fields(decode_reference(body, DEFAULT_LIMITS)) == fields(event)
    event.check()
    array = msgpack.packb([number, name, sent, at, source, correlation_id])
    assert fields(Codec().decode(frame, array))[:-1] == fields(event)[:-1]


@given(types, st.data())
def test_lanes_agree(name: str, data: st.DataObject) -> None:
    """Odd values anywhere: both decoders give the same event or the same reason."""
    event: dict[str, Any] = {
        "id": data.draw(uint64 | odd),
        "event_type": data.draw(st.just(name) | odd),
        "payload": data.draw(odd),
        "timestamp": data.draw(uint64 | odd),
        "source": data.draw(text | odd),
        "correlation_id": data.draw(text | odd),
    }
    event |= data.draw(st.dictionaries(st.sampled_from(["headers", "x", "y"]), odd | headers, max_size=2))
    body = msgpack.packb(event)
    fast, reference = both(body, name)
    assert fast == reference


@given(types, values, headers, st.data())
def test_damage(name: str, payload: Any, more: dict[str, str] | None, data: st.DataObject) -> None:
    """Bytes changed, cut or put in: both decoders agree, and what decodes has a payload that decodes."""
    body = Codec().encode(name, payload, event_id=1, timestamp=2, source="s", headers=more)[1]
    at = data.draw(st.integers(0, len(body)))
    length = data.draw(st.integers(0, 3))
    body = body[:at] + data.draw(st.binary(max_size=3)) + body[at + length :]
    fast, reference = both(body, name)
    assert fast == reference


@given(st.binary(max_size=40), st.binary(max_size=200))
def test_garbage(frame: bytes, body: bytes) -> None:
    """Any bytes at all give an event whose payload decodes, or `Rejected` with a reason in words."""
    for name in (frame, b"a"):
        detail = None
        try:
            _ = Codec().decode(name, body).payload
        except Rejected as rejected:
            detail = rejected.detail
        assert detail != ""
