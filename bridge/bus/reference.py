"""The reference decoder: strict and slow, by `msgpack`; its errors tell exactly what is wrong.

It decides where the fast decoder in `codec` cannot: for the array form of six values, objects that stand for bytes,
extension types, keys given twice, deep nesting, and everything that does not decode.
"""

from typing import Any, Final

import msgpack
import msgspec

from bridge.bus.depth import deeper_than, holds
from bridge.bus.rejection import Limits, Reason, Rejected
from bridge.core.bytes_object import MARK, with_bytes
from bridge.core.errors import InvalidError
from bridge.core.model import Event

#: The event's keys, in the order of the array form.
KEYS: Final = ("id", "event_type", "payload", "timestamp", "source", "correlation_id")
_UINT64: Final = (1 << 64) - 1
# msgpack documents no common base class of what it raises on bad input; `StackError` and `ExtraData` are ValueErrors, a
# key that cannot be hashed is a TypeError, a timestamp out of range an OverflowError.
_MALFORMED: Final = (ValueError, TypeError, OverflowError, msgpack.UnpackException)


def _refuse_extension(code: int, _data: bytes) -> Any:
    raise Rejected(Reason.EXTENSION, f"extension type {code} is not part of the contract")


def decode_reference(body: bytes, limits: Limits) -> Event:
    """Decode the second frame of a message, in the map form or the array form.

    Args:
        body: The second frame.
        limits: The depth limit of the payload; the caller checks the size.

    Raises:
        Rejected: This is not an event. Nothing else is raised.
    """
    reader = _Reader(body)
    first = body[0] if body else 0xC1
    if 0x80 <= first <= 0x8F or first in (0xDE, 0xDF):
        fields = reader.map_form()
    elif 0x90 <= first <= 0x9F or first in (0xDC, 0xDD):
        fields = reader.array_form()
    else:
        reader.value()
        raise Rejected(Reason.NOT_AN_EVENT, "neither a map nor an array of six values")
    if reader.tell() != len(body):
        raise Rejected(Reason.MSGPACK, f"{len(body) - reader.tell()} bytes after the event")
    return _check(fields, limits)


class _Reader:
    """Reads one frame value by value."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        # Lists become tuples, so that both decoders accept the same keys of maps.
        self._unpacker = msgpack.Unpacker(
            raw=False,
            strict_map_key=False,
            use_list=False,
            ext_hook=_refuse_extension,
            max_buffer_size=len(body) + 1,
        )
        self._unpacker.feed(body)

    def tell(self) -> int:
        return int(self._unpacker.tell())

    def value(self) -> Any:
        try:
            return self._unpacker.unpack()
        except Rejected:
            raise
        except msgpack.StackError:
            raise Rejected(Reason.DEPTH, "nested too deep") from None
        except msgpack.OutOfData:
            raise Rejected(Reason.MSGPACK, f"ends in the middle of a value that begins at byte {self.tell()}") from None
        except _MALFORMED as error:
            name = type(error).__name__
            raise Rejected(Reason.MSGPACK, f"malformed value that begins at byte {self.tell()} ({name})") from None

    def map_form(self) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for _ in range(self._header(self._unpacker.read_map_header)):
            key = self.value()
            start = self.tell()
            value = self.value()
            if not isinstance(key, str):
                raise Rejected(Reason.MISTYPED_KEY, f"a key of the event is {_name(key)}, not str")
            if key in fields:
                what = f"key `{key}`" if key in KEYS or key == "headers" else "an unknown key"
                raise Rejected(Reason.DUPLICATE_KEY, f"{what} is given twice")
            fields[key] = value
            if key == "payload":
                fields[""] = self._body[start : self.tell()]
        return fields

    def array_form(self) -> dict[str, Any]:
        count = self._header(self._unpacker.read_array_header)
        if count != len(KEYS):
            raise Rejected(Reason.NOT_AN_EVENT, f"an array of {count} values, not of six")
        fields: dict[str, Any] = {}
        for key in KEYS:
            start = self.tell()
            fields[key] = self.value()
            if key == "payload":
                fields[""] = self._body[start : self.tell()]
        return fields

    def _header(self, read: Any) -> int:
        try:
            return int(read())
        except _MALFORMED:
            raise Rejected(Reason.MSGPACK, "ends in the middle of its header") from None


def _check(fields: dict[str, Any], limits: Limits) -> Event:
    for key in KEYS:
        if key not in fields:
            raise Rejected(Reason.MISSING_KEY, f"key `{key}` is missing")
    for key in ("id", "timestamp"):
        _expect(key, fields[key], "uint64", type(fields[key]) is int and 0 <= fields[key] <= _UINT64)
    _expect("event_type", fields["event_type"], "str", type(fields["event_type"]) is str)
    for key in ("source", "correlation_id"):
        _expect(key, fields[key], "str or nil", fields[key] is None or type(fields[key]) is str)
    headers = fields.get("headers")
    if headers is not None:
        fits = type(headers) is dict and all(type(k) is str and type(v) is str for k, v in headers.items())
        _expect("headers", headers, "a map of str to str", fits)
    for key, value in fields.items():
        # msgpack decodes a timestamp without calling the hook for extensions.
        if key and holds(value, msgpack.Timestamp):
            raise Rejected(Reason.EXTENSION, f"a timestamp extension in `{key if key in KEYS else 'an unknown key'}`")
    raw, payload, fault = fields[""], fields["payload"], None
    marked = MARK in raw
    _check_depth(payload, limits.max_depth + marked)
    if marked:
        try:
            payload = with_bytes(payload, "payload")
        except InvalidError as error:
            fault = error.message
        else:
            raw = msgspec.msgpack.encode(payload)
        _check_depth(payload, limits.max_depth)
    event = Event(
        id=fields["id"],
        event_type=fields["event_type"],
        raw=msgspec.Raw(raw),
        timestamp=fields["timestamp"],
        source=fields["source"],
        correlation_id=fields["correlation_id"],
        headers=headers,
    )
    if fault is not None:
        event.__dict__["fault"] = fault
    return event


def _check_depth(payload: Any, limit: int) -> None:
    """Check how deep the payload nests. An object that stands for bytes does not count."""
    if deeper_than(payload, limit):
        raise Rejected(Reason.DEPTH, f"the payload nests deeper than {limit}")


def _expect(key: str, value: Any, wanted: str, fits: bool) -> None:
    if not fits:
        raise Rejected(Reason.MISTYPED_KEY, f"key `{key}` is {_name(value)}, not {wanted}")


def _name(value: Any) -> str:
    """Return the MessagePack name of a value's type, never the value."""
    names = {bool: "bool", int: "int", float: "float", str: "str", bytes: "bin", tuple: "array", dict: "map"}
    if isinstance(value, int) and not isinstance(value, bool) and value < 0:
        return "a negative int"
    return "nil" if value is None else names.get(type(value), "an extension")
