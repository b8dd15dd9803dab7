"""Splits what the broker sends into packets."""

from collections.abc import Callable, Iterator
from typing import Final

from bridge.adapters.mqtt.packets.wire_format import MalformedPacketError

#: First byte and length of the shortest packet.
_SHORTEST: Final = 2
#: Bytes of the largest packet that is kept whole; MQTT has four times as much.
MOST_BYTES: Final = 64 << 20
#: Bytes of a larger one that are kept: those of a topic and a packet identifier.
HEAD: Final = 65_539


class PacketReader:
    """Takes bytes as they come, in pieces of any size, and returns whole packets.

    Of a packet that is too large for the memory only the beginning is kept; the rest is read and thrown away.
    """

    def __init__(self, on_too_large: Callable[[int, bytes, int], None]) -> None:
        """`on_too_large` is called with first byte, beginning and length of the body of such a packet."""
        self._on_too_large = on_too_large
        self._to_skip = 0
        self._data = bytearray()
        self._position = 0
        # With fewer bytes than this there is no whole packet: a large one comes in many pieces.
        self._needed = _SHORTEST

    def feed(self, data: bytes) -> None:
        """Add bytes that came after all earlier ones."""
        if self._position:
            self._drop_what_was_read()
        if self._to_skip:
            skipped = min(self._to_skip, len(data))
            self._to_skip -= skipped
            data = data[skipped:]
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
            if length > MOST_BYTES:
                if available < start + HEAD:
                    self._needed = start + HEAD - position
                    break
                first, head = data[position], bytes(data[start : start + HEAD])
                self._needed, self._position = _SHORTEST, min(end, available)
                self._to_skip = max(end - available, 0)
                position = self._position
                self._on_too_large(first, head, length)
                continue
            if end > available:
                self._needed = end - position
                break
            first, body = data[position], bytes(data[start:end])
            self._needed, self._position = _SHORTEST, end
            position = end
            yield first, body
        if self._position:
            self._drop_what_was_read()

    def _drop_what_was_read(self) -> None:
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
