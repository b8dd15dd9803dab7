"""Counts that are reported at once, and after that once a second at most."""

from collections.abc import Callable
from typing import Final

from bridge.core.ports import Clock

#: Seconds between two reports under the same key.
INTERVAL: Final = 1.0

Report = Callable[[str, int, str | None], None]
"""Takes key, count since the last report, and an example."""


class Tally:
    """Adds up by key: the first is reported at once, what follows within a second together."""

    def __init__(self, clock: Clock, report: Report, *, most: int | None = None) -> None:
        """Of more than `most` keys within a second the others are not reported; None: all are."""
        self._most = most
        self._clock = clock
        self._report = report
        self._counts: dict[str, int] = {}
        self._examples: dict[str, str | None] = {}
        self._timers: dict[str, Callable[[], None]] = {}

    def __len__(self) -> int:
        """Keys that were reported within the last second."""
        return len(self._timers)

    def add(self, key: str, count: int = 1, example: str | None = None) -> None:
        """Count, and report now or within a second."""
        if key in self._timers:
            self._counts[key] = self._counts.get(key, 0) + count
            self._examples[key] = example
            return
        if self._most is not None and len(self._timers) >= self._most:
            return
        self._wait(key)
        self._report(key, count, example)

    def flush(self) -> None:
        """Report all that waits, and stop waiting."""
        while self._timers:
            key, cancel = self._timers.popitem()
            cancel()
            self._say(key)

    def _wait(self, key: str) -> None:
        self._timers[key] = self._clock.call_later(INTERVAL, lambda: self._due(key))

    def _due(self, key: str) -> None:
        del self._timers[key]
        if key in self._counts:
            self._wait(key)
            self._say(key)

    def _say(self, key: str) -> None:
        count = self._counts.pop(key, 0)
        example = self._examples.pop(key, None)
        if count:
            self._report(key, count, example)
