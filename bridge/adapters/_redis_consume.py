"""Reading a stream continuously: what was left, what is new, what others left; acknowledged in batches."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from bridge.adapters._content import Codec
from bridge.adapters._redis_entries import Fields, decode_fields
from bridge.adapters._redis_groups import Consumer, entries_of, make_group
from bridge.adapters._redis_link import Link
from bridge.errors import BridgeError, ConnectionLostError
from bridge.model import Inbound
from bridge.ports import Deliver, Verdict

_BATCH: Final = 100
#: Seconds that one blocking read waits at most.
BLOCK: Final = 1.0
#: Seconds after which a batch that is delivered slowly is acknowledged as far as it has come.
_SETTLE: Final = 1.0

log = structlog.get_logger(__name__)

Entries = list[tuple[str, Fields | None]]


class StreamReader:
    """Delivers one stream's messages in order, over a link of its own, whose reads block.

    Args:
        link: Open and running; nobody else may use it.
        consumer: Whose name is read by. Names are lasting, so what a killed bridge left is found again at the start.
        codec: For messages.
        deliver: Takes a message. Where it raises a BridgeError the entry stays pending and comes again.
        message_id: The name on the bus of an entry.
        claim_every: Seconds between two looks for what others left.
    """

    def __init__(
        self,
        link: Link,
        consumer: Consumer,
        codec: Codec,
        deliver: Deliver,
        *,
        message_id: Callable[[str], str],
        claim_every: float,
    ) -> None:
        self._link = link
        self._consumer = consumer
        self._codec = codec
        self._deliver = deliver
        self._message_id = message_id
        self._claim_every = claim_every
        self._loop = asyncio.get_running_loop()

    async def prepare(self) -> None:
        """Make the group where it is missing; raises what the server refuses."""
        await make_group(self._link, self._consumer.queue, self._consumer.group)

    def check(self) -> None:
        """Raises ConnectionLostError where a blocking read is long overdue."""
        since = self._link.waiting_since
        if since is not None and self._loop.time() - since > BLOCK + 5.0:
            raise ConnectionLostError(f"reading {self._consumer.queue!r} has had no answer for too long")

    async def run(self) -> None:
        """Read and deliver until cancelled. Raises BridgeError for what the server refuses or when it is gone."""
        await self._left_by_me()
        next_claim = self._loop.time()
        while True:
            if self._loop.time() >= next_claim:
                await self._left_by_others()
                next_claim = self._loop.time() + self._claim_every
            block = min(BLOCK, max(0.001, next_claim - self._loop.time()))
            reply = self._consumer.read(self._link, ">", _BATCH, block=block)
            self._acknowledge(await self._take(entries_of(await reply), None))

    async def _left_by_me(self) -> None:
        after = "0"
        while entries := entries_of(await self._consumer.read(self._link, after, _BATCH)):
            await self._again(entries)
            after = entries[-1][0]

    async def _left_by_others(self) -> None:
        cursor = "0-0"
        while True:
            cursor, entries = await self._consumer.claim(self._link, cursor, _BATCH)
            await self._again(entries)
            if cursor == "0-0":
                return

    async def _again(self, entries: Entries) -> None:
        """Deliver what was delivered before, but for what was delivered too often."""
        if not entries:
            return
        counts = await self._consumer.deliveries(self._link, [entry for entry, _ in entries])
        good: Entries = []
        for entry, fields in entries:
            if fields is not None and self._consumer.given_up(counts[entry]):
                await self._consumer.bury(self._link, entry, fields, counts[entry])
                log.warning("dead letter", stream=self._consumer.queue, entry=entry, attempts=counts[entry] - 1)
            else:
                good.append((entry, fields))
        self._acknowledge(await self._take(good, counts))

    async def _take(self, entries: Entries, counts: dict[str, int] | None) -> list[str]:
        """Deliver; returns what is to be acknowledged. Cancelled, it acknowledges what was delivered."""
        done: list[str] = []
        settled = self._loop.time()
        try:
            for entry, fields in entries:
                if fields is None or await self._hand_over(entry, fields, 1 if counts is None else counts[entry]):
                    done.append(entry)
                now = self._loop.time()
                if now - settled > _SETTLE:
                    self._acknowledge(done)
                    done, settled = [], now
        except asyncio.CancelledError:
            self._acknowledge(done)
            raise
        return done

    async def _hand_over(self, entry: str, fields: Fields, attempts: int) -> bool:
        try:
            message, headers = decode_fields(fields, self._codec)
            inbound = Inbound(
                topic=self._consumer.queue,
                message=message,
                headers=headers,
                message_id=self._message_id(entry),
                attempts=attempts,
            )
            verdict = self._deliver(inbound)
            if verdict.__class__ is not Verdict:
                await verdict
        except BridgeError as error:
            log.warning("message stays pending", stream=self._consumer.queue, entry=entry, why=error.message)
            return False
        return True

    def _acknowledge(self, entries: list[str]) -> None:
        """XACK, in the same write as the next read. A lost connection only means that they come again."""
        if entries:
            self._link.tell("XACK", self._consumer.queue, self._consumer.group, *entries)
