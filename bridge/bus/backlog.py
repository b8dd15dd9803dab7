"""Messages that were read from the socket and wait to be handled: bounded by their bytes, as no pipe of ZeroMQ is."""

from collections import deque
from typing import Final

import zmq

from bridge.bus.broker.slow_subscribers import BOUND, LARGE

#: Bytes of all messages that may wait. Large ones may use only `BOUND` of them, so that many of them leave room for the
#: others.
MOST: Final = 2 * BOUND
#: About how many bytes a message costs beyond its second frame.
OVERHEAD: Final = 256


class Backlog:
    """A queue of messages with a bound in bytes.

    Large messages stay in ZeroMQ's memory until they are handled: while they were copied, more would come into the
    pipe.

    Attributes:
        size: Bytes that the messages cost.
    """

    def __init__(self) -> None:
        self.size = 0
        self._waiting: deque[tuple[bytes, bytes | zmq.Frame]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, first: zmq.Frame, second: zmq.Frame) -> bool:
        """Append a message; return False where there is no room for it."""
        length = len(second)
        size = self.size + length + OVERHEAD
        if size > (BOUND if length > LARGE else MOST):
            return False
        self.size = size
        self._waiting.append((first.bytes, second if length > LARGE else second.bytes))
        return True

    def take(self) -> tuple[bytes, bytes]:
        """Remove the first message and return its two frames; raise IndexError where there is none."""
        first, second = self._waiting.popleft()
        self.size -= len(second) + OVERHEAD
        return first, second if isinstance(second, bytes) else second.bytes

    def clear(self) -> None:
        """Remove all messages."""
        self.size = 0
        self._waiting.clear()
