"""One operation on its way through the guard, its attempts, and the errors that are made there."""

import asyncio
import copy
from collections.abc import Callable, Coroutine
from typing import Any

from bridge.core.errors import BridgeError, DeadlineError, StoppingError
from bridge.core.model import FailedAttempt, Operation, Outcome
from bridge.core.ports import Clock, Promise
from bridge.core.timer import Timer


class Call:
    """What the guard knows about one operation. A subclass says how an attempt is made, and hears of the end.

    Attributes:
        operation: What is to be done; its `deadline` is kept, also while it waits.
        idempotent: Whether it may be repeated although the remote may have acted on it.
        started: When it was accepted; monotonic, in seconds.
        attempts: How many attempts were begun.
        attempt: The one that runs.
        last: The last failed attempt's error.
        history: All failed attempts.
    """

    __slots__ = ("_timer", "attempt", "attempts", "history", "idempotent", "last", "operation", "started")

    def __init__(self, operation: Operation, *, idempotent: bool) -> None:
        self.operation = operation
        self.idempotent = idempotent
        self.started = 0.0
        self.attempts = 0
        self.attempt: OpenAttempt | None = None
        self.last: BridgeError | None = None
        self.history: tuple[FailedAttempt, ...] = ()
        self._timer: Timer | None = None  # most calls never wait

    def begin(self, promise: Promise) -> Coroutine[Any, Any, Any] | None:
        """Begin one attempt.

        Returns:
            None where it needs no task: its end goes to `promise`. Or a coroutine that makes the whole attempt, to be
            run in a task; anything but `BridgeError` that it raises is a bug.

        Raises:
            BridgeError: The attempt has failed at once.
        """
        raise NotImplementedError

    def end(self, outcome: Outcome | None) -> None:
        """Hear how it ended, once; None: it was cancelled."""
        raise NotImplementedError

    def expired(self, *, during: bool = False) -> DeadlineError:
        """The error for a call whose time is up, `during` an attempt or while it waited."""
        if not self.attempts:
            return DeadlineError("the caller's time was up before the first attempt", maybe_sent=False)
        count = "1 attempt" if self.attempts == 1 else f"{self.attempts} attempts"
        when = f"during attempt {self.attempts}" if during else f"after {count}"
        last = "" if self.last is None else f"; the last error was {self.last.kind}"
        return DeadlineError(f"the caller's time was up {when}{last}")

    def set_timer(self, clock: Clock, seconds: float, callback: Callable[[], None]) -> None:
        """Call back when it has waited for `seconds`, unless `cancel_timer` comes first."""
        if self._timer is None:
            self._timer = Timer(clock)
        self._timer.set(seconds, callback)

    def cancel_timer(self) -> None:
        """Cancel the timer of its waiting, where there is one."""
        if self._timer is not None:
            self._timer.cancel()


class OpenAttempt:
    """One attempt that runs, and the promise that its adapter settles. What comes after the first end is ignored.

    Attributes:
        call: Whose it is.
        began: When; monotonic, in seconds.
        limit: Seconds that it may take.
        permit: From the circuit breaker.
        task: What makes it; None for one that was begun without.
        entered: The task has made its first step.
        expired: Its time is up, and the task was told.
        timer: For its time limit, where that is not the usual one.
    """

    __slots__ = ("_open", "_settle", "began", "call", "entered", "expired", "limit", "permit", "task", "timer")

    def __init__(
        self,
        settle: Callable[["OpenAttempt", Any, BridgeError | None], None],
        call: Call,
        began: float,
        limit: float,
        permit: int,
    ) -> None:
        self._settle = settle
        self._open = True
        self.call = call
        self.began = began
        self.limit = limit
        self.permit = permit
        self.task: asyncio.Task[None] | None = None
        self.entered = False
        self.expired = False
        self.timer: Timer | None = None

    def done(self) -> bool:
        """Whether it has ended."""
        return not self._open

    def set_result(self, result: Any) -> None:
        """It has succeeded."""
        if self._open:
            self._open = False
            self._settle(self, result, None)

    def set_exception(self, error: BridgeError) -> None:
        """It has failed."""
        if self._open:
            self._open = False
            self._settle(self, None, error)

    def close(self) -> None:
        """Listen no more: it was given up."""
        self._open = False


def stopping() -> StoppingError:
    """The error for a call that a draining integration does not begin."""
    return StoppingError("the integration is draining")


def narrowed(error: BridgeError) -> BridgeError:
    """A copy that is not retryable: an adapter may have given the same error to several calls."""
    copied = copy.copy(error)
    copied.retryable = False
    copied.__cause__ = error
    return copied
