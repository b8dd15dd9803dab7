"""The properties of PUBLISH (MQTT 5, 3.3.2.3): event headers as user properties, content type, response topic."""

from collections.abc import Mapping
from typing import Any, Final

from bridge.adapters._common.content import JSON, TEXT
from bridge.adapters.mqtt.packets.message import IncomingMessage
from bridge.adapters.mqtt.packets.wire_format import variable_integer, with_length
from bridge.adapters.mqtt.topics import check_text, check_topic
from bridge.core.errors import InvalidError
from bridge.core.ports import Context

_KEY: Final = "idempotency_key"
#: Identifiers of properties (MQTT 5, 2.2.2.2).
_PAYLOAD_IS_UTF8: Final = b"\x01\x01"
_CONTENT_TYPE: Final = 0x03
RESPONSE_TOPIC: Final = 0x08
CORRELATION_DATA: Final = 0x09
_USER_PROPERTY: Final = 0x26
#: Topics and properties that are remembered; when more turn up, the memory starts anew.
_REMEMBERED: Final = 1024


class PropertyWriter:
    """Encodes the properties of one PUBLISH (MQTT 5, 2.2.2), at a small part of the cost of paho's `Properties`."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def text(self, identifier: int, value: str) -> None:
        """Add a string."""
        self.binary(identifier, value.encode())

    def binary(self, identifier: int, value: bytes) -> None:
        """Add binary data."""
        self._bytes.append(identifier)
        self._bytes += with_length(value)

    def pair(self, name: str, value: str) -> None:
        """Add a user property."""
        self.text(_USER_PROPERTY, name)
        self._bytes += with_length(value.encode())

    def utf8(self) -> None:
        """Mark the payload as text."""
        self._bytes += _PAYLOAD_IS_UTF8

    def encode(self) -> bytes:
        """Return the bytes for the packet: the length of all properties, then the properties."""
        return variable_integer(len(self._bytes)) + self._bytes


def message_properties(
    headers: Mapping[str, str], *, key: str | None, content_type: str, payload: bytes
) -> PropertyWriter:
    """Encode headers, idempotency key and content type as the properties of one PUBLISH.

    Args:
        headers: They become user properties.
        key: The idempotency key; it becomes the user property `idempotency_key`.
        content_type: The payload's content type.
        payload: An empty one gets no content type.

    Raises:
        InvalidError: A header is too long or holds control characters.
    """
    properties = PropertyWriter()
    if payload:
        if content_type in {JSON, TEXT}:
            properties.utf8()
        properties.text(_CONTENT_TYPE, content_type)
    for name, value in headers.items():
        properties.pair(check_text(name, "headers"), _value(name, value))
    if key is not None:
        properties.pair(_KEY, _value(_KEY, key))
    return properties


class Outgoing:
    """Topics and properties that were found good, so that the same ones are not checked for each message.

    Attributes:
        checked: Topics of `check`.
    """

    def __init__(self) -> None:
        self.checked: set[str] = set()
        self._properties: dict[tuple[Any, ...], bytes] = {}

    def check(self, topic: str) -> None:
        """See `check_topic`. Needless where the topic is in `checked`."""
        check_topic(topic)
        if len(self.checked) >= _REMEMBERED:
            self.checked.clear()
        self.checked.add(topic)

    def properties(
        self, headers: Mapping[str, str] | None, context: Context, content_type: str, payload: bytes
    ) -> bytes:
        """Encode what `message_properties` returns for a message with headers of its own and those of its context."""
        key = context.idempotency_key
        if headers or key is not None:
            joined = context.joined(headers)
            return message_properties(joined, key=key, content_type=content_type, payload=payload).encode()
        known = (bool(payload), content_type, *context.headers.items())
        properties = self._properties.get(known)
        if properties is None:
            properties = message_properties(
                context.headers, key=None, content_type=content_type, payload=payload
            ).encode()
            if len(self._properties) >= _REMEMBERED:
                self._properties.clear()
            self._properties[known] = properties
        return properties


def _value(name: str, value: str) -> str:
    if not isinstance(value, str):
        raise InvalidError(f"headers.{name}: must be a string")
    return check_text(value, f"headers.{name[:100]}")


def inbound_headers(message: IncomingMessage) -> dict[str, str]:
    """Return a message's user properties, and with them content type, response topic, correlation data, `retain`."""
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
