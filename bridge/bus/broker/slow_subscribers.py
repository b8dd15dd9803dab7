"""Finds subscribers that are stuck while large messages pass, and cuts them off before they cost too much memory.

libzmq bounds what waits for a subscriber by messages, not by bytes: a mark that is high enough for bursts of small
messages would keep gigabytes of large ones. Lowering the mark of a live connection is no way out: its reader reports
what it has taken once in half the old mark, so the writer may find it full, for ever, when it is empty (seen with
libzmq 4.3.5). But the kernel knows whether a connection takes anything at all. One that has not moved while `BOUND`
bytes of large messages passed is closed; libzmq then drops what waited for it. The subscriber connects again by itself
when it wakes, and finds its gap by the numbers.
"""

import asyncio
import fcntl
import socket
import struct
import sys
import termios
from collections.abc import Callable, Iterable
from typing import Final

from bridge.bus.broker.disconnects import OnCut
from bridge.bus.rejection import Reason

#: Smaller messages are bounded well enough by their number: 4,000 of them are 64 MiB.
LARGE: Final = 16 << 10
#: Bytes of large messages that may wait for one who takes nothing.
BOUND: Final = 64 << 20
#: Seconds in which even a busy machine lets a live program take something.
PATIENCE: Final = 0.1
_LOOK_EVERY: Final = BOUND // 16


class StuckWatch:
    """Looks at the connections whenever some megabytes of large messages have passed; costs nothing otherwise."""

    def __init__(self, connections: Callable[[], Iterable[socket.socket]], on_cut: OnCut) -> None:
        self._connections = connections
        self._on_cut = on_cut
        self._passed = 0
        self._next_look = _LOOK_EVERY
        # What was unsent, and since how many bytes and what time it is the same.
        self._unmoved: dict[socket.socket, tuple[int, int, float]] = {}

    def passed(self, size: int) -> None:
        """A large message went through the broker, of this many bytes."""
        self._passed += size
        if self._passed >= self._next_look:
            self._next_look = self._passed + _LOOK_EVERY
            self._look()

    def _look(self) -> None:
        now = asyncio.get_running_loop().time()
        before, self._unmoved = self._unmoved, {}
        for connection in self._connections():
            waiting = _unsent(connection)
            if not waiting:
                continue
            then = before.get(connection)
            if then is None or then[0] != waiting:
                then = (waiting, self._passed, now)
            if self._passed - then[1] >= BOUND and now - then[2] >= PATIENCE:
                self._cut(connection)
            else:
                self._unmoved[connection] = then

    def _cut(self, connection: socket.socket) -> None:
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it has gone meanwhile
        self._on_cut(Reason.STUCK, f"a subscriber took nothing while {BOUND >> 20} MiB passed, and was disconnected")


def _unsent(connection: socket.socket) -> int:
    """Bytes in the kernel that the other side has not taken; 0 where the system does not tell."""
    if sys.platform != "linux":
        return 0
    try:
        return int(struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))[0])
    except OSError:
        return 0
