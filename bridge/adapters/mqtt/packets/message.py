"""One PUBLISH from the broker (section 3.3 of MQTT 5 and 3.1.1), read by hand.

paho's `Properties` cost seven times as much as all the rest of a message's way.
"""

from dataclasses import dataclass, field
from typing import Final

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
class Message:
    """What came.

    Attributes:
        topic: The topic it was published to.
        payload: Its content.
        qos: 0, 1 or 2; with 1 and 2 it is to be acknowledged.
        retain: It is the topic's last value, not news.
        mid: Its packet identifier; 0 with QoS 0.
        headers: User properties; one that comes twice has both values.
        content_type: As the publisher said it.
        response_topic: Where an answer goes.
        correlation: Ties an answer to its request.
        identifiers: Of the subscriptions that it came by; empty where the broker says none.
        parties: How many subscriptions have it in their hands until the application answers.
        settled: It may be acknowledged, or was.
    """

    topic: str
    payload: bytes
    qos: int
    retain: bool
    mid: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str | None = None
    response_topic: str | None = None
    correlation: bytes = b""
    identifiers: tuple[int, ...] = ()
    parties: int = 0
    settled: bool = False


def decode(command: int, packet: bytes, *, version5: bool) -> Message:
    """Read one packet: its first byte, and all that follows its length.

    Raises:
        ValueError, IndexError: It is no PUBLISH.
    """
    end = 2 + int.from_bytes(packet[:2], "big")
    qos = command >> 1 & 3
    message = Message(_part(packet, 2, end).decode(), b"", qos, bool(command & 1))
    if qos == 3:
        raise ValueError("there is no QoS 3")
    if qos:
        message.mid = int.from_bytes(_part(packet, end, end + 2), "big")
        end += 2
    if version5:
        length, start = _variable(packet, end)
        end = start + length
        if length:
            _properties(message, _part(packet, start, end))
    message.payload = packet[end:]
    return message


def _properties(message: Message, data: bytes) -> None:
    position = 0
    while position < len(data):
        kind = data[position]
        form = _FORMS.get(kind)
        position += 1
        if form is None:
            raise ValueError(f"PUBLISH has no property {kind}")
        if form in _LENGTHS:
            position += _LENGTHS[form]
        elif form == _VARIABLE:
            number, position = _variable(data, position)
            message.identifiers += (number,)
        else:
            value, position = _block(data, position)
            if kind == _USER:
                other, position = _block(data, position)
                name, text = value.decode(), other.decode()
                message.headers[name] = f"{message.headers[name]}, {text}" if name in message.headers else text
            elif kind == _CONTENT_TYPE:
                message.content_type = value.decode()
            elif kind == _RESPONSE_TOPIC:
                message.response_topic = value.decode()
            else:
                message.correlation = value


def _part(data: bytes, start: int, end: int) -> bytes:
    if end > len(data):
        raise ValueError("the packet ends too early")
    return data[start:end]


def _block(data: bytes, position: int) -> tuple[bytes, int]:
    start = position + 2
    end = start + int.from_bytes(_part(data, position, start), "big")
    return _part(data, start, end), end


def _variable(data: bytes, position: int) -> tuple[int, int]:
    """A variable byte integer (MQTT 5, 1.5.5), and where it ends."""
    number = 0
    for digit in range(4):
        byte = data[position + digit]
        number |= (byte & 127) << 7 * digit
        if byte < 128:
            return number, position + digit + 1
    raise ValueError("a length of five bytes")
