"""What comes from outside: subscriptions of one integration, kept over reconnections, and turned into events."""

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from bridge.errors import BridgeError, InvalidError
from bridge.event_type import to_event_type
from bridge.model import MAX_HOP, Inbound, Subscribe, Unsubscribe, parse_hop
from bridge.ports import ProtocolAdapter, Publisher, Subscription


@dataclass(frozen=True, slots=True)
class Wish:
    """One wanted subscription, from a `subscription` block or a `subscribe` command.

    Attributes:
        name: The block's label, or a made-up one.
        topic: In the protocol's own pattern language; or a queue's name.
        queue: Whether it is a queue.
        emit: The event type for a message; None for `message.<integration>`. Raises InvalidError.
        text: How `emit` was written; two wishes with the same topic and text are the same.
        group: Shared among sidecars.
        qos: Where the protocol has it.
    """

    name: str
    topic: str
    emit: Callable[[Inbound], str] | None = field(default=None, compare=False)
    text: str | None = None
    group: str | None = None
    qos: int | None = None
    queue: bool = False

    @property
    def place(self) -> tuple[str, bool]:
        """What it listens to; a queue may have the name of a topic."""
        return self.topic, self.queue


class Inlet(Publisher, Protocol):
    """The bus, as far as messages from outside need it."""

    def reject_loop(self, event_type: str) -> None:
        """Count and report something that crossed the bridge too often."""
        ...


class Subscriptions:
    """The subscriptions of one integration.

    Several wishes for one topic share one subscription at the remote; each has its own event.
    """

    def __init__(
        self,
        integration: str,
        wishes: Sequence[Wish],
        *,
        inlet: Inlet,
        on_bad: Callable[[BridgeError, Inbound], None],
    ) -> None:
        """Nothing is subscribed before `restore`.

        Args:
            integration: The label.
            wishes: From the configuration.
            inlet: Where the events go.
            on_bad: Told of a message that no event can be made of; it is settled then, like any other.
        """
        self._integration = integration
        self._wishes: dict[str, Wish] = {wish.name: wish for wish in wishes}
        self._live: dict[tuple[str, bool], Subscription] = {}
        # One change at a time: commands run side by side, and two for one topic must make one subscription.
        self._changing = asyncio.Lock()
        self._inlet = inlet
        self._on_bad = on_bad
        self.messages = 0
        """How many have come from outside."""
        self._numbers = itertools.count(1)

    async def restore(self, session: ProtocolAdapter) -> None:
        """Subscribe to everything on a new session. Raises what the remote answers."""
        async with self._changing:
            self._live.clear()
            for wish in tuple(self._wishes.values()):
                await self._subscribe(session, wish)

    async def add(self, session: ProtocolAdapter, command: Subscribe) -> str:
        """Carry a `subscribe` command out; returns the subscription's name, the same for the same wish."""
        event_type = None if command.emit is None else to_event_type(command.emit)
        async with self._changing:
            for wish in self._wishes.values():
                if (wish.place, wish.text) == ((command.topic, False), event_type):
                    return wish.name
            wish = Wish(
                name=f"subscription-{next(self._numbers)}",
                topic=command.topic,
                emit=None if event_type is None else lambda _: event_type,
                text=event_type,
                qos=command.qos,
            )
            self._wishes[wish.name] = wish
            try:
                await self._subscribe(session, wish)
            except BaseException:
                del self._wishes[wish.name]
                raise
            return wish.name

    async def remove(self, session: ProtocolAdapter, command: Unsubscribe) -> None:
        """Carry an `unsubscribe` command out, by name or by topic.

        Raises:
            InvalidError: Neither or both are given, or there is no such subscription.
        """
        if (command.subscription is None) == (command.topic is None):
            raise InvalidError("unsubscribe: give either `subscription` or `topic`")
        async with self._changing:
            gone = [
                wish
                for wish in self._wishes.values()
                if command.subscription == wish.name or command.topic == wish.topic
            ]
            if not gone:
                raise InvalidError(f"unsubscribe: there is no subscription {command.subscription or command.topic!r}")
            for wish in gone:
                del self._wishes[wish.name]
                if all(other.place != wish.place for other in self._wishes.values()):
                    live = self._live.pop(wish.place, None)
                    if live is not None:
                        await session.unsubscribe(live)

    async def _subscribe(self, session: ProtocolAdapter, wish: Wish) -> None:
        place = wish.place
        if place in self._live:
            return

        async def deliver(message: Inbound) -> None:
            self._deliver(place, message)

        if wish.queue:
            self._live[place] = await session.consume(wish.topic, deliver, group=wish.group)
        else:
            self._live[place] = await session.subscribe(wish.topic, deliver, qos=wish.qos, group=wish.group)

    def _deliver(self, place: tuple[str, bool], message: Inbound) -> None:
        """Put one message on the bus; when this returns it may be acknowledged."""
        self.messages += 1
        crossed = parse_hop(message.headers.get("hop")) + 1
        for wish in [one for one in self._wishes.values() if one.place == place]:
            event_type = f"message.{self._integration}"
            if crossed > MAX_HOP:
                self._inlet.reject_loop(event_type)
                continue
            try:
                if wish.emit is not None:
                    event_type = wish.emit(message)
                self._inlet.publish(event_type, _payload(message), headers={"hop": str(crossed)})
            except InvalidError as error:
                self._on_bad(error, message)


_OPTIONAL: Final = ("message_id", "attempts")


def _payload(message: Inbound) -> Mapping[str, Any]:
    """The payload of `message.<id>` (bus contract, "Messages from outside")."""
    payload: dict[str, Any] = {"topic": message.topic, "message": message.message, "headers": message.headers}
    for name in _OPTIONAL:
        value = getattr(message, name)
        if value is not None:
            payload[name] = value
    return payload
