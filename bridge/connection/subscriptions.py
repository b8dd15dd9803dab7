"""Keep the subscriptions of one integration over reconnections."""

import asyncio
import dataclasses
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from bridge.connection.duplicates import Duplicates
from bridge.connection.inbound import Delivery, Emit, MessageSink
from bridge.core.cancel import BoundedTasks
from bridge.core.errors import BridgeError, InvalidError
from bridge.core.event_type import to_emitted_type
from bridge.core.model import DEFAULT_QOS, Inbound, Subscribe, Unsubscribe
from bridge.core.payloads import Asked, LiveSubscription
from bridge.core.ports import Clock, ProtocolAdapter, Subscription, SubscriptionOptions
from bridge.core.settings import Hold

#: How many subscriptions of one integration are listed, and how much of a topic: a list must always fit on the bus.
_MOST_LISTED: Final = 100
_MOST_TOPIC: Final = 200

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
    asked: tuple[str | None, int] | None = field(default=None, compare=False)

    @property
    def key(self) -> SubscriptionKey:
        """What identifies its subscription at the remote; a queue may have the name of a topic."""
        return self.topic, self.queue, self.group


@dataclass(slots=True)
class _RemoteSubscription:
    """One subscription at the remote, which one spec or several share.

    Attributes:
        delivery: Puts its messages on the bus.
        live: The adapter's handle; None where the current session has not subscribed yet.
    """

    delivery: Delivery
    live: Subscription | None = None


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
        tasks: BoundedTasks,
        on_bad: Callable[[BridgeError, Inbound], None],
        on_dead: Callable[[Inbound, str], None] = lambda _, __: None,
        has_qos: bool = False,
    ) -> None:
        """Subscribe to nothing before `restore`.

        Args:
            integration: The label.
            specs: From the configuration.
            sink: Where the events go.
            clock: For how long a message is remembered.
            tasks: Run the adapter's code, so that what hangs there holds up no other subscription.
            on_bad: Told of a message that no event can be made of; it is settled then, like any other.
            on_dead: Told of a message that the application has not acknowledged in as many deliveries as it may have.
            has_qos: Whether the protocol has a quality of service for subscriptions.
        """
        self._has_qos = has_qos
        self._default = f"message.{integration}"
        self._specs: dict[str, SubscriptionSpec] = {spec.name: spec for spec in specs}
        self._remote: dict[SubscriptionKey, _RemoteSubscription] = {}
        # One change at a time: commands run side by side, and two for one topic must make one subscription.
        self._changing = asyncio.Lock()
        self._sink = sink
        self._on_bad = on_bad
        self._on_dead = on_dead
        self._clock = clock
        self._tasks = tasks
        self._duplicates = Duplicates(clock)
        self._delivery_numbers = itertools.count(1)
        self._removed_messages = 0
        self._numbers = itertools.count(1)

    @property
    def messages(self) -> int:
        """How many messages have come."""
        return self._removed_messages + sum(remote.delivery.messages for remote in self._remote.values())

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

    async def restore(self, session: ProtocolAdapter) -> None:
        """Subscribe to everything on a new session.

        Raises:
            BridgeError: The remote refused a subscription or did not answer.
        """
        async with self._changing:
            for remote in self._remote.values():
                remote.live = None
            for spec in tuple(self._specs.values()):
                await self._subscribe(session, spec)

    async def add(self, session: ProtocolAdapter, command: Subscribe, source: str | None = None) -> str:
        """Carry out a `subscribe` command of `source`; return its name, the same for the same command.

        Raises:
            InvalidError: What is there for this topic has another quality of service, or waits for the application,
                which this subscription's messages would not; or the protocol has no quality of service.
        """
        if command.qos and not self._has_qos:
            raise InvalidError("qos: this protocol has none above 0 for topics; leave it out")
        event_type = None if command.emit is None else to_emitted_type(command.emit)
        async with self._changing:
            for spec in self._specs.values():
                if spec.key != (command.topic, False, None):
                    continue
                _check_qos(spec, command)
                if spec.text == event_type:
                    return spec.name
                if spec.hold is not None:
                    raise InvalidError(f'topic: {spec.name!r} subscribes to it with `ack = "consumer"`')
            spec = SubscriptionSpec(
                name=f"subscription-{next(self._numbers)}",
                topic=command.topic,
                emit=event_type,
                text=event_type,
                qos=command.qos,
                asked=(source, self._clock.wall_ms()),
            )
            self._specs[spec.name] = spec
            try:
                await self._subscribe(session, spec)
            except BaseException:
                self._forget(spec)
                raise
            return spec.name

    async def remove(self, session: ProtocolAdapter, command: Unsubscribe) -> None:
        """Carry out an `unsubscribe` command, by name or by topic.

        Raises:
            InvalidError: Neither or both are given, or there is no such subscription.
        """
        if (command.subscription is None) == (command.topic is None):
            raise InvalidError("unsubscribe: give either `subscription` or `topic`")
        async with self._changing:
            gone = [
                spec
                for spec in self._specs.values()
                if command.subscription == spec.name or command.topic == spec.topic
            ]
            if not gone:
                raise InvalidError(f"unsubscribe: there is no subscription {command.subscription or command.topic!r}")
            for spec in gone:
                remote = self._forget(spec)
                if remote is not None and remote.live is not None:
                    await self._tasks.run(session.unsubscribe(remote.live), "unsubscribe")

    def _forget(self, spec: SubscriptionSpec) -> _RemoteSubscription | None:
        """Remove a spec; return its subscription at the remote if no other spec shares it."""
        del self._specs[spec.name]
        key = spec.key
        if self._set_emits(key):
            return None
        remote = self._remote.pop(key, None)
        if remote is not None:
            self._removed_messages += remote.delivery.messages
        return remote

    def _set_emits(self, key: SubscriptionKey) -> bool:
        """Set the event types of a subscription at the remote to those of its specs; return whether it has any."""
        specs = [spec for spec in self._specs.values() if spec.key == key]
        remote = self._remote.get(key)
        if remote is not None:
            remote.delivery.emits = tuple(self._default if spec.emit is None else spec.emit for spec in specs)
        return bool(specs)

    async def _subscribe(self, session: ProtocolAdapter, spec: SubscriptionSpec) -> None:
        key = spec.key
        remote = self._remote.get(key)
        if remote is None:
            number = next(self._delivery_numbers)
            delivery = Delivery(number, sink=self._sink, duplicates=self._duplicates, on_bad=self._on_bad)
            remote = self._remote[key] = _RemoteSubscription(delivery)
        self._set_emits(key)
        if remote.live is not None:
            return
        hold: Hold | None = None
        holds = [one.hold for one in self._specs.values() if one.key == key and one.hold is not None]
        if holds:
            remote.delivery.held = True
            hold = dataclasses.replace(holds[0], on_dead=remote.delivery.forgetting(self._on_dead))
        options = SubscriptionOptions(qos=spec.qos, group=spec.group, hold=hold)
        listen = session.consume if spec.queue else session.subscribe
        remote.live = await self._tasks.run(listen(spec.topic, remote.delivery, options), "subscribe")


def _check_qos(spec: SubscriptionSpec, command: Subscribe) -> None:
    """Check that a command asks for the quality of service that its topic has already: the remote knows only one."""
    has = DEFAULT_QOS if spec.qos is None else spec.qos
    if command.qos not in {None, has}:
        raise InvalidError(
            f"qos: {spec.name!r} subscribes to this topic with {has}; leave it out, or unsubscribe first"
        )
