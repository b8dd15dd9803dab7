"""Keep the subscriptions of one integration over reconnections.

Each subscription at the remote is made, fails and is tried again by itself. That one of them is refused, or ends, says
nothing about the others or about the session (bus contract, "One failure is one failure").
"""

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import msgspec
from msgspec import UNSET

from bridge.connection.duplicates import Duplicates
from bridge.connection.inbound import Delivery, Emission, Emit, MessageSink
from bridge.connection.session import SUSPICIOUS, heard_since
from bridge.core.backoff import Backoff
from bridge.core.cancel import BoundedTasks
from bridge.core.errors import AttemptTimeoutError, BridgeError, InvalidError, NotConnectedError
from bridge.core.event_type import to_emitted_type
from bridge.core.fabric import Lease
from bridge.core.log import structlog
from bridge.core.model import DEFAULT_QOS, Inbound, Subscribe, Unsubscribe
from bridge.core.payloads import Asked, LiveSubscription, SubscriptionHealth
from bridge.core.ports import Clock, ProtocolAdapter, Span, Subscription, SubscriptionOptions
from bridge.core.settings import DEFAULT_PREFETCH, Hold
from bridge.core.timer import Timer

#: How many subscriptions of one integration are listed, and how much of a topic: a list must always fit on the bus.
_MOST_LISTED: Final = 100
_MOST_TOPIC: Final = 200
#: How many subscriptions that are not well are named in health, and how much of an error's text.
_MOST_UNWELL: Final = 20
_MOST_REASON: Final = 300
#: How many subscriptions are made at the same time on a new session.
_AT_A_TIME: Final = 16
#: Seconds that a session that goes on without its subscriptions may take to end them. Nothing comes meanwhile.
_LONGEST_LEAVE: Final = 2.0
#: Kinds of errors that stay until a person changes something, at the remote or in the configuration.
_FOR_A_PERSON: Final = frozenset({"invalid", "not_supported", "rejected", "auth"})

log = structlog.get_logger(__name__)

SubscriptionKey = tuple[str, bool, str | None]
"""What identifies a subscription at the remote: the topic or queue, whether it is a queue, and the group."""


@dataclass(frozen=True, slots=True)
class SubscriptionSpec:
    """Describe a subscription that a `subscription` block or a `subscribe` command asks for.

    Attributes:
        name: The block's label, or a made-up one.
        topic: In the protocol's own pattern language; or a queue's name.
        queue: Whether it is a queue.
        hold: How messages wait for the application's `ack`; None where they are acknowledged once they are on the bus.
        emit: The event type, or what makes one of a message and may raise InvalidError; None for
            `message.<integration>`.
        text: `emit`, or how it was written where each message has its own; two specs with the same topic and text are
            the same.
        group: Shared among sidecars.
        qos: Where the protocol has it.
        prefetch: Messages that may be unacknowledged, at most, where the protocol has such a limit for a subscription.
        needs_listener: Whether messages wait, unacknowledged, while nobody on the bus listens to their events.
        last_value: Whether last values are kept for later subscribers; None: those that the remote itself keeps.
        singleton: The fabric of whose nodes one emits; None: each does.
        asked: Who asked for it by command, and when (Unix ms); None for a block.
    """

    name: str
    topic: str
    emit: Emit | None = field(default=None, compare=False)
    text: str | None = None
    group: str | None = None
    qos: int | None = None
    queue: bool = False
    hold: Hold | None = None
    prefetch: int = DEFAULT_PREFETCH
    needs_listener: bool = False
    last_value: bool | None = None
    singleton: str | None = None
    asked: tuple[str | None, int] | None = field(default=None, compare=False)

    @property
    def key(self) -> SubscriptionKey:
        """What identifies its subscription at the remote; a queue may have the name of a topic."""
        return self.topic, self.queue, self.group

    def shares_with(self, other: "SubscriptionSpec") -> bool:
        """Whether one subscription at the remote serves both."""
        return (self.key, self.qos, self.hold, self.prefetch, self.singleton) == (
            other.key,
            other.qos,
            other.hold,
            other.prefetch,
            other.singleton,
        )


class _RemoteSubscription(msgspec.Struct, eq=False):
    """One subscription at the remote, which one spec or several share.

    Attributes:
        key: What identifies it.
        delivery: Puts its messages on the bus.
        backoff: How long to wait before it is tried again.
        retry: Tries it again.
        changing: Held while it is made or removed: two commands for one topic must make one subscription.
        live: The adapter's handle; None where the current session has not subscribed yet, or it has ended.
        qos: The quality of service that the live one was made with.
        aligned: Whether the live one has the ticks that all nodes of a fabric mean.
        error: Why it was refused, or has ended; None where it is well or was not tried yet.
        failed_at: When that was first so, on the clock's `monotonic`.
        needs_person: Whether it stays so until a person changes something.
        task: Makes it, where no command does.
    """

    key: SubscriptionKey
    delivery: Delivery
    backoff: Backoff
    retry: Timer
    changing: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)
    live: Subscription | None = None
    qos: int = DEFAULT_QOS
    aligned: bool = False
    error: BridgeError | None = None
    failed_at: float = 0.0
    needs_person: bool = False
    task: asyncio.Task[None] | None = None

    def health(self) -> SubscriptionHealth:
        """Return the state of one that is not live."""
        if self.error is None:
            return SubscriptionHealth(status="connecting", error=None)
        error = msgspec.structs.replace(self.error.to_wire(), data=UNSET)
        if len(error.message) > _MOST_REASON:
            error = msgspec.structs.replace(error, message=f"{error.message[:_MOST_REASON]}…")
        return SubscriptionHealth(status="failed" if self.needs_person else "disconnected", error=error)


class Subscriptions:
    """The subscriptions of one integration.

    Several specs for one topic share one subscription at the remote; each has its own event.
    """

    def __init__(
        self,
        integration: str,
        specs: Sequence[SubscriptionSpec],
        *,
        sink: MessageSink,
        clock: Clock,
        rng: random.Random,
        tasks: BoundedTasks,
        limit: float,
        on_bad: Callable[[BridgeError, Inbound], None],
        on_dead: Callable[[Inbound, str], None] = lambda _, __: None,
        on_change: Callable[[], None] = lambda: None,
        on_stuck: Callable[[ProtocolAdapter, BridgeError], None] = lambda _, __: None,
        redact: Callable[[BridgeError], None] = lambda _: None,
        has_qos: bool = False,
        acknowledged: Callable[[int | None], bool] = lambda _: False,
        trace: Callable[[str, Inbound], Span] | None = None,
        lease: Callable[[str, str], Lease] | None = None,
    ) -> None:
        """Subscribe to nothing before `restore`.

        Args:
            integration: The label.
            specs: From the configuration.
            sink: Where the events go.
            clock: For how long a message is remembered, and for the waits before another try.
            rng: For jitter.
            tasks: Run the adapter's code, so that what hangs there holds up no other subscription.
            limit: Seconds in which the remote must confirm a subscription, or send anything at all.
            on_bad: Told of a message that no event can be made of; it is settled then, like any other.
            on_dead: Told of a message that the application has not acknowledged in as many deliveries as it may have.
            on_change: Called when a subscription has become well, or is so no longer.
            on_stuck: Called with a session, and with the reason why the remote has not ended a subscription there that
                nobody wants any more: the session must end, or messages would still be taken for it.
            redact: Removes secrets from an error.
            has_qos: Whether the protocol has a quality of service for subscriptions.
            acknowledged: Returns whether messages of a topic are acknowledged with a quality of service.
            trace: Begins the part of a trace of a message that came by a subscription to a topic; None where no traces
                are written.
            lease: Returns the lease of a `singleton` subscription; takes the fabric and the subscription's name. None
                where there are no fabrics.
        """
        self.limit = limit
        self._integration = integration
        self._has_qos = has_qos
        self._acknowledged = acknowledged
        self._default = f"message.{integration}"
        self._specs: dict[str, SubscriptionSpec] = {spec.name: spec for spec in specs}
        self._by_key = _by_key(specs)
        self._lease = lease
        self._leases: dict[str, Lease] = {}
        self._remote: dict[SubscriptionKey, _RemoteSubscription] = {}
        self._session: ProtocolAdapter | None = None
        self._restoring = False
        self._at_a_time = asyncio.Semaphore(_AT_A_TIME)
        # An adapter may report the end of a subscription before its caller has taken it.
        self._ended_early: list[tuple[Subscription, BridgeError]] = []
        self._sink = sink
        self._on_bad = on_bad
        self._on_dead = on_dead
        self._on_change = on_change
        self._on_stuck = on_stuck
        self._redact = redact
        self._trace = trace
        self._clock = clock
        self._rng = rng
        self._tasks = tasks
        self._duplicates = Duplicates(clock)
        self._delivery_numbers = itertools.count(1)
        self._removed_messages = 0
        self._numbers = itertools.count(1)

    @property
    def messages(self) -> int:
        """How many messages have come."""
        return self._removed_messages + sum(remote.delivery.messages for remote in self._remote.values())

    @property
    def well(self) -> bool:
        """Whether all of them are live."""
        return all(remote.live is not None for remote in self._remote.values())

    def unwell(self, most: int = _MOST_UNWELL) -> dict[str, SubscriptionHealth]:
        """Return the state of those that are not live, by name: at most so many, those that need a person first."""
        found = [
            (spec.name, remote)
            for spec in self._specs.values()
            if (remote := self._remote.get(spec.key)) is not None and remote.live is None
        ]
        found.sort(key=lambda one: (not one[1].needs_person, one[1].error is None))
        return {name: remote.health() for name, remote in found[:most]}

    def unheard(self) -> list[str]:
        """Return a line for each topic whose messages wait because nobody on the bus listens: at most 20."""
        found = [
            f"messages of {remote.key[0][:_MOST_TOPIC]!r} wait, because nobody on the bus listens to {event_type!r}"
            for remote in self._remote.values()
            for event_type in dict.fromkeys(remote.delivery.unheard)
        ]
        more = len(found) - _MOST_UNWELL
        return found if more <= 0 else [*found[:_MOST_UNWELL], f"messages of {more} more topics wait likewise"]

    def forget_last_values(self) -> None:
        """Let no last value of these subscriptions be repeated any more."""
        for remote in self._remote.values():
            self._sink.forget_last(remote.delivery)

    @property
    def not_live(self) -> int:
        """How many are not live, those that `unwell` does not name included."""
        keys = {remote.key for remote in self._remote.values() if remote.live is None}
        return sum(spec.key in keys for spec in self._specs.values()) if keys else 0

    @property
    def unwell_and_not_named(self) -> int:
        """How many are not live and too many to be named by `unwell`."""
        return max(0, self.not_live - _MOST_UNWELL)

    def counts(self) -> Iterator[tuple[str, int]]:
        """Yield the name of each, and how many messages have come from its topic since the bridge subscribed to it."""
        for spec in self._specs.values():
            remote = self._remote.get(spec.key)
            yield spec.name, 0 if remote is None else remote.delivery.messages

    @property
    def not_listed(self) -> int:
        """How many are too many to be listed by `listed`."""
        return max(0, len(self._specs) - _MOST_LISTED)

    def listed(self) -> list[LiveSubscription]:
        """Return at most 100 of them for `bridge.subscriptions`: those by command first, the latest of those first."""
        by_command = [spec for spec in self._specs.values() if spec.asked is not None]
        specs = [*reversed(by_command), *(spec for spec in self._specs.values() if spec.asked is None)]
        return [
            LiveSubscription(
                subscription=spec.name,
                topic=spec.topic[:_MOST_TOPIC],
                queue=spec.queue,
                emit=None if spec.text is None else spec.text[:_MOST_TOPIC],
                messages=self._remote[spec.key].delivery.messages if spec.key in self._remote else 0,
                asked=None if spec.asked is None else Asked(source=spec.asked[0], timestamp=spec.asked[1]),
            )
            for spec in specs[:_MOST_LISTED]
        ]

    # --- a session begins and ends

    async def restore(self, session: ProtocolAdapter) -> bool:
        """Subscribe to everything on a new session; return when each is confirmed or refused, or the time is up.

        Those that are refused, or have no answer yet, go on by themselves.

        Returns:
            Whether this has shown that the session works. It has not where one had no answer and nothing else came
            from the remote, or failed as it does where the session is dead.
        """
        self._session = session
        self._ended_early.clear()
        began = self._clock.monotonic()
        for spec in self._specs.values():
            if spec.key not in self._remote:
                self._add_remote(spec.key)
        tries: list[asyncio.Task[None]] = []
        for remote in self._remote.values():
            remote.live = None
            self._set_emits(remote.key)
            task = self._begin(remote)
            if task is not None:
                tries.append(task)
        self._compete()
        if tries:
            self._restoring = True
            try:
                async with self._clock.timeout(self.limit):
                    await asyncio.wait(tries)
            except TimeoutError:
                self._tell_restored(session)
                return heard_since(session, began)
            finally:
                self._restoring = False
                self._on_change()
        self._tell_restored(session)
        return not any(
            remote.live is None and (remote.error is None or remote.error.kind in SUSPICIOUS)
            for remote in self._remote.values()
        )

    def _tell_restored(self, session: ProtocolAdapter) -> None:
        """Tell a session that all subscriptions were asked for, unless some still wait for their turn."""
        if not self._at_a_time.locked():
            session.subscriptions_restored()

    def session_over(self, session: ProtocolAdapter) -> None:
        """Note that a session has ended: nothing is tried again on it."""
        if session is not self._session:
            return
        self._session = None
        for remote in self._remote.values():
            self._stop(remote)
            remote.live = None
        self._compete()

    async def leave(self, session: ProtocolAdapter) -> None:
        """End all subscriptions of a session, which goes on without them, as far as it does so within two seconds."""
        if session is not self._session:
            return
        live = [remote.live for remote in self._remote.values() if remote.live is not None]
        self.session_over(session)
        at_a_time = asyncio.Semaphore(_AT_A_TIME)

        async def end(one: Subscription) -> None:
            async with at_a_time:
                await session.unsubscribe(one)

        ending = [task for one in live if (task := self._tasks.start(end(one), "unsubscribe")) is not None]
        if not ending:
            return
        try:
            async with self._clock.timeout(_LONGEST_LEAVE):
                await asyncio.wait(ending)
        except TimeoutError:
            pass  # the session is closed as soon as its operations have ended
        finally:
            for task in ending:
                self._tasks.cancel(task)

    def ended(self, subscription: Subscription, error: BridgeError) -> None:
        """Note that a live subscription has ended by itself; it is tried again."""
        for remote in self._remote.values():
            if remote.live is subscription:
                remote.live = None
                self._compete()
                self._failed(remote, error)
                return
        if any(remote.changing.locked() for remote in self._remote.values()):
            self._ended_early.append((subscription, error))

    # --- another configuration

    def check(self, specs: Sequence[SubscriptionSpec]) -> None:
        """Check specs of the configuration, for `change`.

        Raises:
            ValueError: A command has made a subscription with one of their names.
        """
        for spec in specs:
            taken = self._specs.get(spec.name)
            if taken is not None and taken.asked is not None:
                raise ValueError(
                    f"subscription {spec.name!r}: a `subscribe` command has made one with this name; choose another"
                )

    async def change(self, specs: Sequence[SubscriptionSpec]) -> None:
        """Take other specs of the configuration over; those by command stay.

        What is there already goes on without a break; what is new is made, and tried again where that fails.
        """
        wanted = {spec.name: spec for spec in specs}
        by_command = {name: spec for name, spec in self._specs.items() if spec.asked is not None}
        gone = [
            spec
            for name, spec in self._specs.items()
            if name not in by_command and not (name in wanted and spec.shares_with(wanted[name]))
        ]
        for spec in gone:
            with contextlib.suppress(BridgeError):  # the session ends for that
                await self._remove(self._session, spec)
        self._specs = wanted | by_command
        self._by_key = _by_key(self._specs.values())
        for spec in specs:
            remote = self._remote.get(spec.key)
            if remote is None:
                remote = self._add_remote(spec.key)
            self._set_emits(spec.key)
            session = self._session
            if session is None:
                continue
            if remote.live is None:
                self._begin(remote)
            elif spec.hold is not None and not remote.delivery.held:  # a command has asked for this topic, too
                why = NotConnectedError(f"{spec.name}: the application acknowledges from now on")
                self._on_stuck(session, why)
            elif remote.qos != _qos_of(spec):
                why = NotConnectedError(f"{spec.name}: it has another quality of service from now on")
                self._on_stuck(session, why)
            elif spec.singleton is not None and not remote.aligned:
                why = NotConnectedError(f"{spec.name}: one node of a fabric emits it from now on")
                self._on_stuck(session, why)
        self._compete()
        self._on_change()

    # --- commands

    async def add(self, session: ProtocolAdapter, command: Subscribe, source: str | None = None) -> str:
        """Carry out a `subscribe` command of `source`; return its name, the same for the same command.

        Raises:
            InvalidError: What is there for this topic has another quality of service, or waits for the application,
                which this subscription's messages would not; or the protocol has no quality of service.
            BridgeError: The remote refused, or the connection failed.
        """
        if command.qos and not self._has_qos:
            raise InvalidError("qos: this protocol has none above 0 for topics; leave it out")
        event_type = None if command.emit is None else to_emitted_type(command.emit)
        async with self._alone((command.topic, False, None)) as remote:
            spec, is_new = self._spec_for(command, event_type, source)
            self._specs[spec.name] = spec
            self._by_key.setdefault(spec.key, {})[spec.name] = spec
            self._set_emits(spec.key)
            try:
                if remote.live is None:
                    await self._subscribe(session, remote)
            except BaseException:
                if is_new:
                    self._forget(spec)
                raise
            return spec.name

    def _spec_for(
        self, command: Subscribe, event_type: str | None, source: str | None
    ) -> tuple[SubscriptionSpec, bool]:
        """Return the spec that a command asks for, and whether it is a new one."""
        for spec in self._specs_of((command.topic, False, None)):
            _check_qos(spec, command)
            if spec.text == event_type:
                return spec, False
            if spec.hold is not None:
                raise InvalidError(f'topic: {spec.name!r} subscribes to it with `ack = "consumer"`')
        names = (f"subscription-{number}" for number in self._numbers)
        spec = SubscriptionSpec(
            name=next(name for name in names if name not in self._specs),
            topic=command.topic,
            emit=event_type,
            text=event_type,
            qos=command.qos,
            # A type that belongs to one program has no listener after that program has ended, and never again.
            needs_listener=self._acknowledged(command.qos) and not (event_type or "").startswith("client."),
            asked=(source, self._clock.wall_ms()),
        )
        return spec, True

    async def remove(self, session: ProtocolAdapter, command: Unsubscribe) -> None:
        """Carry out an `unsubscribe` command, by name or by topic.

        Raises:
            InvalidError: Neither or both are given, or there is no such subscription.
            BridgeError: The remote refused, or the connection failed.
        """
        if (command.subscription is None) == (command.topic is None):
            raise InvalidError("unsubscribe: give either `subscription` or `topic`")
        gone = [
            spec for spec in self._specs.values() if command.subscription == spec.name or command.topic == spec.topic
        ]
        if not gone:
            raise InvalidError(f"unsubscribe: there is no subscription {command.subscription or command.topic!r}")
        for spec in gone:
            await self._remove(session, spec)

    async def _remove(self, session: ProtocolAdapter | None, spec: SubscriptionSpec) -> None:
        remote = self._remote.get(spec.key)
        if remote is not None and all(one is spec for one in self._specs_of(spec.key)):
            self._stop(remote)
        async with self._alone(spec.key):
            if self._specs.get(spec.name) is not spec:  # another command was first
                return
            remote = self._forget(spec)
            if session is not None and remote is not None and remote.live is not None:
                try:
                    await self._tasks.run(session.unsubscribe(remote.live), "unsubscribe", limit=self.limit)
                except TimeoutError:
                    late = AttemptTimeoutError(f"the remote has not confirmed the end within {self.limit:g} s")
                    self._on_stuck(session, late)
                    raise late from None
                except asyncio.CancelledError:
                    why = AttemptTimeoutError("the remote has not confirmed the end of a subscription")
                    self._on_stuck(session, why)
                    raise
                except BridgeError as error:
                    self._on_stuck(session, error)
                    raise

    @contextlib.asynccontextmanager
    async def _alone(self, key: SubscriptionKey) -> AsyncIterator[_RemoteSubscription]:
        """Yield the subscription at the remote for a key, while nobody else changes it; make a new one if needed."""
        while True:
            remote = self._remote.get(key) or self._add_remote(key)
            async with remote.changing:
                if self._remote.get(key) is not remote:  # it was removed meanwhile
                    continue
                try:
                    yield remote
                finally:
                    if not self._specs_of(key):
                        self._drop(remote)
                return

    # --- one subscription at the remote

    def _add_remote(self, key: SubscriptionKey) -> _RemoteSubscription:
        number = next(self._delivery_numbers)
        delivery = Delivery(
            number,
            sink=self._sink,
            duplicates=self._duplicates,
            clock=self._clock,
            on_bad=self._on_bad,
            on_change=self._on_change,
            trace=None if self._trace is None else partial(self._trace, key[0]),
        )
        remote = _RemoteSubscription(key, delivery, Backoff(self._clock, self._rng), Timer(self._clock))
        self._remote[key] = remote
        return remote

    def _forget(self, spec: SubscriptionSpec) -> _RemoteSubscription | None:
        """Remove a spec; return its subscription at the remote if no other spec shares it."""
        del self._specs[spec.name]
        lease = self._leases.pop(spec.name, None)
        if lease is not None:
            lease.resign()
        sharing = self._by_key[spec.key]
        del sharing[spec.name]
        if not sharing:
            del self._by_key[spec.key]
        if self._set_emits(spec.key):
            return None
        remote = self._remote.get(spec.key)
        if remote is not None:
            self._drop(remote)
        return remote

    def _drop(self, remote: _RemoteSubscription) -> None:
        if self._remote.get(remote.key) is remote:
            del self._remote[remote.key]
            self._removed_messages += remote.delivery.messages
            self._sink.forget_last(remote.delivery)
            remote.retry.cancel()
            self._on_change()

    def _specs_of(self, key: SubscriptionKey) -> list[SubscriptionSpec]:
        return [*self._by_key.get(key, {}).values()]

    def _changed(self) -> None:
        """Tell that a subscription is well, or is so no longer; `restore` tells it once for all that it tries."""
        if not self._restoring:
            self._on_change()

    def _set_emits(self, key: SubscriptionKey) -> bool:
        """Set the event types of a subscription at the remote to those of its specs; return whether it has any.

        Those that have to ask for a lease come last: the others must not wait for it.
        """
        specs = self._specs_of(key)
        remote = self._remote.get(key)
        if remote is not None:
            remote.delivery.emissions = tuple(
                Emission(
                    self._default if spec.emit is None else spec.emit,
                    spec.needs_listener,
                    spec.last_value,
                    self._lease_of(spec),
                )
                for spec in sorted(specs, key=lambda spec: spec.singleton is not None)
            )
        return bool(specs)

    def _lease_of(self, spec: SubscriptionSpec) -> Lease | None:
        if spec.singleton is None:
            return None
        lease = self._leases.get(spec.name)
        if lease is None:
            if self._lease is None:
                raise ValueError(f"subscription {spec.name!r}: there is no fabric {spec.singleton!r}")
            lease = self._leases[spec.name] = self._lease(spec.singleton, spec.name)
        return lease

    def _compete(self) -> None:
        """Compete for the leases of the subscriptions that are live, and for no others."""
        for name, lease in self._leases.items():
            remote = self._remote.get(self._specs[name].key)
            if remote is not None and remote.live is not None and remote.aligned:
                lease.campaign()
            else:
                lease.resign()

    def _begin(self, remote: _RemoteSubscription) -> asyncio.Task[None] | None:
        remote.retry.cancel()
        if remote.task is None or remote.task.done():
            remote.task = self._tasks.start(self._try(remote), "subscribe")
        return remote.task

    def _try_again(self, remote: _RemoteSubscription) -> None:
        self._begin(remote)

    def _stop(self, remote: _RemoteSubscription) -> None:
        remote.retry.cancel()
        if remote.task is not None:
            self._tasks.cancel(remote.task)
            remote.task = None

    async def _try(self, remote: _RemoteSubscription) -> None:
        """Make a subscription on the current session; if that fails, it is tried again."""
        session = self._session
        async with remote.changing:
            if session is None or remote.live is not None or self._remote.get(remote.key) is not remote:
                return
            try:
                await self._at_a_time.acquire()
                with contextlib.ExitStack() as turn:
                    turn.callback(self._at_a_time.release)
                    await self._subscribe(session, remote, on_slow=turn.close)
            except BridgeError as error:
                if session is self._session:
                    self._failed(remote, error)

    async def _subscribe(
        self, session: ProtocolAdapter, remote: _RemoteSubscription, on_slow: Callable[[], None] = lambda: None
    ) -> None:
        """Make a subscription at the remote.

        Args:
            session: The session to make it on.
            remote: The subscription.
            on_slow: Called when it takes longer than the time limit, since other data comes first: others must not wait
                for it any more.

        Raises:
            AttemptTimeoutError: Neither a confirmation nor anything else came from the remote within the time limit.
            BridgeError: The remote refused, or the connection failed.
        """
        topic, queue, _ = remote.key
        specs = self._specs_of(remote.key)
        hold: Hold | None = None
        holds = [spec.hold for spec in specs if spec.hold is not None]
        if holds:
            remote.delivery.held = True
            hold = msgspec.structs.replace(holds[0], on_dead=remote.delivery.forgetting(self._on_dead))
        remote.delivery.confirmed = hold is None and (queue or self._acknowledged(specs[0].qos))
        options = SubscriptionOptions(
            qos=specs[0].qos,
            group=specs[0].group,
            hold=hold,
            prefetch=specs[0].prefetch,
            aligned=any(spec.singleton is not None for spec in specs),
        )

        def extend(began: float) -> bool:
            if not heard_since(session, began):
                return False
            on_slow()
            return True

        listen = session.consume if queue else session.subscribe
        try:
            live = await self._tasks.run(
                listen(topic, remote.delivery, options),
                "subscribe",
                limit=self.limit,
                extend=extend,
            )
        except TimeoutError:
            raise AttemptTimeoutError(f"the remote has not confirmed it within {self.limit:g} s") from None
        if self._session not in {None, session}:
            raise NotConnectedError("the connection was replaced meanwhile")
        for one in self._ended_early:
            if one[0] is live:
                self._ended_early.remove(one)
                raise one[1]
        remote.live, remote.qos, remote.aligned = live, _qos_of(specs[0]), options.aligned
        self._compete()
        remote.backoff.opened()
        remote.retry.cancel()
        if remote.error is not None:
            remote.error, remote.needs_person = None, False
            log.info(
                "subscribed again",
                integration=self._integration,
                subscriptions=[spec.name for spec in self._specs_of(remote.key)],
                topic=topic[:_MOST_TOPIC],
                down_s=round(self._clock.monotonic() - remote.failed_at, 1),
            )
        self._changed()

    def _failed(self, remote: _RemoteSubscription, error: BridgeError) -> None:
        self._redact(error)
        before = remote.error
        if before is None:
            remote.failed_at = self._clock.monotonic()
        remote.error = error
        remote.needs_person = error.permanent or error.kind in _FOR_A_PERSON
        wait = remote.backoff.failed(error, for_a_person=remote.needs_person)
        if self._session is not None:
            remote.retry.set(wait, lambda: self._try_again(remote))
        if before is None or (before.kind, before.message) != (error.kind, error.message):
            names = [spec.name for spec in self._specs_of(remote.key)]
            log.warning(
                "not subscribed",
                integration=self._integration,
                subscriptions=names,
                topic=remote.key[0][:_MOST_TOPIC],
                error=error.kind,
                message=error.message,
            )
        self._changed()


def _by_key(specs: Iterable[SubscriptionSpec]) -> dict[SubscriptionKey, dict[str, SubscriptionSpec]]:
    """Return specs by what identifies their subscription at the remote, and by name."""
    found: dict[SubscriptionKey, dict[str, SubscriptionSpec]] = {}
    for spec in specs:
        found.setdefault(spec.key, {})[spec.name] = spec
    return found


def _check_qos(spec: SubscriptionSpec, command: Subscribe) -> None:
    """Check that a command asks for the quality of service that its topic has already: the remote knows only one."""
    has = _qos_of(spec)
    if command.qos not in {None, has}:
        raise InvalidError(
            f"qos: {spec.name!r} subscribes to this topic with {has}; leave it out, or unsubscribe first"
        )


def _qos_of(spec: SubscriptionSpec) -> int:
    return DEFAULT_QOS if spec.qos is None else spec.qos
