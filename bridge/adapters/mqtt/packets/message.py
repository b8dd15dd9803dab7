"""PUBLISH from the broker (section 3.3 of MQTT 5 and 3.1.1)."""

from typing import Final

import msgspec

from bridge.adapters.mqtt.packets.properties import FORMS, LENGTHS, VARIABLE
from bridge.adapters.mqtt.packets.wire_format import (
    MalformedPacketError,
    part,
    read_binary,
    read_variable_integer,
    readable_text,
)
from bridge.core.model import Inbound

_CONTENT_TYPE: Final = 0x03
_RESPONSE_TOPIC: Final = 0x08
_CORRELATION_DATA: Final = 0x09
_TOPIC_ALIAS: Final = 0x23
_USER: Final = 0x26
#: Bytes of properties that are read at most: a million small ones would hold up the event loop for seconds.
MOST_PROPERTIES: Final = 1 << 20
#: Bytes that Python needs for a user property beside its characters.
_HEADER_BYTES: Final = 200
#: The properties that PUBLISH may have (MQTT 5, 3.3.2.3).
_PROPERTIES: Final = frozenset(
    {0x01, 0x02, _CONTENT_TYPE, _RESPONSE_TOPIC, _CORRELATION_DATA, 0x0B, _TOPIC_ALIAS, _USER}
)


class IncomingMessage(msgspec.Struct, eq=False):
    """One message from the broker.

    Attributes:
        topic: The topic it was published to.
        payload: Its content.
        qos: 0, 1 or 2; with 1 and 2 it is to be acknowledged.
        retain: It is the topic's retained message, not a new one.
        identifier: Its packet identifier; 0 with QoS 0.
        headers: User properties; those of one name are joined with `, ` in their order.
        content_type: The publisher's content type.
        response_topic: Where an answer goes.
        correlation: Correlation data, which ties an answer to its request.
        subscriptions: Identifiers of the subscriptions that it matches; empty where the broker sends none.
        unreadable: What in it is not UTF-8, in words; its strings then have U+FFFD in those places. None: nothing.
        fault: Why it cannot be delivered although its head could be read; None where it can.
        inbound: It as it is delivered, once that was made.
        owed: Filters of the subscriptions that have not taken it yet, where it matches more than one.
        holders: How many subscriptions have to be done with it before it may be acknowledged.
        delivered: All subscriptions are done with it; it may be acknowledged once its events are on the bus.
        settled: It may be acknowledged to the broker, or was.
        aside: Its acknowledgement is sent without regard to the order.
        size: About how many bytes of memory its content and properties take.
    """

    topic: str
    payload: bytes
    qos: int
    retain: bool
    identifier: int = 0
    headers: dict[str, str] = {}
    content_type: str | None = None
    response_topic: str | None = None
    correlation: bytes = b""
    subscriptions: tuple[int, ...] = ()
    unreadable: str | None = None
    fault: str | None = None
    inbound: Inbound | None = None
    owed: set[str] | None = None
    holders: int = 0
    delivered: bool = False
    settled: bool = False
    aside: bool = False
    size: int = 0


def decode(first: int, body: bytes, *, version5: bool) -> IncomingMessage:
    """Decode PUBLISH: its first byte, and all that follows its length.

    A message whose properties make no sense or are too many, or that has no topic, comes with its `fault`: it costs
    nobody the connection.

    Raises:
        MalformedPacketError: It is no such packet: not even topic, QoS and packet identifier can be read.
    """
    qos = first >> 1 & 3
    if qos == 3:
        raise MalformedPacketError("there is no QoS 3")
    length = len(body)
    topic_end = 2 + (body[0] << 8 | body[1]) if length >= 2 else 2
    end = topic_end + 2 if qos else topic_end
    if end > length:
        raise MalformedPacketError("the packet ends too early")
    topic = body[2:topic_end]
    identifier = body[topic_end] << 8 | body[topic_end + 1] if qos else 0
    try:
        message = IncomingMessage(topic.decode(), b"", qos, bool(first & 1), identifier)
    except UnicodeDecodeError:
        message = IncomingMessage(readable_text(topic), b"", qos, bool(first & 1), identifier)
        message.unreadable = "the topic is not UTF-8"
    if version5:
        try:
            if end < length and body[end] < 128:  # in one byte, as most often
                size, start = body[end], end + 1
            else:
                size, start = read_variable_integer(body, end)
            end = start + size
            if size > MOST_PROPERTIES:
                message.fault = f"a message with {size} bytes of properties; at most {MOST_PROPERTIES} are read"
            elif size:
                _read_properties(message, part(body, start, end))
        except MalformedPacketError as error:
            message.fault = f"a message whose properties make no sense: {error}"
    if not topic and message.fault is None:
        message.fault = "a message without a topic"
    message.payload = body[end:]
    message.size = length + _HEADER_BYTES * len(message.headers)
    return message


def _read_properties(message: IncomingMessage, data: bytes) -> None:
    position = 0
    # Lists, so that no number of repetitions costs more than it has bytes.
    repeated: dict[str, list[str]] | None = None
    numbers: list[int] | None = None
    while position < len(data):
        kind = data[position]
        position += 1
        if kind not in _PROPERTIES:
            raise MalformedPacketError(f"PUBLISH has no property {kind}")
        form = FORMS[kind]
        if form in LENGTHS:
            start, position = position, position + LENGTHS[form]
            if kind == _TOPIC_ALIAS and not message.topic:
                # None was ever set: CONNECT allows none (3.1.2.11.5).
                alias = int.from_bytes(data[start:position], "big")
                message.fault = f"a message whose topic is the alias {alias}, which is not known"
        elif form == VARIABLE:
            number, position = read_variable_integer(data, position)
            numbers = numbers or []
            numbers.append(number)
        else:
            value, position = read_binary(data, position)
            if kind == _CORRELATION_DATA:
                message.correlation = value
                continue
            text = _text(message, value)
            if kind == _USER:
                value, position = read_binary(data, position)
                content = _text(message, value)
                if text in message.headers:
                    repeated = repeated or {}
                    repeated.setdefault(text, [message.headers[text]]).append(content)
                else:
                    message.headers[text] = content
            elif kind == _CONTENT_TYPE:
                message.content_type = text
            else:
                message.response_topic = text
    if numbers is not None:
        message.subscriptions = tuple(numbers)
    if repeated is not None:
        for name, contents in repeated.items():
            message.headers[name] = ", ".join(contents)


def _text(message: IncomingMessage, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        message.unreadable = message.unreadable or "a property is not UTF-8"
        return readable_text(value)
