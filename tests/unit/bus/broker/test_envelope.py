"""Type and source of an event are read as our decoders read them, or not at all."""

import msgpack
import pytest

from bridge.bus.broker.envelope import EnvelopeReader, is_bridge

_EVENT = {
    "id": 1,
    "event_type": "order.created",
    "payload": {"source": "bridge", "event_type": "x", "more": [1, {"a": b"\xff"}]},
    "timestamp": 2,
    "source": "shop",
    "correlation_id": None,
}


@pytest.mark.parametrize("body", [_EVENT, {**_EVENT, "headers": {"source": "bridge"}}, tuple(_EVENT.values())])
@pytest.mark.parametrize("source", ["shop", None])
def test_both_shapes(body: object, source: str | None) -> None:
    """They are read from maps and arrays, whatever the payload is."""
    if isinstance(body, dict):
        body = {**body, "source": source}
    elif isinstance(body, tuple):
        body = (*body[:4], source, body[5])
    envelope = EnvelopeReader().read(msgpack.packb(body))
    assert envelope is not None
    assert (envelope.event_type, envelope.source) == ("order.created", source)


_GOOD = msgpack.packb(_EVENT)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"\xc1", b"\xc0", _GOOD[:-1], _GOOD + b"\xc0", b"\x91" * 100_000, b"\x81\xa1x" + b"\x91" * 100_000),
        *(msgpack.packb({**_EVENT, "source": source}) for source in (b"bridge", 1, ["bridge"])),
        *(msgpack.packb({**_EVENT, "event_type": name}) for name in (b"order.created", None)),
        *(msgpack.packb(body) for body in ({"source": "shop"}, {b"event_type": "a"}, [1, "a"], "text", 7)),
    ],
)
def test_what_is_in_doubt_is_no_event(body: bytes) -> None:
    """A body that a less strict decoder could read otherwise is not read."""
    assert EnvelopeReader().read(body) is None


@pytest.mark.parametrize(
    ("source", "is_one"),
    [("bridge", True), ("bridge/two", True), ("bridge/", True), ("bridged", False), ("a/bridge", False), (None, False)],
)
def test_sources_of_bridges(source: str | None, is_one: bool) -> None:
    """Only `bridge` and `bridge/<name>` are sources of bridges."""
    assert is_bridge(source) is is_one
