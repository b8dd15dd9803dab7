"""Show that a listener keeps order and bound, and counts what was lost."""

import asyncio

import msgspec
import pytest

from bridge.client import ClosedError, Listener
from bridge.core.model import Event


def event(number: int, size: int = 1) -> Event:
    """An event that is recognised by its id, with a payload of `size` bytes."""
    raw = msgspec.Raw(b"\xc0" * size)
    return Event(id=number, event_type="x", raw=raw, timestamp=0, source=None, correlation_id=None)


async def test_in_order():
    """Events are read in the order of their arrival, and none is lost."""
    listener = Listener(10)
    for number in range(10):
        listener.put(event(number))
    assert [(await listener.get()).id for _ in range(10)] == list(range(10))
    assert listener.missed == 0
    assert listener.empty()


async def test_a_slow_reader_is_told_what_it_missed():
    """The oldest events are dropped; `missed` counts them at the next one read, and is 0 afterwards."""
    listener = Listener(3)
    for number in range(10):
        listener.put(event(number))
    assert ((await listener.get()).id, listener.missed) == (7, 7)
    assert ((await listener.get()).id, listener.missed) == (8, 0)
    listener.put(event(10))
    listener.put(event(11))
    listener.put(event(12))
    assert ((await listener.get()).id, listener.missed) == (10, 1)


async def test_bytes_are_bounded_too():
    """Large events are dropped before the limit of their number, but the newest always stays."""
    listener = Listener(10_000)
    for number in range(5):
        listener.put(event(number, 20 << 20))
    assert ((await listener.get()).id, listener.missed) == (2, 2)
    listener.put(event(9, 100 << 20))
    assert ((await listener.get()).id, listener.missed) == (9, 2)


async def test_waits_and_loses_nothing_when_cancelled():
    """A cancelled `get` leaves the event to the next reader."""
    listener = Listener(3)
    waiting = asyncio.create_task(listener.get())
    await asyncio.sleep(0)
    listener.put(event(1))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await listener.get()).id == 1


async def test_several_readers_share():
    """Each event goes to one of several readers."""
    listener = Listener(10)
    readers = [asyncio.create_task(listener.get()) for _ in range(3)]
    await asyncio.sleep(0)
    for number in range(3):
        listener.put(event(number))
    assert sorted([(await reader).id for reader in readers]) == [0, 1, 2]


async def test_closed():
    """After the end waiting events can be read; then `get` raises and `async for` ends."""
    listener = Listener(3)
    listener.put(event(1))
    late = [asyncio.create_task(listener.get()) for _ in range(2)]
    await asyncio.sleep(0)
    listener.close()
    first, second = await asyncio.gather(*late, return_exceptions=True)
    assert isinstance(first, Event)
    assert isinstance(second, ClosedError)
    with pytest.raises(ClosedError):
        await listener.get()
    assert [one async for one in listener] == []
