"""Disconnects subscribers that read nothing while large messages pass, before they cost too much memory.

libzmq bounds what waits for a subscriber by the number of messages, not by bytes. A high-water mark that is high enough
for bursts of small messages keeps gigabytes of large ones. Lowering the mark of an open connection does not help: its
reader reports what it has read only once in half the old mark, so the writer may take an empty pipe for a full one, for
ever (seen with libzmq 4.3.5). But the kernel knows whether a client reads from its connection. A connection from which
nothing was read while `BOUND` bytes of large messages passed is closed; libzmq then drops what waited for it. The
subscriber connects again by itself when it runs again, and finds its gap by the numbers of the events.
"""

import fcntl
import socket
import struct
import sys
import termios
from collections.abc import Callable, Iterable
from typing import Final

from bridge.bus.broker.disconnects import OnDisconnect
from bridge.bus.rejection import Reason
from bridge.core.ports import Clock

#: Bytes beyond which a message is large. Smaller ones are bounded by their number: 4,000 of them are 64 MiB.
LARGE: Final = 16 << 10
#: Bytes of large messages that may pass while a subscriber reads nothing.
BOUND: Final = 64 << 20
#: Seconds in which a program that runs reads something even on a busy machine.
PATIENCE: Final = 0.1
_CHECK_EVERY: Final = BOUND // 16


class SlowSubscribers:
    """Examines the connections whenever some megabytes of large messages have passed; costs nothing otherwise."""

    def __init__(
        self, connections: Callable[[], Iterable[socket.socket]], on_disconnect: OnDisconnect, clock: Clock
    ) -> None:
        """Create it.

        Args:
            connections: Returns the connections of all subscribers.
            on_disconnect: Called for each one that is disconnected.
            clock: Measures how long a subscriber has read nothing.
        """
        self._connections = connections
        self._on_disconnect = on_disconnect
        self._clock = clock
        self._passed = 0
        self._next_check = _CHECK_EVERY
        # By connection: the unsent bytes, and how many bytes had passed and what time it was when they became so many.
        self._unmoved: dict[socket.socket, tuple[int, int, float]] = {}

    def passed(self, size: int) -> None:
        """Count a large message that the broker forwarded, by its bytes."""
        self._passed += size
        if self._passed >= self._next_check:
            self._next_check = self._passed + _CHECK_EVERY
            self._check()

    def _check(self) -> None:
        now = self._clock.monotonic()
        before, self._unmoved = self._unmoved, {}
        for connection in self._connections():
            waiting = _unsent(connection)
            if not waiting:
                continue
            then = before.get(connection)
            if then is None or then[0] != waiting:
                then = (waiting, self._passed, now)
            if self._passed - then[1] >= BOUND and now - then[2] >= PATIENCE:
                self._disconnect(connection)
            else:
                self._unmoved[connection] = then

    def _disconnect(self, connection: socket.socket) -> None:
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it has ended by itself
        self._on_disconnect(
            Reason.STUCK, f"a subscriber took nothing while {BOUND >> 20} MiB passed, and was disconnected"
        )


def _unsent(connection: socket.socket) -> int:
    """Return the bytes in the kernel that the subscriber has not read; 0 where the system does not tell."""
    if sys.platform != "linux":
        return 0
    try:
        return int(struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))[0])
    except OSError:
        return 0
