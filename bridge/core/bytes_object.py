"""The form that bytes have where MessagePack's `bin` is not understood: `{"$bytes": "<base64>"}`.

Such an object has this one key. Its value is base64 with padding (RFC 4648, section 4), without line breaks (bus
contract, "Bytes"). JSON has no other way, and Nemo reads payloads as JSON values.
"""

import binascii
import re
from typing import Any, Final

import msgspec

from bridge.core.errors import InvalidError

KEY: Final = "$bytes"
#: What the encoding of each such object has in it, in MessagePack as in JSON.
MARK: Final = KEY.encode()
#: The first byte of a `bin` (MessagePack specification, "Formats"). It may also stand within text or numbers.
_BIN: Final = re.compile(rb"[\xc4-\xc6]")
#: Characters of a place in an error message, at most.
_MOST_PATH: Final = 200
_EXAMPLE: Final = '{"$bytes": "AAE="}'

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder().decode


class _UnfitError(Exception):
    """Why an object is not valid; `path` grows from the inside out while it is raised."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
        self.path = ""


def bytes_object(value: bytes | bytearray) -> dict[str, str]:
    """Return the object that stands for these bytes."""
    return {KEY: binascii.b2a_base64(value, newline=False).decode()}


def with_objects(value: Any) -> bytes:
    """Return a value encoded in MessagePack, with an object in place of each `bin`.

    Args:
        value: Any value that msgspec can encode, of which parts may be encoded already (`msgspec.Raw`).
    """
    encoded = _encode(value)
    if _BIN.search(encoded) is None:
        return encoded
    return _encode(_objects(_decode(encoded)))


def _objects(value: Any) -> Any:
    kind = type(value)
    if kind is bytes:
        return bytes_object(value)
    if kind is dict:
        return {key: _objects(inner) for key, inner in value.items()}
    if kind is list:
        return [_objects(inner) for inner in value]
    return value


def with_bytes(value: Any, name: str) -> Any:
    """Return a decoded value with bytes in place of each object that stands for some.

    Args:
        value: The value; it is not changed.
        name: Its name in error messages, as in `payload`.

    Raises:
        InvalidError: Such an object is not valid; the message has the path to it.
    """
    try:
        return _bytes(value)
    except _UnfitError as unfit:
        raise InvalidError(f"{name}{unfit.path[:_MOST_PATH]}: {unfit.why}") from None


def _bytes(value: Any) -> Any:
    kind = type(value)
    if kind is dict:
        if len(value) == 1 and KEY in value:
            return _read(value[KEY])
    elif kind is not list and kind is not tuple:
        return value
    named = kind is dict
    found: dict[Any, Any] = {}
    for step, inner in value.items() if named else enumerate(value):
        try:
            found[step] = _bytes(inner)
        except _UnfitError as unfit:
            unfit.path = f".{step}{unfit.path}" if named else f"[{step}]{unfit.path}"
            raise
    return found if named else list(found.values())


def _read(text: Any) -> bytes:
    if type(text) is not str:
        raise _UnfitError(f"`{KEY}` is not text; right is {_EXAMPLE}")
    try:
        found = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        found = None
    # There is one way to write each value: so nothing follows the padding, and unused bits are zero.
    if found is None or bytes_object(found)[KEY] != text:
        raise _UnfitError(f"`{KEY}` is not valid base64 (RFC 4648, section 4, with padding); right is {_EXAMPLE}")
    return found
