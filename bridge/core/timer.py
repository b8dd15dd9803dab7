"""One call back that is still to come."""

import math
from collections.abc import Callable

from bridge.core.ports import Clock


class Timer:
    """Calls back once, some time after it was set. It can be set again, which moves it, and cancelled at any moment.

    When it calls back it is no longer set, so the callback may set it again.

    Attributes:
        is_set: Whether a call back is still to come.
        due: When it calls back, on the clock's `monotonic`; infinity while it is not set.
    """

    __slots__ = ("_callback", "_cancel", "_clock", "due", "is_set")

    _callback: Callable[[], None]
    _cancel: Callable[[], None]

    def __init__(self, clock: Clock) -> None:
        """Create a timer that is not set."""
        self._clock = clock
        self._callback = self._cancel = _nothing
        self.is_set = False
        self.due = math.inf

    def set(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call back once after `seconds`. A call back that it was set to before does not come."""
        if self.is_set:
            self._cancel()
        self.is_set = True
        self.due = self._clock.monotonic() + seconds
        self._callback = callback
        self._cancel = self._clock.call_later(seconds, self._fire)

    def cancel(self) -> None:
        """Do not call back; does nothing where it is not set."""
        if self.is_set:
            self._cancel()
            self._unset()

    def catch_up(self) -> None:
        """Call back now where that is overdue, because a busy event loop has not come to it yet."""
        if self._clock.monotonic() >= self.due:
            self._cancel()
            self._fire()

    def _fire(self) -> None:
        callback = self._callback
        self._unset()
        callback()

    def _unset(self) -> None:
        # What the callback holds is free at once, and needs no garbage collector.
        self._callback = self._cancel = _nothing
        self.is_set = False
        self.due = math.inf


def _nothing() -> None:
    """There is nothing to cancel or to call."""
