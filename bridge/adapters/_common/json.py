"""Encode and decode JSON: refuse values that JSON cannot carry before sending, and those that the bus cannot after."""

import re
from typing import Any, Final

import msgspec

from bridge.core import values
from bridge.core.errors import InvalidError, ProtocolError

#: Levels of nesting of one value. The bus allows 32; the maps of the envelope and of the response are two of them.
MAX_DEPTH: Final = 30
#: What some programs write before UTF-8.
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_ENCODE: Final = msgspec.json.Encoder().encode
_LONG_NUMBER: Final = re.compile(rb"[0-9]{19}")


def check_value(value: Any, name: str) -> None:
    """Check that JSON can carry a value exactly; `name` is what an error's message calls it. Raises InvalidError."""
    values.check_value(value, name, values.JSON, MAX_DEPTH)


def encode(value: Any, name: str) -> bytes:
    """Encode a value, if JSON can carry it exactly; `name` is what an error's message calls it. Raises InvalidError."""
    values.check_value(value, name, values.JSON, MAX_DEPTH)
    try:
        return _ENCODE(value)
    except UnicodeEncodeError:
        raise _half_a_pair(name) from None


def encode_checked(value: Any, name: str) -> bytes:
    """Encode a checked value, or a struct around one. Raises InvalidError where a text is not valid Unicode."""
    try:
        return _ENCODE(value)
    except UnicodeEncodeError:
        raise _half_a_pair(name) from None


def _half_a_pair(name: str) -> InvalidError:
    return InvalidError(f"{name}: text with half of a surrogate pair cannot be JSON")


def parse(body: bytes, decoder: msgspec.json.Decoder[Any], name: str) -> Any:
    """Decode what a remote sent. Where `needs_check`, the caller checks it by `check_answer`, too.

    Args:
        body: The bytes.
        decoder: Knows the shape.
        name: What an error's message calls it.

    Raises:
        ProtocolError: It is not JSON, or not of the decoder's shape. The message does not quote it.
    """
    body = body.removeprefix(BYTE_ORDER_MARK)  # a reader may ignore it (RFC 8259, 8.1)
    if not body:
        raise ProtocolError(f"{name} has an empty body")
    try:
        value = decoder.decode(body)
    except msgspec.ValidationError as error:
        raise ProtocolError(f"{name} has the wrong shape: {str(error)[:100]}") from None
    except (msgspec.DecodeError, ValueError) as error:
        what = "HTML" if body.lstrip()[:1] == b"<" else "not JSON"
        why = "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)[:100]
        raise ProtocolError(f"{name} is {what} ({why})") from None
    except RecursionError:
        raise ProtocolError(f"{name} is nested too deeply") from None
    return value


def needs_check(body: bytes) -> bool:
    """Return whether JSON could hold what the bus cannot carry; quick, so that most need no walk through the value."""
    # What is nested too deeply has two brackets for each level.
    may_be_deep = len(body) > 2 * MAX_DEPTH and body.count(b"{") + body.count(b"[") > MAX_DEPTH
    return may_be_deep or _LONG_NUMBER.search(body) is not None


def check_answer(value: Any, name: str) -> None:
    """Check that the bus can carry a decoded value; `name` as for `check_value`. Raises ProtocolError."""
    values.check_value(value, name, values.JSON, MAX_DEPTH, ProtocolError)
