"""The Protocols between the rooms.

What an implementer must keep, and a caller may rely on, is stated here once: order, concurrency, cancellation, errors.
"""
# ruff: noqa: ARG002  # what refuses an operation looks at no argument

import asyncio
import contextlib
import enum
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from random import Random
from typing import Any, ClassVar, Final, Protocol

import msgspec
from pydantic import BaseModel

from bridge.core.endpoint import (
    NO_ADDRESSING,
    NO_AUTH,
    Addressing,
    AnyAuth,
    Endpoint,
    ResolvedEndpoint,
    Schemes,
    Tls,
    resolve_endpoint,
)
from bridge.core.errors import BridgeError, NotSupportedError
from bridge.core.model import Ack, Command, Dequeue, Enqueue, Inbound, Nack, Publish, QueueMessage, Request
from bridge.core.settings import Hold


class Clock(Protocol):
    """Time, passed in, so that tests do not wait."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    def wall_ms(self) -> int:
        """Unix time in milliseconds."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; cancellable."""
        ...

    def timeout(self, seconds: float | None) -> contextlib.AbstractAsyncContextManager[Any]:
        """Cancel the body after `seconds` and raise `TimeoutError` from the context; None never does."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back once after `seconds`; the function returned cancels that. `core.timer.Timer` is what to use."""
        ...


class Publisher(Protocol):
    """Publishes events: the part of the bus that most parts of the bridge need."""

    def publish(
        self,
        event_type: str,
        payload: Any,
        *,
        correlation_id: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Publish one event; return at once. Events keep the order of the calls.

        Raises:
            InvalidError: The bus cannot carry it (integers beyond 64 bit, NaN, unknown types, too large).
        """
        ...

    def publish_or_report(
        self,
        event_type: str,
        payload: Any,
        *,
        correlation_id: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Publish one event; where the bus cannot carry it, count and report that instead. Raises nothing."""
        ...


class Promise(Protocol):
    """Where the end of an operation goes that was begun without a task: what `asyncio.Future` has of it.

    Only the first end counts; whoever has another one for it sees by `done` that nobody waits any more.
    """

    def done(self) -> bool:
        """Whether nobody waits any more."""
        ...

    def set_result(self, result: Any) -> None:
        """It has succeeded."""
        ...

    def set_exception(self, error: BridgeError) -> None:
        """It has failed."""
        ...


class Context(msgspec.Struct, frozen=True, gc=False):
    """What an adapter may know about the operation beyond its arguments.

    Attributes:
        headers: What travels to the outside in the protocol's own headers, where it has any.
        idempotency_key: Carried to the remote where the protocol can.
        idempotent: True where the call may be repeated although it may have been acted on.
    """

    headers: Mapping[str, str] = {}
    idempotency_key: str | None = None
    idempotent: bool = False

    def joined(self, headers: Mapping[str, str] | None) -> Mapping[str, str]:
        """The message's own headers and these, which win."""
        return {**headers, **self.headers} if headers else self.headers


NO_CONTEXT: Final = Context()


class Verdict(enum.Enum):
    """What becomes of a message that was delivered. It can be awaited, and is its own result."""

    #: It may be acknowledged.
    SETTLE = "settle"
    #: It is on the bus, and stays unacknowledged until the application's `ack` or `nack` for its `message_id` comes.
    HOLD = "hold"

    def __await__(self) -> Generator[None, None, "Verdict"]:
        return self
        yield


Deliver = Callable[[Inbound], Awaitable[Verdict | None]]
"""Takes one message from outside; to be awaited before the next one is handed over.

The result says what becomes of the message; None means `Verdict.SETTLE`. Only a subscription that was made with a
`settings.Hold` may be answered `Verdict.HOLD`. While the bus has no room the wait lasts: a flood is held up at its
source. What is returned may be a `Verdict` already, which an adapter in a hurry can see without awaiting it.
"""


class SubscriptionOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a topic or queue is listened to, beyond its name.

    Attributes:
        qos: The quality of service; None for the protocol's default. Only where `AdapterSpec.has_qos`.
        group: Whose members share the messages; None: this one gets all.
        hold: How messages wait for the application's `ack`; None where they are acknowledged as soon as they were
            delivered. Only where `AdapterSpec.acknowledges` names the method.
    """

    qos: int | None = None
    group: str | None = None
    hold: Hold | None = None


NO_OPTIONS: Final = SubscriptionOptions()


@dataclass(frozen=True, slots=True)
class Subscription:
    """A live subscription of one session."""

    topic: str
    handle: Any = None


class ProtocolAdapter(Protocol):
    """One session with one remote.

    A session lives once: `connect`, then any number of operations at the same time, then `disconnect`. Where the
    protocol has a connection and it breaks, the adapter calls `setup.on_lost(error)` once, fails everything in
    flight with `ConnectionLostError`, and is only disconnected after that; whoever owns it makes a new one.

    Every method raises `BridgeError` and nothing else for what the outside did; any other exception is a bug.
    Cancelling an operation abandons it: its connection stays usable or is replaced, and nothing is left running.
    An operation that the protocol lacks raises `NotSupportedError`. Adapters have no retries and no time limits of
    their own on operations: the guard owns both.
    """

    @property
    def protocol(self) -> str:
        """The type's name in the configuration, as in `json-rpc`."""
        ...

    async def connect(self) -> None:
        """Open the session and prove the credentials where the protocol has a way.

        Raises:
            NotConnectedError: The remote cannot be reached; with `permanent` where its certificate does not verify.
            AuthError: It refused the credentials; with `permanent`.
        """
        ...

    async def disconnect(self) -> None:
        """Close in an orderly way; idempotent, safe after any failure, raises nothing of the outside's doing."""
        ...

    async def check(self) -> None:
        """Make the protocol's real health check, which only a living remote passes. The caller sets the time limit."""
        ...

    def is_idempotent(self, command: Command) -> bool:
        """Return whether the configuration or the protocol allows this command to be repeated."""
        ...

    def begin(self, command: Command, context: Context, promise: Promise) -> Coroutine[Any, Any, Any] | None:
        """Begin one operation. This is the one way into an adapter for all operations.

        The result, in both cases, is what the bus contract's table of commands names for the command.

        Args:
            command: What to do, its shape checked. Headers of its own are to be joined with the context's
                (`Context.joined`).
            context: What else the adapter may know about it.
            promise: Where the answer goes if this returns None: a result or a BridgeError, after this has returned.
                A promise that is `done` by then was given up, as by cancelling.

        Returns:
            None: the operation was begun, and what is to be sent was written, so that order is kept; its end goes to
            `promise`. Or a coroutine that makes the whole operation: the caller runs it in a task, which it may cancel;
            `promise` is not touched then.

        Raises:
            BridgeError: It has failed at once; the promise gets nothing.
        """
        ...

    async def subscribe(self, topic: str, deliver: Deliver, options: SubscriptionOptions = NO_OPTIONS) -> Subscription:
        """Listen to a topic; returns when the remote has confirmed. `deliver` is awaited message by message.

        Raises:
            InvalidError: No such topic can be, or the protocol lacks what the options ask for.
            BridgeError: The remote's refusal.
        """
        ...

    async def consume(self, queue: str, deliver: Deliver, options: SubscriptionOptions = NO_OPTIONS) -> Subscription:
        """Read a queue continuously; each message is acknowledged when `deliver` has returned. `unsubscribe` ends it.

        In order; reading and acknowledging may be done in batches. Raises like `subscribe`.
        """
        ...

    async def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription of this session; nothing is delivered to it after this has returned."""
        ...


async def perform(adapter: ProtocolAdapter, command: Command, context: Context) -> Any:
    """Do one operation, however the adapter begins it, and return its result. Raises the BridgeError of its end."""
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    work = adapter.begin(command, context, answer)
    return await (answer if work is None else work)


class AdapterBase:
    """Answers *not supported* to each operation; an adapter overrides the methods of those that its protocol has.

    `begin` calls the method of the command. An adapter that can do an operation without a task overrides `begin` for
    that command and leaves the others to this one.
    """

    protocol: ClassVar[str] = ""

    def _lacks(self, operation: str) -> NotSupportedError:
        return NotSupportedError(f"{self.protocol} has no {operation}")

    async def connect(self) -> None:
        """Do nothing: there is nothing to open."""

    async def disconnect(self) -> None:
        """Do nothing: there is nothing to close."""

    async def check(self) -> None:
        """Do nothing: there is nothing that could be dead."""

    def is_idempotent(self, command: Command) -> bool:
        """Return False: no command may be repeated, unless the adapter knows better."""
        return False

    def begin(self, command: Command, context: Context, promise: Promise) -> Coroutine[Any, Any, Any] | None:
        """Return the coroutine of the command's method; see `ProtocolAdapter.begin`."""
        if type(command) is Request:
            return self.request(command, context)
        if type(command) is Publish:
            return self.publish(command, context)
        if type(command) is Enqueue:
            return _enqueue(self, command, context)
        if type(command) is Dequeue:
            return _dequeue(self, command)
        if isinstance(command, Ack | Nack):
            return _settle(self, command)
        raise AssertionError(f"{type(command).__name__} reaches no adapter")

    async def request(self, command: Request, context: Context) -> Any:
        """Call the method; return the remote's result, or None for a notification once it is sent."""
        raise self._lacks("request")

    async def publish(self, command: Publish, context: Context) -> dict[str, Any]:
        """Send the message; return what the broker returned, when it has taken the message over."""
        raise self._lacks("publish")

    async def enqueue(self, command: Enqueue, context: Context) -> str:
        """Append the message; return its id, when the remote has stored it."""
        raise self._lacks("enqueue")

    async def dequeue(self, queue: str, wait: float, visibility: float | None) -> QueueMessage | None:
        """Take one message; return None after `wait` seconds. It comes again after `visibility` seconds."""
        raise self._lacks("dequeue")

    async def ack(self, message_id: str) -> None:
        """Settle a message: it is done."""
        raise self._lacks("ack")

    async def nack(self, message_id: str, delay: float | None) -> None:
        """Give a message back, to come again after `delay` seconds; None: at once."""
        raise self._lacks("nack")

    async def subscribe(self, topic: str, deliver: Deliver, options: SubscriptionOptions = NO_OPTIONS) -> Subscription:
        """Listen to a topic; see `ProtocolAdapter.subscribe`."""
        raise self._lacks("subscribe")

    async def consume(self, queue: str, deliver: Deliver, options: SubscriptionOptions = NO_OPTIONS) -> Subscription:
        """Read a queue continuously; see `ProtocolAdapter.consume`."""
        raise self._lacks("queue to read from")

    async def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription; see `ProtocolAdapter.unsubscribe`."""
        raise self._lacks("unsubscribe")


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


# Functions and not coroutines in coroutines: one that is closed before its first step leaves nothing behind.


async def _enqueue(adapter: AdapterBase, command: Enqueue, context: Context) -> dict[str, Any]:
    return {"message_id": await adapter.enqueue(command, context)}


async def _dequeue(adapter: AdapterBase, command: Dequeue) -> dict[str, Any] | None:
    taken = await adapter.dequeue(command.queue, command.wait_ms / 1000, _seconds(command.visibility_ms))
    return None if taken is None else msgspec.structs.asdict(taken)


async def _settle(adapter: AdapterBase, command: Ack | Nack) -> dict[str, Any]:
    if isinstance(command, Ack):
        await adapter.ack(command.message_id)
    else:
        await adapter.nack(command.message_id, _seconds(command.delay_ms))
    return {}


def _ignore(_: object) -> None:
    pass


@dataclass(frozen=True, slots=True)
class AdapterSetup:
    """All that an adapter is made from.

    Attributes:
        integration: The integration's label, for messages.
        endpoint: None only for protocols that need none.
        auth: Checked against `AdapterSpec.auth` before.
        tls: Whom to trust.
        config: An instance of `AdapterSpec.config`.
        max_in_flight: How many operations run at the same time at most; sizes the pools.
        on_lost: To be called once when the session's connection breaks by itself.
        hide: To be told of each secret that the adapter reads by itself, in a file: nobody gets to see it then.
        session_state: What one session leaves for the next one of the same integration; empty at first.
        clock: The only time that an adapter reads. A suspended process misses nothing on it.
        random: The only source of random numbers for jitter; not for secrets.
    """

    integration: str
    endpoint: Endpoint | None
    auth: AnyAuth = NO_AUTH
    tls: Tls = field(default_factory=Tls)
    config: Any = None
    max_in_flight: int = 64
    on_lost: Callable[[BridgeError], None] = _ignore
    hide: Callable[[str], None] = _ignore
    session_state: dict[str, Any] = field(default_factory=dict, compare=False)
    _: KW_ONLY
    clock: Clock
    random: Random


@dataclass(frozen=True, slots=True)
class AdapterSpec:
    """How a protocol introduces itself; what an entry point of the group `nemo_bridge.adapters` names.

    Attributes:
        protocol: The `type` in the configuration.
        summary: One line for a person.
        operations: Keys of `model.OPERATIONS` that the protocol has; the others are *not supported*.
        auth: Kinds of `auth` that it has a meaning for.
        config: The model of its `config { … }` block.
        schemes: URL scheme, in small letters → (default port, TLS). Where an address has no scheme, the rule for TLS of
            `endpoint.resolve_endpoint` says which one is meant; empty where addresses follow a rule of their own.
        create: Makes one session. Raises ValueError, in words for a person, where a setting cannot work.
        has_session: False where each call stands for itself (HTTP): calls are tried while *disconnected*, too.
        needs_endpoint: False for protocols that reach nothing (timer, static).
        transports: The same protocol by other ways, each with schemes of its own: what they have differently. They
            share `protocol`, `auth` and `config` with this one.
        acknowledges: Which of "subscribe" and "consume" leave the acknowledgement to the application where their
            options have a `Hold`; `ack` and `nack` are among the operations then.
        unfit_to_hold: Why that cannot work with a `config`, in words for a person; None where it can.
        has_qos: Whether a subscription has a quality of service.
        addressing: What a `config` says about addresses: further servers, another default port.
    """

    protocol: str
    summary: str
    operations: frozenset[str]
    auth: frozenset[str]
    config: type[BaseModel]
    schemes: Schemes
    create: Callable[[AdapterSetup], ProtocolAdapter]
    has_session: bool = True
    needs_endpoint: bool = True
    transports: "tuple[AdapterSpec, ...]" = ()
    acknowledges: frozenset[str] = frozenset()
    unfit_to_hold: Callable[[Any], str | None] = lambda _: None
    has_qos: bool = False
    addressing: Callable[[Any], Addressing] = lambda _: NO_ADDRESSING

    def by_scheme(self) -> dict[str, "AdapterSpec"]:
        """Every scheme of the protocol, and the transport that it means."""
        return {scheme: spec for spec in (self, *self.transports) for scheme in spec.schemes}

    def over(self, endpoint: Endpoint | None) -> "AdapterSpec":
        """The transport that an endpoint's scheme means; this one, where it names none or an unknown one."""
        scheme = None if endpoint is None else endpoint.scheme
        return self if scheme is None else self.by_scheme().get(scheme, self)

    def resolve(
        self, endpoint: Endpoint | None, auth: AnyAuth = NO_AUTH, tls: Tls | None = None, config: Any = None
    ) -> tuple[ResolvedEndpoint, ...]:
        """The integration's servers, the endpoint first; none where the protocol has no schemes.

        Raises:
            EndpointError: See `endpoint.resolve_endpoint`.
        """
        if endpoint is None or not self.schemes:
            return ()
        return resolve_endpoint(endpoint, self.schemes, auth, tls, self.addressing(config))

    def warnings(self, endpoint: Endpoint | None, auth: AnyAuth, tls: Tls, config: Any) -> tuple[str, ...]:
        """What an integration's blocks allow and is not safe, one line each; `check`, log and health show it.

        Raises:
            EndpointError: See `endpoint.resolve_endpoint`.
        """
        servers = self.resolve(endpoint, auth, tls, config)
        return (*tls.warnings, *dict.fromkeys(warning for server in servers for warning in server.warnings))
