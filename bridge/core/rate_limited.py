"""Limit the rate of reports: those that come too fast are counted and reported as one."""

from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

import msgspec

from bridge.core.ports import Clock
from bridge.core.timer import Timer

#: Seconds of an interval, by default.
INTERVAL: Final = 1.0

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class _Interval(msgspec.Struct, Generic[T]):
    """The interval of one key: its start, the last item, how many reports passed, how many are held back."""

    since: float
    last: T
    passed: int = 1
    held: int = 0
    timer: Timer | None = None


class RateLimited(Generic[K, T]):
    """Let a number of reports for each key pass in each interval; count the others and report them as one.

    An interval begins with a key's first report. When it ends, one report is made for all that were held back in it. A
    timer makes that report. Without a `report` callback there is no timer and no event loop is needed: the next `add`
    that passes returns the count.
    """

    def __init__(
        self,
        clock: Clock,
        report: Callable[[K, int, T], None] | None = None,
        *,
        interval: float = INTERVAL,
        burst: int = 1,
        max_keys: int | None = None,
    ) -> None:
        """Create a limit for which nothing was reported yet.

        Args:
            clock: Measures the intervals.
            report: Called with the key, the number that the report stands for, and the last item.
            interval: Seconds.
            burst: Reports for each key that pass in an interval.
            max_keys: Keys that are remembered at a time; one more ends the interval that began first.
        """
        self._clock = clock
        self._report = report
        self._interval = interval
        self._burst = burst
        self._max_keys = max_keys
        self._intervals: dict[K, _Interval[T]] = {}

    def __len__(self) -> int:
        """Return how many keys are remembered."""
        return len(self._intervals)

    def __contains__(self, key: K) -> bool:
        """Return whether this key is remembered."""
        return key in self._intervals

    def add(self, key: K, item: T, count: int = 1) -> int | None:
        """Report now where the rate allows it, else hold the report back.

        Args:
            key: The key that the limit is for.
            item: The subject of the report.
            count: How many it stands for.

        Returns:
            How many this report stands for, with those that were held back before; None where it is held back itself.
        """
        now = self._clock.monotonic()
        interval = self._intervals.get(key)
        if interval is not None and now - interval.since < self._interval:
            if interval.passed >= self._burst:
                interval.held += count
                interval.last = item
                return None
            interval.passed += 1
        else:
            if interval is not None:
                self._forget(key)
                count += interval.held
            self._begin(key, item, now)
        if self._report is not None:
            self._report(key, count, item)
        return count

    def flush(self) -> None:
        """Report all that is held back, and end all intervals; no timer is left."""
        for key in tuple(self._intervals):
            self._tell(key, self._forget(key))

    def _begin(self, key: K, item: T, now: float) -> None:
        if self._max_keys is not None and len(self._intervals) >= self._max_keys:
            oldest = next(iter(self._intervals))
            self._tell(oldest, self._forget(oldest))
        interval = self._intervals[key] = _Interval(now, item)
        if self._report is not None:
            interval.timer = Timer(self._clock)
            interval.timer.set(self._interval, lambda: self._on_timer(key))

    def _forget(self, key: K) -> _Interval[T]:
        interval = self._intervals.pop(key)
        if interval.timer is not None:
            interval.timer.cancel()
        return interval

    def _on_timer(self, key: K) -> None:
        interval = self._intervals.pop(key)
        if interval.held:
            self._begin(key, interval.last, self._clock.monotonic())
            self._tell(key, interval)

    def _tell(self, key: K, interval: _Interval[T]) -> None:
        if self._report is not None and interval.held:
            self._report(key, interval.held, interval.last)
