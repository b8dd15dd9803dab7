"""What a program reads events from: in order, bounded, and honest about what it was too slow for."""

import asyncio
from collections import deque
from typing import Final, Self

from bridge.client.errors import ClosedError
from bridge.core.model import Event

#: Bytes of payloads that wait, whatever the number of events.
_MOST_BYTES: Final = 64 << 20


class Listener:
    """Events in the order of their arrival. Who is too slow loses the oldest ones, is told how many, and goes on.

    Attributes:
        missed: How many events were lost right before the one that was read last.
    """

    def __init__(self, most: int) -> None:
        """`most` is how many events may wait."""
        self.missed = 0
        self._most = most
        self._events: deque[Event] = deque()
        self._bytes = 0
        self._lost = 0
        self._closed = False
        self._news = asyncio.Event()

    def put(self, event: Event) -> None:
        """Take an event in; the oldest ones give way."""
        self._events.append(event)
        self._bytes += len(event.raw)
        while len(self._events) > self._most or (self._bytes > _MOST_BYTES and len(self._events) > 1):
            self._bytes -= len(self._events.popleft().raw)
            self._lost += 1
        self._news.set()

    def close(self) -> None:
        """Nothing will come any more; what waits can still be read."""
        self._closed = True
        self._news.set()

    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._events

    async def get(self) -> Event:
        """The next event; waits for it. Cancelled, it loses none.

        Raises:
            ClosedError: The client was left, and nothing waits any more.
        """
        while not self._events:
            if self._closed:
                raise ClosedError("the client was left; there is nothing more to read")
            self._news.clear()
            await self._news.wait()
        event = self._events.popleft()
        self._bytes -= len(event.raw)
        self.missed, self._lost = self._lost, 0
        return event

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        try:
            return await self.get()
        except ClosedError:
            raise StopAsyncIteration from None
