"""How much at a time, how much a second, and how much may wait."""

import asyncio
import enum
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from bridge.ports import Clock
from bridge.settings import LimitSettings

#: The rate limit's burst, in seconds of its rate: no second ever sees more than 1.1 times the rate.
BURST: Final = 0.1
#: Seconds that sums of floats may be off; without it a timer that fires exactly on time could find itself too early.
_ROUNDING: Final = 1e-9


class Wake(enum.Enum):
    """Why a waiting call goes on."""

    START = "start"
    ELAPSED = "elapsed"
    EXPIRED = "expired"
    STOPPED = "stopped"
    CIRCUIT = "circuit"


Waiter = asyncio.Future[Wake]


def wake(waiter: Waiter, reason: Wake) -> None:
    """Let a waiting call go on; the first reason counts."""
    if not waiter.done():
        waiter.set_result(reason)


class RateLimit:
    """A token bucket, kept as one number: the time at which it would be full again (GCRA, ITU-T I.371)."""

    def __init__(self, rate: float) -> None:
        """A full bucket; `rate` is in starts a second."""
        self._interval = 1 / rate
        self._tolerance = (max(1.0, rate * BURST) - 1) * self._interval
        self._full_at = 0.0

    def wait(self, now: float) -> float:
        """Seconds until there is a token; 0 where there is one."""
        wait = self._full_at - self._tolerance - now
        return wait if wait > _ROUNDING else 0.0

    def take(self, now: float) -> None:
        """Take one token, after `wait` said 0."""
        self._full_at = max(self._full_at, now) + self._interval

    def give_back(self) -> None:
        """Undo one `take` that led to no attempt."""
        self._full_at -= self._interval


class Limiter:
    """Hands out slots for attempts in the order of asking, not more at a time and a second than the settings say.

    `try_start` is the way where nothing is in the way: no await, no future. Otherwise `wait` and await the future. Who
    has got a slot by either way says `release` when done; who has got it by waiting says `started` first.
    """

    def __init__(self, settings: LimitSettings, *, clock: Clock) -> None:
        self._clock = clock
        self._queue_limit = settings.queue
        self._rate = None if settings.rate is None else RateLimit(settings.rate)
        self._free = settings.max_in_flight
        self._waiting: OrderedDict[Waiter, None] = OrderedDict()
        self._handed = 0  # slots given to waiters whose tasks have not run yet: nobody may overtake those
        self._paused = False
        self._cancel_timer: Callable[[], None] | None = None

    @property
    def full(self) -> bool:
        """Whether a new call would have to wait and may not."""
        return len(self._waiting) >= self._queue_limit and not self._ready()

    def try_start(self) -> bool:
        """Take a slot if nothing is in the way."""
        if self._handed or not self._ready():
            return False
        self._take()
        return True

    def wait(self) -> Waiter:
        """Queue for a slot; the future's result is `START` when it is there. The caller has checked `full`."""
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = None
        self._pump()
        return waiter

    def started(self) -> None:
        """The task of a waiter that got `START` runs now, or is gone."""
        self._handed -= 1

    def forget(self, waiter: Waiter) -> None:
        """A waiter went on for another reason, or was cancelled; a slot that it got meanwhile goes to the next."""
        self._waiting.pop(waiter, None)
        if waiter.done() and not waiter.cancelled() and waiter.result() is Wake.START:
            self.started()
            self.release(unused=True)

    def release(self, *, unused: bool = False) -> None:
        """Give a slot back; `unused` where no attempt was made, so that it does not count for the rate."""
        self._free += 1
        if unused and self._rate is not None:
            self._rate.give_back()
        if self._waiting:
            self._pump()

    def end_all(self, reason: Wake) -> None:
        """Send everybody who waits away."""
        while self._waiting:
            wake(self._waiting.popitem(last=False)[0], reason)
        self.close()

    def pause(self) -> None:
        """Start nothing until `resume`."""
        self._paused = True
        self.close()

    def resume(self) -> None:
        """Start again what waits."""
        self._paused = False
        self._pump()

    def close(self) -> None:
        """Take the timer back."""
        if self._cancel_timer is not None:
            self._cancel_timer()
            self._cancel_timer = None

    def _ready(self) -> bool:
        if not self._free or self._waiting or self._paused:
            return False
        return self._rate is None or not self._rate.wait(self._clock.monotonic())

    def _take(self) -> None:
        self._free -= 1
        if self._rate is not None:
            self._rate.take(self._clock.monotonic())

    def _pump(self) -> None:
        while self._waiting and self._free and not self._paused:
            if self._rate is not None and (wait := self._rate.wait(self._clock.monotonic())):
                if self._cancel_timer is None:
                    self._cancel_timer = self._clock.call_later(wait, self._on_token)
                return
            waiter, _ = self._waiting.popitem(last=False)
            if not waiter.done():
                self._take()
                self._handed += 1
                waiter.set_result(Wake.START)

    def _on_token(self) -> None:
        self._cancel_timer = None
        self._pump()
