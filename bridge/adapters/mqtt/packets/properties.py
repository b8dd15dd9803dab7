"""The properties of MQTT 5 (2.2.2), as a broker sends them in any packet but PUBLISH, which has a faster reader."""

from typing import Any, Final

from bridge.adapters.mqtt.packets.wire_format import (
    MalformedPacketError,
    part,
    read_binary,
    read_variable_integer,
    readable_text,
)

BYTE, SHORT, LONG, TEXT, BINARY, VARIABLE, PAIR = range(7)
#: Every property, and how it is written (2.2.2.2).
FORMS: Final = {
    0x01: BYTE,
    0x02: LONG,
    0x03: TEXT,
    0x08: TEXT,
    0x09: BINARY,
    0x0B: VARIABLE,
    0x11: LONG,
    0x12: TEXT,
    0x13: SHORT,
    0x15: TEXT,
    0x16: BINARY,
    0x17: BYTE,
    0x18: LONG,
    0x19: BYTE,
    0x1A: TEXT,
    0x1C: TEXT,
    0x1F: TEXT,
    0x21: SHORT,
    0x22: SHORT,
    0x23: SHORT,
    0x24: BYTE,
    0x25: BYTE,
    0x26: PAIR,
    0x27: LONG,
    0x28: BYTE,
    0x29: BYTE,
    0x2A: BYTE,
}
#: Bytes of the forms that have a fixed length.
LENGTHS: Final = {BYTE: 1, SHORT: 2, LONG: 4}

SERVER_KEEP_ALIVE: Final = 0x13
SERVER_REFERENCE: Final = 0x1C
REASON_STRING: Final = 0x1F
RECEIVE_MAXIMUM: Final = 0x21
MAXIMUM_QOS: Final = 0x24
RETAIN_AVAILABLE: Final = 0x25
MAXIMUM_PACKET_SIZE: Final = 0x27
WILDCARDS_AVAILABLE: Final = 0x28
IDENTIFIERS_AVAILABLE: Final = 0x29
SHARED_AVAILABLE: Final = 0x2A


def read_properties(body: bytes, position: int) -> dict[int, Any]:
    """Decode the properties that begin at a position, where there are any.

    Returns:
        Identifier → value: a number, bytes, or text, in which what is not UTF-8 is replaced. User properties are left
        out. Of a property that comes twice the last one counts.

    Raises:
        MalformedPacketError: They are longer than the packet, or one of them is unknown.
    """
    found: dict[int, Any] = {}
    if position >= len(body):
        return found
    length, start = read_variable_integer(body, position)
    data, position = part(body, start, start + length), 0
    while position < len(data):
        kind = data[position]
        form = FORMS.get(kind)
        position += 1
        if form is None:
            raise MalformedPacketError(f"there is no property {kind}")
        if form in LENGTHS:
            end = position + LENGTHS[form]
            found[kind], position = int.from_bytes(part(data, position, end), "big"), end
        elif form == VARIABLE:
            found[kind], position = read_variable_integer(data, position)
        else:
            value, position = read_binary(data, position)
            if form == PAIR:
                _, position = read_binary(data, position)
            else:
                found[kind] = readable_text(value) if form == TEXT else value
    return found
