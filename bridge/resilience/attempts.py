"""Runs attempts, with a task or without, each with its time limit."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any, Final

from bridge.core.cancel import BoundedTasks
from bridge.core.errors import AttemptTimeoutError, BridgeError, ConnectionLostError
from bridge.core.ports import Clock
from bridge.core.timer import Timer
from bridge.resilience.guarded_call import RunningAttempt

#: Seconds that a timer may come too early.
_EARLY: Final = 0.001


class Attempts:
    """Runs attempts. They begin in the order of `start`, whether they need a task or not.

    One timer serves all that have the usual time limit, because they end in the order in which they began. It stays
    set when the last one has ended: where they come one by one, to cancel it and set it again would cost more than all
    else here. An attempt with a shorter limit, since its caller has less time, has a timer of its own.
    """

    def __init__(
        self,
        limit: float,
        *,
        clock: Clock,
        tasks: BoundedTasks,
        give_up: Callable[[RunningAttempt, bool], None],
        on_bug: Callable[[BaseException], None],
    ) -> None:
        """Create it; nothing runs yet.

        Args:
            limit: The usual time limit in seconds.
            clock: For the time limits.
            tasks: Run the attempts that need a task.
            give_up: Called with an attempt that has no outcome, because it was cancelled (True) or ended by a bug
                (False). Any other attempt settles itself. Both must call `remove`.
            on_bug: Called with a bug where there is no task that could raise it.
        """
        self._limit = limit
        self._clock = clock
        self._tasks = tasks
        self._give_up = give_up
        self._on_bug = on_bug
        self._usual: dict[RunningAttempt, None] = {}
        self._others: dict[RunningAttempt, None] = {}
        self._timer = Timer(clock)
        self._not_entered = 0  # tasks that have not made their first step: nobody may overtake those

    def change(self, limit: float) -> None:
        """Use another time limit for the attempts that begin from now on; those that run keep theirs."""
        self._timer.cancel()
        now = self._clock.monotonic()
        for attempt in tuple(self._usual):
            attempt.timer = Timer(self._clock)
            attempt.timer.set(max(0.0, attempt.began + self._limit - now), partial(self._expire, attempt))
            self._others[attempt] = None
        self._usual.clear()
        self._limit = limit

    def __iter__(self) -> Iterator[RunningAttempt]:
        return iter((*self._usual, *self._others))

    def start(self, attempt: RunningAttempt) -> None:
        """Begin an attempt, in a task where it needs one, and its time limit. It may have ended when this returns."""
        if attempt.limit >= self._limit:
            self._usual[attempt] = None
            if not self._timer.is_set:
                self._timer.set(self._limit, self._sweep)
        else:
            self._others[attempt] = None
            attempt.timer = Timer(self._clock)
            attempt.timer.set(attempt.limit, partial(self._expire, attempt))
        if self._not_entered:
            self._start_task(attempt, None)
            return
        try:
            work = attempt.call.begin(attempt)
        except BridgeError as error:
            attempt.set_exception(error)
        except BaseException as bug:  # noqa: BLE001 - whoever is told raises it
            if not attempt.done():
                attempt.close()
                self._give_up(attempt, False)
            self._on_bug(bug)
        else:
            if work is not None:
                self._start_task(attempt, work)

    def remove(self, attempt: RunningAttempt) -> None:
        """Remove an attempt that has ended, and with it its time limit."""
        if self._usual.pop(attempt, attempt) is not None:
            del self._others[attempt]
            if attempt.timer is not None:
                attempt.timer.cancel()

    def close(self) -> None:
        """Cancel the timer. Call it when none runs any more."""
        self._timer.cancel()

    def cancel(self, attempt: RunningAttempt) -> None:
        """Cancel an attempt: it is given up at once; where it has a task, when that has ended or is abandoned."""
        if attempt.task is None:
            self._drop(attempt)
        else:
            attempt.expired, attempt.cancelled = False, True
            self._tasks.cancel(attempt.task, partial(self._cut, attempt))

    def _drop(self, attempt: RunningAttempt) -> None:
        attempt.close()
        self._give_up(attempt, True)

    def _cut(self, attempt: RunningAttempt) -> None:
        """Settle an attempt whose task was cancelled, whether that has ended or goes on: nobody waits for it."""
        if attempt.done():  # its task may end in the same turn of the loop
            return
        if attempt.expired:
            attempt.set_exception(self._timed_out(attempt))
        else:
            self._drop(attempt)

    # --- begin and end

    def _start_task(self, attempt: RunningAttempt, work: Coroutine[Any, Any, Any] | None) -> None:
        """Run `work` in a task. None: the attempt begins there, after the tasks that have not made their first step."""
        task = self._tasks.start(self._run(attempt, work), attempt.call.operation.name)
        if task is None:
            if work is not None:
                work.close()
            self._drop(attempt)
            return
        self._not_entered += 1
        attempt.task = task
        task.add_done_callback(partial(self._ended, attempt, work))

    async def _run(self, attempt: RunningAttempt, work: Coroutine[Any, Any, Any] | None) -> None:
        attempt.entered = True
        self._not_entered -= 1
        try:
            if work is None:
                work = attempt.call.begin(attempt)
            if work is None:  # the adapter settles it, and the task has nothing more to do
                attempt.task = None
                return
            result = await work
        except BridgeError as error:
            attempt.set_exception(error)
        else:
            attempt.set_result(result)

    def _ended(self, attempt: RunningAttempt, work: Coroutine[Any, Any, Any] | None, task: asyncio.Task[None]) -> None:
        """Settle the attempt of a task that has ended without doing so: it was cancelled, or a bug ended it."""
        if not attempt.entered:
            self._not_entered -= 1
            if work is not None:
                work.close()  # it never began, and would be complained about
        if attempt.task is None or attempt.done():  # begun without a task in the end, or settled
            return
        if task.cancelled():
            if attempt.expired or attempt.cancelled:
                self._cut(attempt)
            else:  # a client library does so when its connection ends
                attempt.set_exception(ConnectionLostError("the client library cancelled the call"))
        else:
            attempt.close()
            self._give_up(attempt, False)

    # --- time limits

    def _expire(self, attempt: RunningAttempt) -> None:
        if attempt.task is None:
            attempt.set_exception(self._timed_out(attempt))
        else:
            attempt.expired = True
            self._tasks.cancel(attempt.task, partial(self._cut, attempt))

    def _sweep(self) -> None:
        now = self._clock.monotonic()
        due = []
        for attempt in self._usual:
            left = attempt.began + self._limit - now
            if left > _EARLY:
                # Before anything ends: what begins in its place relies on a timer for all.
                self._timer.set(left, self._sweep)
                break
            due.append(attempt)
        for attempt in due:
            if attempt in self._usual:  # the end of one may have been the end of others
                del self._usual[attempt]
                self._others[attempt] = None  # one with a task is there until the task has ended
                self._expire(attempt)

    def _timed_out(self, attempt: RunningAttempt) -> BridgeError:
        deadline = attempt.call.operation.deadline
        if attempt.limit != self._limit and deadline is not None and deadline - attempt.began <= attempt.limit:
            return attempt.call.expired(during=True)
        return AttemptTimeoutError(f"no answer within {attempt.limit:g} s")
