"""One operation on its way through the guard, and the errors that are made there."""

import copy
from typing import Any

import msgspec

from bridge.errors import BridgeError, DeadlineError, StoppingError
from bridge.model import Attempt, Operation


class Call(msgspec.Struct):
    """What the guard knows about one running operation.

    Attributes:
        operation: What is to be done.
        idempotent: Whether it may be repeated although it may have been acted on.
        started: When it was accepted; monotonic, in seconds.
        limit: Seconds that the current attempt may take.
        permit: The current attempt's, from the circuit breaker.
        attempts: How many attempts were begun.
        result: What the successful attempt returned.
        last: The last failed attempt's error.
        history: All failed attempts.
    """

    operation: Operation
    idempotent: bool
    started: float
    limit: float = 0.0
    permit: int = 0
    attempts: int = 0
    result: Any = None
    last: BridgeError | None = None
    history: tuple[Attempt, ...] = ()

    def expired(self, *, during: bool = False) -> DeadlineError:
        """The error for a call whose time is up, `during` an attempt or while it waited."""
        if not self.attempts:
            return DeadlineError("the caller's time was up before the first attempt", maybe_sent=False)
        count = "1 attempt" if self.attempts == 1 else f"{self.attempts} attempts"
        when = f"during attempt {self.attempts}" if during else f"after {count}"
        last = "" if self.last is None else f"; the last error was {self.last.kind}"
        return DeadlineError(f"the caller's time was up {when}{last}")


def stopping() -> StoppingError:
    """The error for a call that a draining integration does not begin."""
    return StoppingError("the integration is draining")


def narrowed(error: BridgeError) -> BridgeError:
    """A copy that is not retryable: an adapter may have given the same error to several calls."""
    copied = copy.copy(error)
    copied.retryable = False
    copied.__cause__ = error
    return copied
