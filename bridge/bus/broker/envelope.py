"""Reads type and source of an event without decoding the rest: what the sender's rights are checked against."""

from typing import Final

import msgspec

_BRIDGE: Final = "bridge"
# First bytes of arrays (MessagePack specification, "Formats"). A body that is neither an array nor a map is no event.
_ARRAYS: Final = frozenset({*range(0x90, 0xA0), 0xDC, 0xDD})
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class _Map(msgspec.Struct, gc=False):
    event_type: str
    source: str | None = None


class _Array(msgspec.Struct, array_like=True, gc=False):
    id: msgspec.Raw
    event_type: str
    payload: msgspec.Raw
    timestamp: msgspec.Raw
    source: str | None = None


Envelope = _Map | _Array
"""`event_type` and `source` of an event, in its map form or its array form."""


class EnvelopeReader:
    """Reads envelopes. It takes 0.4 µs for a small event, 2 ms for a megabyte of small values."""

    def __init__(self) -> None:
        self._map = msgspec.msgpack.Decoder(_Map).decode
        self._array = msgspec.msgpack.Decoder(_Array).decode

    def read(self, body: bytes) -> Envelope | None:
        """Return the envelope of an event, None where the body is no event.

        Other programs may decode less strictly than we do. A body that cannot be read here is not forwarded, so that
        nobody can be given an event whose envelope was not checked.

        Args:
            body: The second frame of a message.
        """
        try:
            return (self._array if body and body[0] in _ARRAYS else self._map)(body)
        except _UNREADABLE:
            return None


def is_bridge(source: str | None) -> bool:
    """Tell whether this is the `source` of a bridge: `bridge`, or `bridge/<name>`."""
    return source is not None and source.startswith(_BRIDGE) and source[len(_BRIDGE) :][:1] in ("", "/")
