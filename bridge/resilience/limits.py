"""Limits how many attempts run at a time, how many start a second, and how many calls wait."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

from bridge.core.ports import Clock
from bridge.core.settings import LimitSettings
from bridge.core.timer import Timer

#: The rate limit's burst, in seconds of its rate: in no second are there more than 1.1 times the rate.
BURST: Final = 0.1
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
    the queue that may start: call it after `release` and `resume`, and when `on_token` is called.
    """

    def __init__(self, settings: LimitSettings, *, clock: Clock, on_token: Callable[[], None]) -> None:
        """Create it with all slots free; `on_token` is called when the rate allows a waiter to start."""
        self._clock = clock
        self._on_token = on_token
        self._settings = settings
        self._queue_limit = settings.queue
        self._rate = None if settings.rate is None else TokenBucket(settings.rate)
        self._free = settings.max_in_flight  # below 0 while more attempts run than changed settings allow
        self._waiting: OrderedDict[Waiter, None] = OrderedDict()
        self._paused = False
        self._timer = Timer(clock)

    def change(self, settings: LimitSettings) -> None:
        """Use other settings from now on; who has a slot keeps it, and who waits goes on waiting. Then ask `next`."""
        self._free += settings.max_in_flight - self._settings.max_in_flight
        self._queue_limit = settings.queue
        if settings.rate != self._settings.rate:
            self._rate = None if settings.rate is None else TokenBucket(settings.rate)
            self.close()
        self._settings = settings

    def __iter__(self) -> Iterator[Waiter]:
        return iter(self._waiting)

    @property
    def full(self) -> bool:
        """Whether a new call can neither start nor wait."""
        return len(self._waiting) >= self._queue_limit and not self._ready()

    def try_start(self) -> bool:
        """Take a slot; return False where none is free, the rate does not allow it, others wait, or it is paused."""
        if not self._ready():
            return False
        self._take()
        return True

    def wait(self, waiter: Waiter) -> None:
        """Put a waiter at the end of the queue. The caller has checked `full`."""
        self._waiting[waiter] = None
        if self._rate is not None and self._free > 0 and not self._paused:
            self._wait_for_token(self._rate)

    def next(self) -> Waiter | None:
        """Take a slot for the first waiter and return it; None where nobody may start."""
        if not self._waiting or self._free <= 0 or self._paused:
            return None
        if self._rate is not None and self._wait_for_token(self._rate):
            return None
        self._take()
        return self._waiting.popitem(last=False)[0]

    def forget(self, waiter: Waiter) -> bool:
        """Remove a waiter from the queue; return False where it was not there."""
        if waiter not in self._waiting:
            return False
        del self._waiting[waiter]
        return True

    def release(self, *, unused: bool = False) -> None:
        """Give a slot back; `unused` where no attempt was made, so that it does not count for the rate."""
        self._free += 1
        if unused and self._rate is not None:
            self._rate.give_back()

    def clear(self) -> list[Waiter]:
        """Empty the queue, and return who waited, in order."""
        waiting = list(self._waiting)
        self._waiting.clear()
        self.close()
        return waiting

    def pause(self) -> None:
        """Give no slot until `resume`."""
        self._paused = True
        self.close()

    def resume(self) -> None:
        """Give slots again after `pause`; the caller then asks `next`."""
        self._paused = False

    def close(self) -> None:
        """Cancel the timer."""
        self._timer.cancel()

    def _ready(self) -> bool:
        if self._free <= 0 or self._waiting or self._paused:
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
            self._timer.set(wait, self._on_token)
        return wait > 0
