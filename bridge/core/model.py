"""Define the data that passes through the bridge: events, commands, operations, outcomes and messages; all frozen.

The bus carries an `Event`. The payload of a command is decoded directly into one of the command structs, so that its
check and its decoding are one step; `schemas/` is written from the same structs.
"""

import enum
from functools import cached_property
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from bridge.core.errors import BridgeError, ErrorObject

#: Values of `hop` above this stop a message (bus contract, "Loop protection").
MAX_HOP: Final = 8

#: The quality of service that is meant where a protocol has one and none is given.
DEFAULT_QOS: Final = 1

UInt = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(gt=0)]
NonEmpty = Annotated[str, Meta(min_length=1)]


def parse_hop(text: str | None) -> int:
    """Return the number in a `hop` header: 0 where it is missing or not a number, and 1000 where it is larger."""
    if text is None or not text.isascii() or not text.isdigit():
        return 0
    return int(text) if len(text) < 4 else 1000


#: Headers that belong to one event only; all others are forwarded.
_ONE_CROSSING: Final = frozenset({"idempotency_key", "deadline_ms", "seq", "hop"})


def forwarded_headers(headers: dict[str, str] | None, hop: int) -> dict[str, str]:
    """Return the headers of an event or message that is sent because of one with `headers`.

    It gets one hop more than `hop`, and all headers that do not belong to the first event alone (bus contract, "Loop
    protection").
    """
    if headers is None:
        return {"hop": "1"} if hop == 0 else {"hop": str(hop + 1)}
    return {name: value for name, value in headers.items() if name not in _ONE_CROSSING} | {"hop": str(hop + 1)}


class Event(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One event on the bus. Its payload stays encoded, as a map's value in MessagePack, until somebody asks for it.

    Attributes:
        id: Unsigned 64-bit number, rising within one source's life.
        event_type: Dotted name, the same as the message's first frame.
        raw: The encoded payload: any value of JSON's data model, or bytes.
        timestamp: Unix time in milliseconds.
        source: Who emitted it.
        correlation_id: Ties a response to its request.
        headers: `traceparent`, `idempotency_key`, `deadline_ms`, `hop`, `seq`, and unknown ones, which are forwarded.
    """

    id: UInt
    event_type: str
    raw: msgspec.Raw = msgspec.field(name="payload")
    timestamp: UInt
    source: str | None
    correlation_id: str | None
    headers: dict[str, str] | None = None

    @cached_property
    def payload(self) -> Any:
        """Return the payload; it is decoded once."""
        return msgspec.msgpack.decode(self.raw)

    @property
    def hop(self) -> int:
        """Return the number in its `hop` header: how often events and messages led to it across the bridge."""
        return 0 if self.headers is None else parse_hop(self.headers.get("hop"))

    def header(self, name: str) -> str | None:
        """Return the value of one header, or None."""
        return None if self.headers is None else self.headers.get(name)


class Cause(msgspec.Struct, frozen=True, gc=False):
    """The event that made the bridge act; part of each resilience event.

    Attributes:
        source: Who emitted it.
        id: Its number.
        event_type: Its type.
    """

    source: str | None
    id: UInt
    event_type: str


# --- commands: payloads of `integration.<id>.<operation>`


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`request`: call a method of the remote.

    Attributes:
        method: The remote's method.
        params: Its arguments; left out, the remote gets none.
        timeout_ms: The caller's total time in milliseconds, retries included.
        notify: Do not wait for an answer; the result is null once it is sent.
    """

    method: NonEmpty
    params: Any = msgspec.UNSET
    timeout_ms: Positive | None = None
    notify: bool = False


class Publish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`publish`: send a message to a topic.

    Attributes:
        topic: The topic to publish to.
        message: The message.
        qos: The quality of service, where the protocol has it.
        retain: Whether the broker keeps it for later subscribers, where the protocol has that.
        headers: Headers of the message, where the protocol has them.
    """

    topic: NonEmpty
    message: Any
    qos: Literal[0, 1, 2] | None = None
    retain: bool = False
    headers: dict[str, str] | None = None


class Subscribe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`subscribe`: bring what is published to a topic onto the bus.

    Attributes:
        topic: In the protocol's own pattern language.
        emit: The type of the events; `message.<id>` where it is left out.
        qos: The quality of service, where the protocol has it. One topic has one: with another than that of a
            subscription that is there already the command is `invalid`; left out, it is that one.
    """

    topic: NonEmpty
    emit: str | None = None
    qos: Literal[0, 1, 2] | None = None


class Unsubscribe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`unsubscribe`: by the subscription's name, or by topic.

    Attributes:
        subscription: The name that `subscribe` returned, or a block's label.
        topic: All subscriptions to this topic.
    """

    subscription: str | None = None
    topic: str | None = None


class Enqueue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`enqueue`: append a message to a queue.

    Attributes:
        queue: The queue to append to.
        message: The message.
        headers: Headers of the message, where the protocol has them.
    """

    queue: NonEmpty
    message: Any
    headers: dict[str, str] | None = None


class Dequeue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`dequeue`: take one message, and hold it until `ack` or `nack`.

    Attributes:
        queue: The queue to take from.
        wait_ms: Milliseconds to wait for one.
        visibility_ms: Milliseconds after which it is delivered again, where the protocol can.
    """

    queue: NonEmpty
    wait_ms: UInt = 0
    visibility_ms: Positive | None = None


class Ack(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`ack`: acknowledge one message.

    Attributes:
        message_id: The id of the message, as it was delivered.
        delay_ms: Ignored; it is here because the contract gives `ack` and `nack` the same payload.
    """

    message_id: NonEmpty
    delay_ms: UInt | None = None


class Nack(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`nack`: give one message back.

    Attributes:
        message_id: The id of the message, as it was delivered.
        delay_ms: Milliseconds until it is delivered again; at once where it is left out.
    """

    message_id: NonEmpty
    delay_ms: UInt | None = None


class Empty(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The payload of commands without arguments: `pause`, `resume`, `drain`, `circuit.*`, `bridge.status`."""


class Letters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which dead letters `bridge.dead_letters`, `bridge.replay` and `bridge.discard` mean; nothing given means all.

    Attributes:
        integration: Only those of this integration.
        ids: Only these, by `letter_id`.
        limit: Not more than so many, the oldest first; `bridge.dead_letters` gives 100 where it is left out.
        after: Only those behind this one, by `letter_id`: the last of the page before.
    """

    integration: str | None = None
    ids: list[str] | None = None
    limit: Positive | None = None
    after: str | None = None


#: The operations on dead letters.
DEAD_LETTER_OPERATIONS: Final = ("dead_letters", "replay", "discard")

Command = Request | Publish | Subscribe | Unsubscribe | Enqueue | Dequeue | Ack | Nack | Empty

#: The guarded operations, which go to an adapter.
OPERATIONS: Final[dict[str, type[Command]]] = {
    "request": Request,
    "publish": Publish,
    "subscribe": Subscribe,
    "unsubscribe": Unsubscribe,
    "enqueue": Enqueue,
    "dequeue": Dequeue,
    "ack": Ack,
    "nack": Nack,
}
#: The operations on the integration itself, which no adapter sees.
CONTROLS: Final = ("pause", "resume", "drain", "circuit.force_open", "circuit.reset")


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One accepted command or route, on its way to an adapter.

    Attributes:
        integration: The integration's label.
        name: The operation's name, a key of `OPERATIONS`.
        command: The checked arguments.
        cause: The event that asked for it.
        correlation_id: The cause's, None where nobody waits for a response.
        deadline: Monotonic time in seconds by which the caller wants the answer, None for no limit.
        idempotency_key: The caller's key; its presence makes the call safe to repeat.
        headers: Headers that go to the remote (`traceparent`, `hop`, unknown ones).
        route: The route that asked for it, None for a direct command.
        key: Operations with the same key start in arrival order.
        hop: The hop of the cause; what is sent because of it gets one more.
        repeatable: Whether it may be done twice; None where the presence of a key decides. An adapter may allow more.
        durable: True where it is in the outbox, which decides what its failure means.
    """

    integration: str
    name: str
    command: Command
    cause: Cause
    correlation_id: str | None = None
    deadline: float | None = None
    idempotency_key: str | None = None
    headers: dict[str, str] | None = None
    route: str | None = None
    key: str = ""
    hop: UInt = 0
    repeatable: bool | None = None
    durable: bool = False


class FailedAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt that failed.

    Attributes:
        at: When it began, Unix time in milliseconds.
        duration_ms: How long it took.
        error: Why it failed.
    """

    at: UInt
    duration_ms: Annotated[float, Meta(ge=0)]
    error: ErrorObject


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How an operation ended: a result, or an error; never both.

    Attributes:
        result: What the remote answered.
        error: What went wrong in the end; its `retryable` is already narrowed to this call.
        attempts: How many attempts were made; 0 where it was refused before the first.
        duration_ms: From acceptance to the end, in milliseconds.
        history: The failed attempts, oldest first.
    """

    result: Any = None
    error: BridgeError | None = None
    attempts: int = 0
    duration_ms: float = 0.0
    history: tuple[FailedAttempt, ...] = ()

    @property
    def ok(self) -> bool:
        """Return whether there is a result."""
        return self.error is None


class ConnectionStatus(enum.StrEnum):
    """`status` of `health.<id>`."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    DEGRADED = "degraded"
    DISCONNECTED = "disconnected"
    FAILED = "failed"
    PAUSED = "paused"
    STOPPED = "stopped"


class CircuitState(enum.StrEnum):
    """The breaker's state, as `circuit` of `health.<id>` shows it."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Inbound(msgspec.Struct, frozen=True, kw_only=True):
    """One message from a remote.

    Attributes:
        topic: The topic it was published to; never a pattern.
        message: Its decoded content.
        headers: The protocol's headers.
        message_id: For `ack` and `nack`, where the protocol acknowledges.
        attempts: How often it was delivered, where the protocol counts.
        unique: The sender's own id of the message, where it is not in the header `idempotency_key`; a second message
            with the same id is a repetition. It is not part of the event.
    """

    topic: str
    message: Any
    headers: dict[str, str] = {}
    message_id: str | None = None
    attempts: int | None = None
    unique: str | None = None


class QueueMessage(msgspec.Struct, frozen=True, kw_only=True):
    """What `dequeue` returns.

    Attributes:
        message_id: For `ack` and `nack`.
        message: Its content.
        attempts: How often it was delivered.
        headers: The outside protocol's headers.
    """

    message_id: str
    message: Any
    attempts: int
    headers: dict[str, str] = {}
