"""What an event says of itself in its body, read without the rest: enough to see whether it may be believed."""

from typing import Final

import msgspec

_BRIDGE: Final = "bridge"
# First bytes of arrays (msgpack spec, "Formats"); what is neither array nor map is no event.
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


Claim = _Map | _Array
"""`event_type` and `source`."""


class Claims:
    """Reads them: 0.4 µs for a small event, 2 ms for a megabyte of small values."""

    def __init__(self) -> None:
        self._map = msgspec.msgpack.Decoder(_Map).decode
        self._array = msgspec.msgpack.Decoder(_Array).decode

    def read(self, body: bytes) -> Claim | None:
        """What it says; None where it cannot be read, and so is no event.

        Other readers may be more lenient than ours: what cannot be read here must not reach them.
        """
        try:
            return (self._array if body and body[0] in _ARRAYS else self._map)(body)
        except _UNREADABLE:
            return None


def of_bridge(source: str | None) -> bool:
    """Whether this is the `source` of a bridge: `bridge`, or `bridge/<name>`."""
    return source is not None and source.startswith(_BRIDGE) and source[len(_BRIDGE) :][:1] in ("", "/")
