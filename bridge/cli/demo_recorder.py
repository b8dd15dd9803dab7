"""Record the events on the bus, as any program can, and wait for those that the demo expects."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import msgspec

from bridge.cli.demo_processes import StepFailedError
from bridge.client import Listener
from bridge.core.model import Event

#: Seconds without events before lines are printed, so that printing does not delay what is measured.
_IDLE: Final = 0.02


class ReceivedEvent(msgspec.Struct, frozen=True):
    """An event and when it was received (`time.perf_counter`, seconds)."""

    event: Event
    at: float


class EventRecorder:
    """Record all events in the order of arrival, pass them to be shown, and wait for expected ones."""

    def __init__(self, events: Listener, show: Callable[[Event], None]) -> None:
        self.seen: list[ReceivedEvent] = []
        self._events = events
        self._show = show
        self._shown = 0
        self._received = asyncio.Event()

    async def run(self) -> None:
        """Record until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._record())
            group.create_task(self._print())

    async def _record(self) -> None:
        while True:
            event = await self._events.get()
            self.seen.append(ReceivedEvent(event, time.perf_counter()))
            self._received.set()

    async def _print(self) -> None:
        while True:
            await asyncio.sleep(_IDLE)
            if self.seen and time.perf_counter() - self.seen[-1].at > _IDLE:
                self.flush()

    def flush(self) -> None:
        """Show the events that have not been shown yet."""
        while self._shown < len(self.seen):
            self._show(self.seen[self._shown].event)
            self._shown += 1

    async def expect(
        self, what: str, matches: Callable[[Event], bool], *, seconds: float = 5.0, after: int = 0
    ) -> ReceivedEvent:
        """Return the first matching event at position `after` or later; wait for it if it has not come yet.

        Raises:
            StepFailedError: No such event came within `seconds`.
        """
        position = after
        try:
            async with asyncio.timeout(seconds):
                while True:
                    for seen in self.seen[position:]:
                        position += 1
                        if matches(seen.event):
                            return seen
                    self._received.clear()
                    await self._received.wait()
        except TimeoutError:
            self.flush()
            raise StepFailedError(f"{what}, within {seconds:g} s") from None
