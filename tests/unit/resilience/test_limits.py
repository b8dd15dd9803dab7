"""Slots, rate and queue."""

import asyncio

import pytest

from bridge.resilience.limits import Limiter, RateLimit, Waiter, Wake, wake
from bridge.settings import LimitSettings
from tests.support.clock import FakeClock


def limiter(clock: FakeClock | None = None, **settings: object) -> Limiter:
    """A limiter with the given settings."""
    return Limiter(LimitSettings.model_validate(settings), clock=clock or FakeClock())


def starts(waiters: list[Waiter]) -> list[bool]:
    """Which of them may start."""
    return [waiter.done() and waiter.result() is Wake.START for waiter in waiters]


async def test_free_slots_need_no_waiting() -> None:
    """As many start at once as there are slots, and not one more."""
    limits = limiter(max_in_flight=3)
    assert [limits.try_start() for _ in range(4)] == [True, True, True, False]
    limits.release()
    assert limits.try_start()


async def test_slots_go_to_who_waits_longest() -> None:
    """FIFO, one for each release."""
    limits = limiter(max_in_flight=1)
    assert limits.try_start()
    waiters = [limits.wait() for _ in range(3)]
    limits.release()
    assert starts(waiters) == [True, False, False]
    limits.started()
    limits.release()
    assert starts(waiters) == [True, True, False]


async def test_nobody_overtakes_who_was_just_handed_a_slot() -> None:
    """Between the hand-over and its task's next step a newcomer queues, although a slot is free."""
    limits = limiter(max_in_flight=2)
    assert limits.try_start()
    assert limits.try_start()
    first = limits.wait()
    limits.release()
    limits.release()
    assert first.done()
    assert not limits.try_start()
    second = limits.wait()
    assert starts([second]) == [True]
    limits.started()
    limits.started()
    limits.release()
    assert limits.try_start()


async def test_full_counts_only_who_waits() -> None:
    """The queue's bound says how many may wait; a free slot needs no queue."""
    limits = limiter(max_in_flight=1, queue=1)
    assert not limits.full
    assert limits.try_start()
    assert not limits.full
    waiter = limits.wait()
    assert limits.full
    limits.forget(waiter)
    assert not limits.full


async def test_no_queue_at_all() -> None:
    """`queue = 0`: start at once or not at all."""
    limits = limiter(max_in_flight=1, queue=0)
    assert not limits.full
    assert limits.try_start()
    assert limits.full


@pytest.mark.parametrize("how", ["cancelled", "expired"])
async def test_who_went_away_gets_no_slot(how: str) -> None:
    """The slot goes to the next one who still waits."""
    limits = limiter(max_in_flight=1)
    assert limits.try_start()
    gone, next_one = limits.wait(), limits.wait()
    if how == "cancelled":
        gone.cancel()
    else:
        wake(gone, Wake.EXPIRED)
    limits.release()
    assert next_one.result() is Wake.START


async def test_a_slot_that_comes_too_late_goes_on() -> None:
    """Who is cancelled between hand-over and its next step passes the slot on."""
    limits = limiter(max_in_flight=1)
    assert limits.try_start()
    late, next_one = limits.wait(), limits.wait()
    limits.release()
    assert starts([late, next_one]) == [True, False]
    limits.forget(late)
    assert starts([next_one]) == [True]
    limits.started()
    limits.release()
    assert limits.try_start()


async def test_paused_starts_nothing() -> None:
    """Neither new nor waiting ones start, and all do in their order after `resume`."""
    limits = limiter(max_in_flight=2)
    limits.pause()
    assert not limits.try_start()
    waiters = [limits.wait() for _ in range(3)]
    assert starts(waiters) == [False] * 3
    limits.resume()
    assert starts(waiters) == [True, True, False]


async def test_end_all_sends_everybody_away() -> None:
    """Everyone who waits gets the reason; slots in use are untouched."""
    limits = limiter(max_in_flight=1)
    assert limits.try_start()
    waiters = [limits.wait() for _ in range(3)]
    limits.end_all(Wake.STOPPED)
    assert [waiter.result() for waiter in waiters] == [Wake.STOPPED] * 3
    limits.release()
    assert limits.try_start()


async def test_rate_keeps_pace_and_order() -> None:
    """A burst of a tenth of a second, then one start each interval, in order."""
    clock = FakeClock()
    limits = limiter(clock, max_in_flight=1000, rate="20/s")
    assert [limits.try_start() for _ in range(3)] == [True, True, False]
    order: list[int] = []

    async def start(number: int) -> None:
        await limits.wait()
        limits.started()
        order.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(start(number))
        for count in range(1, 6):
            await clock.advance(0.0499)
            assert len(order) == count - 1
            await clock.advance(0.0001)
            assert order == list(range(count))


async def test_a_slow_rate_works() -> None:
    """Less than one a second has a burst of one."""
    clock = FakeClock()
    limits = limiter(clock, rate="30/m")
    assert limits.try_start()
    waiter = limits.wait()
    await clock.advance(1.9)
    assert not waiter.done()
    await clock.advance(0.1)
    assert waiter.done()


async def test_no_second_sees_more_than_a_tenth_over_the_rate() -> None:
    """However callers press, any window of one second holds at most 1.1 times the rate."""
    clock = FakeClock()
    limits = limiter(clock, max_in_flight=10_000, rate="100/s")
    times: list[float] = []
    await clock.advance(5)
    for _ in range(3000):
        if limits.try_start():
            times.append(clock.monotonic())
        else:
            await clock.advance(0.001)
    assert max(sum(start <= time < start + 0.9999 for time in times) for start in times) <= 110
    assert len([time for time in times if time >= times[0] + 1]) >= 100


async def test_an_unused_start_gives_its_token_back() -> None:
    """Who got a slot but made no attempt does not count for the rate."""
    limits = limiter(rate="1/s")
    assert limits.try_start()
    limits.release(unused=True)
    assert limits.try_start()
    limits.release()
    assert not limits.try_start()


async def test_close_and_pause_leave_no_timer() -> None:
    """The rate's timer is taken back, and set again on resume."""
    clock = FakeClock()
    limits = limiter(clock, rate="1/s")
    assert limits.try_start()
    limits.wait()
    assert clock.timers == 1
    limits.pause()
    assert clock.timers == 0
    limits.resume()
    assert clock.timers == 1
    limits.close()
    assert clock.timers == 0


def test_a_timer_that_fires_exactly_on_time_finds_a_token() -> None:
    """Sums of floats never leave a rest that makes a timer spin."""
    rate, now = RateLimit(3.0), 1e6
    for _ in range(10_000):
        now += rate.wait(now)
        assert rate.wait(now) == 0
        rate.take(now)
