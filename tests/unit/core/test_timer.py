"""Show that one timer can be set, moved and cancelled."""

import math

from bridge.core.timer import Timer
from tests.support.clock import FakeClock


async def test_calls_back_once():
    """A timer calls back after its time, and is not set afterwards."""
    clock, times = FakeClock(now=0.0), []
    timer = Timer(clock)
    timer.set(2.0, lambda: times.append((clock.monotonic(), timer.is_set)))
    assert timer.is_set
    assert timer.due == 2.0
    await clock.advance(10.0)
    assert times == [(2.0, False)]
    assert timer.due == math.inf


async def test_set_again():
    """Only the last time and the last callback count, whether earlier or later."""
    clock, times = FakeClock(now=0.0), []
    timer = Timer(clock)
    timer.set(2.0, lambda: times.append(("first", clock.monotonic())))
    timer.set(5.0, lambda: times.append(("second", clock.monotonic())))
    assert timer.due == 5.0
    timer.set(1.0, lambda: times.append(("third", clock.monotonic())))
    await clock.advance(10.0)
    assert times == [("third", 1.0)]
    assert clock.timers == 0


async def test_cancelled():
    """A cancelled timer does not call back; cancelling twice or too late does nothing."""
    clock, calls = FakeClock(), []
    timer = Timer(clock)
    timer.cancel()
    timer.set(1.0, lambda: calls.append(1))
    timer.cancel()
    timer.cancel()
    assert not timer.is_set
    assert timer.due == math.inf
    assert clock.timers == 0
    timer.set(1.0, lambda: calls.append(2))
    await clock.advance(10.0)
    timer.cancel()
    assert calls == [2]


async def test_the_callback_sets_it_again():
    """A callback that sets its timer again runs at an interval."""
    clock, times = FakeClock(now=0.0), []
    timer = Timer(clock)

    def again() -> None:
        times.append(clock.monotonic())
        timer.set(1.0, again)

    timer.set(1.0, again)
    await clock.advance(3.5)
    assert times == [1.0, 2.0, 3.0]
    timer.cancel()
    assert clock.timers == 0


async def test_caught_up():
    """`catch_up` calls what is overdue and leaves what is not due."""
    clock, calls = FakeClock(now=0.0), []
    timer = Timer(clock)
    timer.catch_up()
    timer.set(1.0, lambda: calls.append(1))
    timer.catch_up()
    assert calls == []
    clock._now = 1.5  # the loop is busy: time passes, and no timer comes
    timer.catch_up()
    assert calls == [1]
    timer.catch_up()
    await clock.advance(10.0)
    assert calls == [1]
