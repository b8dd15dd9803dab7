"""Host a bus without a bridge, and stand in for the bridge, to test clients."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from bridge.client import BusClient, Listener
from bridge.core.model import Event
from tests.support.bus.bus_host import bus_host

Answer = Callable[[Event], dict[str, Any] | None]


@contextmanager
def bus_endpoints() -> Iterator[tuple[str, str]]:
    """Host a bus without a bridge; give its endpoints."""
    with bus_host("tcp://127.0.0.1:0", "tcp://127.0.0.1:0") as (_, publish, subscribe):
        yield publish, subscribe


@asynccontextmanager
async def answering(
    endpoints: tuple[str, str], answer: Answer, prefixes: Sequence[str] = ("integration.",)
) -> AsyncIterator[list[Event]]:
    """Answer each event of these prefixes by `answer`, or not where that is None; give the events that came."""
    seen: list[Event] = []
    bus = BusClient(*endpoints, source="bridge", prefixes=prefixes)

    async def work(events: Listener) -> None:
        while True:
            event = await events.get()
            seen.append(event)
            payload = answer(event)
            if payload is not None:
                bus.emit(f"response.{event.event_type}", payload, correlation_id=event.correlation_id)

    with bus.listen() as events:
        async with bus:
            working = asyncio.create_task(work(events))
            try:
                yield seen
            finally:
                working.cancel()
                await asyncio.wait({working})
