"""Show that the clock leaves out standstills and otherwise agrees with asyncio's."""

import asyncio
import time

import pytest
import uvloop

from bridge.core.clock import RealClock
from tests.support.wait import until


class Machine:
    """A machine whose programs can be stopped, as their clock sees it."""

    def __init__(self) -> None:
        self.slept = 0.0

    def read(self) -> float:
        """Its monotonic clock."""
        return time.monotonic() + self.slept


def hand(now: list[float]) -> RealClock:
    """A clock that reads a time which the test sets."""
    return RealClock(lambda: now[0])


async def test_time_passes():
    """Without a standstill the clock is the system's, inside `steady` and outside."""
    now = [100.0]
    clock = hand(now)
    assert clock.monotonic() == 100.0
    now[0] = 5000.0
    assert clock.monotonic() == 5000.0
    with clock.steady():
        for _ in range(20):
            now[0] += 0.5
            clock.monotonic()
    assert clock.monotonic() == 5010.0


async def test_a_standstill_does_not_count():
    """After a standstill the clock rests for a moment and continues from its last note; it never goes back."""
    now = [100.0]
    clock = hand(now)
    with clock.steady():
        now[0] = 100.5
        assert clock.monotonic() == 100.5
        now[0] = 700.5
        assert clock.monotonic() == 100.5
        now[0] = 700.7
        assert clock.monotonic() == 100.5
        assert clock.left(101.0) == pytest.approx(0.55)
        now[0] = 701.75
        assert clock.monotonic() == pytest.approx(101.5)
        now[0] = 900.0
        assert clock.monotonic() == pytest.approx(101.5)
    now[0] = 1000.0
    assert clock.monotonic() == pytest.approx(201.25)


async def test_a_standstill_in_the_grace_of_another():
    """A standstill right after another does not count, either."""
    now = [100.0]
    clock = hand(now)
    with clock.steady():
        for standstill in (200.0, 300.1, 400.2):
            now[0] = standstill
            assert clock.monotonic() == 100.0
        now[0] = 401.2
        assert clock.monotonic() == pytest.approx(100.75)


async def test_timers_outlast_a_standstill():
    """Timer, time limit and sleep wait for what was left of them; a limit that was kept raises nothing."""
    machine = Machine()
    clock = RealClock(machine.read)
    answered = asyncio.Event()
    called: list[float] = []
    with clock.steady():
        began = clock.monotonic()

        async def limited() -> float:
            async with clock.timeout(0.3):
                await answered.wait()
            return clock.monotonic() - began

        async def sleeping() -> float:
            await clock.sleep(0.3)
            return clock.monotonic() - began

        clock.call_later(0.3, lambda: called.append(clock.monotonic() - began))
        call, sleep = asyncio.create_task(limited()), asyncio.create_task(sleeping())
        await asyncio.sleep(0.05)
        machine.slept += 3600.0
        await asyncio.sleep(0.3)  # their timers have come meanwhile
        assert not called
        assert not sleep.done()
        answered.set()
        assert await call < 0.3
        assert await sleep >= 0.299
        await until(lambda: called)
        assert called[0] >= 0.299


async def test_the_beat_alone_notes_the_time():
    """The regular note is enough to find a pause, although nobody asks for the time; nothing is left of it."""
    loop = asyncio.get_running_loop()
    before = len(loop._scheduled)  # type: ignore[attr-defined]
    machine = Machine()
    clock = RealClock(machine.read)
    with clock.steady():
        began = clock.monotonic()
        await asyncio.sleep(1.3)  # more than what would be a standstill
        assert clock.monotonic() - began >= 1.3
    handles = [handle for handle in loop._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
    assert len(handles) == before


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_time_limits(runner):
    """A time limit ends what takes too long and lets another cancellation through; None never ends."""

    async def main() -> None:
        clock = RealClock()
        with pytest.raises(TimeoutError):
            async with clock.timeout(0.01):
                await asyncio.sleep(10)
        with pytest.raises(TimeoutError):
            async with clock.timeout(0.0):
                await asyncio.sleep(10)
        async with clock.timeout(None):
            await asyncio.sleep(0)
        with pytest.raises(ZeroDivisionError):
            async with clock.timeout(10):
                raise ZeroDivisionError

        async def outer() -> None:
            async with clock.timeout(10):
                await asyncio.sleep(10)

        task = asyncio.create_task(outer())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    runner(main())


async def test_time_limits_inside_each_other():
    """The end of an outer limit is not taken for that of the inner one, and leaves no cancellation behind."""
    clock = RealClock()
    with pytest.raises(TimeoutError):
        async with clock.timeout(0.01), clock.timeout(10):
            await asyncio.sleep(10)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_cancelled_timer():
    """A cancelled timer does not call back."""
    clock = RealClock()
    called: list[int] = []
    cancel = clock.call_later(0.0, lambda: called.append(1))
    clock.call_later(0.01, lambda: called.append(2))
    cancel()
    await until(lambda: called)
    assert called == [2]


async def test_the_wall_clock_is_separate(monkeypatch):
    """A change of the system's date moves `wall_ms` and nothing else."""
    clock = RealClock()
    with clock.steady():
        for day in (86_400, -86_400):
            began, real = clock.monotonic(), time.time_ns()
            monkeypatch.setattr(time, "time_ns", lambda day=day, real=real: real + day * 10**9)
            assert clock.wall_ms() == (real + day * 10**9) // 1_000_000
            assert 0 <= clock.monotonic() - began < 1
            with pytest.raises(TimeoutError):
                async with clock.timeout(0.01):
                    await asyncio.sleep(10)
            monkeypatch.undo()
