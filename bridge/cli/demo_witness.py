"""Watches the bus as any program could, and checks that what the demo promises really happens."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bridge.cli.demo_stage import Missed
from bridge.client import Listener
from bridge.core.model import Event

#: Seconds of quiet before lines are drawn, so that drawing never delays what is being measured.
_QUIET: Final = 0.02


@dataclass(frozen=True, slots=True)
class Seen:
    """An event, and when it arrived here (`time.perf_counter`, seconds)."""

    event: Event
    at: float


class Witness:
    """Keeps every event in the order of arrival, hands it on to be shown, and waits for expected ones."""

    def __init__(self, events: Listener, show: Callable[[Event], None]) -> None:
        self.seen: list[Seen] = []
        self._events = events
        self._show = show
        self._shown = 0
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._record())
            group.create_task(self._draw())

    async def _record(self) -> None:
        while True:
            event = await self._events.get()
            self.seen.append(Seen(event, time.perf_counter()))
            self._news.set()

    async def _draw(self) -> None:
        while True:
            await asyncio.sleep(_QUIET)
            if self.seen and time.perf_counter() - self.seen[-1].at > _QUIET:
                self.flush()

    def flush(self) -> None:
        """Show what has not been shown yet."""
        while self._shown < len(self.seen):
            self._show(self.seen[self._shown].event)
            self._shown += 1

    async def expect(
        self, what: str, matches: Callable[[Event], bool], *, seconds: float = 5.0, after: int = 0
    ) -> Seen:
        """The first event at or behind position `after` that matches, past or future.

        Raises:
            Missed: None came within `seconds`.
        """
        position = after
        try:
            async with asyncio.timeout(seconds):
                while True:
                    for seen in self.seen[position:]:
                        position += 1
                        if matches(seen.event):
                            return seen
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            self.flush()
            raise Missed(f"{what}, within {seconds:g} s") from None
