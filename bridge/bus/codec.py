"""Frames to events and back, fast.

The fast lane is `msgspec` straight into the `Event` struct, the payload left raw. Before it is trusted, one cheap look
at the payload's bytes tells whether anything in them could be deep or an extension, and so has to be looked for. Where
a key may be given twice, or anything does not fit, the reference lane decides; it also finds the words for it.
"""

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from bridge.bus.depth import deeper_than, holds
from bridge.bus.reference import decode_reference
from bridge.bus.rejection import DEFAULT_LIMITS, Limits, Reason, Rejected
from bridge.core.errors import InvalidError
from bridge.core.event_type import check_event_type
from bridge.core.model import Event
from bridge.core.values import BUS, check_value

# First bytes of maps and arrays, and of extensions (msgpack spec, "Formats"). Each container needs one such byte, so
# their number is an upper bound of the depth.
_CONTAINER_BYTES: Final = bytes([*range(0x80, 0xA0), *range(0xDC, 0xE0)])
_EXTENSION_BYTES: Final = bytes([0xC7, 0xC8, 0xC9, *range(0xD4, 0xD9)])
_HARMLESS_BYTES: Final = bytes(set(range(256)) - set(_CONTAINER_BYTES) - set(_EXTENSION_BYTES))
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
# How many event types are remembered as good; a sender that invents names only costs itself the check.
_KNOWN_TYPES: Final = 4096


def _refuse_extension(code: int, _: memoryview) -> Any:
    raise msgspec.ValidationError(f"extension {code}")


class _Wire(msgspec.Struct):
    """The map form as it is sent; absent `headers` are left out.

    `source` comes first, so that a sender knows its own events by their first bytes: see `Codec.own_prefix`.
    """

    source: str | None
    id: int
    event_type: str
    payload: Any
    timestamp: int
    correlation_id: str | None
    headers: dict[str, str] | msgspec.UnsetType = msgspec.UNSET


class Codec:
    """Decodes and encodes within limits; remembers which event types it has seen to be good."""

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self.limits = limits
        self._types: dict[bytes, str] = {}
        self._frames: dict[str, bytes] = {}
        self._event = msgspec.msgpack.Decoder(Event).decode
        self._value = msgspec.msgpack.Decoder(ext_hook=_refuse_extension).decode
        self._encode = msgspec.msgpack.Encoder().encode

    def decode(self, frame: bytes, body: bytes) -> Event:
        """The event in the two frames of one message; its payload is known to decode.

        Raises:
            Rejected: Always and only, where this is not a good event.
        """
        limits = self.limits
        name = self._types.get(frame)
        if name is None:
            name = self._learn(frame)
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
        """The two frames of an event, in the map form.

        Raises:
            InvalidError: The event cannot be carried; the message says where.
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
        check_value(payload, "payload", BUS, self.limits.max_depth)
        if headers is not None:
            for key, value in headers.items():
                if type(key) is not str or type(value) is not str:
                    raise InvalidError(f"headers.{key}: headers are str to str")
        sent = msgspec.UNSET if headers is None else headers if type(headers) is dict else dict(headers)
        try:
            body = self._encode(_Wire(source, event_id, event_type, payload, timestamp, correlation_id, sent))
        except UnicodeEncodeError:
            raise InvalidError("a string is not valid Unicode (lone surrogate)") from None
        if len(body) > self.limits.max_message:
            raise InvalidError(f"the event has {len(body)} bytes, the limit is {self.limits.max_message}")
        return frame, body

    @staticmethod
    def own_prefix(source: str) -> bytes:
        """How each event with headers begins that is encoded here for this source; other programs' hardly ever do.

        One that does claims to be of this source, which is what `source` is: nobody is who he says on an open bus.
        """
        return b"\x87" + msgspec.msgpack.encode("source") + msgspec.msgpack.encode(source)

    def _learn(self, frame: bytes) -> str:
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
        """The event, or None where the reference lane has to decide."""
        try:
            event = self._event(body)
            # Decoding is the only proof that the payload will decode when somebody asks for it.
            value = self._value(event.raw)
        except _UNREADABLE:
            return None
        # Six entries and all six required keys found, or seven with the optional one: then no key came twice, and
        # there is none that we do not know.
        if body[0] != (0x86 if event.headers is None else 0x87):
            return None
        suspects = bytes(event.raw).translate(None, _HARMLESS_BYTES)
        if suspects:
            containers = suspects.translate(None, _EXTENSION_BYTES)
            if len(containers) > self.limits.max_depth and deeper_than(value, self.limits.max_depth):
                return None
            # The hook for extensions never sees a timestamp, which msgspec makes an object of its own.
            if len(suspects) > len(containers) and holds(value, dt.datetime):
                return None
        event.__dict__["payload"] = value
        return event
