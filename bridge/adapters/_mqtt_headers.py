"""Headers as MQTT 5 user properties, and the other properties of a message."""

from collections.abc import Mapping
from typing import Any, Final

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from bridge.adapters._content import JSON, TEXT
from bridge.adapters._mqtt_topics import check_text
from bridge.errors import InvalidError

#: Names of properties as paho writes them.
CONTENT_TYPE: Final = "ContentType"

_KEY: Final = "idempotency_key"


def message_properties(headers: Mapping[str, str], *, key: str | None, content_type: str, payload: bytes) -> Properties:
    """The properties of one PUBLISH.

    Args:
        headers: They become user properties.
        key: The idempotency key, a user property of that name.
        content_type: Of the payload.
        payload: Empty ones have no type.

    Raises:
        InvalidError: A header is too long or holds control characters.
    """
    properties: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    pairs = [(check_text(name, "headers"), _value(name, value)) for name, value in headers.items()]
    if key is not None:
        pairs.append((_KEY, _value(_KEY, key)))
    if pairs:
        properties.UserProperty = pairs
    if payload:
        properties.ContentType = content_type
        if content_type in {JSON, TEXT}:
            properties.PayloadFormatIndicator = 1  # UTF-8
    return properties  # type: ignore[no-any-return]


def _value(name: str, value: str) -> str:
    if not isinstance(value, str):
        raise InvalidError(f"headers.{name}: must be a string")
    return check_text(value, f"headers.{name[:100]}")


def headers_of(properties: Properties | None) -> dict[str, str]:
    """A message's user properties, response topic and content type; a property that comes twice has both values."""
    headers: dict[str, str] = {}
    for name, value in getattr(properties, "UserProperty", ()):
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    for ours, theirs in (("content_type", CONTENT_TYPE), ("response_topic", "ResponseTopic")):
        value = getattr(properties, theirs, None)
        if value is not None:
            headers.setdefault(ours, value)
    correlation = getattr(properties, "CorrelationData", None)
    if correlation is not None:
        headers.setdefault("correlation_data", correlation.hex())
    return headers
