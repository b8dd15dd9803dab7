"""Show how an event is emitted again until it is answered."""

import asyncio

import msgspec
import pytest

from bridge.client import ClosedError
from bridge.client.pending_request import PendingRequest
from bridge.core.model import Event
from tests.support.clock import FakeClock

ANSWER = Event(id=1, event_type="x", raw=msgspec.Raw(b"\xc0"), timestamp=0, source=None, correlation_id=None)


async def test_repeated_at_growing_intervals():
    """The event is repeated after a quarter of a second, then after twice as long each time, at most two seconds."""
    clock = FakeClock(now=0.0)
    emitted: list[float] = []
    pending = PendingRequest(lambda: emitted.append(clock.monotonic()), clock, repeat=True)
    await clock.advance(8.0)
    assert emitted == [0.0, 0.25, 0.75, 1.75, 3.75, 5.75, 7.75]
    pending.answered(ANSWER)
    await clock.advance(10.0)
    assert len(emitted) == 7
    assert clock.timers == 0
    assert await pending.answer is ANSWER


async def test_emitted_once():
    """An event that may not be repeated is emitted once."""
    clock = FakeClock()
    emitted: list[int] = []
    pending = PendingRequest(lambda: emitted.append(1), clock, repeat=False)
    await clock.advance(60.0)
    assert emitted == [1]
    assert clock.timers == 0
    pending.end()


async def test_the_first_answer_counts():
    """A second answer, or an end after the first, changes nothing."""
    pending = PendingRequest(lambda: None, FakeClock(), repeat=True)
    pending.answered(ANSWER)
    pending.answered(msgspec.structs.replace(ANSWER, id=2))
    pending.end(ClosedError("too late"))
    assert (await pending.answer).id == 1


async def test_ended():
    """After the end nothing is emitted; who waits gets the error, or is cancelled."""
    clock = FakeClock()
    emitted: list[int] = []
    first, second = (PendingRequest(lambda: emitted.append(1), clock, repeat=True) for _ in range(2))
    first.end(ClosedError("left"))
    second.end()
    await clock.advance(60.0)
    assert len(emitted) == 2
    assert clock.timers == 0
    with pytest.raises(ClosedError, match="left"):
        await first.answer
    with pytest.raises(asyncio.CancelledError):
        await second.answer
