"""What the bridge remembers of its operations, as its views show it."""

from bridge.core.errors import ErrorObject
from bridge.core.model import Cause, CircuitState, FailedAttempt, UInt
from bridge.core.payloads.base import Milliseconds, Payload


class FailedOperation(Payload, frozen=True):
    """An operation that failed after at least one attempt.

    Attributes:
        at: When it ended, Unix time in milliseconds.
        operation: Its name.
        route: The route that asked for it; null for a command.
        cause: The event that asked for it.
        correlation_id: That of the event.
        traceparent: The context of its trace: the operation's own where traces are written, else that of the event.
        durable: Whether it is stored in the outbox, which may try it again.
        attempts: How many attempts were made.
        duration_ms: Milliseconds from acceptance to the end.
        error: Why the last attempt failed.
        history: The failed attempts, oldest first; of more than 20 the first ten and the last ten.
    """

    at: UInt
    operation: str
    route: str | None
    cause: Cause
    correlation_id: str | None
    traceparent: str | None
    durable: bool
    attempts: UInt
    duration_ms: Milliseconds
    error: ErrorObject
    history: list[FailedAttempt]


class CircuitMoment(Payload, frozen=True):
    """A change of the circuit.

    Attributes:
        at: When, Unix time in milliseconds.
        state: The state that it came to.
        error: The failure that opened it; null where it closed, or a command changed it.
    """

    at: UInt
    state: CircuitState
    error: ErrorObject | None
