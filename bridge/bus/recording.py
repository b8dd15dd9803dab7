"""Reads recordings, and encodes events for them: one MessagePack value after the other, as in messages' second frames.

There is no index and no framing, so another program can read or write such a file with any MessagePack library. Both
forms of an event are accepted. Bytes are objects, as on the bus (`core.bytes_object`); `bin` is accepted, too.
"""

from collections.abc import Iterator
from typing import BinaryIO

import msgpack
import msgspec

from bridge.bus.reference import decode_reference
from bridge.bus.rejection import Limits, Rejected
from bridge.core.bytes_object import with_objects
from bridge.core.errors import InvalidError
from bridge.core.model import Event

# Bytes that are read from the file at a time, and bytes of one event; generous, as the file is the user's own.
_CHUNK = 1 << 20
_LARGEST = 256 << 20


def encode_event(event: Event) -> bytes:
    """Return what a recording holds for one event: its map form."""
    fields = {
        "id": event.id,
        "event_type": event.event_type,
        "payload": msgspec.Raw(with_objects(event.raw)),
        "timestamp": event.timestamp,
        "source": event.source,
        "correlation_id": event.correlation_id,
    }
    if event.headers is not None:
        fields["headers"] = event.headers
    return msgspec.msgpack.encode(fields)


def read_events(file: BinaryIO) -> Iterator[Event]:
    """Yield the events of a recording one by one, whatever the file's size.

    Raises:
        InvalidError: Something in it is not an event; the message has the name of the file and the number of the byte.
    """
    try:
        yield from _events(file)
    except _FaultError as fault:
        place = f"{getattr(file, 'name', 'the recording')}, byte {fault.start}"
        hint = "" if fault.start else "; is it a recording of `nemo-bridge tap --record`?"
        raise InvalidError(f"{place}: {fault}{hint}") from None


class _FaultError(Exception):
    """What is wrong at a byte of a recording."""

    def __init__(self, start: int, message: str) -> None:
        super().__init__(message)
        self.start = start


def _events(file: BinaryIO) -> Iterator[Event]:
    """Yield the events. Raises _FaultError."""
    unpacker = msgpack.Unpacker(max_buffer_size=_LARGEST)
    pending = b""
    start = 0  # where the next event begins in the file
    while chunk := file.read(_CHUNK):
        unpacker.feed(chunk)
        pending += chunk
        origin = start
        while (end := _end_of_next(unpacker, start)) is not None:
            yield _event(pending[start - origin : end - origin], start)
            start = end
        pending = pending[start - origin :]
    if pending:
        raise _FaultError(start, "the recording ends in the middle of an event")


def _end_of_next(unpacker: msgpack.Unpacker, start: int) -> int | None:
    try:
        unpacker.skip()
    except msgpack.OutOfData:
        return None
    except (ValueError, msgpack.UnpackException):
        raise _FaultError(start, "this is not MessagePack") from None
    return int(unpacker.tell())


def _event(body: bytes, start: int) -> Event:
    try:
        return decode_reference(body, Limits(max_message=_LARGEST))
    except Rejected as rejected:
        raise _FaultError(start, rejected.detail) from None
