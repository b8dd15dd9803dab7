"""What travels through the house: plain, frozen data.

An `Event` is what the bus carries. A command's payload is decoded straight into one of the command structs, so that
the check of its shape and the decoding are one step; the structs are also what `schemas/` is written from.
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
    """The number in a `hop` header: 0 where it is missing or no number, and beyond every limit where it is huge."""
    if text is None or not text.isascii() or not text.isdigit():
        return 0
    return int(text) if len(text) < 4 else 1000


#: Headers that belong to one crossing of the bus; all others travel on.
_ONE_CROSSING: Final = frozenset({"idempotency_key", "deadline_ms", "seq", "hop"})


def forwarded_headers(headers: dict[str, str] | None, hop: int) -> dict[str, str]:
    """The headers of what an event with these leads to, on the bus or outside: one hop more, and the unknown ones."""
    if headers is None:
        return {"hop": "1"} if hop == 0 else {"hop": str(hop + 1)}
    return {name: value for name, value in headers.items() if name not in _ONE_CROSSING} | {"hop": str(hop + 1)}


class Event(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One event on the bus. Its payload stays encoded, as a map's value in MessagePack, until somebody asks for it.

    Attributes:
        id: Unsigned 64-bit number, rising within one source's life.
        event_type: Dotted name, the same as the message's first frame.
        raw: What it says: any value of JSON's data model, or bytes.
        timestamp: Unix time in milliseconds.
        source: Who emitted it.
        correlation_id: Ties a response to its request.
        headers: `traceparent`, `idempotency_key`, `deadline_ms`, `hop`, `seq`, and unknown ones, which travel on.
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
        """The payload, decoded once."""
        return msgspec.msgpack.decode(self.raw)

    @property
    def hop(self) -> int:
        """How many crossings it has behind it."""
        return 0 if self.headers is None else parse_hop(self.headers.get("hop"))

    def header(self, name: str) -> str | None:
        """One header's value, or None."""
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
        topic: Where to.
        message: What.
        qos: The quality of service, where the protocol has it.
        retain: Whether the broker keeps it for later subscribers, where the protocol has that.
        headers: Headers for the outside, where the protocol has them.
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
        queue: Where to.
        message: What.
        headers: Headers for the outside, where the protocol has them.
    """

    queue: NonEmpty
    message: Any
    headers: dict[str, str] | None = None


class Dequeue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`dequeue`: take one message, and hold it until `ack` or `nack`.

    Attributes:
        queue: Where from.
        wait_ms: Milliseconds to wait for one.
        visibility_ms: Milliseconds after which it is delivered again, where the protocol can.
    """

    queue: NonEmpty
    wait_ms: UInt = 0
    visibility_ms: Positive | None = None


class Ack(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`ack`: settle one message.

    Attributes:
        message_id: As it was delivered.
        delay_ms: Means nothing here: the contract gives `ack` and `nack` the same payload.
    """

    message_id: NonEmpty
    delay_ms: UInt | None = None


class Nack(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`nack`: give one message back.

    Attributes:
        message_id: As it was delivered.
        delay_ms: Milliseconds until it is delivered again; at once where it is left out.
    """

    message_id: NonEmpty
    delay_ms: UInt | None = None


class Empty(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The payload of commands that need nothing: `pause`, `resume`, `drain`, `circuit.*`, `bridge.status`."""


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
        headers: Headers that travel to the outside (`traceparent`, `hop`, unknown ones).
        route: The route that asked for it, None for a direct command.
        key: Operations with the same key start in arrival order.
        hop: How many crossings the cause has behind it; what leaves because of it carries one more.
        repeatable: Whether it may be done twice; None where the presence of a key decides. An adapter may say more.
        durable: True where it lies in the outbox, which decides what its failure means.
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
        attempts: How many attempts were really made; 0 where it was rejected before the first.
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
        """True where there is a result."""
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
    """One message from outside.

    Attributes:
        topic: The concrete topic it came by.
        message: Its decoded content.
        headers: The outside protocol's headers.
        message_id: Where the protocol acknowledges.
        attempts: How often it was delivered, where the protocol counts.
        unique: What its sender calls this very message, where that is not in the header `idempotency_key`; a second
            one of that name is a repetition. It is not part of the event.
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
