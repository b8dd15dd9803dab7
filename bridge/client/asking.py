"""One event that waits for its response, and is said again until then."""

import asyncio
from collections.abc import Callable
from typing import Final

from bridge.core.backoff import backoff
from bridge.core.model import Event
from bridge.core.ports import Clock
from bridge.core.timer import Timer

#: Seconds until it is said again the first time, and at most; each wait is twice the one before. What is lost is
#: mostly lost because the other side was just not there, so the first wait is short.
_FIRST: Final = 0.25
_LONGEST: Final = 2.0


class Asking:
    """Says an event now and, where it may be said again, at growing intervals until it is answered or ended.

    Attributes:
        answer: The response, when it comes.
    """

    def __init__(self, say: Callable[[], None], clock: Clock, *, again: bool) -> None:
        """Say it for the first time.

        Args:
            say: Emits the event.
            clock: For the intervals.
            again: Whether it may be said again; only with an idempotency key, by which the bridge knows it again.
        """
        self.answer: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._say = say
        self._times = 1
        self._timer = Timer(clock)
        say()
        if again:
            self._timer.set(self._wait(), self._again)

    def _again(self) -> None:
        self._times += 1
        self._timer.set(self._wait(), self._again)
        self._say()

    def _wait(self) -> float:
        return backoff(_FIRST, _LONGEST, self._times, rng=None)

    def answered(self, event: Event) -> None:
        """Here is the response; another one changes nothing."""
        self._timer.cancel()
        if not self.answer.done():
            self.answer.set_result(event)

    def end(self, error: Exception | None = None) -> None:
        """Say it no more; whoever waits for the answer gets the error, or is cancelled."""
        self._timer.cancel()
        if self.answer.done():
            return
        if error is None:
            self.answer.cancel()
        else:
            self.answer.set_exception(error)
