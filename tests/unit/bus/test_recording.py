"""Events are written to a file and read back."""

import io

import msgpack
import pytest

from bridge.bus import Codec, encode_event, read_events, recording
from bridge.core.errors import InvalidError
from bridge.core.model import Event


def _event(number: int, **fields: object) -> Event:
    body = {"id": number, "event_type": "a.b", "payload": {"n": number}, "timestamp": 1, "source": None}
    return Codec().decode(b"a.b", msgpack.packb({**body, "correlation_id": None, **fields}))


def _recording(*events: Event) -> bytes:
    return b"".join(encode_event(event) for event in events)


def test_what_is_written_is_read():
    """Events come back in order and complete, with headers and bytes."""
    events = [_event(1), _event(2, headers={"hop": "1"}, source="app"), _event(3, payload=b"\x00\xff")]
    assert list(read_events(io.BytesIO(_recording(*events)))) == events


def test_bytes_are_objects():
    """A program that reads JSON's data model only can read a recording; one with `bin` is read, too."""
    event = _event(1, payload=[b"\x00\xff"])
    assert msgpack.unpackb(_recording(event))["payload"] == [{"$bytes": "AP8="}]
    (old,) = read_events(io.BytesIO(msgpack.packb([1, "a.b", [b"\x00\xff"], 1, None, None])))
    assert old == event


def test_both_forms_are_read():
    """Events that another program wrote as arrays are read."""
    (event,) = read_events(io.BytesIO(msgpack.packb([7, "a.b", None, 1, "app", "c"])))
    assert (event.id, event.event_type, event.source, event.correlation_id) == (7, "a.b", "app", "c")


def test_events_may_lie_across_what_is_read_at_a_time(monkeypatch):
    """Events are read whole, whatever the size of the pieces that are read from the file."""
    events = [_event(number, payload="x" * number) for number in range(200)]
    whole = _recording(*events)
    for size in (1, 7, 64, 1000):
        monkeypatch.setattr(recording, "_CHUNK", size)
        assert list(read_events(io.BytesIO(whole))) == events


def test_an_empty_recording_has_no_events():
    """An empty file is a recording without events."""
    assert list(read_events(io.BytesIO())) == []


@pytest.mark.parametrize(
    ("tail", "words"),
    [
        (_recording(_event(2))[:-3], "ends in the middle of an event"),
        (b"\xc1", "not MessagePack"),
        (msgpack.packb({"id": 1}), "missing|event_type"),
        (msgpack.packb("text"), "neither a map nor an array"),
    ],
)
def test_what_is_no_event_is_told_with_its_place(tail, words):
    """The valid events before a damaged one are read."""
    first = _recording(_event(1))
    events = read_events(io.BytesIO(first + tail))
    assert next(events) == _event(1)
    with pytest.raises(InvalidError, match=f"the recording, byte {len(first)}: .*({words})"):
        next(events)


def test_a_file_that_is_no_recording(tmp_path):
    """The message names it, and says what a recording is."""
    file = tmp_path / "shop.hcl"
    file.write_text("# a configuration")
    with (
        file.open("rb") as opened,
        pytest.raises(InvalidError, match=r"shop.hcl, byte 0: .*; is it a recording of `nem"),
    ):
        next(read_events(opened))
