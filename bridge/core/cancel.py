"""Cancel code that may not end when it is cancelled, in bounded time.

`Task.cancel` is only a request. Client libraries lose it: the `asyncio.wait_for` of Python 3.11 returns a result that
came in the same moment and forgets the cancellation; a library's own `except CancelledError` goes on with the next
step. Whoever awaits such code waits with it. So the code of adapters is awaited and cancelled here, and nowhere else.
"""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, TypeVar

from bridge.core.errors import BridgeError, ConnectionLostError
from bridge.core.log import structlog
from bridge.core.ports import Clock
from bridge.core.timer import Timer

#: Seconds that a cancelled task has to end before it is cancelled again, and then again before it is cut.
#: Cleaning up takes a few turns of the event loop. In the two seconds that the end of the process has, an attempt to
#: connect, the closing of its session and a call may all have to be cut, one after the other.
PATIENCE: Final = 0.15

T = TypeVar("T")

log = structlog.get_logger(__name__)


class BoundedTasks:
    """Run tasks that are over at most twice `PATIENCE` after they were cancelled.

    A task that goes on after it was cancelled is cancelled again. If it still goes on, it is cut: nobody waits for it
    any more, and the log names it. Only the end of the process ends it for certain.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        integration: str | None = None,
        on_bug: Callable[[BaseException], None] | None = None,
    ) -> None:
        """Start nothing yet.

        Args:
            clock: For `PATIENCE`.
            integration: Named in the log.
            on_bug: Called with what a task of `start` raises, unless it is cut or `close` was called.
        """
        self._clock = clock
        self._fields = {} if integration is None else {"integration": integration}
        self._on_bug = on_bug
        # The event loop holds tasks by weak references only; those that are cut stay here until they end.
        self._tasks: dict[asyncio.Task[Any], _State] = {}
        self._closed = False

    def start(self, work: Coroutine[Any, Any, T], what: str) -> asyncio.Task[T] | None:
        """Start a task that nobody awaits. Return None, and start nothing, once `close` was called.

        Args:
            work: What it does.
            what: Names it in the log.
        """
        if self._closed:
            work.close()
            return None
        return self._start(work, _State(what, self._on_bug))

    async def run(
        self,
        work: Coroutine[Any, Any, T],
        what: str,
        *,
        limit: float | None = None,
        extend: Callable[[float], bool] = lambda _: False,
    ) -> T:
        """Await `work` in a task of its own.

        When the caller is cancelled, or the time limit ends, `work` is cancelled and has its time to end; then the
        cancellation goes on, whatever became of `work`. A caller that is cancelled again meanwhile waits no longer.

        Args:
            work: What to await.
            what: Names it in the log.
            limit: Seconds that it may take; None: as long as it likes.
            extend: Called at the end of the time limit with the time when it began; True gives as much time again.

        Raises:
            TimeoutError: It took longer.
            ConnectionLostError: `work` ended as if it had been cancelled, and nobody had cancelled it.
            Exception: What `work` raises.
        """
        state = _State(what, None)
        task = self._start(work, state)
        began = self._clock.monotonic()
        while True:
            try:
                async with self._clock.timeout(limit):
                    await asyncio.wait({task})
                break
            except TimeoutError:
                if task.done():
                    break
                if not extend(began):
                    self.cancel(task)
                    await asyncio.wait({state.ending()})
                    raise
                began = self._clock.monotonic()
            except asyncio.CancelledError:
                self.cancel(task)
                await asyncio.wait({state.ending()})
                raise
        if task.cancelled() and not state.cancelled:
            raise ConnectionLostError(f"{what}: the client library cancelled it")
        return task.result()

    def cancel(self, task: asyncio.Task[Any], on_cut: Callable[[], None] | None = None) -> None:
        """Cancel a task that was started here, and cut it after twice `PATIENCE`. Once is enough.

        Args:
            task: The task; one that has ended is left alone.
            on_cut: Called when it is cut.
        """
        state = self._tasks.get(task)
        if state is None or state.cancelled:
            return
        state.cancelled = True
        state.on_cut = on_cut
        state.timer = Timer(self._clock)
        state.timer.set(PATIENCE, partial(self._cancel_again, task, state, state.timer))
        task.cancel()

    async def close(self, *, grace: float = 0.0) -> None:
        """Cancel all tasks, and return when each has ended or is cut. `start` starts nothing from now on.

        Args:
            grace: Seconds in which they may end by themselves before.
        """
        self._closed = True
        waited_for = [state.ending() for state in self._tasks.values() if not state.is_over]
        if not waited_for:
            return
        if grace:
            try:
                async with self._clock.timeout(grace):
                    await asyncio.wait(waited_for)
            except TimeoutError:
                pass
        for task in tuple(self._tasks):
            self.cancel(task)
        await asyncio.wait(waited_for)

    def _start(self, work: Coroutine[Any, Any, T], state: "_State") -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks[task] = state
        task.add_done_callback(self._ended)
        return task

    def _cancel_again(self, task: asyncio.Task[Any], state: "_State", timer: Timer) -> None:
        timer.set(PATIENCE, partial(self._cut, task, state))
        task.cancel()

    def _cut(self, task: asyncio.Task[Any], state: "_State") -> None:
        if task.done():  # in this very turn of the loop; `_ended` comes next
            return
        log.warning("cut: it went on after it was cancelled twice", what=state.what, **self._fields)
        state.end()
        if state.on_cut is not None:
            state.on_cut()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        state = self._tasks.pop(task)
        is_cut = state.is_over
        state.end()
        if state.timer is not None:
            state.timer.cancel()
        error = None if task.cancelled() else task.exception()
        if error is None or isinstance(error, BridgeError):
            return
        if state.on_bug is not None and not is_cut and not self._closed:
            state.on_bug(error)
        elif state.cancelled:  # nobody waits for what it raises
            log.error("failed after it was cancelled", what=state.what, exc_info=error, **self._fields)


class _State:
    """What is known of one task.

    Attributes:
        what: Its name in the log.
        on_bug: Called with what it raises; None where somebody awaits it.
        is_over: Nobody has to wait for it any more: it has ended, or is cut.
        cancelled: It was cancelled here.
        timer: Of the next step, once it was cancelled.
        on_cut: Called when it is cut.
    """

    __slots__ = ("_ending", "cancelled", "is_over", "on_bug", "on_cut", "timer", "what")

    def __init__(self, what: str, on_bug: Callable[[BaseException], None] | None) -> None:
        self.what = what
        self.on_bug = on_bug
        self.is_over = False
        self._ending: asyncio.Future[None] | None = None  # few are waited for, and a future takes its time to make
        self.cancelled = False
        self.timer: Timer | None = None
        self.on_cut: Callable[[], None] | None = None

    def ending(self) -> asyncio.Future[None]:
        """Return what is done as soon as it is over."""
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_future()
            if self.is_over:
                self._ending.set_result(None)
        return self._ending

    def end(self) -> None:
        """Nobody has to wait any more."""
        self.is_over = True
        if self._ending is not None and not self._ending.done():
            self._ending.set_result(None)
