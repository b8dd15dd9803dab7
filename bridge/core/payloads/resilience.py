"""Payloads of `resilience.*`."""

import enum
from typing import Literal

from msgspec import UNSET, UnsetType, field

from bridge.core.errors import ErrorKind, ErrorObject
from bridge.core.model import Cause, CircuitState, Positive, UInt
from bridge.core.payloads.base import Payload
from bridge.core.payloads.responses import Message


class Retry(Payload, frozen=True):
    """An attempt failed, and another one will follow.

    Attributes:
        integration: The integration's label.
        operation: The operation's name.
        cause: The event that asked for it.
        attempt: The number of the attempt that failed, from 1.
        max_attempts: How many attempts there are at most.
        delay_ms: Milliseconds until the next attempt.
        error: Why it failed.
    """

    integration: str
    operation: str
    cause: Cause
    attempt: Positive
    max_attempts: Positive
    delay_ms: UInt
    error: ErrorObject


class Failed(Payload, frozen=True):
    """An operation failed, and there will be no further attempt.

    Attributes:
        integration: The integration's label; `bridge` for a command to the bridge itself.
        operation: The operation's name.
        cause: The event that asked for it; null for a message from outside that could not become an event.
        attempts: How many attempts were made.
        error: Why the last attempt failed, or why there was none.
        topic: Of a message from outside: where it came from; only the beginning of a long one.
        count: Of messages from outside: how many this event stands for, where more than one within a second.
    """

    integration: str
    operation: str
    cause: Cause | None
    attempts: UInt
    error: ErrorObject
    topic: str | UnsetType = UNSET
    count: Positive | UnsetType = UNSET


class Degraded(Payload, frozen=True):
    """Something goes on, but not as it was asked for. `health.<id>` has the same text under `warnings`.

    Attributes:
        integration: The integration's label.
        operation: Always null: no operation failed.
        cause: Always null: no event asked for it.
        warning: What the text is about; a later event with the same name replaces it.
        text: One line for a person.
    """

    integration: str
    operation: None
    cause: None
    warning: str
    text: str


class GivenUp(Payload, frozen=True):
    """A message from outside was delivered as often as is allowed, and the application has never acknowledged it.

    A Redis entry was moved to the stream `<queue>:dead`, JetStream will not deliver the message again, and on MQTT it
    was acknowledged: there this event is the only copy that is left.

    Attributes:
        integration: The integration's label.
        operation: Always `subscribe`.
        cause: Always null: no event asked for it.
        message: The message, as it was delivered last.
        error: Why it is not delivered again.
    """

    integration: str
    operation: Literal["subscribe"]
    cause: None
    message: Message
    error: ErrorObject


class CircuitChange(Payload, frozen=True):
    """The circuit breaker changed its state. Each change is emitted once, in order.

    Attributes:
        integration: The integration's label.
        operation: The operation that caused it.
        cause: The event that asked for that operation.
        from: The state before.
        to: The state now.
        failures: Consecutive failures so far.
        retry_after_ms: Milliseconds until it half-opens; null unless it opened by itself.
        error: The failure that opened it; null where it closes, or a command changed it.
    """

    integration: str
    operation: str
    cause: Cause
    from_: CircuitState = field(name="from")
    to: CircuitState
    failures: UInt
    retry_after_ms: UInt | None
    error: ErrorObject | None


ShedReason = ErrorKind | Literal["retry_budget"]


class Shed(Payload, frozen=True):
    """Operations ended without an attempt, or without a retry; emitted at most once a second for each reason.

    Attributes:
        integration: The integration's label.
        operation: The last of these operations.
        cause: The event that asked for that operation.
        reason: The error's kind, or `retry_budget` where there were too many retries already.
        count: How many operations since the last such event.
    """

    integration: str
    operation: str
    cause: Cause
    reason: ShedReason
    count: Positive


class Reason(enum.StrEnum):
    """Why messages on the bus were rejected."""

    FRAMES = "frames"
    SIZE = "size"
    TYPE_FRAME = "type_frame"
    TYPE_MISMATCH = "type_mismatch"
    MSGPACK = "msgpack"
    NOT_AN_EVENT = "not_an_event"
    MISSING_KEY = "missing_key"
    MISTYPED_KEY = "mistyped_key"
    DUPLICATE_KEY = "duplicate_key"
    EXTENSION = "extension"
    DEPTH = "depth"
    #: The event crossed a bridge too often: `hop` is beyond its limit.
    HOP = "hop"
    #: The broker disconnected a client that announced a frame beyond the hard limit, or violated the protocol.
    CUT = "cut"
    #: A client that does not speak ZeroMQ connected.
    HANDSHAKE = "handshake"
    #: On a closed bus: no key, a key that is not listed, or one without the right to publish or subscribe to this.
    REFUSED = "refused"
    #: A subscriber that read nothing while large messages passed was disconnected.
    STUCK = "stuck"
    #: The event wants a response, whose type would have more than 255 bytes. Nothing was done for it.
    UNANSWERABLE = "unanswerable"
    #: There was no room for all last values: the oldest is not repeated for later subscribers any more.
    FORGOTTEN = "forgotten"
    #: Messages came faster than the bridge could handle them, and there was no room for more to wait.
    OVERFLOW = "overflow"
    #: The same event came more than 17 times in a second: a program repeats what it hears. The others set nothing off.
    ECHO = "echo"


class BusRejected(Payload, frozen=True):
    """Messages on the bus were rejected; emitted at most once a second for each reason, sender's key and event type.

    Attributes:
        reason: What was wrong with them.
        count: How many messages since the last such event.
        detail: What exactly was wrong with the last one; it contains nothing of the payload.
        key: On a closed bus, the fingerprint of the sender's key.
        event_type: With `echo`, the type of these events; left out where there are too many types to report each.
    """

    reason: Reason
    count: Positive
    detail: str | UnsetType = UNSET
    key: str | UnsetType = UNSET
    event_type: str | UnsetType = UNSET


class BusGap(Payload, frozen=True):
    """Events of a source that numbers them (`headers.seq`) did not arrive.

    Attributes:
        source: The source.
        missing: How many events since the last such event.
    """

    source: str
    missing: Positive


class OutboxLoss(Payload, frozen=True):
    """The outbox does not have what an earlier run had stored: its files were cut, removed or replaced.

    Said after the start that found it, and to each later subscriber.

    Attributes:
        commits: How many transactions are missing.
        entries: How many accepted events were in these; some of them may have been delivered.
        replaced: Whether the whole database is another one.
    """

    commits: UInt
    entries: UInt
    replaced: bool


class ConsoleAction(Payload, frozen=True):
    """A person has asked for something in the console: what, who, and how it ended. Refused ones are told as well.

    Attributes:
        action: The operation, as `pause`, `replay` or `reload`.
        integration: The integration's label; null where none was named.
        by: Address and port of the browser, or of the proxy before the bridge.
        ok: Whether it was done.
        error: Why it was not done, or refused.
        dry_run: Of `reload`: whether it was only to report what would change.
        moved: Of `replay` and `discard`: how many dead letters were moved.
        count: How many refused actions this event stands for, where more came than are reported one by one.
    """

    action: str
    integration: str | None
    by: str
    ok: bool
    error: ErrorObject | None
    dry_run: bool | UnsetType = UNSET
    moved: UInt | UnsetType = UNSET
    count: Positive = 1
