"""PUBLISH from the broker (section 3.3 of MQTT 5 and 3.1.1)."""

from dataclasses import dataclass, field
from typing import Final

from bridge.adapters.mqtt.packets.wire_format import (
    MalformedPacketError,
    decode_text,
    part,
    read_binary,
    read_variable_integer,
)

_BYTE, _SHORT, _LONG, _TEXT, _BINARY, _VARIABLE, _PAIR = range(7)
#: The properties that PUBLISH may have (MQTT 5, 2.2.2.2), and how each is written.
_FORMS: Final = {
    0x01: _BYTE,
    0x02: _LONG,
    0x03: _TEXT,
    0x08: _TEXT,
    0x09: _BINARY,
    0x0B: _VARIABLE,
    0x23: _SHORT,
    0x26: _PAIR,
}
_LENGTHS: Final = {_BYTE: 1, _SHORT: 2, _LONG: 4}
_CONTENT_TYPE: Final = 0x03
_RESPONSE_TOPIC: Final = 0x08
_USER: Final = 0x26


@dataclass(slots=True, eq=False)
class IncomingMessage:
    """One message from the broker.

    Attributes:
        topic: The topic it was published to.
        payload: Its content.
        qos: 0, 1 or 2; with 1 and 2 it is to be acknowledged.
        retain: It is the topic's retained message, not a new one.
        identifier: Its packet identifier; 0 with QoS 0.
        headers: User properties; one that comes twice has both values, with a comma between them.
        content_type: The publisher's content type.
        response_topic: Where an answer goes.
        correlation: Correlation data, which ties an answer to its request.
        subscriptions: Identifiers of the subscriptions that it matches; empty where the broker sends none.
        holders: How many subscriptions keep it until the application acknowledges it.
        settled: It may be acknowledged to the broker, or was.
    """

    topic: str
    payload: bytes
    qos: int
    retain: bool
    identifier: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str | None = None
    response_topic: str | None = None
    correlation: bytes = b""
    subscriptions: tuple[int, ...] = ()
    holders: int = 0
    settled: bool = False


def decode(first: int, body: bytes, *, version5: bool) -> IncomingMessage:
    """Decode PUBLISH: its first byte, and all that follows its length.

    Raises:
        MalformedPacketError: It is no such packet.
    """
    topic, end = read_binary(body, 0)
    qos = first >> 1 & 3
    if qos == 3:
        raise MalformedPacketError("there is no QoS 3")
    message = IncomingMessage(decode_text(topic), b"", qos, bool(first & 1))
    if qos:
        message.identifier = int.from_bytes(part(body, end, end + 2), "big")
        end += 2
    if version5:
        length, start = read_variable_integer(body, end)
        end = start + length
        if length:
            _read_properties(message, part(body, start, end))
    message.payload = body[end:]
    return message


def _read_properties(message: IncomingMessage, data: bytes) -> None:
    position = 0
    while position < len(data):
        kind = data[position]
        form = _FORMS.get(kind)
        position += 1
        if form is None:
            raise MalformedPacketError(f"PUBLISH has no property {kind}")
        if form in _LENGTHS:
            position += _LENGTHS[form]
        elif form == _VARIABLE:
            number, position = read_variable_integer(data, position)
            message.subscriptions += (number,)
        else:
            value, position = read_binary(data, position)
            if kind == _USER:
                other, position = read_binary(data, position)
                name, content = decode_text(value), decode_text(other)
                message.headers[name] = f"{message.headers[name]}, {content}" if name in message.headers else content
            elif kind == _CONTENT_TYPE:
                message.content_type = decode_text(value)
            elif kind == _RESPONSE_TOPIC:
                message.response_topic = decode_text(value)
            else:
                message.correlation = value
