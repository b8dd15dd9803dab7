"""Finds senders that never finish a message, and cuts them off before they cost too much memory.

libzmq bounds a frame by MAXMSGSIZE and what waits by the number of messages; the frames of one that is not finished it
keeps without any bound, and shows to nobody (seen with libzmq 4.3.5: 700 MB a second from one connection). But the
kernel counts what has come by a TCP connection, and the forwarder of a closed bus sees whose messages come out. One by
which `bound` bytes came and no message's end is closed; libzmq then drops what it had kept.
"""

import asyncio
import socket
import struct
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from bridge.bus.broker.disconnects import OnCut
from bridge.bus.rejection import Reason

#: Bytes of an unfinished message that are always borne.
BOUND: Final = 64 << 20
#: Seconds between two looks.
PERIOD: Final = 0.25
# Bytes since its last known message after which a connection's next one is looked for.
_NOTICED: Final = 1 << 20
# `tcpi_bytes_received` in Linux' `struct tcp_info`: a 64-bit number behind 8 bytes and 24 + 4 32-bit ones.
_TCP_INFO: Final = struct.Struct("=128xQ")


@dataclass(slots=True)
class _Mark:
    received: int
    suspected: bool = False
    over: bool = False


class EndlessWatch:
    """Looks at the connections of a closed bus' senders, four times a second; Linux only, elsewhere it sees nothing."""

    def __init__(
        self,
        accepted: Callable[[], Mapping[int, socket.socket]],
        suspects: set[int],
        on_cut: OnCut,
        *,
        bound: int = BOUND,
    ) -> None:
        """Nothing is watched yet.

        Args:
            accepted: The connections that live, by descriptor.
            suspects: Descriptors whose next message is looked for: whoever reads the messages takes out those of which
                one has come.
            on_cut: Told of each.
            bound: Bytes that no message may have.
        """
        self._accepted = accepted
        self._suspects = suspects
        self._on_cut = on_cut
        self._bound = bound
        self._marks: dict[socket.socket, _Mark] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin; needs a running loop."""
        if sys.platform == "linux":
            self._timer = asyncio.get_running_loop().call_later(PERIOD, self._look)

    def stop(self) -> None:
        """End; idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        before, self._marks = self._marks, {}
        for descriptor, connection in self._accepted().items():
            received = _received(connection)
            if received is None:
                continue
            mark = before.get(connection) or _Mark(received)
            if mark.suspected and descriptor not in self._suspects:
                mark = _Mark(received)  # it has finished a message
            elif mark.over:
                self._cut(connection)
                continue
            elif mark.suspected:
                # Only the next look is sure that whoever reads the messages has had the time to.
                mark.over = received - mark.received >= self._bound
            elif received - mark.received >= _NOTICED:
                mark = _Mark(received, suspected=True)
                self._suspects.add(descriptor)
            self._marks[connection] = mark
        self.start()

    def _cut(self, connection: socket.socket) -> None:
        try:
            where = connection.getpeername()[0]
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it has gone meanwhile
        self._on_cut(
            Reason.CUT, f"a client at {where} was disconnected: {self._bound >> 20} MiB and no end of a message"
        )


def _received(connection: socket.socket) -> int | None:
    """Bytes that have come by a connection in all; None where it is not TCP."""
    if connection.family not in {socket.AF_INET, socket.AF_INET6}:
        return None
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    except OSError:
        return None
    return int(_TCP_INFO.unpack(info)[0]) if len(info) == _TCP_INFO.size else None
