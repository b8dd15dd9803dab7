"""Measure time on a clock that leaves out the time in which the process was suspended. Tests use a fake clock instead.

When a process that was stopped (SIGSTOP, a paused container or virtual machine) continues, every time limit has passed,
although the answers are in its sockets. A steady clock leaves such a pause out. It notes the time at a regular
interval; when much more than one interval has passed since the last note, the process stood still, not the remotes. An
event loop that was blocked for as long counts as standing still, too. (Where the whole machine sleeps, Linux stops the
monotonic clock by itself.)

The wall clock is not changed. `deadline_ms`, a time of day, is converted to the time that is left when its command is
read; from then on this clock measures it.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Final, Self

#: Seconds between two notes of the time.
_BEAT: Final = 0.25
#: Seconds without a note after which the process is taken to have stood still.
_STANDSTILL: Final = 1.0
#: Seconds that do not count after it, either, so that what waits in the sockets is read before any time limit ends.
_GRACE: Final = 0.25
#: Seconds that an event loop may call too early; uvloop's timers count milliseconds.
_EARLY: Final = 0.001


def _with_sleep() -> float:
    """Return the seconds of the system's clock that goes on while the machine sleeps.

    Linux has one of its own for that. On macOS the one of this name does it (`time.monotonic` there does not), and on
    Windows `time.monotonic`.
    """
    for name in ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC"):
        number = getattr(time, name, None)
        if number is not None:
            return time.clock_gettime(number)
    return time.monotonic()


class RealClock:
    """Implement `ports.Clock` with asyncio and the system's clocks; for the event loop's thread only.

    Only inside `steady` does it leave out the time in which the process stood still.
    """

    def __init__(self, read: Callable[[], float] = time.monotonic, read_all: Callable[[], float] | None = None) -> None:
        """Take time from `read`: seconds on a clock that never goes back.

        `read_all` is a clock that also goes on while the machine sleeps; `read` does that, or not, as the system wants.
        """
        self._read = read
        self._read_all = read_all or _with_sleep
        self._noted = 0.0
        self._most = math.inf
        self._left_out = 0.0

    @contextlib.contextmanager
    def steady(self) -> Iterator[None]:
        """Note the time regularly on the running loop, until the end of the context; not twice at the same time."""
        loop = asyncio.get_running_loop()

        handle: asyncio.Handle

        def beat() -> None:
            nonlocal handle
            self.monotonic()
            handle = loop.call_later(_BEAT, beat)

        beat()
        self._most = _STANDSTILL
        try:
            yield
        finally:
            handle.cancel()
            self._most = math.inf

    def monotonic(self) -> float:
        """See `ports.Clock.monotonic`. Each call notes the time."""
        now = self._read()
        if 0.0 <= now - self._noted <= self._most:
            self._noted = now
            return now - self._left_out
        return self._after_standstill(now)

    def _after_standstill(self, now: float) -> float:
        """Leave the pause out; return the time that was last noted, until `_GRACE` is over."""
        if now > self._noted:
            pause = now - self._noted + _GRACE
            self._left_out += pause
            self._noted += pause
        return self._noted - self._left_out

    def left(self, until: float) -> float:
        """Return the seconds of the system's clock until this one shows `until`, as far as can be known now."""
        self.monotonic()
        return until + self._left_out - self._read()

    def elapsed(self) -> float:
        """See `ports.Clock.elapsed`."""
        return self._read_all()

    def wall_ms(self) -> int:
        """See `ports.Clock.wall_ms`."""
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        """See `ports.Clock.sleep`."""
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = _Timer(self, seconds, lambda: None if over.done() else over.set_result(None))
        try:
            await over
        finally:
            timer.cancel()

    def timeout(self, seconds: float | None) -> contextlib.AbstractAsyncContextManager[Any]:
        """See `ports.Clock.timeout`."""
        return asyncio.timeout(None) if seconds is None else _TimeLimit(self, seconds)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Callable[[], None]:
        """See `ports.Clock.call_later`."""
        return _Timer(self, seconds, callback).cancel


class _Timer:
    """Call back when this clock has reached a time, however early the event loop's own timer fires."""

    __slots__ = ("_callback", "_clock", "_handle", "_loop", "_until")

    def __init__(self, clock: RealClock, seconds: float, callback: Callable[[], None]) -> None:
        self._clock = clock
        self._callback = callback
        self._until = clock.monotonic() + seconds
        self._loop = asyncio.get_running_loop()
        self._handle = self._loop.call_later(seconds, self._come)

    def _come(self) -> None:
        left = self._clock.left(self._until)
        if left > _EARLY:
            self._handle = self._loop.call_later(left, self._come)
        else:
            self._callback()

    def cancel(self) -> None:
        """Do not call back any more."""
        self._handle.cancel()


class _TimeLimit:
    """A time limit as `asyncio.timeout`, on this clock; with its rules for other cancellations; entered once."""

    __slots__ = ("_before", "_clock", "_ended", "_seconds", "_task", "_timer")

    def __init__(self, clock: RealClock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._ended = False

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a time limit needs a task that it can cancel")
        self._task = task
        self._before = task.cancelling()
        self._timer = _Timer(self._clock, self._seconds, self._end)
        return self

    def _end(self) -> None:
        self._ended = True
        self._task.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._ended and self._task.uncancel() <= self._before and kind is asyncio.CancelledError:
            raise TimeoutError from error
