"""The Protocols between the packages.

They state what an implementer must keep and a caller may rely on: order, concurrency, cancellation, errors. A method
without "Raises" raises nothing that a caller has to handle.
"""
# ruff: noqa: ARG002  # what refuses an operation looks at no argument

import asyncio
import contextlib
import enum
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

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
from bridge.core.errors import BridgeError, InvalidError, NotSupportedError
from bridge.core.model import (
    DEFAULT_QOS,
    Ack,
    Command,
    Dequeue,
    Enqueue,
    Inbound,
    Nack,
    Operation,
    Publish,
    QueueMessage,
    Request,
)
from bridge.core.settings import DEFAULT_PREFETCH, Hold
from bridge.core.wildcards import Wildcards

if TYPE_CHECKING:
    from bridge.core.fabric import Fabrics


#: Seconds that the orderly end of a subscription waits until what was delivered is on the bus.
_ON_BUS: Final = 0.5
#: Seconds that an orderly end waits for the acknowledgements of what is on the bus, and for the remote to take them.
_LAST_ACKNOWLEDGEMENTS: Final = 0.4


class Clock(Protocol):
    """Gives the time and waits for it. It is passed in, so that tests need not wait."""

    def monotonic(self) -> float:
        """Return the seconds of a clock that never goes back."""
        ...

    def elapsed(self) -> float:
        """Return the seconds of a clock that never goes back and leaves nothing out.

        It goes on while the process is suspended and while the machine sleeps, contrary to `monotonic`. For what others
        may do meanwhile: a lease that is not renewed is over, whoever stood still.
        """
        ...

    def wall_ms(self) -> int:
        """Return Unix time in milliseconds."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; it can be cancelled."""
        ...

    def timeout(self, seconds: float | None) -> contextlib.AbstractAsyncContextManager[Any]:
        """Return a context manager that limits the time of its body; None: no limit.

        Raises:
            TimeoutError: From the context manager, when its body was cancelled after `seconds`.
        """
        ...

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` once after `seconds`; return a function that cancels that. Use `core.timer.Timer` instead."""
        ...


class Publisher(Protocol):
    """Publishes events: the part of the bus that most parts of the bridge use."""

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
    """Takes the result or the error of an operation that was begun without a task, as an `asyncio.Future` does.

    Only the first result or error counts. Check `done` before: a future raises `InvalidStateError` for a second one.
    """

    def done(self) -> bool:
        """Return whether it has a result or an error, or the operation was cancelled: nobody waits any more."""
        ...

    def set_result(self, result: Any) -> None:
        """End the operation with a result."""
        ...

    def set_exception(self, error: BridgeError) -> None:
        """End the operation with an error."""
        ...

    def add_done_callback(self, callback: Callable[[Any], object], /) -> None:
        """Call `callback` with the promise once it is done, also where its time was up or it was cancelled.

        An adapter that has something to give up then calls this, at most once.
        """
        ...


class Context(msgspec.Struct, frozen=True, gc=False):
    """What an adapter gets about an operation beside its arguments.

    Attributes:
        headers: Headers to send in the protocol's own ones, where it has any.
        idempotency_key: The key to send to the remote, where the protocol can.
        operation: The whole operation; only where `AdapterSpec.sees_operations`.
    """

    headers: Mapping[str, str] = {}
    idempotency_key: str | None = None
    operation: Operation | None = None

    def joined(self, headers: Mapping[str, str] | None) -> Mapping[str, str]:
        """Return the message's own headers together with those of the context, which replace equal names."""
        return {**headers, **self.headers} if headers else self.headers


NO_CONTEXT: Final = Context()


class Span(Protocol):
    """A part of a trace, with a beginning and an end. One that is not ended is not part of the trace."""

    @property
    def context(self) -> Mapping[str, str]:
        """The headers `traceparent` and `tracestate` that continue the trace from here."""
        ...

    def end(self, error: BridgeError | None = None) -> None:
        """End it, with the error that it failed with. Secrets in the error's message are masked already."""
        ...


class OperationSpan(Span, Protocol):
    """The part of a trace that an operation is, from acceptance to the end."""

    def attempt(self, number: int) -> Span:
        """Begin the part that one attempt of the operation is; `number` counts from 1."""
        ...


class Tracer(Protocol):
    """Writes traces. Where there are none, there is no tracer, and nothing else is done for them."""

    def operation(self, operation: Operation, protocol: str) -> tuple[Operation, OperationSpan]:
        """Begin the part of a trace that an operation is; its trace is that of the event which caused it.

        Returns:
            The operation, with headers that continue the trace from there; and the part.
        """
        ...

    def given_up(self, operation: Operation, error: BridgeError, attempts: int) -> Operation:
        """Note that an event of the outbox has become a dead letter or has expired, after so many attempts.

        Returns:
            The operation, with headers that continue the trace from there.
        """
        ...

    def message(self, integration: str, protocol: str, subscription: str, message: Inbound) -> Span:
        """Begin the part of a trace that the delivery of a message from outside is.

        Args:
            integration: The integration's label.
            protocol: Its protocol.
            subscription: The topic that was subscribed to, which may be a pattern.
            message: The message; its headers say which trace it belongs to.
        """
        ...


class AckDecision(enum.Enum):
    """Whether an adapter acknowledges a message that it has delivered. It can be awaited; the result is itself."""

    #: Acknowledge it now.
    ACK = "ack"
    #: It is on the bus. Leave it unacknowledged until the application's `ack` or `nack` for its `message_id` comes.
    HOLD = "hold"

    def __await__(self) -> Generator[None, None, "AckDecision"]:
        return self
        yield


Deliver = Callable[[Inbound], Awaitable[AckDecision | None]]
"""Delivers one message from outside to the bus. The adapter awaits it before it delivers the next one.

The result is whether to acknowledge the message; None means `AckDecision.ACK`. `AckDecision.HOLD` comes only for a
subscription that was made with a `settings.Hold`. While the bus has no room the wait lasts, so that a flood waits at
its source. What is returned may already be an `AckDecision`; an adapter may check for that instead of awaiting it.
It raises nothing: what the bus cannot carry is reported.

What an adapter acknowledges by itself it acknowledges by `AdapterSetup.when_on_bus`, not at once.

The wait may last for hours where nobody on the bus listens to the event. So an adapter reads on meanwhile (answers,
acknowledgements and keep-alives of the connection), and the wait must not be bounded by anything but the session's end.
"""


class SubscriptionOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of a subscription to a topic or a queue.

    Attributes:
        qos: The quality of service; None for the protocol's default. Only where `AdapterSpec.has_qos`.
        group: The group whose members share the messages; None: this subscription gets all of them.
        hold: How messages wait for the application's `ack`; None: they are acknowledged as soon as they are delivered.
            Only where `AdapterSpec.acknowledges` names the method.
        prefetch: Without `hold`: messages that are taken from the remote and not acknowledged to it, at most. With it,
            `hold.limit` is that. Only where messages are acknowledged, and not where `AdapterSpec.common_window` is
            set.
        aligned: Whether ticks come at whole multiples of their interval since the beginning of 1970, and with
            `Inbound.tick`, so that several bridges mean the same tick. Adapters without ticks ignore it.
    """

    qos: int | None = None
    group: str | None = None
    hold: Hold | None = None
    prefetch: int = DEFAULT_PREFETCH
    aligned: bool = False


NO_OPTIONS: Final = SubscriptionOptions()


class Subscription(msgspec.Struct, frozen=True):
    """A live subscription of one session.

    Attributes:
        topic: The topic or the queue.
        handle: The adapter's own data about it.
    """

    topic: str
    handle: Any = None


class ProtocolAdapter(Protocol):
    """One session with one remote.

    A session is used once: `connect`, then any number of operations at the same time, then `disconnect`. Where the
    protocol has a connection and it breaks, the adapter calls `setup.on_lost(error)` once, and fails everything in
    flight with `ConnectionLostError`. After that only `disconnect` is called; its owner makes a new session.

    One failure is one failure. What concerns one subscription is told by `setup.on_subscription_ended`, what concerns
    one message from outside by `setup.on_dropped`; neither ends the session. Where the connection lives but is not the
    right one any more, `setup.on_outdated` asks for a new session.

    Every method raises `BridgeError` and nothing else for what the outside did; any other exception is a bug.
    Cancelling an operation abandons it: its connection stays usable or is replaced, and nothing is left running.
    An operation that the protocol lacks raises `NotSupportedError`. Adapters have no retries and no time limits of
    their own on operations: the guard owns both.
    """

    @property
    def protocol(self) -> str:
        """The `type` in the configuration, for example `json-rpc`."""
        ...

    @property
    def last_heard(self) -> float | None:
        """When bytes last came from the remote, on `setup.clock.monotonic()`; None where the adapter does not know.

        A check that had no answer in its time has not failed where other data has come meanwhile.
        """
        ...

    async def connect(self) -> None:
        """Open the session, and check the credentials where the protocol can.

        Raises:
            NotConnectedError: The remote cannot be reached; with `permanent` where its certificate does not verify.
            AuthError: It refused the credentials; with `permanent`.
        """
        ...

    async def disconnect(self) -> None:
        """Close the session in an orderly way. Idempotent, and safe after any failure. Raises no BridgeError."""
        ...

    async def check(self) -> None:
        """Make the protocol's health check, which only a remote that works passes. The caller limits the time.

        Raises:
            BridgeError: The remote does not answer, or not as it should; also where the session is not connected.
        """
        ...

    def subscriptions_restored(self) -> None:
        """Note that all subscriptions that are wanted so far were asked for in this session.

        It is called once. What the remote sends now for another one is of an earlier session, and nobody wants it.
        Before this, nothing may be dropped for that reason.
        """
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
            None: the operation was begun, and what is to be sent was written, so that order is kept; its result or
            error goes to `promise`. Or a coroutine that makes the whole operation: the caller runs it in a task, which
            it may cancel; `promise` is not used then.

        Raises:
            BridgeError: It has failed at once; the promise gets nothing. The coroutine raises it, too.
        """
        ...

    async def subscribe(self, topic: str, deliver: Deliver, options: SubscriptionOptions = NO_OPTIONS) -> Subscription:
        """Subscribe to a topic; return when the remote has confirmed. `deliver` is awaited message by message.

        Raises:
            InvalidError: The topic is not possible, or the protocol lacks what the options ask for.
            NotSupportedError: The protocol has no topics.
            BridgeError: The remote refused, or the connection failed.
        """
        ...

    async def consume(self, queue: str, deliver: Deliver, options: SubscriptionOptions = NO_OPTIONS) -> Subscription:
        """Read a queue continuously, in order, until `unsubscribe`; return when the remote has confirmed.

        Each message is acknowledged when `deliver` has returned `AckDecision.ACK`. Reading and acknowledging may be
        done in batches.

        Raises:
            InvalidError: The queue's name is not possible, or the protocol lacks what the options ask for.
            NotSupportedError: The protocol has no queues that can be read.
            BridgeError: The remote refused, or the connection failed.
        """
        ...

    async def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription of this session; nothing is delivered to it after this has returned.

        Raises:
            BridgeError: The remote refused, or the connection failed.
        """
        ...


async def perform(adapter: ProtocolAdapter, command: Command, context: Context) -> Any:
    """Run one operation, however the adapter begins it, and return its result.

    Raises:
        BridgeError: The operation has failed.
    """
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    work = adapter.begin(command, context, answer)
    return await (answer if work is None else work)


class AdapterBase:
    """Base class of adapters: raises NotSupportedError for each operation whose method an adapter does not override.

    `begin` calls the method of the command. An adapter that can do an operation without a task overrides `begin` for
    that command and leaves the others to this one.
    """

    protocol: ClassVar[str] = ""

    def _lacks(self, operation: str) -> NotSupportedError:
        return NotSupportedError(f"{self.protocol} has no {operation}")

    @property
    def last_heard(self) -> float | None:
        """When bytes last came from the remote; see `ProtocolAdapter.last_heard`. None: not known."""
        return None

    async def connect(self) -> None:
        """Do nothing: there is nothing to open."""

    async def disconnect(self) -> None:
        """Do nothing: there is nothing to close."""

    async def check(self) -> None:
        """Do nothing: there is no connection that could fail."""

    def subscriptions_restored(self) -> None:
        """Do nothing: the remote sends nothing for subscriptions of an earlier session."""

    def is_idempotent(self, command: Command) -> bool:
        """Return False: no command may be repeated, unless the adapter overrides this."""
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
        """Send the message; return the broker's answer when it has accepted the message."""
        raise self._lacks("publish")

    async def enqueue(self, command: Enqueue, context: Context) -> str:
        """Append the message to the queue; return its id when the remote has stored it."""
        raise self._lacks("enqueue")

    async def dequeue(self, queue: str, wait: float, visibility: float | None) -> QueueMessage | None:
        """Take one message from the queue; None where there is none within `wait` seconds.

        A message that is not acknowledged within `visibility` seconds is delivered again.
        """
        raise self._lacks("dequeue")

    async def ack(self, message_id: str) -> None:
        """Acknowledge a message: it is not delivered again."""
        raise self._lacks("ack")

    async def nack(self, message_id: str, delay: float | None) -> None:
        """Return a message to its queue, to be delivered again after `delay` seconds; None: at once."""
        raise self._lacks("nack")

    async def subscribe(self, topic: str, deliver: Deliver, options: SubscriptionOptions = NO_OPTIONS) -> Subscription:
        """Subscribe to a topic; see `ProtocolAdapter.subscribe`."""
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


def _at_once(then: Callable[[], None]) -> None:
    then()


def _ignore(*_: object) -> None:
    pass


@dataclass(frozen=True, slots=True)
class AdapterSetup:
    """All that an adapter is created from.

    Attributes:
        integration: The integration's label, for error messages.
        endpoint: None only for protocols that need none.
        auth: Checked against `AdapterSpec.auth` before.
        tls: How to check the remote's certificate.
        config: An instance of `AdapterSpec.config`.
        max_in_flight: How many operations run at the same time at most; for the size of pools.
        on_lost: To be called once when the session's connection breaks by itself.
        on_outdated: To be called where the connection lives but another one is needed: its server is not the one for
            us any more (a primary that has become a replica), or is about to stop. The error says why; calls after the
            first do nothing. The owner opens a new session, with backoff, and ends this one when its operations are
            over. An operation that finds this out fails by itself; it is not repeated on the new session by this.
        on_subscription_ended: To be called once with a live subscription of the session that the remote has ended, or
            that cannot go on, and why, while the session itself goes on. The owner subscribes again later.
        on_dropped: To be called with an error and the topic for what came from the remote and cannot be delivered as a
            message: it says what it was and why. The owner counts and reports it.
        on_warning: To be called with a name and a text for what a person should know although all goes on, for example
            that the remote granted less than was asked; None takes the text of that name back. Health shows the texts
            of the current session.
        when_on_bus: To be called with a function that acknowledges what was delivered until now. It is called once all
            of that has left for those who listen, so that a `kill -9` of this process loses nothing that the remote
            counts as delivered: some milliseconds later, or at once where there is no bus. Not where the application
            acknowledges (`Hold`).
        hide: To be called with each secret that the adapter itself reads from a file; errors and logs then hide it.
        session_state: What one session leaves for the next one of the same integration; empty at first.
        state_dir: A folder for what the next process of this bridge needs, in files with the integration's label in
            their names; it may not exist yet. None: nothing is kept.
        fabrics: The fabrics of this bridge, for the adapter of an integration that another node offers; None: none.
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
    on_outdated: Callable[[BridgeError], None] = _ignore
    on_subscription_ended: Callable[[Subscription, BridgeError], None] = _ignore
    on_dropped: Callable[[BridgeError, str], None] = _ignore
    on_warning: Callable[[str, str | None], None] = _ignore
    when_on_bus: Callable[[Callable[[], None]], None] = _at_once
    hide: Callable[[str], None] = _ignore
    session_state: dict[str, Any] = field(default_factory=dict, compare=False)
    state_dir: Path | None = None
    fabrics: "Fabrics | None" = None
    _: KW_ONLY
    clock: Clock
    random: Random

    async def on_bus(self) -> None:
        """Wait until all that was delivered is on the bus, and acknowledged by `when_on_bus`; half a second at most.

        For the orderly end of a subscription or session: else the last messages would come again.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.when_on_bus(lambda: None if done.done() else done.set_result(None))
        with contextlib.suppress(TimeoutError):
            async with self.clock.timeout(_ON_BUS):
                await done

    async def acknowledge_last(
        self, *, unconfirmed: Callable[[], bool], taken: Callable[[], Awaitable[object]]
    ) -> None:
        """Acknowledge what is on the bus, at an orderly end; it takes less than half a second.

        Args:
            unconfirmed: Returns whether messages wait for their acknowledgement since they are on the bus only just.
            taken: Waits until the remote has taken all acknowledgements.
        """
        with contextlib.suppress(TimeoutError):
            async with self.clock.timeout(_LAST_ACKNOWLEDGEMENTS):
                if unconfirmed():
                    await self.on_bus()
                await taken()


def refuse_group(protocol: str, group: str | None) -> None:
    """Raise InvalidError where a subscription has a group: the protocol has none."""
    if group is not None:
        raise InvalidError(f"group: `{protocol}` has no groups")


NameCheck = Callable[[str, str, str | None, Any], None]
"""Checks the names of an operation, so that `nemo-bridge check` finds what no remote can accept.

The arguments are the operation (`request`, `publish`, `enqueue`, `subscribe` or `consume`), the method, topic or queue,
the group of a subscription (None: no group), and the `config`. The adapter makes the same check when it runs.
It raises InvalidError or NotSupportedError; a message about one key begins with it, as in `topic: …`.
"""


class AdapterSpec(msgspec.Struct, frozen=True):
    """Describes a protocol and creates its sessions; an entry point of the group `nemo_bridge.adapters` names one.

    Attributes:
        protocol: The `type` in the configuration.
        summary: One line for a person.
        operations: Keys of `model.OPERATIONS` that the protocol has; the others are *not supported*.
        auth: Kinds of `auth` that it has a meaning for.
        config: The model of its `config { … }` block.
        schemes: URL scheme, in small letters → (default port, TLS). Where an address has no scheme, the rule for TLS of
            `endpoint.resolve_endpoint` decides; empty where addresses follow a rule of their own.
        create: Creates one session. Raises ValueError, with a message for a person, where a setting cannot work.
        has_session: False where no connection lasts beyond a call (HTTP): calls are tried while *disconnected*, too.
        needs_endpoint: False for protocols without a remote (timer, static).
        transports: The specs of the same protocol over other transports, each with schemes of its own. They share
            `protocol`, `auth` and `config` with this one.
        acknowledges: Which of "subscribe" and "consume" leave the acknowledgement to the application where their
            options have a `Hold`; `ack` and `nack` are among the operations then.
        unfit_to_hold: Returns why that cannot work with a `config`, for a person; None where it can.
        common_window: The key of `config` that limits unacknowledged messages of all subscriptions together, where the
            protocol has no limit for each one; None where each has its own `prefetch`.
        has_qos: Whether a subscription has a quality of service.
        side_by_side: Whether a new session may be opened while another one of the integration is open, so that
            changing to it holds up no operation. False where the second ends the first (MQTT: the same client id).
        addressing: Returns what a `config` contains about addresses: further servers, another default port.
        check_names: Checks what of an operation's names can be known without the remote; see `NameCheck`.
        comes_back: Returns whether what is sent to a topic (or method) comes to a subscription to a pattern; None where
            only the remote knows.
        wildcards: How the topics of subscriptions write wildcards; None where they have none, or paths of files.
        sees_operations: Whether `Context.operation` is set for it: it passes whole operations on to another bridge.
        carries_fabrics: Whether a fabric of bridges can use its sessions; see `core.cluster.cluster_of`.
        unfit_for_lease: Returns why a subscription to a topic cannot be `singleton` with a `config`, for a person; None
            where it can: each bridge with the same settings would say the same, as of a timer, a poll or a directory.
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
    common_window: str | None = None
    has_qos: bool = False
    side_by_side: bool = False
    addressing: Callable[[Any], Addressing] = lambda _: NO_ADDRESSING
    check_names: NameCheck = lambda *_: None
    comes_back: Callable[[str, str], bool] | None = None
    wildcards: Wildcards | None = None
    sees_operations: bool = False
    carries_fabrics: bool = False
    unfit_for_lease: Callable[[str, Any], str | None] = lambda *_: (
        "the remote sends messages to each subscriber; nodes share them by `group` where the protocol has groups"
    )

    def by_scheme(self) -> dict[str, "AdapterSpec"]:
        """Return each scheme of the protocol, with the spec of its transport."""
        return {scheme: spec for spec in (self, *self.transports) for scheme in spec.schemes}

    def over(self, endpoint: Endpoint | None) -> "AdapterSpec":
        """Return the spec of the transport for an endpoint's scheme; this one where there is no or no known scheme."""
        scheme = None if endpoint is None else endpoint.scheme
        return self if scheme is None else self.by_scheme().get(scheme, self)

    def acknowledged(self, method: str, qos: int | None) -> bool:
        """Return whether messages that come by "subscribe" or "consume", with this `qos`, are acknowledged."""
        if method not in self.acknowledges:
            return False
        return method == "consume" or not self.has_qos or (DEFAULT_QOS if qos is None else qos) > 0

    def resolve(
        self, endpoint: Endpoint | None, auth: AnyAuth = NO_AUTH, tls: Tls | None = None, config: Any = None
    ) -> tuple[ResolvedEndpoint, ...]:
        """Return the integration's servers, the endpoint first; none where the protocol has no schemes.

        Raises:
            EndpointError: See `endpoint.resolve_endpoint`.
        """
        if endpoint is None or not self.schemes:
            return ()
        return resolve_endpoint(endpoint, self.schemes, auth, tls, self.addressing(config))

    def warnings(self, endpoint: Endpoint | None, auth: AnyAuth, tls: Tls, config: Any) -> tuple[str, ...]:
        """Return what an integration's blocks allow that is not safe, one line each; `check`, log and health show it.

        Raises:
            EndpointError: See `endpoint.resolve_endpoint`.
        """
        servers = self.resolve(endpoint, auth, tls, config)
        return (*tls.warnings, *dict.fromkeys(warning for server in servers for warning in server.warnings))
