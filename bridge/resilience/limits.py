"""Limits how many attempts run at a time, how many start a second, and how many calls wait."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

from bridge.core.ports import Clock
from bridge.core.settings import LimitSettings
from bridge.core.timer import Timer

#: The rate limit's burst, in seconds of its rate: in no second are there more than 1.1 times the rate.
BURST: Final = 0.1
#: Seconds for which those that may start together go before those that must start alone, and the reverse.
TURN: Final = 1.0
#: Seconds that sums of floats may be off; without it a timer that fires exactly on time could find itself too early.
_ROUNDING: Final = 1e-9

Waiter = TypeVar("Waiter")


class TokenBucket:
    """A token bucket, stored as one number: the time at which it would be full again (GCRA, ITU-T I.371)."""

    def __init__(self, rate: float) -> None:
        """Create a full bucket; `rate` is in starts a second."""
        self._interval = 1 / rate
        self._tolerance = (max(1.0, rate * BURST) - 1) * self._interval
        self._full_at = 0.0

    def wait(self, now: float) -> float:
        """Return the seconds until there is a token; 0 where there is one now."""
        wait = self._full_at - self._tolerance - now
        return wait if wait > _ROUNDING else 0.0

    def take(self, now: float) -> None:
        """Take one token, after `wait` returned 0."""
        self._full_at = max(self._full_at, now) + self._interval

    def give_back(self) -> None:
        """Put one token back that led to no attempt."""
        self._full_at -= self._interval


class Limiter(Generic[Waiter]):
    """Gives slots for attempts in the order of asking, not more at a time and a second than the settings allow.

    `try_start` takes a slot where one is free. Otherwise `wait` queues the caller, and `next` returns the first one in
    the queue that may start: call it after `release` and `resume`, and when `on_turn` is called.

    What waits by `wait_alone` starts when nothing else runs, and nothing else starts while it runs. The others go
    first, for `TURN` seconds at most; then nothing else starts until those that wait alone had their turn, which lasts
    as long. A lone one that still runs then has company.
    """

    def __init__(self, settings: LimitSettings, *, clock: Clock, on_turn: Callable[[], None]) -> None:
        """Create it with all slots free; `on_turn` is called when time has made it possible that a waiter starts."""
        self._clock = clock
        self._on_turn = on_turn
        self._settings = settings
        self._queue_limit = settings.queue
        self._rate = None if settings.rate is None else TokenBucket(settings.rate)
        self._free = settings.max_in_flight  # below 0 while more attempts run than changed settings allow
        self._waiting: OrderedDict[Waiter, None] = OrderedDict()
        self._alone: OrderedDict[Waiter, None] = OrderedDict()
        self._paused = False
        self._held = False  # it is the turn of those that start alone
        self._shut = False  # paused or held
        self._timer = Timer(clock)
        self._turn = Timer(clock)

    def change(self, settings: LimitSettings) -> None:
        """Use other settings from now on; who has a slot keeps it, and who waits goes on waiting. Then ask `next`."""
        self._free += settings.max_in_flight - self._settings.max_in_flight
        self._queue_limit = settings.queue
        if settings.rate != self._settings.rate:
            self._rate = None if settings.rate is None else TokenBucket(settings.rate)
            self.close()
        self._settings = settings

    def __iter__(self) -> Iterator[Waiter]:
        return iter((*self._waiting, *self._alone))

    @property
    def full(self) -> bool:
        """Whether a new call can neither start nor wait."""
        return len(self._waiting) + len(self._alone) >= self._queue_limit and not self._ready()

    def try_start(self) -> bool:
        """Take a slot; return False where none is free, the rate does not allow it, others wait, or it is paused."""
        if self._free <= 0 or self._waiting or self._shut:
            return False
        if self._rate is not None:
            now = self._clock.monotonic()
            if self._rate.wait(now):
                return False
            self._rate.take(now)
        self._free -= 1
        return True

    def wait(self, waiter: Waiter) -> None:
        """Put a waiter at the end of the queue. The caller has checked `full`."""
        self._waiting[waiter] = None
        if self._rate is not None and self._free > 0 and not self._shut:
            self._wait_for_token(self._rate)

    def wait_alone(self, waiter: Waiter) -> None:
        """Put a waiter at the end of the queue of those that start alone. The caller asks `next` after that."""
        self._alone[waiter] = None

    def next(self) -> Waiter | None:
        """Take a slot for the first waiter and return it; None where nobody may start."""
        if (self._alone or self._held) and not self._paused:
            lone = self._next_alone()
            if lone is not None:
                return lone
        if not self._waiting or self._free <= 0 or self._shut:
            return None
        if self._rate is not None:
            if self._wait_for_token(self._rate):
                return None
            self._rate.take(self._clock.monotonic())
        self._free -= 1
        return self._waiting.popitem(last=False)[0]

    def _next_alone(self) -> Waiter | None:
        """Take a slot for the first one that starts alone, where nothing runs, and nobody else waits or may."""
        if not self._alone:
            if self._free == self._settings.max_in_flight or not self._turn.is_set:  # no lone one runs
                self._hold(held=False)
            return None
        if self._free == self._settings.max_in_flight and (self._held or not self._waiting):
            if self._rate is not None and self._wait_for_token(self._rate):
                return None
            if not self._held or not self._turn.is_set:
                self._hold(held=True)
                self._turn.set(TURN, self._end_turn)
            self._take()
            return self._alone.popitem(last=False)[0]
        if not self._held and not self._turn.is_set:
            self._turn.set(TURN, self._begin_turn)
        return None

    def _begin_turn(self) -> None:
        """Let nothing start but those that start alone, as soon as nothing runs."""
        if self._alone:
            self._hold(held=True)
            self._on_turn()

    def _end_turn(self) -> None:
        """Let the others start again, beside a lone one that still runs."""
        self._hold(held=False)
        self._on_turn()

    def _hold(self, *, held: bool) -> None:
        self._held = held
        self._shut = held or self._paused
        self._turn.cancel()

    def forget(self, waiter: Waiter) -> bool:
        """Remove a waiter from its queue; return False where it was not there."""
        for queue in (self._waiting, self._alone):
            if waiter in queue:
                del queue[waiter]
                return True
        return False

    def release(self, *, unused: bool = False) -> bool:
        """Give a slot back, and return whether `next` may have something to do.

        Args:
            unused: Whether no attempt was made, so that it does not count for the rate.
        """
        self._free += 1
        if unused and self._rate is not None:
            self._rate.give_back()
        return bool(self._waiting or self._alone or self._held)

    def clear(self) -> list[Waiter]:
        """Empty the queues, and return who waited, in order."""
        waiting = [*self]
        self._waiting.clear()
        self._alone.clear()
        self.close()
        self._hold(held=False)  # nobody is left who would end the turn
        return waiting

    def pause(self) -> None:
        """Give no slot until `resume`."""
        self._paused = self._shut = True
        self.close()

    def resume(self) -> None:
        """Give slots again after `pause`; the caller then asks `next`."""
        self._paused = False
        self._shut = self._held

    def close(self) -> None:
        """Cancel the timers."""
        self._timer.cancel()
        self._turn.cancel()

    def _ready(self) -> bool:
        if self._free <= 0 or self._waiting or self._shut:
            return False
        return self._rate is None or not self._rate.wait(self._clock.monotonic())

    def _take(self) -> None:
        self._free -= 1
        if self._rate is not None:
            self._rate.take(self._clock.monotonic())

    def _wait_for_token(self, rate: TokenBucket) -> bool:
        """Return whether there is no token now, and set a timer for when there is one."""
        wait = rate.wait(self._clock.monotonic())
        if wait and not self._timer.is_set:
            self._timer.set(wait, self._on_turn)
        return wait > 0
