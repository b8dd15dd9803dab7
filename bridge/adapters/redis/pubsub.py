"""Channels and patterns over one link of their own."""

import asyncio
from typing import Any, Final

import structlog

from bridge.adapters._common.content import Codec
from bridge.adapters.redis.connection import Link
from bridge.core.errors import BridgeError
from bridge.core.model import Inbound
from bridge.core.ports import Deliver

_WILDCARDS: Final = frozenset("*?[\\")

log = structlog.get_logger(__name__)


def is_pattern(topic: str) -> bool:
    """Whether Redis must match by pattern (PSUBSCRIBE); a backslash takes a wildcard's meaning away there."""
    return not _WILDCARDS.isdisjoint(topic)


class Channels:
    """Who gets what. Messages are delivered one by one, in the order in which Redis sends them.

    While one is being delivered nothing is read: Redis keeps the others, and ends the connection of a subscriber that
    is too slow (`client-output-buffer-limit pubsub`).

    Attributes:
        link: To be set before the first `add`.
    """

    link: Link

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._takers: dict[tuple[bool, bytes], dict[object, Deliver]] = {}
        self._changing = asyncio.Lock()

    async def add(self, topic: str, deliver: Deliver) -> object:
        """Subscribe; returns the handle for `remove`, once Redis has confirmed."""
        pattern, handle = is_pattern(topic), object()
        key = (pattern, topic.encode(errors="surrogatepass"))
        async with self._changing:
            takers = self._takers.setdefault(key, {})
            takers[handle] = deliver
            if len(takers) == 1:
                try:
                    await self.link.call("PSUBSCRIBE" if pattern else "SUBSCRIBE", topic)
                except BaseException:
                    del self._takers[key]
                    self.link.tell("PUNSUBSCRIBE" if pattern else "UNSUBSCRIBE", topic)
                    raise
        return handle

    async def remove(self, topic: str, handle: object) -> None:
        """Nothing is delivered to this handle any more."""
        pattern = is_pattern(topic)
        key = (pattern, topic.encode(errors="surrogatepass"))
        async with self._changing:
            takers = self._takers.get(key, {})
            if takers.pop(handle, None) is not None and not takers:
                del self._takers[key]
                await self.link.call("PUNSUBSCRIBE" if pattern else "UNSUBSCRIBE", topic)

    def ping(self) -> asyncio.Future[Any]:
        """PING on this link: a dead one is silent otherwise."""
        return self.link.call("PING")

    async def take(self, push: list[Any]) -> None:
        """Deliver one push message."""
        match push:
            case [b"message", bytes(channel), bytes(data)]:
                key = (False, channel)
            case [b"pmessage", bytes(pattern), bytes(channel), bytes(data)]:
                key = (True, pattern)
            case _:
                return
        takers = self._takers.get(key)
        if not takers:
            return
        topic = channel.decode(errors="backslashreplace")
        try:
            message, headers = self._codec.decode_or_keep(data)
            inbound = Inbound(topic=topic, message=message, headers=headers)
            for deliver in tuple(takers.values()):
                await deliver(inbound)
        except BridgeError as error:
            log.warning("message dropped", topic=topic, why=error.message)
