"""An event loop and clocks on which time passes only where everybody waits."""

import asyncio
import selectors
from collections.abc import Callable, Mapping
from contextvars import Context
from typing import Any, Final, TypeVar

from bridge.core.clock import RealClock
from bridge.core.ports import Clock

#: What the loop's clock shows at the beginning, in seconds.
START: Final = 1000.0
#: What the wall clock shows then: Unix time in milliseconds, Monday 2026-01-05 00:00:00 UTC.
START_MS: Final = 1_767_571_200_000
#: Turns of the loop without time passing after which something is taken to go round for ever.
MOST_TURNS: Final = 100_000

#: Seconds by which time goes on at least where somebody waits.
_TICK: Final = 1e-6

T = TypeVar("T")


class EndlessLoopError(Exception):
    """Something keeps the event loop busy without ever waiting."""


class _Selector(selectors.SelectSelector):
    """Waits for nothing: passes the time that the loop wants to wait to `on_wait`, and finds nothing to read."""

    def __init__(self, on_wait: Callable[[float | None], None]) -> None:
        super().__init__()
        self._on_wait = on_wait

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Let the time pass; see `selectors.BaseSelector.select`."""
        self._on_wait(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer as soon as nothing is left to do before it.

    It has no threads: what is given to an executor runs at once.

    Attributes:
        is_idle: Whether it has stopped because no task and no timer is left that could do anything.
        on_wait: Called before time passes; may stop the loop, and time does not pass then.
        bugs: Exceptions that nobody handled, as `call_exception_handler` gets them.
    """

    def __init__(self) -> None:
        self._seconds = START
        self._turns = 0
        self._halted = False
        self.is_idle = False
        self.on_wait: Callable[[], None] = lambda: None
        self.bugs: list[Mapping[str, Any]] = []
        super().__init__(_Selector(self._wait))
        self.set_exception_handler(lambda _, context: self.bugs.append(context))

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._seconds

    @property
    def elapsed_ms(self) -> int:
        """Return the virtual milliseconds since the beginning."""
        return round((self._seconds - START) * 1000)

    def jump(self, seconds: float) -> None:
        """Let time pass in which nothing runs, as for a process that is stopped."""
        self._seconds += seconds

    def halt(self) -> None:
        """Stop the loop at the end of this turn, before time passes."""
        self._halted = True
        self.stop()

    def run_until(self, seconds: float | None) -> None:
        """Run until this time, or where nothing is left to do, or `halt` is called.

        Raises:
            EndlessLoopError: It goes on and on without time passing.
        """
        self.is_idle = self._halted = False
        self._turns = 0
        timer = None if seconds is None else self.call_at(seconds, self.halt)
        try:
            self.run_forever()
        finally:
            if timer is not None:
                timer.cancel()

    def call_later(  # type: ignore[override]  # typeshed's signature names more
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call back later; see `asyncio.AbstractEventLoop.call_later`. It takes at least a microsecond, or no time.

        Else who waits for the last nanosecond again and again would wait for ever, where in life time goes on.
        """
        return super().call_later(max(delay, _TICK) if delay > 0 else delay, callback, *args, context=context)

    def _wait(self, timeout: float | None) -> None:
        if timeout is not None and timeout <= 0:
            self._turns += 1
            if self._turns > MOST_TURNS:
                raise EndlessLoopError(f"{MOST_TURNS} turns of the event loop have passed, and no time")
            return
        self._turns = 0
        if not self._halted:
            self.on_wait()
        if self._halted:
            return
        if timeout is None:
            self.is_idle = True
            self.stop()
        else:
            self._seconds += timeout

    def run_in_executor(self, _: Any, func: Callable[..., T], *args: Any) -> "asyncio.Future[T]":  # type: ignore[override]
        """Run `func` now; see `asyncio.AbstractEventLoop.run_in_executor`."""
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - the caller gets it
            done.set_exception(error)
        return done


class VirtualClock(RealClock):
    """The real clock of a process, reading the time of a virtual loop; within `steady` it leaves standstills out.

    Attributes:
        wall_offset_ms: By how many milliseconds somebody has set the wall clock forward, or back.
    """

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__(loop.time, loop.time)
        self._virtual = loop
        self.wall_offset_ms = 0

    def wall_ms(self) -> int:
        """Return virtual Unix time in milliseconds."""
        return START_MS + self._virtual.elapsed_ms + self.wall_offset_ms


async def inline(work: Callable[[], T], *, clock: Clock, limit: float) -> T:  # noqa: ARG001 - there is no thread
    """Run `work` at once; takes the place of `core.threads.in_thread`."""
    return work()
