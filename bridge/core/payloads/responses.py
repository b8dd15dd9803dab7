"""Payloads of `response.*`, of `message.*` and of `receipt.*`."""

import enum
from typing import Annotated, Any, NotRequired, TypedDict

from msgspec import UNSET, Meta, UnsetType

from bridge.core.errors import ErrorObject
from bridge.core.model import Cause, CircuitState, UInt
from bridge.core.payloads.base import Milliseconds, Payload


class Success(Payload, frozen=True):
    """The operation has succeeded.

    Attributes:
        ok: Always true.
        result: The command's result.
        attempts: How many attempts were made; 0 where no remote was called.
        duration_ms: Milliseconds from acceptance to the end.
        route: The route that caused the operation.
    """

    ok: Annotated[bool, Meta(extra_json_schema={"const": True})]
    result: Any
    attempts: UInt
    duration_ms: Milliseconds
    route: str | UnsetType = UNSET


class Failure(Payload, frozen=True):
    """The operation has failed.

    Attributes:
        ok: Always false.
        error: The last error.
        attempts: How many attempts were made; 0 where it was rejected before the first.
        duration_ms: Milliseconds from acceptance to the end.
        route: The route that caused the operation.
    """

    ok: Annotated[bool, Meta(extra_json_schema={"const": False})]
    error: ErrorObject
    attempts: UInt
    duration_ms: Milliseconds
    route: str | UnsetType = UNSET


class Nothing(Payload, frozen=True):
    """The result of a command that has none: an empty object."""


SequenceNumber = UInt | str


class Published(TypedDict):
    """The broker's answer. Which of these are there depends on the protocol, and there may be more.

    Attributes:
        stream: The stream that stored the message.
        sequence: The message's number in the stream.
        receivers: How many subscribers the message was sent to.
    """

    stream: NotRequired[str]
    sequence: NotRequired[SequenceNumber]
    receivers: NotRequired[UInt]


class Subscribed(Payload, frozen=True):
    """A subscription that the remote has confirmed.

    Attributes:
        subscription: Its name, for `unsubscribe`; the same name for the same topic and `emit`.
    """

    subscription: str


class Enqueued(Payload, frozen=True):
    """A message that the queue has stored.

    Attributes:
        message_id: The message's id in the queue.
    """

    message_id: str


class Circuit(Payload, frozen=True):
    """The circuit breaker after the command.

    Attributes:
        state: Its state.
    """

    state: CircuitState


class RouteMatch(Payload, frozen=True):
    """A route whose `on` matches the type of an event.

    Attributes:
        route: The route's label.
        integration: The integration that it calls.
        operation: The operation's name.
        where: Whether its condition holds; true where it has none; null where no payload was given, or where it cannot
            be evaluated: the event would then be answered with `invalid`.
    """

    route: str
    integration: str
    operation: str
    where: bool | None


class Matched(Payload, frozen=True):
    """What this bridge does with an event.

    Attributes:
        command: Whether it is a command that this bridge executes.
        stops: Whether it stops this bridge (`stop_with`).
        error: Why it is refused, if it is a command of the bus contract which no bridge executes; else null.
        routes: The routes whose `on` matches its type, in the order of the configuration.
    """

    command: bool
    stops: bool
    error: ErrorObject | None
    routes: list[RouteMatch]


class Message(Payload, frozen=True):
    """A message from outside.

    Attributes:
        topic: The topic that it was published to; no pattern.
        message: Its content.
        headers: Its headers; empty where the protocol has none. `traceparent`, `tracestate` and `baggage` are headers
            of the event instead.
        message_id: Its id for `ack` and `nack`, where the application acknowledges.
        attempts: How often it was delivered, where the protocol counts that.
    """

    topic: str
    message: Any
    headers: dict[str, str]
    message_id: str | UnsetType = UNSET
    attempts: UInt | UnsetType = UNSET


class ReceiptOutcome(enum.StrEnum):
    """The final outcome of an accepted event; the last segment of the type of its receipt."""

    DELIVERED = "delivered"
    DEAD_LETTERED = "dead_lettered"
    EXPIRED = "expired"


class Receipt(Payload, frozen=True):
    """The final outcome of an accepted event. The event type names it: `delivered`, `dead_lettered` or `expired`.

    A receipt may be emitted more than once, always with the same outcome. `dead_lettered` means that the operation has
    failed for good: for an `at_least_once` route the event is now a dead letter; for any other one
    `resilience.<id>.failed` has the reason.

    Attributes:
        integration: The integration's label.
        operation: The operation's name.
        idempotency_key: The caller's key, or for `at_least_once` the one that the bridge made; null if there is none.
        cause: The event that was accepted.
        attempts: How many attempts were made.
    """

    integration: str
    operation: str
    idempotency_key: str | None
    cause: Cause
    attempts: UInt
