"""The shapes of what the bridge says. Commands, which it is told, have theirs in `bridge.core.model`.

The docstrings are part of the contract: `schemas/` quotes them, an object's text before its `Attributes:` and each
attribute's as the description of that property.
"""

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from msgspec import Meta

from bridge.bus.rejection import Reason
from bridge.core.model import Cause, CircuitState, Positive, UInt

Milliseconds = Annotated[float, Meta(ge=0)]

ErrorKind = Literal[
    "invalid",
    "unknown_integration",
    "unknown_operation",
    "not_supported",
    "not_connected",
    "connection_lost",
    "timeout",
    "deadline",
    "circuit_open",
    "overloaded",
    "throttled",
    "auth",
    "rejected",
    "unavailable",
    "protocol",
    "stopping",
]


class ErrorObject(TypedDict):
    """What went wrong. It never holds a secret.

    Attributes:
        kind: What happened; a closed list.
        message: One line for a person.
        retryable: Whether the same call may be tried again, now or later.
        code: The remote's own error code, as it sent it.
        data: The remote's own error data, as it sent it.
        retry_after_ms: Milliseconds to wait before trying again makes sense.
    """

    kind: ErrorKind
    message: str
    retryable: bool
    code: NotRequired[int | str]
    data: NotRequired[Any]
    retry_after_ms: NotRequired[UInt]


# --- responses


class Success(TypedDict):
    """It worked.

    Attributes:
        ok: Always true.
        result: What the command answers.
        attempts: How many attempts were made; 0 where no remote was asked.
        duration_ms: Milliseconds from acceptance to the end.
    """

    ok: Annotated[bool, Meta(extra_json_schema={"const": True})]
    result: Any
    attempts: UInt
    duration_ms: Milliseconds


class Failure(TypedDict):
    """It did not work.

    Attributes:
        ok: Always false.
        error: What went wrong in the end.
        attempts: How many attempts were made; 0 where it was refused before the first.
        duration_ms: Milliseconds from acceptance to the end.
    """

    ok: Annotated[bool, Meta(extra_json_schema={"const": False})]
    error: ErrorObject
    attempts: UInt
    duration_ms: Milliseconds


class Nothing(TypedDict):
    """There is nothing to say beyond that it worked."""


class Published(TypedDict):
    """What the broker returned; which of these depends on the protocol, and there may be more.

    Attributes:
        stream: The stream that took the message.
        sequence: Its number there.
        receivers: How many subscribers got it.
    """

    stream: NotRequired[str]
    sequence: NotRequired[int | str]
    receivers: NotRequired[UInt]


class Subscribed(TypedDict):
    """A subscription that stands.

    Attributes:
        subscription: Its name, for `unsubscribe`; the same for the same topic and `emit`.
    """

    subscription: str


class Enqueued(TypedDict):
    """A message that is in its queue.

    Attributes:
        message_id: The queue's own id of it.
    """

    message_id: str


class Circuit(TypedDict):
    """The circuit after the command.

    Attributes:
        state: Its state now.
    """

    state: CircuitState


class Reloaded(TypedDict):
    """The plan that was carried out.

    Attributes:
        added: Integrations that are new.
        changed: Integrations that were replaced, because their blocks changed.
        removed: Integrations that are gone.
        unchanged: Integrations that were not touched.
        routes: How many routes there are now.
        needs_restart: Blocks that changed too, but take effect only at the next start.
    """

    added: list[str]
    changed: list[str]
    removed: list[str]
    unchanged: list[str]
    routes: UInt
    needs_restart: list[Literal["bridge", "log", "bus"]]


# --- messages from outside


class Message(TypedDict):
    """One message from outside.

    Attributes:
        topic: The concrete topic that it came by.
        message: Its content.
        headers: The outside protocol's headers.
        message_id: For `ack`, where the protocol acknowledges.
        attempts: How often it was delivered, where the protocol counts.
    """

    topic: str
    message: Any
    headers: dict[str, str]
    message_id: NotRequired[str]
    attempts: NotRequired[UInt]


# --- resilience


class Retry(TypedDict):
    """An attempt failed, and there will be another.

    Attributes:
        integration: The integration's label.
        operation: The operation's name.
        cause: The event that asked for it.
        attempt: The attempt that failed, from 1.
        max_attempts: How many there are at most.
        delay_ms: Milliseconds until the next.
        error: Why it failed.
    """

    integration: str
    operation: str
    cause: Cause
    attempt: Positive
    max_attempts: Positive
    delay_ms: UInt
    error: ErrorObject


class Failed(TypedDict):
    """An operation failed for good, with or without a response that says so.

    Attributes:
        integration: The integration's label; `bridge` for a command to the bridge itself.
        operation: The operation's name.
        cause: The event that asked for it; null for a message from outside that no event could be made of.
        attempts: How many attempts were made.
        error: Why the last one failed, or why there was none.
    """

    integration: str
    operation: str
    cause: Cause | None
    attempts: UInt
    error: ErrorObject


class GivenUp(TypedDict):
    """A message from outside was delivered as often as it may be, and the application acknowledged none of them.

    A Redis entry lies in the stream `<queue>:dead` then, JetStream was told to deliver it no more, and to MQTT it is
    acknowledged: this event is the last that is seen of it there.

    Attributes:
        integration: The integration's label.
        operation: Always `subscribe`.
        cause: Always null: no event asked for it.
        message: The message, as it was delivered last.
        error: Why it was given up.
    """

    integration: str
    operation: Literal["subscribe"]
    cause: None
    message: Message
    error: ErrorObject


#: Made in this form because of `from`, which is no name in Python.
_Change = TypedDict(
    "_Change",
    {
        "integration": str,
        "operation": str,
        "cause": Cause,
        "from": CircuitState,
        "to": CircuitState,
        "failures": UInt,
        "retry_after_ms": UInt | None,
        "error": ErrorObject | None,
    },
)


class CircuitChange(_Change):
    """The circuit breaker changed its state. Changes come in their order, none twice.

    Attributes:
        integration: The integration's label.
        operation: The operation that caused it.
        cause: The event that asked for that operation.
        from: The state before.
        to: The state now.
        failures: Consecutive failures so far.
        retry_after_ms: Milliseconds until it half-opens; null unless it opened by itself.
        error: The failure that opened it; null where it closes or was changed by hand.
    """


class Shed(TypedDict):
    """Operations ended without an attempt, or without another one; said once a second at most for each reason.

    Attributes:
        integration: The integration's label.
        operation: The last operation that is counted.
        cause: The event that asked for that operation.
        reason: The error's kind, or `retry_budget` where there were too many retries already.
        count: How many since it was last said.
    """

    integration: str
    operation: str
    cause: Cause
    reason: ErrorKind | Literal["retry_budget"]
    count: Positive


class BusRejected(TypedDict):
    """Messages on the bus were not taken; said once a second at most for each reason.

    Attributes:
        reason: What was wrong with them.
        count: How many since it was last said.
        detail: What exactly was wrong with the last one; nothing of its payload.
        key: On a closed bus, the fingerprint of the key whose holder it was.
    """

    reason: Reason
    count: Positive
    detail: NotRequired[str]
    key: NotRequired[str]


class BusGap(TypedDict):
    """Events of a source that numbers them (`headers.seq`) did not arrive.

    Attributes:
        source: The source.
        missing: How many since it was last said.
    """

    source: str
    missing: Positive
