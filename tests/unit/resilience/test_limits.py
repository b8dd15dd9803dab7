"""Slots, rate and queue."""

from collections.abc import Callable

from bridge.core.settings import LimitSettings
from bridge.resilience.limits import Limiter, TokenBucket
from tests.support.clock import FakeClock


def limiter(
    clock: FakeClock | None = None, on_turn: Callable[[], None] = lambda: None, **settings: object
) -> Limiter[int]:
    """A limiter with the given settings."""
    return Limiter(LimitSettings.model_validate(settings), clock=clock or FakeClock(), on_turn=on_turn)


def started(limits: Limiter[int]) -> list[int]:
    """Return all that may start now, in order."""
    found = []
    while (waiter := limits.next()) is not None:
        found.append(waiter)
    return found


def test_free_slots_need_no_waiting() -> None:
    """As many start at once as there are slots, and not one more."""
    limits = limiter(max_in_flight=3)
    assert [limits.try_start() for _ in range(4)] == [True, True, True, False]
    limits.release()
    assert limits.try_start()


def test_slots_go_to_who_waits_longest() -> None:
    """Waiters start first in, first out, one for each release."""
    limits = limiter(max_in_flight=1)
    assert limits.try_start()
    for number in (1, 2, 3):
        limits.wait(number)
    assert started(limits) == []
    limits.release()
    assert started(limits) == [1]
    limits.release()
    assert started(limits) == [2]


def test_nobody_overtakes_who_waits() -> None:
    """A newcomer starts after those that wait, although a slot is free."""
    limits = limiter(max_in_flight=1)
    assert limits.try_start()
    limits.wait(1)
    limits.release()
    assert not limits.try_start()
    assert started(limits) == [1]


def test_full_counts_only_who_waits() -> None:
    """The queue is full at its bound, which does not matter while a slot is free."""
    limits = limiter(max_in_flight=1, queue=1)
    assert not limits.full
    assert limits.try_start()
    assert not limits.full
    limits.wait(1)
    assert limits.full
    assert limits.forget(1)
    assert not limits.forget(1)
    assert not limits.full


def test_no_queue_at_all() -> None:
    """With `queue = 0` a call starts at once or not at all."""
    limits = limiter(max_in_flight=1, queue=0)
    assert not limits.full
    assert limits.try_start()
    assert limits.full


def test_who_went_away_gets_no_slot() -> None:
    """The slot goes to the next one who still waits."""
    limits = limiter(max_in_flight=1)
    assert limits.try_start()
    limits.wait(1)
    limits.wait(2)
    limits.forget(1)
    limits.release()
    assert started(limits) == [2]


def test_paused_starts_nothing() -> None:
    """While paused neither new nor waiting calls start; after `resume` all do, in order."""
    limits = limiter(max_in_flight=2)
    limits.pause()
    assert not limits.try_start()
    for number in (1, 2, 3):
        limits.wait(number)
    assert started(limits) == []
    limits.resume()
    assert started(limits) == [1, 2]


def test_clear_sends_everybody_away() -> None:
    """`clear` returns all that wait, in order, and does not touch the slots in use."""
    limits = limiter(max_in_flight=1)
    assert limits.try_start()
    for number in (1, 2, 3):
        limits.wait(number)
    assert list(limits) == [1, 2, 3]
    assert limits.clear() == [1, 2, 3]
    assert not limits.try_start()
    limits.release()
    assert limits.try_start()


def test_clear_ends_the_turn_of_those_that_start_alone() -> None:
    """Where nobody waits any more who would have started alone, the others start."""
    clock = FakeClock()
    limits = limiter(clock, max_in_flight=2, rate=1)
    assert limits.try_start()
    limits.wait_alone(1)
    limits.release()
    assert started(limits) == [], "there is no token"
    limits._begin_turn()
    assert limits.clear() == [1]
    clock._now += 10.0
    assert limits.try_start()


async def test_rate_keeps_pace_and_order() -> None:
    """A burst of a tenth of a second, then one start each interval, in order."""
    clock, order = FakeClock(), []
    limits = limiter(clock, lambda: order.extend(started(limits)), max_in_flight=1000, rate="20/s")
    assert [limits.try_start() for _ in range(3)] == [True, True, False]
    for number in range(5):
        limits.wait(number)
    assert limits.next() is None
    for count in range(1, 6):
        await clock.advance(0.0499)
        assert len(order) == count - 1
        await clock.advance(0.0001)
        assert order == list(range(count))
    assert clock.timers == 0


async def test_a_slow_rate_works() -> None:
    """A rate below one a second has a burst of one."""
    clock = FakeClock()
    limits = limiter(clock, rate="30/m")
    assert limits.try_start()
    limits.wait(1)
    await clock.advance(1.9)
    assert started(limits) == []
    await clock.advance(0.1)
    assert started(limits) == [1]


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


def test_an_unused_start_gives_its_token_back() -> None:
    """A slot that was given back unused does not count for the rate."""
    limits = limiter(rate="1/s")
    assert limits.try_start()
    limits.release(unused=True)
    assert limits.try_start()
    limits.release()
    assert not limits.try_start()


def test_close_and_pause_leave_no_timer() -> None:
    """Pausing cancels the rate's timer, and resuming sets it again."""
    clock = FakeClock()
    limits = limiter(clock, rate="1/s")
    assert limits.try_start()
    limits.wait(1)
    assert limits.next() is None
    assert clock.timers == 1
    limits.pause()
    assert clock.timers == 0
    limits.resume()
    assert limits.next() is None
    assert clock.timers == 1
    limits.close()
    assert clock.timers == 0


def test_a_timer_that_fires_exactly_on_time_finds_a_token() -> None:
    """Rounding of floats never makes a timer that fires on time find itself too early."""
    rate, now = TokenBucket(3.0), 1e6
    for _ in range(10_000):
        now += rate.wait(now)
        assert rate.wait(now) == 0
        rate.take(now)
