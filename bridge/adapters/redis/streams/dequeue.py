"""Taking single messages from streams, on demand."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog

from bridge.adapters._common.content import Codec
from bridge.adapters.redis.connection import Link
from bridge.adapters.redis.streams.entries import Fields, decode_fields, message_id
from bridge.adapters.redis.streams.groups import Consumer, entries_of, make_group
from bridge.adapters.redis.streams.reader import BLOCK
from bridge.core.errors import BridgeError, RejectedError
from bridge.core.model import QueueMessage
from bridge.core.ports import Clock

#: Seconds between two looks for overdue entries of one stream.
_LOOK_EVERY: Final = 1.0

log = structlog.get_logger(__name__)


class Dequeuer:
    """Overdue entries first, then new ones, then a blocking wait on a link that is free for it."""

    def __init__(
        self,
        commands: Link,
        open_link: Callable[[], Awaitable[Link]],
        codec: Codec,
        consumer: Callable[[str], Consumer],
        clock: Clock,
    ) -> None:
        """`open_link` opens one more link of the session; `consumer` says who reads a stream."""
        self._commands = commands
        self._open_link = open_link
        self._codec = codec
        self._make_consumer = consumer
        self._clock = clock
        self._consumers: dict[str, Consumer] = {}
        self._look_at: dict[str, float] = {}
        self._free: list[Link] = []

    def look_again(self, queue: str, delay: float) -> None:
        """Something becomes overdue in `delay` seconds."""
        at = self._clock.monotonic() + delay
        self._look_at[queue] = min(at, self._look_at.get(queue, at))

    async def take(self, queue: str, wait: float, visibility: float | None) -> QueueMessage | None:
        """One message, or None after `wait` seconds; raises what the server refuses."""
        consumer = await self._consumer(queue)
        end = self._clock.monotonic() + wait
        try:
            while True:
                found = await self._overdue(consumer) or await self._read(consumer, self._commands, None)
                left = end - self._clock.monotonic()
                if found is None and left > 0:
                    next_look = self._look_at[queue] - self._clock.monotonic()
                    found = await self._block(consumer, max(0.001, min(left, next_look, BLOCK)))
                if found is not None:
                    return await self._message(consumer, *found, visibility)
                if self._clock.monotonic() >= end:
                    return None
        except RejectedError as error:
            if error.code == "NOGROUP":  # the stream was deleted; the next call makes it again
                self._consumers.pop(queue, None)
            raise

    async def _consumer(self, queue: str) -> Consumer:
        consumer = self._consumers.get(queue)
        if consumer is None:
            consumer = self._make_consumer(queue)
            await make_group(self._commands, queue, consumer.group)
            self._consumers[queue] = consumer
            self._look_at[queue] = self._clock.monotonic()
        return consumer

    async def _overdue(self, consumer: Consumer) -> tuple[str, Fields, int] | None:
        queue = consumer.queue
        if self._clock.monotonic() < self._look_at[queue]:
            return None
        while found := await consumer.overdue(self._commands):
            entry, fields, attempts = found
            if fields is None:
                self._commands.tell("XACK", queue, consumer.group, entry)
            elif consumer.given_up(attempts):
                await consumer.bury(self._commands, entry, fields, attempts)
                log.warning("dead letter", stream=queue, entry=entry, attempts=attempts - 1)
            else:
                return entry, fields, attempts
        self._look_at[queue] = self._clock.monotonic() + _LOOK_EVERY
        return None

    async def _block(self, consumer: Consumer, seconds: float) -> tuple[str, Fields, int] | None:
        link = self._free.pop() if self._free else await self._open_link()
        return await self._read(consumer, link, seconds)

    async def _read(self, consumer: Consumer, link: Link, block: float | None) -> tuple[str, Fields, int] | None:
        reply = consumer.read(link, ">", 1, block=block)
        if block is not None:
            reply.add_done_callback(lambda _: self._free.append(link))
        try:
            await asyncio.wait({reply})
        except asyncio.CancelledError:
            reply.add_done_callback(lambda late: self._give_back(consumer, late))
            raise
        entries = entries_of(reply.result())
        return None if not entries or entries[0][1] is None else (entries[0][0], entries[0][1], 1)

    def _give_back(self, consumer: Consumer, reply: asyncio.Future[Any]) -> None:
        """The caller left before the entry came: make it overdue at once."""
        if reply.cancelled() or reply.exception() is not None:
            return
        with contextlib.suppress(BridgeError):  # the connection has ended, or the reply makes no sense
            for entry, _ in entries_of(reply.result()):
                consumer.come_again(self._commands, entry, 0.0).add_done_callback(_look_at_outcome)
                self.look_again(consumer.queue, 0.0)

    async def _message(
        self, consumer: Consumer, entry: str, fields: Fields, attempts: int, visibility: float | None
    ) -> QueueMessage:
        if visibility is not None:
            await consumer.come_again(self._commands, entry, visibility)
            self.look_again(consumer.queue, visibility)
        message, headers = decode_fields(fields, self._codec)
        return QueueMessage(
            message_id=message_id(entry, consumer.queue), message=message, attempts=attempts, headers=headers
        )


def _look_at_outcome(reply: asyncio.Future[Any]) -> None:
    if not reply.cancelled():
        reply.exception()
