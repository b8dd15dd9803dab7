"""Decodes and encodes events.

Inside the bridge a payload has bytes as they are. On the bus they are objects, unless configured otherwise; both are
read. See `core.bytes_object`.

The fast decoder is `msgspec`, directly into the `Event` struct, with the payload left raw. Then the payload's bytes
show at little cost whether it may be nested too deep or have an extension type, which only then is looked for. Where a
key may be given twice, bytes may be objects, or anything does not fit, the reference decoder decides, whose errors tell
what is wrong.
"""

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from bridge.bus.depth import deeper_than, holds
from bridge.bus.reference import decode_reference
from bridge.bus.rejection import DEFAULT_LIMITS, Limits, Reason, Rejected
from bridge.core.bytes_object import MARK, with_objects
from bridge.core.errors import InvalidError
from bridge.core.event_type import check_event_type
from bridge.core.model import Event
from bridge.core.values import BUS, check_value

# First bytes of maps and arrays, and of extensions (MessagePack specification, "Formats"). Each container has one such
# byte, so their number is an upper bound of the depth.
_CONTAINER_BYTES: Final = bytes([*range(0x80, 0xA0), *range(0xDC, 0xE0)])
_EXTENSION_BYTES: Final = bytes([0xC7, 0xC8, 0xC9, *range(0xD4, 0xD9)])
_HARMLESS_BYTES: Final = bytes(set(range(256)) - set(_CONTAINER_BYTES) - set(_EXTENSION_BYTES))
# Hardly any payload has this byte, and looking for one byte costs a tenth of looking for several.
_DOLLAR: Final = MARK[0]
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
# Event types that are remembered as valid. A sender that invents more types only slows itself down.
_KNOWN_TYPES: Final = 4096


def _refuse_extension(code: int, _: memoryview) -> Any:
    raise msgspec.ValidationError(f"extension {code}")


class _Wire(msgspec.Struct):
    """An event in the map form as it is sent; absent `headers` are left out.

    `source` comes first, so that a sender recognises its own events by their first bytes: see `Codec.own_prefix`.
    """

    source: str | None
    id: int
    event_type: str
    payload: Any
    timestamp: int
    correlation_id: str | None
    headers: dict[str, str] | msgspec.UnsetType = msgspec.UNSET


class Codec:
    """Decodes and encodes events within limits; remembers the event types that it has found valid."""

    def __init__(self, limits: Limits = DEFAULT_LIMITS, *, bytes_as: Literal["object", "bin"] = "object") -> None:
        """Create it; `bytes_as` tells how bytes are encoded."""
        self.limits = limits
        self._objects = bytes_as == "object"
        self._types: dict[bytes, str] = {}
        self._frames: dict[str, bytes] = {}
        self._event = msgspec.msgpack.Decoder(Event).decode
        self._value = msgspec.msgpack.Decoder(ext_hook=_refuse_extension).decode
        self._encode = msgspec.msgpack.Encoder().encode

    def decode(self, frame: bytes, body: bytes) -> Event:
        """Decode the two frames of a message; the payload of the event that is returned is valid.

        Raises:
            Rejected: This is not a valid event. Nothing else is raised.
        """
        limits = self.limits
        name = self._types.get(frame)
        if name is None:
            name = self._look_up(frame)
        if len(body) > limits.max_message:
            raise Rejected(Reason.SIZE, f"{len(body)} bytes, the limit is {limits.max_message}")
        event = self._fast(body) or decode_reference(body, limits)
        if event.event_type != name:
            raise Rejected(Reason.TYPE_MISMATCH, "`event_type` differs from the first frame")
        return event

    def encode(
        self,
        event_type: str,
        payload: Any,
        *,
        event_id: int,
        timestamp: int,
        source: str | None,
        correlation_id: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[bytes, bytes]:
        """Encode an event in the map form, and return its two frames.

        Raises:
            InvalidError: The bus cannot carry the event; the message names the place in it.
        """
        frame = self._frames.get(event_type)
        if frame is None:
            try:
                check_event_type(event_type, self.limits.max_type)
            except ValueError as error:
                raise InvalidError(f"event_type: {error}") from None
            frame = event_type.encode()
            if len(self._frames) >= _KNOWN_TYPES:
                self._frames.clear()
            self._frames[event_type] = frame
        binary = check_value(payload, "payload", BUS, self.limits.max_depth)
        if headers is not None:
            for key, value in headers.items():
                if type(key) is not str or type(value) is not str:
                    raise InvalidError(f"headers.{key}: headers are str to str")
        sent = msgspec.UNSET if headers is None else headers if type(headers) is dict else dict(headers)
        try:
            if binary and self._objects:
                payload = msgspec.Raw(with_objects(payload))
            body = self._encode(_Wire(source, event_id, event_type, payload, timestamp, correlation_id, sent))
        except UnicodeEncodeError:
            raise InvalidError("a string is not valid Unicode (lone surrogate)") from None
        if len(body) > self.limits.max_message:
            raise InvalidError(f"the event has {len(body)} bytes, the limit is {self.limits.max_message}")
        return frame, body

    def encode_event(
        self, event: Event, *, source: str | None, headers: Mapping[str, str] | None
    ) -> tuple[bytes, bytes]:
        """Encode an event that was decoded here, with another source and other headers, and return its two frames.

        Raises:
            InvalidError: It is too large.
        """
        frame = self._frames.get(event.event_type) or event.event_type.encode()
        payload = msgspec.Raw(with_objects(event.raw)) if self._objects else event.raw
        sent = msgspec.UNSET if headers is None else dict(headers)
        wire = _Wire(source, event.id, event.event_type, payload, event.timestamp, event.correlation_id, sent)
        body = self._encode(wire)
        if len(body) > self.limits.max_message:
            raise InvalidError(f"the event has {len(body)} bytes, the limit is {self.limits.max_message}")
        return frame, body

    def encode_payload(self, payload: Any) -> bytes:
        """Return a payload as `encode` puts it into an event.

        Raises:
            InvalidError: The bus cannot carry it; the message names the place in it.
        """
        binary = check_value(payload, "payload", BUS, self.limits.max_depth)
        try:
            return with_objects(payload) if binary and self._objects else self._encode(payload)
        except UnicodeEncodeError:
            raise InvalidError("a string is not valid Unicode (lone surrogate)") from None

    @staticmethod
    def own_prefix(source: str) -> bytes:
        """Return the bytes with which each event of this source begins that has headers and is encoded here.

        Hardly any event of another program begins like this. One that does has this source, and on an open bus nobody
        checks who sent it.
        """
        return b"\x87" + msgspec.msgpack.encode("source") + msgspec.msgpack.encode(source)

    def _look_up(self, frame: bytes) -> str:
        try:
            name = frame.decode()
            check_event_type(name, self.limits.max_type)
        except ValueError as error:
            detail = "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
            raise Rejected(Reason.TYPE_FRAME, detail[:200]) from None
        if len(self._types) >= _KNOWN_TYPES:
            self._types.clear()
        self._types[frame] = name
        return name

    def _fast(self, body: bytes) -> Event | None:
        """Return the event, or None where the reference decoder has to decide."""
        try:
            event = self._event(body)
            # Only decoding shows that the payload can be decoded.
            value = self._value(event.raw)
        except _UNREADABLE:
            return None
        # There are six entries and all six required keys, or seven with the optional one. So no key is given twice, and
        # none is unknown.
        if body[0] != (0x86 if event.headers is None else 0x87):
            return None
        raw = bytes(event.raw)
        if _DOLLAR in raw and MARK in raw:
            return None
        suspects = raw.translate(None, _HARMLESS_BYTES)
        if suspects:
            containers = suspects.translate(None, _EXTENSION_BYTES)
            if len(containers) > self.limits.max_depth and deeper_than(value, self.limits.max_depth):
                return None
            # msgspec decodes a timestamp without calling the hook for extensions.
            if len(suspects) > len(containers) and holds(value, dt.datetime):
                return None
        event.__dict__["payload"] = value
        return event
