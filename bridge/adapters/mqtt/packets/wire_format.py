"""The data types of MQTT packets (section 1.5 of MQTT 5 and 3.1.1), and the first bytes of packets (2.1)."""

from typing import Final

#: First bytes; the lower four bits of PUBLISH are flags.
CONNACK: Final = 0x20
PUBLISH: Final = 0x30
PUBACK: Final = 0x40
PUBREC: Final = 0x50
PUBREL: Final = 0x62
PUBCOMP: Final = 0x70
SUBSCRIBE: Final = 0x82
SUBACK: Final = 0x90
UNSUBSCRIBE: Final = 0xA2
UNSUBACK: Final = 0xB0
PINGREQ: Final = 0xC0
PINGRESP: Final = 0xD0
DISCONNECT: Final = 0xE0
#: The bits of a first byte that say which packet it is.
KIND: Final = 0xF0
#: Bytes of the largest packet that MQTT has: one, a length of four, and so many (2.1.4).
LARGEST: Final = 5 + 268_435_455
#: From this reason code on, all are refusals (MQTT 5, 2.4).
FAILURE: Final = 0x80


class MalformedPacketError(Exception):
    """The broker sent bytes that are no valid MQTT packet."""


def variable_integer(number: int) -> bytes:
    """Encode a variable byte integer (MQTT 5, 1.5.5)."""
    if number < 128:
        return b"%c" % number
    digits = bytearray()
    while True:
        number, digit = number >> 7, number & 127
        digits.append(digit | 128 if number else digit)
        if not number:
            return bytes(digits)


def read_variable_integer(data: bytes | bytearray, position: int) -> tuple[int, int]:
    """Decode a variable byte integer; return it and the position behind it.

    Raises:
        MalformedPacketError: It has more than four bytes, or the data ends too early.
    """
    number = 0
    for digit in range(4):
        if position + digit >= len(data):
            raise MalformedPacketError("the packet ends too early")
        byte = data[position + digit]
        number |= (byte & 127) << 7 * digit
        if byte < 128:
            return number, position + digit + 1
    raise MalformedPacketError("a length of more than four bytes")


def part(data: bytes, start: int, end: int) -> bytes:
    """Return `data[start:end]`; raises MalformedPacketError where the data ends before."""
    if end > len(data):
        raise MalformedPacketError("the packet ends too early")
    return data[start:end]


def read_binary(data: bytes, position: int) -> tuple[bytes, int]:
    """Decode binary data, which is a length of two bytes and so many bytes; return it and the position behind it.

    Raises:
        MalformedPacketError: The data ends too early.
    """
    start = position + 2
    end = start + int.from_bytes(part(data, position, start), "big")
    return part(data, start, end), end


def with_length(value: bytes) -> bytes:
    """Encode binary data, or a string in UTF-8: its length in two bytes, then its bytes."""
    return b"%c%c%b" % (len(value) >> 8, len(value) & 0xFF, value)


def readable_text(value: bytes) -> str:
    """Decode a string; what is not UTF-8 becomes U+FFFD, so that one bad string does not cost the connection."""
    return value.decode(errors="replace")


def acknowledgement(first: int, identifier: int) -> bytes:
    """Encode PUBACK, PUBREC, PUBREL or PUBCOMP without a reason code, which means success."""
    return b"%c\x02%c%c" % (first, identifier >> 8, identifier & 0xFF)
