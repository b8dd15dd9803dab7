"""Reports at a limited rate: what comes too fast is counted, and told as one."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from bridge.core.ports import Clock
from bridge.core.timer import Timer

#: Seconds of an interval, where nothing else is said.
INTERVAL: Final = 1.0

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


@dataclass(slots=True)
class _Interval(Generic[T]):
    """One key's: since when, the last item, how many reports passed, and how many are held back."""

    since: float
    last: T
    passed: int = 1
    held: int = 0
    timer: Timer | None = None


class RateLimited(Generic[K, T]):
    """Lets a number of reports for each key pass in each interval, and holds back the others, counted.

    An interval begins with a key's first report. What was held back in it is told by one report that stands for all of
    it, when the interval has ended. That report is made by a timer; where nobody takes reports (`report` is None) there
    is no timer, no event loop is needed, and the next `add` that passes returns the count.
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
        """Nothing is reported yet.

        Args:
            clock: Measures the intervals.
            report: Takes the key, how many the report stands for, and the last item of them.
            interval: Seconds.
            burst: Reports for a key that pass in an interval.
            max_keys: Keys that are remembered at a time; with one more, the one whose interval began first is ended.
        """
        self._clock = clock
        self._report = report
        self._interval = interval
        self._burst = burst
        self._max_keys = max_keys
        self._intervals: dict[K, _Interval[T]] = {}

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._intervals)

    def __contains__(self, key: K) -> bool:
        """Whether this key is remembered."""
        return key in self._intervals

    def add(self, key: K, item: T, count: int = 1) -> int | None:
        """Report now where the rate allows it, else hold back.

        Args:
            key: What the limit is for.
            item: What the report is about.
            count: How many it stands for.

        Returns:
            How many this report stands for, with what was held back before; None where it is held back itself.
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
