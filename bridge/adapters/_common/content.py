"""Encode and decode the content of messages: `codec = "auto|json|msgpack|text|bytes"`.

The rules are those of the bus contract.

`auto` encodes text as text and everything else as JSON. It decodes by the content type where it knows that; else the
bytes are JSON where they parse as such, else text where they are UTF-8, else they stay bytes.
"""

from collections.abc import Callable
from typing import Any, Final, Literal, Protocol

import msgspec

from bridge.adapters._common import json
from bridge.core import values
from bridge.core.errors import InvalidError, ProtocolError

CodecName = Literal["auto", "json", "msgpack", "text", "bytes"]

JSON: Final = "application/json"
MSGPACK: Final = "application/msgpack"
TEXT: Final = "text/plain"
BYTES: Final = "application/octet-stream"

#: What an error's message calls a value, unless something else is said.
_MESSAGE: Final = "message"

#: The content types of MessagePack that are in use.
MSGPACK_TYPES: Final = frozenset({MSGPACK, "application/x-msgpack", "application/vnd.msgpack"})


class Encode(Protocol):
    """Encodes a value; returns its bytes and their content type."""

    def __call__(self, value: Any, name: str = ...) -> tuple[bytes, str]:
        """Encode a value.

        Args:
            value: A value of JSON's data model, or bytes.
            name: What an error's message calls the value; "message" by default.

        Raises:
            InvalidError: The codec cannot carry it; the message has the path to the part that it cannot carry.
        """
        ...


class Codec:
    """Encodes values to bytes and decodes bytes to values. Neither direction changes a value silently.

    Attributes:
        encode: Encodes a value; see `Encode`.
    """

    def __init__(self, name: CodecName = "auto") -> None:
        """Choose the codec; `name` is the configuration's `codec`."""
        self.name = name
        self.encode = _ENCODERS[name]
        self._decode = _DECODERS[name]

    def decode(self, data: bytes | bytearray, content_type: str | None = None, name: str = "message") -> Any:
        """Decode bytes.

        Args:
            data: What came.
            content_type: Used by `auto` only.
            name: What an error's message calls the bytes.

        Raises:
            ProtocolError: They are not what the codec names, or hold what the bus cannot carry.
        """
        return self._decode(bytes(data), content_type, name)

    def decode_or_keep(
        self, data: bytes | bytearray, content_type: str | None = None, *, as_text: bool = False
    ) -> tuple[Any, dict[str, str]]:
        """Decode bytes; or return them as they are, with the header `codec_error`, which tells why.

        A message that cannot be decoded must neither get lost nor be taken for a decoded value.

        Args:
            data: What came.
            content_type: Used by `auto` only.
            as_text: Where the protocol carries text: what cannot be decoded is returned as text, if it is UTF-8.
        """
        try:
            return self._decode(bytes(data), content_type, "message"), {}
        except ProtocolError as error:
            return _text_or_bytes(data) if as_text else bytes(data), {"codec_error": error.message}


def _text_or_bytes(data: bytes | bytearray) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return bytes(data)


def _encode_json(value: Any, name: str = _MESSAGE) -> tuple[bytes, str]:
    return json.encode(value, name), JSON


def _encode_text(value: Any, name: str = _MESSAGE) -> tuple[bytes, str]:
    if not isinstance(value, str):
        raise InvalidError(f'{name}: codec "text" carries strings only, not {type(value).__name__}')
    try:
        return value.encode(), TEXT
    except UnicodeEncodeError:
        raise InvalidError(f"{name}: text with half of a surrogate pair cannot be UTF-8") from None


def _encode_auto(value: Any, name: str = _MESSAGE) -> tuple[bytes, str]:
    return _encode_text(value, name) if isinstance(value, str) else (json.encode(value, name), JSON)


def _encode_bytes(value: Any, name: str = _MESSAGE) -> tuple[bytes, str]:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise InvalidError(f'{name}: codec "bytes" carries bytes only, not {type(value).__name__}')
    return bytes(value), BYTES


def _encode_msgpack(value: Any, name: str = _MESSAGE) -> tuple[bytes, str]:
    values.check_value(value, name, values.MSGPACK, json.MAX_DEPTH)
    try:
        return msgspec.msgpack.encode(value), MSGPACK
    except UnicodeEncodeError:
        raise InvalidError(f"{name}: text with half of a surrogate pair cannot be UTF-8") from None


def _decode_json(data: bytes, _: str | None, name: str) -> Any:
    try:
        value = _JSON_DECODER.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        value = json.parse(data, _JSON_DECODER, name)  # it knows what may stand before JSON, and tells what is wrong
    if json.needs_check(data):
        json.check_answer(value, name)
    return value


def _decode_msgpack(data: bytes, _: str | None, name: str) -> Any:
    try:
        value = msgspec.msgpack.decode(data)
    except (msgspec.DecodeError, ValueError, TypeError, OverflowError) as error:
        raise ProtocolError(f"{name} is not MessagePack ({str(error)[:100]})") from None
    except RecursionError:
        raise ProtocolError(f"{name} is nested too deeply") from None
    values.check_value(value, name, values.MSGPACK, json.MAX_DEPTH, ProtocolError)
    return value


def _decode_text(data: bytes, _: str | None, name: str) -> Any:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ProtocolError(f"{name} is not UTF-8 text") from None


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


_Decode = Callable[[bytes, str | None, str], Any]

_JSON_DECODER: Final = msgspec.json.Decoder(Any)
_ENCODERS: Final[dict[CodecName, Encode]] = {
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
