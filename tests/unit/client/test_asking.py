"""How an event is said again until it is answered."""

import asyncio

import msgspec
import pytest

from bridge.client import ClosedError
from bridge.client.asking import Asking
from bridge.core.model import Event
from tests.support.clock import FakeClock

ANSWER = Event(id=1, event_type="x", raw=msgspec.Raw(b"\xc0"), timestamp=0, source=None, correlation_id=None)


async def test_said_again_at_growing_intervals():
    """First after a quarter of a second, then after twice as long each time, and never more than two seconds."""
    clock = FakeClock(now=0.0)
    said: list[float] = []
    asking = Asking(lambda: said.append(clock.monotonic()), clock, again=True)
    await clock.advance(8.0)
    assert said == [0.0, 0.25, 0.75, 1.75, 3.75, 5.75, 7.75]
    asking.answered(ANSWER)
    await clock.advance(10.0)
    assert len(said) == 7
    assert clock.timers == 0
    assert await asking.answer is ANSWER


async def test_said_once():
    """What may not be said again is not."""
    clock = FakeClock()
    said: list[int] = []
    asking = Asking(lambda: said.append(1), clock, again=False)
    await clock.advance(60.0)
    assert said == [1]
    assert clock.timers == 0
    asking.end()


async def test_the_first_answer_counts():
    """A second one, or an end after it, changes nothing."""
    asking = Asking(lambda: None, FakeClock(), again=True)
    asking.answered(ANSWER)
    asking.answered(msgspec.structs.replace(ANSWER, id=2))
    asking.end(ClosedError("too late"))
    assert (await asking.answer).id == 1


async def test_ended():
    """Nothing is said any more; who waits gets the error, or is cancelled."""
    clock = FakeClock()
    said: list[int] = []
    first, second = (Asking(lambda: said.append(1), clock, again=True) for _ in range(2))
    first.end(ClosedError("left"))
    second.end()
    await clock.advance(60.0)
    assert len(said) == 2
    assert clock.timers == 0
    with pytest.raises(ClosedError, match="left"):
        await first.answer
    with pytest.raises(asyncio.CancelledError):
        await second.answer
