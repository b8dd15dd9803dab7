"""Wait for the ticks of a schedule. No tick drifts: each time follows from the schedule, not from the tick before.

Where the wait took so long that several ticks are due (a suspended machine, a clock set forward), there is one tick:
the latest, with the number of those missed before it.
"""

import math
from datetime import datetime, tzinfo
from typing import Final, NamedTuple, Protocol

from cronsim import CronSim

from bridge.core.ports import Clock

#: Seconds after which a waiting cron schedule reads the clock again, which somebody may have set.
_LONGEST_SLEEP: Final = 60.0
#: Milliseconds by which the clock must be set back for the schedule to follow it; below that the schedule waits until
#: the clock is where it was, as Debian's cron(8) does.
_SET_BACK: Final = 3 * 3600 * 1000
#: The largest number of missed ticks that is counted.
MOST_MISSED: Final = 10_000


class Tick(NamedTuple):
    """One tick: the time for which it was scheduled (Unix ms), and how many before it were missed."""

    scheduled_at: int
    missed: int


class Ticks(Protocol):
    """Waits for the ticks of one schedule."""

    async def next(self) -> Tick:
        """Wait for the next tick."""
        ...


class IntervalTicks:
    """Ticks every `every` seconds after `start`, on the monotonic clock; the time of a suspension does not count."""

    def __init__(self, every: float, start: float, clock: Clock) -> None:
        self._every = every
        self._start = start
        self._clock = clock
        self._count = self._passed()

    def _passed(self) -> int:
        """Return how many ticks are due by now; a microsecond is added, so that rounding loses none."""
        return math.floor((self._clock.monotonic() - self._start + 1e-6) / self._every)

    async def next(self) -> Tick:
        """See `Ticks.next`."""
        due = self._count + 1
        wait = self._start + due * self._every - self._clock.monotonic()
        if wait > 0:
            await self._clock.sleep(wait)
        self._count = max(due, self._passed())
        late = self._clock.monotonic() - (self._start + self._count * self._every)
        return Tick(self._clock.wall_ms() - round(late * 1000), self._count - due)


class AlignedTicks:
    """Ticks at whole multiples of `every` seconds since the beginning of 1970, by the wall clock.

    All machines mean the same tick by the same time. Where the clock is set back, it waits until it is where it was, or
    follows it, as `CronTicks` does.
    """

    def __init__(self, every: float, clock: Clock) -> None:
        self._every = max(1, round(every * 1_000_000))
        self._clock = clock
        self._count = self._passed()

    def _passed(self) -> int:
        """Return the number of the latest tick: the last one whose time, in whole milliseconds, has come."""
        return (self._clock.wall_ms() * 1000 + 999) // self._every

    def _at(self, count: int) -> int:
        """Return the time of a tick, Unix ms. Integers, as two machines must not round differently."""
        return count * self._every // 1000

    async def next(self) -> Tick:
        """See `Ticks.next`."""
        due = self._count + 1
        while (now := self._clock.wall_ms()) < self._at(due):
            if now < self._at(self._count) - _SET_BACK:
                self._count = self._passed()
                due = self._count + 1
            await self._clock.sleep(min((self._at(due) - now) / 1000, _LONGEST_SLEEP))
        self._count = max(due, self._passed())
        return Tick(self._at(self._count), self._count - due)


class CronTicks:
    """Ticks at the times of a cron expression, by the wall clock.

    Daylight saving time is treated as in Debian's cron (CronSim): a fixed time that the change skips ticks right after
    the change, one that comes twice ticks the first time; a schedule for all hours follows real time.
    """

    def __init__(self, expression: str, zone: tzinfo, clock: Clock) -> None:
        self._expression = expression
        self._zone = zone
        self._clock = clock
        self._last = clock.wall_ms()

    def after(self, milliseconds: int) -> int:
        """Return the first time after `milliseconds`, both Unix ms.

        Raises StopIteration where there is none within 50 years.
        """
        times = CronSim(self._expression, datetime.fromtimestamp(milliseconds / 1000, self._zone))
        while True:
            # An hour that comes twice makes CronSim name its first pass while we are in the second.
            found = round(next(times).timestamp() * 1000)
            if found > milliseconds:
                return found

    async def next(self) -> Tick:
        """See `Ticks.next`."""
        due = self.after(self._last)
        while (now := self._clock.wall_ms()) < due:
            if now < self._last - _SET_BACK:
                self._last = now
                due = self.after(now)
            await self._clock.sleep(min((due - now) / 1000, _LONGEST_SLEEP))
        missed = 0
        while missed < MOST_MISSED and (following := self.after(due)) <= now:
            due, missed = following, missed + 1
        self._last = due if missed < MOST_MISSED else now
        return Tick(due, missed)
