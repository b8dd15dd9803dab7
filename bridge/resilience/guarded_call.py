"""An operation that the guard runs, an attempt of it, and the errors that the guard makes."""

import asyncio
import copy
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from bridge.core.errors import BridgeError, DeadlineError, RejectedError, StoppingError
from bridge.core.model import FailedAttempt, Operation, Outcome
from bridge.core.ports import Clock, OperationSpan, Promise, Span
from bridge.core.timer import Timer


class GuardedCall(msgspec.Struct, eq=False, kw_only=True):
    """An operation that the guard runs. A subclass begins its attempts (`begin`) and takes its outcome (`end`).

    Attributes:
        operation: What to do; its `deadline` counts while it waits, too.
        started: When it was accepted, in monotonic seconds.
        attempts: How many attempts were begun.
        attempt: The attempt that runs; None between two.
        last: The error of the last failed attempt; None before.
        history: All failed attempts, oldest first.
        span: Its part of a trace; None where no traces are written.
        timer: For its waiting; None for most calls, which never wait.
    """

    operation: Operation
    started: float = 0.0
    attempts: int = 0
    attempt: "RunningAttempt | None" = None
    last: BridgeError | None = None
    history: tuple[FailedAttempt, ...] = ()
    span: OperationSpan | None = None
    timer: Timer | None = None

    __repr__ = object.__repr__  # an event loop logs that of what it calls, and payloads must not be there

    @property
    def idempotent(self) -> bool:
        """Whether it may be repeated although the remote may have acted on it; asked when an attempt has failed."""
        raise NotImplementedError

    def begin(self, promise: Promise) -> Coroutine[Any, Any, Any] | None:
        """Begin one attempt.

        Args:
            promise: Gets the attempt's result or error, if this returns None.

        Returns:
            None where the attempt needs no task. Otherwise a coroutine that makes the whole attempt, to be run in a
            task; anything but `BridgeError` that it raises is a bug.

        Raises:
            BridgeError: The attempt has failed at once.
        """
        raise NotImplementedError

    @property
    def needs_session(self) -> bool:
        """Whether its attempts are made on a session, which is opened beside them."""
        return True

    def away(self) -> BridgeError | None:
        """Return why no attempt can be made now, as there is no session; None where one can.

        Asked for an operation of the outbox only: it goes back there, and is not counted as an attempt that failed.
        """
        return None

    def end(self, outcome: Outcome | None) -> None:
        """Take the outcome. Called exactly once; None: the operation was cancelled."""
        raise NotImplementedError

    def expired(self, *, during: bool = False) -> DeadlineError:
        """Return the error for a call whose deadline has passed, `during` an attempt or while it waited."""
        if not self.attempts:
            return DeadlineError("the caller's time was up before the first attempt", maybe_sent=False)
        count = "1 attempt" if self.attempts == 1 else f"{self.attempts} attempts"
        when = f"during attempt {self.attempts}" if during else f"after {count}"
        last = "" if self.last is None else f"; the last error was {self.last.kind}"
        return DeadlineError(f"the caller's time was up {when}{last}")

    def set_timer(self, clock: Clock, seconds: float, callback: Callable[[], None]) -> None:
        """Call `callback` after `seconds` of waiting, unless `cancel_timer` comes first."""
        if self.timer is None:
            self.timer = Timer(clock)
        self.timer.set(seconds, callback)

    def cancel_timer(self) -> None:
        """Cancel what `set_timer` has set, if anything."""
        if self.timer is not None:
            self.timer.cancel()


class RunningAttempt(msgspec.Struct, eq=False):
    """An attempt that runs, and the promise that its adapter settles. Only the first result or error counts.

    Attributes:
        settle: Called once, with its result or its error.
        call: Whose it is.
        began: When; monotonic, in seconds.
        limit: Seconds that it may take.
        permit: From the circuit breaker.
        ends: How many connections had ended when it began.
        task: What makes it; None for one that was begun without.
        entered: The task has made its first step.
        expired: Its time is up, and the task was cancelled for that.
        cancelled: The task was cancelled because the call was.
        timer: For its time limit, where that is not the usual one.
        span: Its part of a trace; None where no traces are written.
        ended: Whether it has ended.
        on_done: Called once when it ends, by the end of which nothing holds it any more; None: nobody is told.
    """

    settle: Callable[["RunningAttempt", Any, BridgeError | None], None]
    call: GuardedCall
    began: float
    limit: float
    permit: int
    ends: int
    span: Span | None = None
    task: asyncio.Task[None] | None = None
    entered: bool = False
    expired: bool = False
    cancelled: bool = False
    timer: Timer | None = None
    ended: bool = False
    on_done: Callable[[Any], object] | None = None

    __repr__ = object.__repr__  # see `GuardedCall`

    def done(self) -> bool:
        """Return whether it has ended."""
        return self.ended

    def set_result(self, result: Any) -> None:
        """End it with a result."""
        if not self.ended:
            self.ended = True
            if self.on_done is not None:
                self._tell()
            self.settle(self, result, None)

    def set_exception(self, error: BridgeError) -> None:
        """End it with an error."""
        if not self.ended:
            self.close()
            self.settle(self, None, error)

    def close(self) -> None:
        """Give it up: ignore any result or error that still comes."""
        self.ended = True
        if self.on_done is not None:
            self._tell()

    def _tell(self) -> None:
        # Who is told holds this promise, too. To let go of each other leaves nothing to the garbage collector, which
        # would stop everything for tens of milliseconds after some thousand calls.
        on_done, self.on_done = self.on_done, None
        if on_done is not None:
            on_done(self)

    def add_done_callback(self, callback: Callable[[Any], object], /) -> None:
        """See `Promise.add_done_callback`. There is one adapter, and so one callback."""
        if self.ended:
            callback(self)
        else:
            self.on_done = callback


def stopping_error() -> StoppingError:
    """Return the error for a call that a draining integration does not begin."""
    return StoppingError("the integration is draining")


def cancelled_error() -> StoppingError:
    """Return the error with which a call that was cancelled, or its attempt, is in a trace; nobody else gets it."""
    return StoppingError("the call was cancelled", maybe_sent=True)


def own_doing(error: BridgeError) -> RejectedError:
    """Return the error for a call that ends its connection whenever it is tried; `error` is that of the last try."""
    return RejectedError(
        f"the connection ends whenever this is sent, and the remote works otherwise; at last: {error.message}",
        maybe_sent=True,
    )


def not_retryable(error: BridgeError) -> BridgeError:
    """Return a copy of the error that is not retryable. A copy, as the adapter may give one error to several calls."""
    copied = copy.copy(error)
    copied.retryable = False
    copied.__cause__ = error
    return copied
