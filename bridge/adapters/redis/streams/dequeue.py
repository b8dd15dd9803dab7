"""Take single messages from streams, on demand."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

from bridge.adapters._common.content import Codec
from bridge.adapters.redis.connection import Connection, OnEnd, ignore_outcome
from bridge.adapters.redis.streams.entries import Fields, decode_fields, message_id
from bridge.adapters.redis.streams.groups import Consumer, make_group, parse_read, rest_of
from bridge.adapters.redis.streams.reader import BLOCK
from bridge.core.errors import BridgeError, RejectedError
from bridge.core.log import structlog
from bridge.core.model import QueueMessage
from bridge.core.ports import Clock

#: How many overdue entries one `dequeue` removes or moves to the dead letters at most.
_MOST_OVERDUE: Final = 1_000
#: Seconds between two looks for overdue entries of one stream.
_LOOK_EVERY: Final = 1.0

log = structlog.get_logger(__name__)


class Dequeuer:
    """Take overdue entries first, then new ones; else wait in a blocking read on a connection that is free for it."""

    def __init__(
        self,
        commands: Callable[[], Connection],
        open_connection: Callable[[OnEnd], Awaitable[Connection]],
        codec: Codec,
        consumer: Callable[[str], Consumer],
        clock: Clock,
    ) -> None:
        """Read nothing yet.

        Args:
            commands: Returns the session's connection for commands; raises NotConnectedError where there is none.
            open_connection: Opens one more connection of the session, and says which function is told of its end.
            codec: For messages.
            consumer: Says who reads a stream.
            clock: For waiting.
        """
        self._commands = commands
        self._open_connection = open_connection
        self._codec = codec
        self._make_consumer = consumer
        self._clock = clock
        self._consumers: dict[str, Consumer] = {}
        self._next_look: dict[str, float] = {}
        self._free: list[Connection] = []

    def expect_overdue(self, queue: str, delay: float) -> None:
        """Look for overdue entries of a stream in `delay` seconds, or sooner where that was planned."""
        at = self._clock.monotonic() + delay
        self._next_look[queue] = min(at, self._next_look.get(queue, at))

    async def take(self, queue: str, wait: float, visibility: float | None) -> QueueMessage | None:
        """Return one message, or None after `wait` seconds. Raises BridgeError."""
        end = self._clock.monotonic() + wait
        made_again = False
        while True:
            try:
                return await self._take(await self._consumer(queue), end, visibility)
            except RejectedError as error:
                if error.code != "NOGROUP" or made_again:
                    raise
                # The stream was deleted, and the group with it.
                made_again = True
                self._consumers.pop(queue, None)

    async def _take(self, consumer: Consumer, end: float, visibility: float | None) -> QueueMessage | None:
        queue = consumer.queue
        while True:
            found = await self._overdue(consumer) or await self._read(consumer, self._commands(), None)
            left = end - self._clock.monotonic()
            if found is None and left > 0:
                next_look = self._next_look[queue] - self._clock.monotonic()
                found = await self._block(consumer, max(0.001, min(left, next_look, BLOCK)))
            if found is not None:
                return await self._message(consumer, *found, visibility)
            if self._clock.monotonic() >= end:
                return None

    async def _consumer(self, queue: str) -> Consumer:
        consumer = self._consumers.get(queue)
        if consumer is None:
            consumer = self._make_consumer(queue)
            await make_group(self._commands(), queue, consumer.group)
            self._consumers[queue] = consumer
            self._next_look[queue] = self._clock.monotonic()
        return consumer

    async def _overdue(self, consumer: Consumer) -> tuple[str, Fields, int] | None:
        queue = consumer.queue
        if self._clock.monotonic() < self._next_look[queue]:
            return None
        for _ in range(_MOST_OVERDUE):
            found = await consumer.overdue(self._commands())
            if found is None:
                break
            entry, fields, attempts = found
            if fields is None:
                self._commands().send_and_forget("XACK", queue, consumer.group, entry)
            elif not consumer.is_exhausted(attempts):
                return entry, fields, attempts
            elif await consumer.move_to_dead_letters(self._commands(), entry, fields, attempts):
                log.warning("dead letter", stream=queue, entry=entry, attempts=attempts - 1)
        self._next_look[queue] = self._clock.monotonic() + _LOOK_EVERY
        return None

    async def _block(self, consumer: Consumer, seconds: float) -> tuple[str, Fields, int] | None:
        connection = self._free.pop() if self._free else await self._open_connection(self._forget)
        asked = self._clock.monotonic()
        found = await self._read(consumer, connection, seconds)
        if found is None:
            await rest_of(seconds, asked, self._clock)
        return found

    def _forget(self, connection: Connection, _: BridgeError) -> None:
        if connection in self._free:
            self._free.remove(connection)

    def _release(self, connection: Connection) -> None:
        if connection.usable:
            self._free.append(connection)

    async def _read(
        self, consumer: Consumer, connection: Connection, block: float | None
    ) -> tuple[str, Fields, int] | None:
        reply = consumer.read(connection, ">", 1, block=block)
        if block is not None:
            reply.add_done_callback(lambda _: self._release(connection))
        try:
            await asyncio.wait({reply})
        except asyncio.CancelledError:
            reply.add_done_callback(lambda late: self._release_late(consumer, late))
            raise
        entries = parse_read(reply.result())
        return None if not entries or entries[0][1] is None else (entries[0][0], entries[0][1], 1)

    def _release_late(self, consumer: Consumer, reply: asyncio.Future[Any]) -> None:
        """Make an entry overdue at once, because its caller left before it came."""
        if reply.cancelled() or reply.exception() is not None:
            return
        with contextlib.suppress(BridgeError):  # the connection has ended, or the reply makes no sense
            for entry, _ in parse_read(reply.result()):
                consumer.make_overdue(self._commands(), entry, 0.0).add_done_callback(ignore_outcome)
                self.expect_overdue(consumer.queue, 0.0)

    async def _message(
        self, consumer: Consumer, entry: str, fields: Fields, attempts: int, visibility: float | None
    ) -> QueueMessage:
        if visibility is not None:
            await consumer.make_overdue(self._commands(), entry, visibility)
            self.expect_overdue(consumer.queue, visibility)
        message, headers = decode_fields(fields, self._codec)
        return QueueMessage(
            message_id=message_id(entry, consumer.queue), message=message, attempts=attempts, headers=headers
        )
