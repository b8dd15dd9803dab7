"""Subscribe to channels and patterns, over a connection of their own."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from bridge.adapters._common.content import Codec
from bridge.adapters._common.deliveries import Deliveries
from bridge.adapters.redis.connection import Connection
from bridge.adapters.redis.names import is_pattern
from bridge.core.errors import BridgeError, ConnectionLostError, OverloadedError, ProtocolError
from bridge.core.model import Inbound
from bridge.core.ports import Deliver, Subscription

#: How many bytes of messages may wait while the bus has no room. Then Redis keeps what comes.
_MOST_WAITING: Final = 8_388_608


class PubSub:
    """The subscriptions of one connection. Messages are delivered one by one, in the order in which Redis sends them.

    While the bus has no room, messages wait here, and confirmations and answers to PING are read on. When too many
    wait, nothing more is read: Redis keeps the others, and ends the connection of a subscriber that is too slow
    (`client-output-buffer-limit pubsub`).

    Attributes:
        connection: The open connection; set before the first `add`.
        delivering: The task of `run`; set before the first `add`.
    """

    connection: Connection
    delivering: asyncio.Task[None]

    def __init__(self, codec: Codec, on_dropped: Callable[[BridgeError, str], None]) -> None:
        """Subscribe to nothing; `on_dropped` is told of messages that are not delivered, by topic."""
        self._codec = codec
        self._on_dropped = on_dropped
        self._receivers: dict[tuple[bool, bytes], dict[Subscription, Deliver]] = {}
        self._deliveries = Deliveries(_MOST_WAITING)
        self._changing = asyncio.Lock()
        self._unconfirmed: Subscription | None = None
        self._ended: str | None = None

    @property
    def stalled(self) -> bool:
        """Whether nothing is read, because too many messages wait."""
        return self._deliveries.full

    async def run(self) -> None:
        """Deliver the messages that wait, until cancelled."""
        await self._deliveries.run()

    def drop_waiting(self) -> None:
        """Drop the messages that wait, after `run` has ended, and tell that."""
        count = self._deliveries.close()
        if count:
            self._on_dropped(OverloadedError(f"{count} messages still waited when their connection ended"), "")

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
            deliver = receivers.pop(subscription, None)
            if deliver is None:
                return
            self._deliveries.drop(deliver)
            if not receivers:
                await self.connection.call("PUNSUBSCRIBE" if pattern else "UNSUBSCRIBE", topic)
                self._receivers.pop(key, None)  # what has come before the confirmation is not unexpected

    def end(self, why: str) -> tuple[Subscription, ...]:
        """Remove all subscriptions, because the connection has ended; return those that were confirmed."""
        ended = tuple(one for receivers in self._receivers.values() for one in receivers if one != self._unconfirmed)
        self._ended = why
        self._receivers.clear()
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
        topic = channel.decode(errors="backslashreplace")
        if receivers is None:
            self._on_dropped(ProtocolError("the server has sent a message of a channel that nobody asked for"), topic)
            return None
        message, headers = self._codec.decode_or_keep(data)
        inbound = Inbound(topic=topic, message=message, headers=headers)
        waiting = [one for one in receivers.values() if not self._deliveries.offer(one, inbound, len(data))]
        return self._put(waiting, inbound, len(data)) if waiting else None

    async def _put(self, receivers: Sequence[Deliver], message: Inbound, size: int) -> None:
        for deliver in receivers:
            await self._deliveries.put(deliver, message, size)
