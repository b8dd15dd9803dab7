"""Deliver messages one after the other while their connection is read on."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Coroutine
from typing import Final

from bridge.core.model import Inbound
from bridge.core.ports import AckDecision, Deliver

#: What a message counts at least, in bytes: that is what an empty one takes in memory.
_LEAST: Final = 512


class Deliveries:
    """Delivers the messages of one connection in their order.

    A delivery may wait, while the bus has no room. The reader of the connection goes on meanwhile, so that answers and
    signs of life are read. It waits only when too much waits here; then the flood waits at its source.

    Attributes:
        full: Whether `put` waits now, so that nothing is read.
    """

    def __init__(self, most: int) -> None:
        """Begin without messages; `most` bytes of them may wait, and one message of any size."""
        self._most = most
        self.full = False
        self._size = 0
        self._queue: deque[tuple[Deliver, Inbound, int]] = deque()
        self._current: Awaitable[AckDecision | None] | None = None
        self._news = asyncio.Event()
        self._room = asyncio.Event()

    def offer(self, deliver: Deliver, message: Inbound, size: int) -> bool:
        """Deliver a message after those before it; return False, with nothing done, where too much waits.

        Args:
            deliver: Takes the message.
            message: The message.
            size: Its bytes.
        """
        if self._current is None:
            delivery = deliver(message)
            if not isinstance(delivery, AckDecision):  # most often it is delivered by now, and needs no task
                self._current = delivery
                self._news.set()
            return True
        size = max(size, _LEAST)
        if self._queue and self._size + size > self._most:
            return False
        self._size += size
        self._queue.append((deliver, message, size))
        return True

    async def put(self, deliver: Deliver, message: Inbound, size: int) -> None:
        """Do the same, and wait as long as too much waits."""
        try:
            while not self.offer(deliver, message, size):
                self.full = True
                self._room.clear()
                await self._room.wait()
        finally:
            self.full = False

    async def run(self) -> None:
        """Deliver what could not be delivered at once, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._current is not None:
                await self._current
                self._current = None
                if self._queue:
                    deliver, message, size = self._queue.popleft()
                    self._size -= size
                    self._room.set()
                    self._current = deliver(message)

    def drop(self, deliver: Deliver) -> None:
        """Forget the messages that wait for this one; what is being delivered is not affected."""
        self._queue = deque(one for one in self._queue if one[0] is not deliver)
        self._size = sum(size for _, _, size in self._queue)
        self._room.set()

    def close(self) -> int:
        """Forget all messages, after `run` was cancelled; return how many were not delivered."""
        lost, self._queue, self._size = len(self._queue), deque(), 0
        current, self._current = self._current, None
        if current is not None:
            lost += 1
            if isinstance(current, Coroutine):
                current.close()
        return lost
