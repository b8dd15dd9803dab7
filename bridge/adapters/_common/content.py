"""A message's content on wires that carry bytes: `codec = "auto|json|msgpack|text|bytes"`.

See the bus contract, "Values on other wires".

`auto` sends text as text and everything else as JSON; it reads by the content type where there is one that it knows,
else JSON where it parses, else text, else bytes.
"""

from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from bridge.adapters._common import json
from bridge.core import values
from bridge.core.errors import InvalidError, ProtocolError

CodecName = Literal["auto", "json", "msgpack", "text", "bytes"]

JSON: Final = "application/json"
MSGPACK: Final = "application/msgpack"
TEXT: Final = "text/plain"
BYTES: Final = "application/octet-stream"

#: The content types of MessagePack that are in use.
MSGPACK_TYPES: Final = frozenset({MSGPACK, "application/x-msgpack", "application/vnd.msgpack"})


class Codec:
    """Values to bytes and back. Neither direction turns a value silently into another."""

    def __init__(self, name: CodecName = "auto") -> None:
        """`name` is the configuration's `codec`."""
        self.name = name
        self._encode = _ENCODERS[name]
        self._decode = _DECODERS[name]

    def encode(self, value: Any, name: str = "message") -> tuple[bytes, str]:
        """A value's bytes and their content type.

        Args:
            value: JSON's data model, or bytes.
            name: What the value is called in a complaint.

        Raises:
            InvalidError: This codec cannot carry it; the message has the path to the place where it knows one.
        """
        return self._encode(value, name)

    def decode(self, data: bytes | bytearray, content_type: str | None = None, name: str = "message") -> Any:
        """The value in what came; `content_type` counts for `auto` only.

        Raises:
            ProtocolError: It is not what the codec says, or holds what the bus cannot carry.
        """
        return self._decode(bytes(data), content_type, name)

    def decode_or_keep(self, data: bytes | bytearray, content_type: str | None = None) -> tuple[Any, dict[str, str]]:
        """The value; or the bytes as they came, and the header `codec_error` that says why.

        What cannot be read must not get lost, and must not pass for what it is not.
        """
        try:
            return self.decode(data, content_type), {}
        except ProtocolError as error:
            return bytes(data), {"codec_error": error.message}


def _encode_json(value: Any, name: str) -> tuple[bytes, str]:
    json.check_value(value, name)
    return json.encode(value, name), JSON


def _encode_text(value: Any, name: str) -> tuple[bytes, str]:
    if not isinstance(value, str):
        raise InvalidError(f'{name}: codec "text" carries strings only, not {type(value).__name__}')
    try:
        return value.encode(), TEXT
    except UnicodeEncodeError:
        raise InvalidError(f"{name}: text with half of a surrogate pair has no UTF-8") from None


def _encode_auto(value: Any, name: str) -> tuple[bytes, str]:
    return _encode_text(value, name) if isinstance(value, str) else _encode_json(value, name)


def _encode_bytes(value: Any, name: str) -> tuple[bytes, str]:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise InvalidError(f'{name}: codec "bytes" carries bytes only, not {type(value).__name__}')
    return bytes(value), BYTES


def _encode_msgpack(value: Any, name: str) -> tuple[bytes, str]:
    values.check_value(value, name, values.MSGPACK, json.MAX_DEPTH)
    try:
        return msgspec.msgpack.encode(value), MSGPACK
    except UnicodeEncodeError:
        raise InvalidError(f"{name}: text with half of a surrogate pair has no UTF-8") from None


def _decode_json(data: bytes, _: str | None, name: str) -> Any:
    value = json.parse(data, _JSON_DECODER, name)
    if json.may_not_fit(data):
        json.check_answer(value, name)
    return value


def _decode_msgpack(data: bytes, _: str | None, name: str) -> Any:
    try:
        value = msgspec.msgpack.decode(data)
    except (msgspec.DecodeError, ValueError, TypeError, OverflowError) as error:
        raise ProtocolError(f"{name} is no MessagePack ({str(error)[:100]})") from None
    except RecursionError:
        raise ProtocolError(f"{name} is nested too deeply") from None
    values.check_value(value, name, values.MSGPACK, json.MAX_DEPTH, ProtocolError)
    return value


def _decode_text(data: bytes, _: str | None, name: str) -> Any:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ProtocolError(f"{name} is no UTF-8 text") from None


def _decode_bytes(data: bytes, _content_type: str | None, _name: str) -> Any:
    return data


def _decode_auto(data: bytes, content_type: str | None, name: str) -> Any:
    kind = "" if content_type is None else content_type.partition(";")[0].strip().lower()
    if kind == BYTES:
        return data
    attempts: tuple[_Decode, ...] = (_decode_json, _decode_text)
    if kind in MSGPACK_TYPES:
        attempts = (_decode_msgpack,)
    elif kind.startswith("text/"):
        attempts = (_decode_text,)
    for attempt in attempts:
        try:
            return attempt(data, None, name)
        except ProtocolError:
            continue
    return data


_Encode = Callable[[Any, str], tuple[bytes, str]]
_Decode = Callable[[bytes, str | None, str], Any]

_JSON_DECODER: Final = msgspec.json.Decoder(Any)
_ENCODERS: Final[dict[CodecName, _Encode]] = {
    "auto": _encode_auto,
    "json": _encode_json,
    "msgpack": _encode_msgpack,
    "text": _encode_text,
    "bytes": _encode_bytes,
}
_DECODERS: Final[dict[CodecName, _Decode]] = {
    "auto": _decode_auto,
    "json": _decode_json,
    "msgpack": _decode_msgpack,
    "text": _decode_text,
    "bytes": _decode_bytes,
}
