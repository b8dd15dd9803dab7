"""Disconnects senders that never finish a message, before they cost too much memory.

libzmq bounds a frame by MAXMSGSIZE, and what waits by the number of messages. It keeps the frames of a message that is
not finished without any bound, and shows them to nobody (seen with libzmq 4.3.5: 700 MB a second from one connection).
But the kernel counts the bytes that were received on a TCP connection, and the forwarder of a closed bus sees whose
messages are complete. A connection on which `bound` bytes were received without the end of a message is closed; libzmq
then drops what it had kept.
"""

import socket
import struct
import sys
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from bridge.bus.broker.disconnects import OnDisconnect
from bridge.bus.rejection import Reason
from bridge.core.ports import Clock
from bridge.core.timer import Timer

#: Bytes that an unfinished message may have in any case.
BOUND: Final = 64 << 20
#: Seconds between two checks.
PERIOD: Final = 0.25
# Bytes without a complete message after which a connection is suspected.
_SUSPICIOUS: Final = 1 << 20
# `tcpi_bytes_received` in Linux' `struct tcp_info`: a 64-bit number behind 8 bytes and 24 + 4 32-bit ones.
_TCP_INFO: Final = struct.Struct("=128xQ")


class _Mark(msgspec.Struct):
    received: int
    suspected: bool = False
    over: bool = False


class UnfinishedMessages:
    """Checks the connections of a closed bus' senders four times a second. On Linux only: elsewhere it does nothing."""

    def __init__(
        self,
        accepted: Callable[[], Mapping[int, socket.socket]],
        suspects: set[int],
        on_disconnect: OnDisconnect,
        clock: Clock,
        *,
        bound: int = BOUND,
    ) -> None:
        """Create it.

        Args:
            accepted: Returns the open connections, by descriptor.
            suspects: Descriptors of suspected connections. Whoever reads the messages removes those of which a complete
                message has come.
            on_disconnect: Called for each connection that is closed.
            clock: For the time between two checks.
            bound: Bytes that no message has.
        """
        self._accepted = accepted
        self._suspects = suspects
        self._on_disconnect = on_disconnect
        self._bound = bound
        self._marks: dict[socket.socket, _Mark] = {}
        self._timer = Timer(clock)

    def start(self) -> None:
        """Begin."""
        if sys.platform == "linux":
            self._timer.set(PERIOD, self._check)

    def stop(self) -> None:
        """Stop; idempotent."""
        self._timer.cancel()

    def _check(self) -> None:
        before, self._marks = self._marks, {}
        for descriptor, connection in self._accepted().items():
            received = _received(connection)
            if received is None:
                continue
            mark = before.get(connection) or _Mark(received)
            if mark.suspected and descriptor not in self._suspects:
                mark = _Mark(received)  # a message was complete
            elif mark.over:
                self._disconnect(connection)
                continue
            elif mark.suspected:
                # Only at the next check has whoever reads the messages surely had the time to do so.
                mark.over = received - mark.received >= self._bound
            elif received - mark.received >= _SUSPICIOUS:
                mark = _Mark(received, suspected=True)
                self._suspects.add(descriptor)
            self._marks[connection] = mark
        self.start()

    def _disconnect(self, connection: socket.socket) -> None:
        try:
            where = connection.getpeername()[0]
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it has ended by itself
        self._on_disconnect(
            Reason.CUT, f"a client at {where} was disconnected: {self._bound >> 20} MiB and no end of a message"
        )


def _received(connection: socket.socket) -> int | None:
    """Return how many bytes were received on a connection in all; None where it is not TCP."""
    if connection.family not in {socket.AF_INET, socket.AF_INET6}:
        return None
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    except OSError:
        return None
    return int(_TCP_INFO.unpack(info)[0]) if len(info) == _TCP_INFO.size else None
