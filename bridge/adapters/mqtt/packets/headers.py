"""Headers as MQTT 5 user properties, and the other properties of a message."""

from collections.abc import Mapping
from typing import Final

from bridge.adapters._common.content import JSON, TEXT
from bridge.adapters.mqtt.packets.message import Message
from bridge.adapters.mqtt.topics import check_text
from bridge.core.errors import InvalidError

_KEY: Final = "idempotency_key"
#: Identifiers of properties (MQTT 5, 2.2.2.2).
_PAYLOAD_IS_UTF8: Final = b"\x01\x01"
_CONTENT_TYPE: Final = 0x03
RESPONSE_TOPIC: Final = 0x08
CORRELATION_DATA: Final = 0x09
_USER_PROPERTY: Final = 0x26


class Packed:
    """The properties of one PUBLISH as bytes (MQTT 5, 2.2.2), in place of paho's, which cost more than all the rest."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def text(self, identifier: int, value: str) -> None:
        """Add a string."""
        self.binary(identifier, value.encode())

    def binary(self, identifier: int, value: bytes) -> None:
        """Add binary data."""
        self._bytes.append(identifier)
        self._bytes += len(value).to_bytes(2, "big") + value

    def pair(self, name: str, value: str) -> None:
        """Add a user property."""
        encoded = value.encode()
        self.text(_USER_PROPERTY, name)
        self._bytes += len(encoded).to_bytes(2, "big") + encoded

    def utf8(self) -> None:
        """Say that the payload is text."""
        self._bytes += _PAYLOAD_IS_UTF8

    def pack(self) -> bytes:
        """What stands in the packet: the length and the properties."""
        return variable_integer(len(self._bytes)) + self._bytes


def variable_integer(number: int) -> bytes:
    """A variable byte integer (MQTT 5, 1.5.5)."""
    if number < 128:
        return b"%c" % number
    digits = bytearray()
    while True:
        number, digit = number >> 7, number & 127
        digits.append(digit | 128 if number else digit)
        if not number:
            return bytes(digits)


def message_properties(headers: Mapping[str, str], *, key: str | None, content_type: str, payload: bytes) -> Packed:
    """The properties of one PUBLISH.

    Args:
        headers: They become user properties.
        key: The idempotency key, a user property of that name.
        content_type: Of the payload.
        payload: Empty ones have no type.

    Raises:
        InvalidError: A header is too long or holds control characters.
    """
    properties = Packed()
    if payload:
        if content_type in {JSON, TEXT}:
            properties.utf8()
        properties.text(_CONTENT_TYPE, content_type)
    for name, value in headers.items():
        properties.pair(check_text(name, "headers"), _value(name, value))
    if key is not None:
        properties.pair(_KEY, _value(_KEY, key))
    return properties


def _value(name: str, value: str) -> str:
    if not isinstance(value, str):
        raise InvalidError(f"headers.{name}: must be a string")
    return check_text(value, f"headers.{name[:100]}")


def inbound_headers(message: Message) -> dict[str, str]:
    """A message's user properties, and what else an application may want to know about it."""
    headers = message.headers
    if message.content_type is not None:
        headers.setdefault("content_type", message.content_type)
    if message.response_topic is not None:
        headers.setdefault("response_topic", message.response_topic)
    if message.correlation:
        headers.setdefault("correlation_data", message.correlation.hex())
    if message.retain:
        headers.setdefault("retain", "true")
    return headers
