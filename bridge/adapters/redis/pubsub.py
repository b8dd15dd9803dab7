"""Subscribe to channels and patterns, over a connection of their own."""

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, NamedTuple

from bridge.adapters._common.content import Codec
from bridge.adapters.redis.connection import Connection
from bridge.adapters.redis.names import is_pattern
from bridge.core.errors import BridgeError, ConnectionLostError, OverloadedError, ProtocolError
from bridge.core.model import Inbound
from bridge.core.ports import AckDecision, Deliver, Subscription

#: How many messages, and bytes of them, may wait while the bus has no room. Then Redis keeps what comes.
_MOST_WAITING: Final = 1_000
_MOST_BYTES: Final = 8_388_608


class _Waiting(NamedTuple):
    """A message that has come and is not delivered yet.

    Attributes:
        subscription: Whose it is.
        deliver: Delivers it.
        message: The message.
        size: Its bytes.
        begun: What `deliver` has returned already; None where it was not called yet.
    """

    subscription: Subscription
    deliver: Deliver
    message: Inbound
    size: int
    begun: Awaitable[AckDecision | None] | None


class PubSub:
    """The subscriptions of one connection. Messages are delivered one by one, in the order in which Redis sends them.

    While the bus has no room, messages wait here, and confirmations and answers to PING are read on. When too many
    wait, nothing more is read: Redis keeps the others, and ends the connection of a subscriber that is too slow
    (`client-output-buffer-limit pubsub`).

    Attributes:
        connection: The open connection; set before the first `add`.
        stalled: Whether nothing is read, because too many messages wait.
    """

    connection: Connection

    def __init__(
        self,
        codec: Codec,
        start: Callable[[Coroutine[Any, Any, None]], object],
        on_dropped: Callable[[BridgeError, str], None],
    ) -> None:
        """`start` runs a coroutine as a task; `on_dropped` is told of messages that are not delivered, by topic."""
        self._codec = codec
        self._start = start
        self._on_dropped = on_dropped
        self._receivers: dict[tuple[bool, bytes], dict[Subscription, Deliver]] = {}
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        self._delivering = False
        self._taken = asyncio.Event()
        self._changing = asyncio.Lock()
        self._unconfirmed: Subscription | None = None
        self._ended: str | None = None
        self.stalled = False

    async def add(self, topic: str, deliver: Deliver) -> Subscription:
        """Subscribe, and return the subscription once Redis has confirmed. Raises BridgeError."""
        pattern, subscription = is_pattern(topic), Subscription(topic, object())
        key = (pattern, topic.encode(errors="surrogatepass"))
        async with self._changing:
            receivers = self._receivers.setdefault(key, {})
            receivers[subscription] = deliver  # messages may come together with the confirmation
            if len(receivers) == 1:
                self._unconfirmed = subscription
                try:
                    await self.connection.call("PSUBSCRIBE" if pattern else "SUBSCRIBE", topic)
                except BaseException:
                    self._receivers.pop(key, None)
                    self.connection.send_and_forget("PUNSUBSCRIBE" if pattern else "UNSUBSCRIBE", topic)
                    raise
                finally:
                    self._unconfirmed = None
                if self._ended is not None:  # together with the confirmation
                    raise ConnectionLostError(self._ended)
        return subscription

    async def remove(self, subscription: Subscription) -> None:
        """Remove a subscription; the last one of a topic is ended at the server, too."""
        topic = subscription.topic
        pattern = is_pattern(topic)
        key = (pattern, topic.encode(errors="surrogatepass"))
        async with self._changing:
            receivers = self._receivers.get(key, {})
            if receivers.pop(subscription, None) is not None and not receivers:
                await self.connection.call("PUNSUBSCRIBE" if pattern else "UNSUBSCRIBE", topic)
                self._receivers.pop(key, None)  # what has come before the confirmation is not unexpected

    def close(self, why: str) -> tuple[Subscription, ...]:
        """Remove all subscriptions, and return those that were confirmed. Messages that wait are dropped and told.

        Args:
            why: Why the connection has ended.
        """
        ended = tuple(one for receivers in self._receivers.values() for one in receivers if one != self._unconfirmed)
        self._ended = why
        self._receivers.clear()
        dropped: dict[str, int] = {}
        for one in self._waiting:
            dropped[one.message.topic] = dropped.get(one.message.topic, 0) + 1
            if inspect.iscoroutine(one.begun):
                one.begun.close()  # nobody awaits it any more
        self._waiting.clear()
        for topic, count in dropped.items():
            self._on_dropped(OverloadedError(f"{count} messages waited for the bus when their connection ended"), topic)
        return ended

    def on_push(self, push: list[Any]) -> Awaitable[None] | None:
        """Deliver the message of a push. One that makes no sense, or that nobody has asked for, is dropped and told.

        Returns:
            None, or what to await before more is read.
        """
        match push:
            case [b"message", bytes(channel), bytes(data)]:
                key = (False, channel)
            case [b"pmessage", bytes(pattern), bytes(channel), bytes(data)]:
                key = (True, pattern)
            case _:
                self._on_dropped(ProtocolError("the server has sent a push that is no message of Pub/Sub"), "")
                return None
        receivers = self._receivers.get(key)
        if receivers is None:
            topic = channel.decode(errors="backslashreplace")
            self._on_dropped(ProtocolError("the server has sent a message of a channel that nobody asked for"), topic)
            return None
        message, headers = self._codec.decode_or_keep(data)
        inbound = Inbound(topic=channel.decode(errors="backslashreplace"), message=message, headers=headers)
        for subscription, deliver in receivers.items():
            begun = None
            if not self._delivering:
                begun = deliver(inbound)
                if begun.__class__ is AckDecision:
                    continue
                self._delivering = True
                self._start(self._deliver_waiting())
            self._waiting.append(_Waiting(subscription, deliver, inbound, len(data), begun))
            self._bytes += len(data)
        return self._room() if self._is_full() else None

    def _is_full(self) -> bool:
        return len(self._waiting) >= _MOST_WAITING or self._bytes >= _MOST_BYTES

    async def _room(self) -> None:
        self.stalled = True
        while self._is_full():
            self._taken.clear()
            await self._taken.wait()
        self.stalled = False

    async def _deliver_waiting(self) -> None:
        """Deliver what waits, in order, until nothing does."""
        while self._waiting:
            subscription, deliver, message, size, begun = self._waiting.popleft()
            if begun is not None:
                await begun
            elif any(subscription in receivers for receivers in self._receivers.values()):
                await deliver(message)
            self._bytes -= size
            self._taken.set()
        self._delivering = False
