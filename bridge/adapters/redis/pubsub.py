"""Subscribe to channels and patterns, over a connection of their own."""

import asyncio
from typing import Any

import structlog

from bridge.adapters._common.content import Codec
from bridge.adapters.redis.connection import Connection
from bridge.adapters.redis.names import is_pattern
from bridge.core.errors import BridgeError
from bridge.core.model import Inbound
from bridge.core.ports import Deliver

log = structlog.get_logger(__name__)


class PubSub:
    """The subscriptions of one session. Messages are delivered one by one, in the order in which Redis sends them.

    While one is being delivered nothing is read: Redis keeps the others, and ends the connection of a subscriber that
    is too slow (`client-output-buffer-limit pubsub`).

    Attributes:
        connection: The open connection; set before the first `add`.
    """

    connection: Connection

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._receivers: dict[tuple[bool, bytes], dict[object, Deliver]] = {}
        self._changing = asyncio.Lock()

    async def add(self, topic: str, deliver: Deliver) -> object:
        """Subscribe, and return the handle for `remove` once Redis has confirmed. Raises BridgeError."""
        pattern, handle = is_pattern(topic), object()
        key = (pattern, topic.encode(errors="surrogatepass"))
        async with self._changing:
            receivers = self._receivers.setdefault(key, {})
            receivers[handle] = deliver
            if len(receivers) == 1:
                try:
                    await self.connection.call("PSUBSCRIBE" if pattern else "SUBSCRIBE", topic)
                except BaseException:
                    del self._receivers[key]
                    self.connection.send_and_forget("PUNSUBSCRIBE" if pattern else "UNSUBSCRIBE", topic)
                    raise
        return handle

    async def remove(self, topic: str, handle: object) -> None:
        """Remove a subscription; the last one of a topic is ended at the server, too."""
        pattern = is_pattern(topic)
        key = (pattern, topic.encode(errors="surrogatepass"))
        async with self._changing:
            receivers = self._receivers.get(key, {})
            if receivers.pop(handle, None) is not None and not receivers:
                del self._receivers[key]
                await self.connection.call("PUNSUBSCRIBE" if pattern else "UNSUBSCRIBE", topic)

    def ping(self) -> asyncio.Future[Any]:
        """Send a PING, and return the future of its reply: without traffic a dead connection is not noticed."""
        return self.connection.call("PING")

    async def on_push(self, push: list[Any]) -> None:
        """Deliver the message of a push; do nothing with a push of another kind."""
        match push:
            case [b"message", bytes(channel), bytes(data)]:
                key = (False, channel)
            case [b"pmessage", bytes(pattern), bytes(channel), bytes(data)]:
                key = (True, pattern)
            case _:
                return
        receivers = self._receivers.get(key)
        if not receivers:
            return
        topic = channel.decode(errors="backslashreplace")
        try:
            message, headers = self._codec.decode_or_keep(data)
            inbound = Inbound(topic=topic, message=message, headers=headers)
            for deliver in tuple(receivers.values()):
                await deliver(inbound)
        except BridgeError as error:
            log.warning("message dropped", topic=topic, why=error.message)
