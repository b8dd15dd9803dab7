"""What was taken from the pipe and waits to be handled: bounded by its bytes, which a pipe of ZeroMQ never is."""

from collections import deque
from typing import Final

import zmq

from bridge.bus.broker.slow_subscribers import BOUND, LARGE

#: Bytes of all messages that may wait; large ones may take `BOUND` of them, so that a flood leaves room for the others.
MOST: Final = 2 * BOUND
#: Bytes that a message costs beyond its second frame, about.
OVERHEAD: Final = 256


class Backlog:
    """Messages in their order. What comes on top of the bound is not taken in.

    Large ones stay with ZeroMQ until they are handled: while they were copied, more would come into the pipe.

    Attributes:
        size: Bytes that they cost.
    """

    def __init__(self) -> None:
        self.size = 0
        self._waiting: deque[tuple[bytes, bytes | zmq.Frame]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, first: zmq.Frame, second: zmq.Frame) -> bool:
        """Take a message in, behind all others; False where there is no room for it."""
        length = len(second)
        size = self.size + length + OVERHEAD
        if size > (BOUND if length > LARGE else MOST):
            return False
        self.size = size
        self._waiting.append((first.bytes, second if length > LARGE else second.bytes))
        return True

    def take(self) -> tuple[bytes, bytes]:
        """The two frames of the first one. Raises IndexError where there is none."""
        first, second = self._waiting.popleft()
        self.size -= len(second) + OVERHEAD
        return first, second if isinstance(second, bytes) else second.bytes

    def clear(self) -> None:
        """Forget all of them."""
        self.size = 0
        self._waiting.clear()
