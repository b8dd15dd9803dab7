"""The data that the packages pass to each other: events, commands, operations, outcomes, messages. All is frozen.

An `Event` is what the bus carries. A command's payload is decoded straight into one of the command structs, so that
its shape is checked by decoding. `schemas/` is written from these structs, too: their docstrings are its descriptions.
"""

import enum
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from bridge.core.errors import BridgeError, ErrorObject, InvalidError

#: Values of `hop` above this stop a message (bus contract, "Loop protection").
MAX_HOP: Final = 8

#: The quality of service that is meant where a protocol has one and none is given.
DEFAULT_QOS: Final = 1

UInt = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(gt=0)]
NonEmpty = Annotated[str, Meta(min_length=1)]


def parse_hop(text: str | None) -> int:
    """Return the number in a `hop` header: 0 where there is none, 1000 where it has more than three digits."""
    if text is None or not text.isascii() or not text.isdigit():
        return 0
    return int(text) if len(text) < 4 else 1000


#: The header of a last value that a bridge publishes again for a later subscriber; such an event sets off no route.
REPEATED: Final = "repeated"

#: The headers of an event that came from another bridge of a fabric: the node that it comes from, and the fabric. Where
#: it came through several fabrics, all of them are there, the last one at the end, with commas between them.
ORIGIN: Final = "origin"
FABRIC: Final = "fabric"

#: Headers that belong to one event; all others are copied to what the event causes.
_ONE_CROSSING: Final = frozenset({"idempotency_key", "deadline_ms", "seq", "hop", REPEATED, ORIGIN, FABRIC})


def forwarded_headers(headers: dict[str, str] | None, hop: int) -> dict[str, str]:
    """Return the headers for what an event with these headers causes, on the bus or outside it.

    That is `hop`, one higher, and the headers that are unknown to the bridge (bus contract, "Loop protection").
    """
    if headers is None:
        return {"hop": "1"} if hop == 0 else {"hop": str(hop + 1)}
    return {name: value for name, value in headers.items() if name not in _ONE_CROSSING} | {"hop": str(hop + 1)}


#: The headers of a trace's context (W3C Trace Context, W3C Baggage).
TRACE_HEADERS: Final = ("traceparent", "tracestate", "baggage")
_PLACE_IN_TRACE: Final = frozenset({"traceparent", "tracestate"})
#: The same as libraries write them. Where a message has them, its event has them, too. Nearly all messages have none,
#: which one look-up for each header tells.
_TRACE_CONTEXT: Final = frozenset(
    spelling for name in TRACE_HEADERS for spelling in (name, name.capitalize(), name.upper())
)


def trace_of(headers: Mapping[str, str]) -> dict[str, str] | None:
    """Return the headers of the trace's context, in small letters; None where there are none."""
    if _TRACE_CONTEXT.isdisjoint(headers):
        return None
    return {name.lower(): value for name, value in headers.items() if name in _TRACE_CONTEXT}


def in_trace(headers: Mapping[str, str] | None, context: Mapping[str, str]) -> dict[str, str]:
    """Return the headers with another place in a trace: `traceparent` and `tracestate` are those of `context`."""
    if headers is None:
        return dict(context)
    return {name: value for name, value in headers.items() if name.lower() not in _PLACE_IN_TRACE} | dict(context)


def without_trace(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that `trace_of` does not return."""
    return {name: value for name, value in headers.items() if name not in _TRACE_CONTEXT}


class Event(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """An event on the bus.

    Attributes:
        id: Unsigned 64-bit number; it rises while the source's process runs.
        event_type: Dotted name, the same as the message's first frame.
        raw: The content: any value of JSON's data model. Bytes are objects with one key, {"$bytes": "<base64>"}, by RFC
            4648, section 4, with padding; MessagePack's `bin` is understood, too.
        timestamp: Unix time in milliseconds.
        source: The name of the program that emitted it.
        correlation_id: Connects a response with its request.
        headers: `traceparent`, `idempotency_key`, `deadline_ms`, `hop`, `seq`, and unknown ones, which are passed on.
    """

    # The payload stays encoded until it is asked for: many events are only passed on, or are not for this bridge. It
    # has bytes as `bin` here, whatever the form in which they came.

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

    def check(self) -> None:
        """Check the payload for what makes an event invalid only for who uses it.

        Raises:
            InvalidError: It has an object `$bytes` that is not valid (`bytes_object`); the message has the path to it.
        """
        if "fault" in self.__dict__:
            raise InvalidError(self.__dict__["fault"])

    @property
    def hop(self) -> int:
        """Return how often the event, or one that caused it, has crossed a bridge."""
        return 0 if self.headers is None else parse_hop(self.headers.get("hop"))

    def header(self, name: str) -> str | None:
        """Return a header's value; None where there is none."""
        return None if self.headers is None else self.headers.get(name)

    def is_repeated(self, own: str) -> bool:
        """Return whether this is a last value that a bridge publishes again, for others.

        Args:
            own: The source of this bridge's own events.
        """
        if self.headers is None or REPEATED not in self.headers:
            return False
        source = self.source or ""
        return source == own or source.partition("/")[0] == "bridge"


class Cause(msgspec.Struct, frozen=True, gc=False):
    """The event that caused an operation; part of each resilience event.

    Attributes:
        source: The name of the program that emitted it.
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
        params: Its arguments; if left out, the remote gets none.
        timeout_ms: Milliseconds that the caller waits in all, retries included.
        notify: Do not wait for an answer; the result is null when the call is sent.
    """

    method: NonEmpty
    params: Any = msgspec.UNSET
    timeout_ms: Positive | None = None
    notify: bool = False


class Publish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`publish`: send a message to a topic.

    Attributes:
        topic: The topic.
        message: The message's content.
        qos: The quality of service, where the protocol has it.
        retain: Whether the broker stores the message for later subscribers, where the protocol has that.
        headers: Headers to send with the message, where the protocol has them.
    """

    topic: NonEmpty
    message: Any
    qos: Literal[0, 1, 2] | None = None
    retain: bool = False
    headers: dict[str, str] | None = None


class Subscribe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`subscribe`: emit an event for each message that is published to a topic.

    Attributes:
        topic: The topic, or a pattern in the protocol's own language.
        emit: The type of the events; `message.<id>` if left out.
        qos: The quality of service, where the protocol has it. All subscriptions to a topic have the same one: if it
            differs from that of an existing subscription, the command is `invalid`; if left out, that one is used.
    """

    topic: NonEmpty
    emit: str | None = None
    qos: Literal[0, 1, 2] | None = None


class Unsubscribe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`unsubscribe`: end a subscription by its name, or all subscriptions to a topic.

    Attributes:
        subscription: The name that `subscribe` returned, or the label of a `subscription` block.
        topic: End all subscriptions to this topic.
    """

    subscription: str | None = None
    topic: str | None = None


class Enqueue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`enqueue`: append a message to a queue.

    Attributes:
        queue: The queue.
        message: The message's content.
        headers: Headers to send with the message, where the protocol has them.
    """

    queue: NonEmpty
    message: Any
    headers: dict[str, str] | None = None


class Dequeue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`dequeue`: take one message from a queue; it stays unacknowledged until `ack` or `nack`.

    Attributes:
        queue: The queue.
        wait_ms: Milliseconds to wait for a message.
        visibility_ms: Milliseconds after which an unacknowledged message is delivered again, where the protocol can.
    """

    queue: NonEmpty
    wait_ms: UInt = 0
    visibility_ms: Positive | None = None


class Ack(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`ack`: acknowledge a message, so that it is not delivered again.

    Attributes:
        message_id: The `message_id` with which the message was delivered.
        delay_ms: Ignored; `ack` and `nack` have the same payload.
    """

    message_id: NonEmpty
    delay_ms: UInt | None = None


class Nack(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`nack`: return a message to its queue, to be delivered again.

    Attributes:
        message_id: The `message_id` with which the message was delivered.
        delay_ms: Milliseconds until it is delivered again; at once if left out.
    """

    message_id: NonEmpty
    delay_ms: UInt | None = None


class Empty(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The empty payload of commands without arguments, for example `pause`, `circuit.reset` or `bridge.status`."""


class Letters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Selects dead letters for `bridge.dead_letters`, `bridge.replay` or `bridge.discard`; without arguments all.

    Attributes:
        integration: Only those of this integration.
        ids: Only those with these `letter_id`s.
        limit: At most this many, the oldest first; `bridge.dead_letters` returns at most 100 if left out.
        after: Only those after this `letter_id`, which is the last one of the page before.
    """

    integration: str | None = None
    ids: list[str] | None = None
    limit: Positive | None = None
    after: str | None = None


class Match(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`bridge.match`: ask what this bridge would do with an event. Nothing is done.

    Attributes:
        event_type: The event's type.
        payload: Its payload. With it the conditions of the routes (`where`) are evaluated; all else that they read of
            the event is taken from the command itself.
    """

    event_type: NonEmpty
    payload: Any = msgspec.UNSET


class Inspect(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`bridge.inspect`: ask for all that is known of one integration.

    Attributes:
        integration: Its label.
    """

    integration: NonEmpty


class ForgetNode(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`bridge.forget_node`: remove a node that has left a fabric for good, and what the fabric keeps for it.

    Attributes:
        node: The name of the node. A node that is alive is not forgotten.
        fabric: The fabric's label; all fabrics of this bridge if left out.
    """

    node: NonEmpty
    fabric: NonEmpty | None = None


class Reload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Reads the configuration again, for `bridge.reload`.

    Attributes:
        dry_run: Only report what would change; nothing changes.
    """

    dry_run: bool = False


#: The operations on dead letters.
DEAD_LETTER_OPERATIONS: Final = ("dead_letters", "replay", "discard")
#: The operations of the bridge itself.
BRIDGE_OPERATIONS: Final = (
    "ping",
    "status",
    "subscriptions",
    "overview",
    "inspect",
    "match",
    "configuration",
    "reload",
    "fleet",
    "forget_node",
    *DEAD_LETTER_OPERATIONS,
)


class Export(msgspec.Struct, frozen=True, kw_only=True):
    """Send an event to the other bridges of a fabric. The bridge itself asks for it; programs on the bus cannot.

    Attributes:
        subject: Where to.
        body: The event, encoded.
        sender: What makes the operation's idempotency key unique in the fabric: together they are the message's id.
        stored: Whether a stream stores it: it is done when the stream has it. Else it is sent at most once.
    """

    subject: NonEmpty
    body: bytes
    sender: str
    stored: bool


Command = Request | Publish | Subscribe | Unsubscribe | Enqueue | Dequeue | Ack | Nack | Empty | Export

#: The operations that the guard runs on an adapter.
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
#: The operations that only the bridge itself asks for. Nobody on the bus waits for their responses.
INTERNAL_OPERATIONS: Final[dict[str, type[Command]]] = {"export": Export}
#: The operations on the integration itself, which do not go to its adapter.
CONTROLS: Final = ("pause", "resume", "drain", "circuit.force_open", "circuit.reset")


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """An operation on an integration, which a command or a route asked for.

    Attributes:
        integration: The integration's label.
        name: The operation's name, a key of `OPERATIONS`.
        command: The checked arguments.
        cause: The event that asked for it.
        correlation_id: That of the cause; None where nobody waits for a response.
        deadline: Monotonic time in seconds by which the caller wants the answer; None for no limit.
        idempotency_key: The caller's key; with one, the call may be repeated.
        headers: The headers of the cause.
        route: The route that asked for it; None for a command.
        key: The route's ordering key; None where it has none.
        hop: That of the cause; what is sent because of it has one more.
        repeatable: Whether it may be repeated; None: if it has an idempotency key. An adapter may allow more.
        durable: True where it is stored in the outbox, which decides what to do after a failure.
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
    key: str | None = None
    hop: UInt = 0
    repeatable: bool | None = None
    durable: bool = False


class FailedAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt that failed.

    Attributes:
        at: When it began, Unix time in milliseconds.
        duration_ms: How many milliseconds it took.
        error: Why it failed.
    """

    at: UInt
    duration_ms: Annotated[float, Meta(ge=0)]
    error: ErrorObject


class Executed(msgspec.Struct, frozen=True):
    """The result of an operation that another bridge has executed; its error has the same in `BridgeError.attempts`.

    Attributes:
        result: The remote's answer.
        attempts: How many attempts were made there.
    """

    result: Any
    attempts: int


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How an operation ended: a result, or an error; never both.

    Attributes:
        result: The remote's answer.
        error: The last error; `retryable` holds for this very call.
        attempts: How many attempts were made; 0 where it was rejected before the first. Where another bridge has
            executed it: how many were made there.
        duration_ms: Milliseconds from acceptance to the end.
        history: The failed attempts, oldest first.
    """

    result: Any = None
    error: BridgeError | None = None
    attempts: int = 0
    duration_ms: float = 0.0
    history: tuple[FailedAttempt, ...] = ()

    @property
    def ok(self) -> bool:
        """Return whether it ended with a result."""
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
    """A message from outside that an adapter delivers.

    Attributes:
        topic: The topic that it was published to; no pattern.
        message: Its decoded content.
        headers: Its headers, where the protocol has them.
        message_id: Its id for `ack` and `nack`; None where the application does not acknowledge.
        attempts: How often it was delivered, where the protocol counts that.
        retained: Whether the remote kept it as its topic's last value.
        at_most_once: It is not acknowledged, although its subscription is (MQTT QoS 0); so it waits for no listener.
        patience: Seconds that its event waits at most for the first subscriber to its type.
        unique: The sender's own id of the message, where that is not in the header `idempotency_key`; a second message
            with it is a repetition. It is not part of the event.
        tick: The moment that it stands for, Unix time in milliseconds, where a clock has made it. It is not part of the
            event.
    """

    topic: str
    message: Any
    headers: dict[str, str] = {}
    message_id: str | None = None
    attempts: int | None = None
    retained: bool = False
    at_most_once: bool = False
    patience: float = 0.0
    unique: str | None = None
    tick: int | None = None


class QueueMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The message that `dequeue` returns.

    Attributes:
        message_id: Its id for `ack` and `nack`.
        message: Its content.
        attempts: How often it was delivered.
        headers: Its headers, where the protocol has them.
    """

    message_id: str
    message: Any
    attempts: int
    headers: dict[str, str] = {}
