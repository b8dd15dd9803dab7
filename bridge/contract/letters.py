"""The shapes of receipts and dead letters. The docstrings are part of the contract, as those in `payloads`."""

from typing import Annotated, Any, NotRequired, TypedDict

from msgspec import Meta

from bridge.contract.payloads import ErrorObject, Milliseconds
from bridge.core.model import Cause, UInt

LetterId = Annotated[str, Meta(pattern="^[0-9]{1,18}$")]


class Receipt(TypedDict):
    """The one outcome of an accepted event, which the topic names: `delivered`, `dead_lettered` or `expired`.

    It may be said more than once, and is then the same. `dead_lettered`: given up; of an `at_least_once` route the
    event lies among the dead letters then, of another one `resilience.<id>.failed` has said why.

    Attributes:
        integration: The integration's label.
        operation: The operation's name.
        idempotency_key: The caller's, or for `at_least_once` the one that the bridge made; null where there is none.
        cause: The event that was accepted.
        attempts: How many attempts were made.
    """

    integration: str
    operation: str
    idempotency_key: str | None
    cause: Cause
    attempts: UInt


class FailedAttempt(TypedDict):
    """One attempt that failed.

    Attributes:
        at: When it began, Unix time in milliseconds.
        duration_ms: How long it took.
        error: Why it failed.
    """

    at: UInt
    duration_ms: Milliseconds
    error: ErrorObject


class LetterEvent(TypedDict):
    """The event as it came by the bus.

    Attributes:
        id: Its number.
        event_type: Its type.
        payload: What it says; null where the letter is `cut`.
        timestamp: Unix time in milliseconds.
        source: Who emitted it.
        correlation_id: Its correlation id.
        headers: Its headers.
    """

    id: UInt
    event_type: str
    payload: Any
    timestamp: UInt
    source: str | None
    correlation_id: str | None
    headers: dict[str, str] | None


class DeadLetter(TypedDict):
    """An accepted event was given up, and is kept until a person has it replayed or discarded.

    Attributes:
        integration: The integration's label.
        operation: The operation's name.
        cause: The event that asked for it.
        letter_id: For `bridge.dead_letters`, `bridge.replay` and `bridge.discard`.
        event: The event.
        error: Why it was given up.
        unknown: True where the remote may have done it: the call must not be repeated, and its answer never came.
        attempts: How many attempts were made.
        history: The failed attempts, oldest first; of more than 100 the first 10 and the last 90.
        cut: True where payload and history are left out, because they would not fit on the bus.
    """

    integration: str
    operation: str
    cause: Cause
    letter_id: LetterId
    event: LetterEvent
    error: ErrorObject
    unknown: bool
    attempts: UInt
    history: list[FailedAttempt]
    cut: NotRequired[bool]


class Letter(TypedDict):
    """A dead letter as it is kept.

    Attributes:
        letter_id: For `bridge.replay` and `bridge.discard`.
        integration: The integration's label.
        route: The route that made the operation.
        operation: The operation's name.
        idempotency_key: The caller's, or the one that the bridge made; a replay keeps it.
        accepted_ms: When the event was accepted, Unix time in milliseconds.
        at: When it was given up, Unix time in milliseconds.
        error: Why it was given up.
        unknown: True where the remote may have done it.
        attempts: How many attempts were made.
        history: The failed attempts, oldest first; of more than 100 the first 10 and the last 90.
        event: The event.
        cut: True where payload and history are left out, because they would not fit on the bus.
    """

    letter_id: LetterId
    integration: str
    route: str
    operation: str
    idempotency_key: str
    accepted_ms: UInt
    at: UInt
    error: ErrorObject
    unknown: bool
    attempts: UInt
    history: list[FailedAttempt]
    event: LetterEvent
    cut: NotRequired[bool]


class LetterList(TypedDict):
    """Dead letters, oldest first, as many as were asked for and fit on the bus.

    Attributes:
        letters: The letters; the last one's `letter_id` is the next page's `after`.
        total: How many there are in all, from `after` on.
    """

    letters: list[Letter]
    total: UInt


class Moved(TypedDict):
    """What became of dead letters.

    Attributes:
        moved: How many were taken up again, or discarded.
    """

    moved: UInt
