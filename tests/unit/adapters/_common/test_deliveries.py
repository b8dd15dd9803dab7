"""Messages are delivered in their order, while their connection is read on."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress

import pytest

from bridge.adapters._common.deliveries import Deliveries
from bridge.core.model import Inbound
from bridge.core.ports import AckDecision


class Bus:
    """Takes messages: at once where `open`, else when `room` is set."""

    def __init__(self) -> None:
        self.open = True
        self.room = asyncio.Event()
        self.got: list[int] = []

    def __call__(self, message: Inbound) -> Awaitable[AckDecision | None]:
        """See `ports.Deliver`."""
        if self.open:
            self.got.append(message.message)
            return AckDecision.ACK
        return self._wait(message)

    async def _wait(self, message: Inbound) -> None:
        await self.room.wait()
        self.got.append(message.message)


def message(number: int) -> Inbound:
    """Make a message."""
    return Inbound(topic="*", message=number)


async def settle() -> None:
    """Let all tasks run that can."""
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.mark.parametrize("most", [1, 1100, 10_000])
async def test_messages_keep_their_order(most: int) -> None:
    """However much may wait, and whether the bus has room or not, each message comes once and in order."""
    bus, deliveries = Bus(), Deliveries(most)
    number = 0

    async def read() -> None:
        nonlocal number
        for number in range(40):
            await deliveries.put(bus, message(number), 400)
            if number % 10 == 5:
                bus.open = False
                bus.room.clear()

    running, reading = asyncio.create_task(deliveries.run()), asyncio.create_task(read())
    for _ in range(20):
        await settle()
        assert deliveries._size <= max(most, 512)
        bus.room.set()
        bus.open = True
        await settle()
    assert reading.done()
    assert bus.got == list(range(40))
    running.cancel()
    assert deliveries.close() == 0


async def test_nothing_waits_where_there_is_room() -> None:
    """Where the bus has room a message is delivered before `put` returns, without a task."""
    bus, deliveries = Bus(), Deliveries(1)
    for number in range(3):
        await deliveries.put(bus, message(number), 10_000)
    assert bus.got == [0, 1, 2]


async def test_what_is_not_delivered_is_counted() -> None:
    """At the end it is known how many messages were not delivered, and a subscription that is over gets none."""
    bus, other, deliveries = Bus(), Bus(), Deliveries(10_000)
    bus.open = other.open = False
    running = asyncio.create_task(deliveries.run())
    for number in range(5):
        await deliveries.put((bus, other)[number % 2], message(number), 1)
    await settle()
    deliveries.drop(other)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert deliveries.close() == 3
    assert (bus.got, other.got) == ([], [])


async def test_a_delivery_that_never_began() -> None:
    """A delivery that nobody has awaited yet leaves no warning when the session ends."""
    bus, deliveries = Bus(), Deliveries(10_000)
    bus.open = False
    await deliveries.put(bus, message(0), 1)
    assert deliveries.close() == 1
