"""Payloads about dead letters: `resilience.<id>.dead_letter`, and the answers of the commands on them."""

from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType

from bridge.core.errors import ErrorObject
from bridge.core.model import Cause, FailedAttempt, UInt
from bridge.core.payloads.base import Payload

LetterId = Annotated[str, Meta(pattern="^[0-9]{1,18}$")]


class LetterEvent(Payload, frozen=True):
    """The event of a dead letter, as it came by the bus.

    Attributes:
        id: Its number.
        event_type: Its type.
        payload: Its payload; null where the letter is `cut`.
        timestamp: Unix time in milliseconds.
        source: The name of the program that emitted it.
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


class DeadLetter(Payload, frozen=True):
    """An accepted event became a dead letter; it is stored until a person replays or discards it.

    Attributes:
        integration: The integration's label.
        operation: The operation's name.
        cause: The event that asked for it.
        letter_id: Its id for `bridge.dead_letters`, `bridge.replay` and `bridge.discard`.
        event: The event.
        error: Why it failed.
        unknown: True where the remote may have acted on the call: it has not answered, and the call must not be
            repeated.
        attempts: How many attempts were made.
        history: The failed attempts, oldest first; of more than 100 the first 10 and the last 90.
        cut: True where payload and history are left out, because they do not fit on the bus.
    """

    integration: str
    operation: str
    cause: Cause
    letter_id: LetterId
    event: LetterEvent
    error: ErrorObject
    unknown: bool
    attempts: UInt
    history: tuple[FailedAttempt, ...]
    cut: bool | UnsetType = UNSET


class Letter(Payload, frozen=True):
    """A stored dead letter.

    Attributes:
        letter_id: Its id for `bridge.replay` and `bridge.discard`.
        integration: The integration's label.
        route: The route that asked for the operation.
        operation: The operation's name.
        idempotency_key: The caller's key, or the one that the bridge made; a replay uses it again.
        accepted_ms: When the event was accepted, Unix time in milliseconds.
        at: When it became a dead letter, Unix time in milliseconds.
        error: Why it failed.
        unknown: True where the remote may have acted on the call.
        attempts: How many attempts were made.
        history: The failed attempts, oldest first; of more than 100 the first 10 and the last 90.
        event: The event.
        cut: True where payload and history are left out, because they do not fit on the bus.
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
    history: tuple[FailedAttempt, ...]
    event: LetterEvent
    cut: bool | UnsetType = UNSET


class LetterList(Payload, frozen=True):
    """Dead letters, oldest first, as many as were asked for and fit on the bus.

    Attributes:
        letters: The dead letters; the last one's `letter_id` is the `after` of the next page.
        total: How many match in all, from `after` on.
    """

    letters: list[Letter]
    total: UInt


class Moved(Payload, frozen=True):
    """How many dead letters were replayed or discarded.

    Attributes:
        moved: The number of dead letters.
    """

    moved: UInt
