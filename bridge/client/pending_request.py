"""Emit an event repeatedly until its response has arrived."""

import asyncio
from collections.abc import Callable
from typing import Final

from bridge.core.backoff import backoff
from bridge.core.model import Event
from bridge.core.ports import Clock
from bridge.core.timer import Timer

#: Seconds until the event is emitted the second time, and between two times at most; each wait is twice the one before.
#: The first wait is short, because an event is mostly lost when the other side was not there for a moment.
_FIRST_WAIT: Final = 0.25
_LONGEST_WAIT: Final = 2.0


class PendingRequest:
    """Emit an event now and, if it may be repeated, at growing intervals until it is answered or ended.

    Attributes:
        answer: The response, when it has arrived.
    """

    def __init__(self, emit: Callable[[], None], clock: Clock, *, repeat: bool) -> None:
        """Emit the event for the first time.

        Args:
            emit: Emits the event.
            clock: Measures the intervals.
            repeat: Whether it may be repeated; only with an idempotency key, by which the bridge recognises it.
        """
        self.answer: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._emit = emit
        self._sent = 1
        self._timer = Timer(clock)
        emit()
        if repeat:
            self._timer.set(self._wait(), self._repeat)

    def _repeat(self) -> None:
        self._sent += 1
        self._timer.set(self._wait(), self._repeat)
        self._emit()

    def _wait(self) -> float:
        return backoff(_FIRST_WAIT, _LONGEST_WAIT, self._sent, rng=None)

    def answered(self, event: Event) -> None:
        """Take the response; a second one changes nothing."""
        self._timer.cancel()
        if not self.answer.done():
            self.answer.set_result(event)

    def end(self, error: Exception | None = None) -> None:
        """Stop repeating; raise the error for whoever waits for the answer, or cancel the wait where there is none."""
        self._timer.cancel()
        if self.answer.done():
            return
        if error is None:
            self.answer.cancel()
        else:
            self.answer.set_exception(error)
