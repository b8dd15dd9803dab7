"""Splits what the broker sends into packets."""

from collections.abc import Iterator
from typing import Final

from bridge.adapters.mqtt.packets.wire_format import MalformedPacketError

#: First byte and length of the shortest packet.
_SHORTEST: Final = 2


class PacketReader:
    """Takes bytes as they come, in pieces of any size, and returns whole packets."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._position = 0
        # With fewer bytes than this there is no whole packet: a large one comes in many pieces.
        self._needed = _SHORTEST

    def feed(self, data: bytes) -> None:
        """Add bytes that came after all earlier ones."""
        self._drop_what_was_read()
        self._data += data

    def packets(self) -> Iterator[tuple[int, bytes]]:
        """Return first byte and body (all that follows the length) of each whole packet, one after the other.

        Whoever stops before the end gets the rest by another call.

        Raises:
            MalformedPacketError: The length of a packet has more than four bytes.
        """
        data, position = self._data, self._position
        available = len(data)
        while available - position >= self._needed:
            length, start = data[position + 1], position + 2
            if length > 127:
                length, start = _long_length(data, position + 1)
                if not start:
                    self._needed = available - position + 1
                    break
            end = start + length
            if end > available:
                self._needed = end - position
                break
            first, body = data[position], bytes(data[start:end])
            self._needed, self._position = _SHORTEST, end
            position = end
            yield first, body
        self._drop_what_was_read()

    def _drop_what_was_read(self) -> None:
        if self._position:
            del self._data[: self._position]
            self._position = 0


def _long_length(data: bytearray, position: int) -> tuple[int, int]:
    """Decode a length of two to four bytes, and the position behind it; both are 0 where bytes are missing."""
    length = 0
    for digit in range(4):
        if position + digit >= len(data):
            return 0, 0
        byte = data[position + digit]
        length |= (byte & 127) << 7 * digit
        if byte < 128:
            return length, position + digit + 1
    raise MalformedPacketError("a length of more than four bytes")
