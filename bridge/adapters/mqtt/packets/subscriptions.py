"""SUBSCRIBE and UNSUBSCRIBE, and their answers (sections 3.8 to 3.11 of MQTT 5 and 3.1.1)."""

from collections.abc import Sequence
from typing import Final

from bridge.adapters.mqtt.packets.wire_format import (
    SUBSCRIBE,
    UNSUBSCRIBE,
    MalformedPacketError,
    part,
    read_variable_integer,
    variable_integer,
    with_length,
)

#: Identifier of a property (MQTT 5, 2.2.2.2).
_SUBSCRIPTION_IDENTIFIER: Final = b"\x0b"


def subscribe(identifier: int, topic: str, qos: int, *, version5: bool, subscription: int | None = None) -> bytes:
    """Encode SUBSCRIBE.

    Args:
        identifier: The packet identifier.
        topic: One topic filter.
        qos: The highest quality of service of the messages.
        version5: MQTT 5; else 3.1.1.
        subscription: The subscription identifier that messages come with; only in MQTT 5.
    """
    properties = b"" if subscription is None else _SUBSCRIPTION_IDENTIFIER + variable_integer(subscription)
    return _request(SUBSCRIBE, identifier, properties, with_length(topic.encode()) + bytes((qos,)), version5=version5)


def unsubscribe(identifier: int, topics: Sequence[str], *, version5: bool) -> bytes:
    """Encode UNSUBSCRIBE for topic filters."""
    payload = b"".join(with_length(topic.encode()) for topic in topics)
    return _request(UNSUBSCRIBE, identifier, b"", payload, version5=version5)


def _request(first: int, identifier: int, properties: bytes, payload: bytes, *, version5: bool) -> bytes:
    body = identifier.to_bytes(2, "big")
    if version5:
        body += variable_integer(len(properties)) + properties
    body += payload
    return b"%c%b%b" % (first, variable_integer(len(body)), body)


def decode_answer(body: bytes, *, version5: bool) -> tuple[int, bytes]:
    """Decode the body of SUBACK or UNSUBACK.

    Returns:
        The packet identifier, and one reason code for each topic filter; UNSUBACK of MQTT 3.1.1 has none.

    Raises:
        MalformedPacketError: It is no such packet.
    """
    identifier, position = int.from_bytes(part(body, 0, 2), "big"), 2
    if version5:
        length, start = read_variable_integer(body, position)
        position = start + length
        if position > len(body):
            raise MalformedPacketError("the packet ends too early")
    return identifier, body[position:]
