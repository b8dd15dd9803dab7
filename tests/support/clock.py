"""A clock that only moves when a test says so."""

import asyncio
import contextlib
import heapq
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

#: Rounds of the event loop after which tasks that still want to run are taken for an endless loop.
_MAX_ROUNDS: Final = 100_000
#: Seconds that sums of floats may be off.
_ROUNDING: Final = 1e-9


class FakeClock:
    """`ports.Clock` by hand: `await clock.advance(seconds)` runs what is due, in order of time, then of request.

    After each timer all tasks run until none is ready, so what a timer sets off happens at that timer's time.

    Attributes:
        each_round: Called in each round of the event loop while tasks run, for what must hold at every await.
    """

    def __init__(self, now: float = 1000.0, wall_ms: int = 1_700_000_000_000) -> None:
        self._now = now
        self._wall_offset = wall_ms - round(now * 1000)
        self._stood_still = 0.0
        self._timers: list[tuple[float, int]] = []
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._number = 0
        self.each_round: Callable[[], None] = lambda: None

    def monotonic(self) -> float:
        """See `ports.Clock.monotonic`."""
        return self._now

    def elapsed(self) -> float:
        """See `ports.Clock.elapsed`."""
        return self._now + self._stood_still

    def wall_ms(self) -> int:
        """See `ports.Clock.wall_ms`."""
        return self._wall_offset + round(self._now * 1000)

    def set_wall(self, seconds: float) -> None:
        """Somebody sets the wall clock, forward or back by so much."""
        self._wall_offset += round(seconds * 1000)

    def stand_still(self, seconds: float) -> None:
        """The process stands still for so long, as a suspended one does: nothing of it runs, and others go on."""
        self._stood_still += seconds
        self.set_wall(seconds)

    async def sleep(self, seconds: float) -> None:
        """See `ports.Clock.sleep`."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        cancel = self.call_later(seconds, lambda: None if future.done() else future.set_result(None))
        try:
            await future
        finally:
            cancel()

    def timeout(self, seconds: float | None) -> contextlib.AbstractAsyncContextManager[Any]:
        """See `ports.Clock.timeout`."""
        return _Timeout(self, seconds)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Callable[[], None]:
        """See `ports.Clock.call_later`."""
        self._number += 1
        number = self._number
        self._callbacks[number] = callback
        heapq.heappush(self._timers, (self._now + max(seconds, 0.0), number))

        def cancel() -> None:
            self._callbacks.pop(number, None)

        return cancel

    @property
    def timers(self) -> int:
        """How many timers, sleepers and time limits are waiting."""
        return len(self._callbacks)

    async def advance(self, seconds: float = 0.0) -> None:
        """Let `seconds` pass."""
        until = self._now + seconds
        await self.settle()
        while self._timers and self._timers[0][0] <= until + _ROUNDING:
            when, number = heapq.heappop(self._timers)
            callback = self._callbacks.pop(number, None)
            if callback is not None:
                self._now = max(self._now, when)
                callback()
                await self.settle()
        self._now = max(self._now, until)

    def fire(self, seconds: float) -> None:
        """Let `seconds` pass, and call back what is due before any task runs, as an event loop may do."""
        self._now += seconds
        while self._timers and self._timers[0][0] <= self._now + _ROUNDING:
            callback = self._callbacks.pop(heapq.heappop(self._timers)[1], None)
            if callback is not None:
                callback()

    async def settle(self) -> None:
        """Let tasks run until none is ready; no time passes."""
        loop = asyncio.get_running_loop()
        for _ in range(_MAX_ROUNDS):
            await asyncio.sleep(0)
            self.each_round()
            if not loop._ready:  # type: ignore[attr-defined]
                return
        raise AssertionError("tasks keep running without waiting for anything")


class _Timeout:
    """`asyncio.timeout` on a fake clock, with the same rules about foreign cancellations."""

    def __init__(self, clock: FakeClock, seconds: float | None) -> None:
        self._clock = clock
        self._seconds = seconds
        self._expired = False
        self._cancel_timer: Callable[[], None] | None = None
        self._task: asyncio.Task[Any] | None = None
        self._before = 0

    async def __aenter__(self) -> Self:
        self._task = asyncio.current_task()
        assert self._task is not None
        self._before = self._task.cancelling()
        if self._seconds is not None:
            self._cancel_timer = self._clock.call_later(self._seconds, self._expire)
        return self

    def _expire(self) -> None:
        assert self._task is not None
        self._expired = True
        self._cancel_timer = None
        self._task.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        if self._cancel_timer is not None:
            self._cancel_timer()
        if self._expired and self._task.uncancel() <= self._before and kind is asyncio.CancelledError:
            raise TimeoutError from error
