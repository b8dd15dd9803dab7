"""Reports of what was shed, at most one a second for each reason."""

from collections.abc import Callable
from typing import Any, Final

from bridge.core.model import Operation
from bridge.core.ports import Clock

#: Seconds between two `shed` reports with the same reason.
INTERVAL: Final = 1.0

Report = Callable[[str, dict[str, Any], Operation | None], None]
"""Takes what happened (`retry`, `failed`, `circuit.opened`, …), its payload, and the operation that caused it."""


class ShedReports:
    """Counts what is shed. The first of a reason is reported at once, what follows within a second as one count."""

    def __init__(self, report: Report, *, clock: Clock) -> None:
        self._report = report
        self._clock = clock
        self._counts: dict[str, int] = {}
        self._last: dict[str, Operation] = {}
        self._timers: dict[str, Callable[[], None]] = {}

    def count(self, reason: str, operation: Operation) -> None:
        """One more; a report is about the last operation that it counts."""
        self._counts[reason] = self._counts.get(reason, 0) + 1
        self._last[reason] = operation
        if reason not in self._timers:
            self._say(reason)

    def close(self) -> None:
        """Report what is not reported yet, and take the timers back."""
        for cancel in self._timers.values():
            cancel()
        self._timers.clear()
        for reason in list(self._counts):
            self._flush(reason)

    def _say(self, reason: str) -> None:
        self._timers[reason] = self._clock.call_later(INTERVAL, lambda: self._on_timer(reason))
        self._flush(reason)

    def _on_timer(self, reason: str) -> None:
        del self._timers[reason]
        if reason in self._counts:
            self._say(reason)

    def _flush(self, reason: str) -> None:
        count, operation = self._counts.pop(reason), self._last.pop(reason)
        self._report("shed", {"reason": reason, "count": count}, operation)
