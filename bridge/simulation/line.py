"""One way of a connection, in memory: it takes time, and may be silent or cut."""

import asyncio
from collections import deque
from collections.abc import Callable

from bridge.core.ports import Clock
from bridge.core.timer import Timer


class Line:
    """One way of a session's connection: what is sent arrives in order, later, or never."""

    def __init__(self, clock: Clock, latency: Callable[[], float], is_silent: Callable[[], bool]) -> None:
        self._clock = clock
        self._latency = latency
        self._is_silent = is_silent
        self._sent: deque[tuple[float, Callable[[], None]]] = deque()
        self._timer = Timer(clock)
        self._is_called = False

    def send(self, deliver: Callable[[], None]) -> None:
        """Let something arrive: `deliver` is called then."""
        self._sent.append((self._clock.monotonic() + self._latency(), deliver))
        self._call()

    def _call(self) -> None:
        """See that what comes next is handed over at its time."""
        if not self._sent or self._is_called or self._timer.is_set or self._is_silent():
            return
        wait = self._sent[0][0] - self._clock.monotonic()
        if wait > 0:
            self._timer.set(wait, self.pass_on)
        else:
            self._is_called = True
            asyncio.get_running_loop().call_soon(self.pass_on)

    def pass_on(self) -> None:
        """Hand over what has arrived, unless the line is silent."""
        self._is_called = False
        while self._sent and not self._is_silent() and self._sent[0][0] <= self._clock.monotonic():
            self._sent.popleft()[1]()
        self._call()

    def cut(self) -> None:
        """Lose all that is on the way."""
        self._timer.cancel()
        self._sent.clear()
