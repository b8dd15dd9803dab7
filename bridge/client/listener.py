"""Collect events for a program to read: in order, with a bound, and with the number of those that were lost."""

import asyncio
from collections import deque
from typing import Final, Self

from bridge.client.errors import ClosedError
from bridge.core.model import Event

#: Bytes of payloads that wait, whatever the number of events.
_MOST_BYTES: Final = 64 << 20


class Listener:
    """Collect events in the order of their arrival. A slow reader loses the oldest ones; `missed` says how many.

    Attributes:
        missed: How many events were lost right before the one that was read last.
    """

    def __init__(self, most: int) -> None:
        """Create a listener in which `most` events may wait."""
        self.missed = 0
        self._most = most
        self._events: deque[Event] = deque()
        self._bytes = 0
        self._lost = 0
        self._closed = False
        self._news = asyncio.Event()

    def put(self, event: Event) -> None:
        """Add an event; drop the oldest ones beyond the bound."""
        self._events.append(event)
        self._bytes += len(event.raw)
        while len(self._events) > self._most or (self._bytes > _MOST_BYTES and len(self._events) > 1):
            self._bytes -= len(self._events.popleft().raw)
            self._lost += 1
        self._news.set()

    def close(self) -> None:
        """End the listener; events that wait can still be read."""
        self._closed = True
        self._news.set()

    def empty(self) -> bool:
        """Return whether no event waits."""
        return not self._events

    async def get(self) -> Event:
        """Wait for the next event and return it; a cancelled call loses none.

        Raises:
            ClosedError: The client was closed, and no event waits any more.
        """
        while not self._events:
            if self._closed:
                raise ClosedError("the client was closed; there is nothing more to read")
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
