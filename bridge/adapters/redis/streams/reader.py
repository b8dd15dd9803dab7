"""Reading a stream continuously: what was left, what is new, what others left; acknowledged in batches."""

import asyncio
import contextlib
import math
from collections.abc import Callable
from typing import Any, Final

import structlog

from bridge.adapters._common.content import Codec
from bridge.adapters.redis.connection import Link
from bridge.adapters.redis.streams.entries import Fields, decode_fields
from bridge.adapters.redis.streams.groups import Consumer, entries_of, make_group
from bridge.core.errors import BridgeError, ConnectionLostError
from bridge.core.model import Inbound
from bridge.core.ports import Clock, Deliver, Verdict
from bridge.core.settings import Hold

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
        clock: Measures how long the application may take, and the intervals.
        hold: How entries wait for the application; None: each is acknowledged once it is delivered.
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
        clock: Clock,
        hold: Hold | None = None,
    ) -> None:
        self._hold = hold
        self._clock = clock
        self._held: dict[str, float] = {}
        self._answered = asyncio.Event()
        self._next_claim = 0.0
        self._link = link
        self._consumer = consumer
        self._codec = codec
        self._deliver = deliver
        self._message_id = message_id
        self._claim_every = claim_every

    async def prepare(self) -> None:
        """Make the group where it is missing; raises what the server refuses."""
        await make_group(self._link, self._consumer.queue, self._consumer.group)

    def check(self) -> None:
        """Raises ConnectionLostError where a blocking read is long overdue."""
        since = self._link.waiting_since
        if since is not None and self._clock.monotonic() - since > BLOCK + 5.0:
            raise ConnectionLostError(f"reading {self._consumer.queue!r} has had no answer for too long")

    async def run(self) -> None:
        """Read and deliver until cancelled. Raises BridgeError for what the server refuses or when it is gone."""
        await self._left_by_me()
        self._next_claim = self._clock.monotonic()
        while True:
            room = await self._room()
            if self._clock.monotonic() >= self._next_claim:
                self._next_claim = self._clock.monotonic() + self._claim_every
                await self._left_by_others()
                continue
            due = min(self._next_claim, next(iter(self._held.values()), math.inf))
            block = min(BLOCK, max(0.001, due - self._clock.monotonic()))
            reply = self._consumer.read(self._link, ">", room, block=block)
            self._acknowledge(await self._take(entries_of(await reply), None))

    async def _left_by_me(self) -> None:
        after = "0"
        while entries := entries_of(await self._consumer.read(self._link, after, await self._room())):
            await self._again(entries)
            after = entries[-1][0]

    async def _left_by_others(self) -> None:
        cursor = "0-0"
        while True:
            room = await self._room()
            self._keep()
            cursor, entries = await self._consumer.claim(self._link, cursor, room)
            await self._again(entries)
            if cursor == "0-0":
                return

    # --- held for the application

    def settled(self, consumer: Consumer, entry: str, *, again_in: float | None = None) -> None:
        """The application has answered: done, or to come again in so many seconds."""
        if (consumer.queue, consumer.group) != (self._consumer.queue, self._consumer.group):
            return
        if self._held.pop(entry, None) is not None:
            self._answered.set()
            if again_in is not None:
                self._next_claim = min(self._next_claim, self._clock.monotonic() + again_in)

    async def _room(self) -> int:
        """How many entries may be taken now; waits until it is one, and gives back what nobody has answered."""
        if self._hold is None:
            return _BATCH
        while True:
            self._give_back()
            room = self._hold.limit - len(self._held)
            if room > 0:
                return min(room, _BATCH)
            self._answered.clear()
            oldest = next(iter(self._held.values()))
            with contextlib.suppress(TimeoutError):
                async with self._clock.timeout(max(0.001, min(oldest - self._clock.monotonic(), self._claim_every))):
                    await self._answered.wait()
                continue
            self._keep()

    def _give_back(self) -> None:
        """What was not answered in time is overdue, for us and for others; the oldest come first."""
        now = self._clock.monotonic()
        while self._held:
            entry, until = next(iter(self._held.items()))
            if until > now:
                return
            del self._held[entry]
            self._consumer.come_again(self._link, entry, 0.0).add_done_callback(_look_at_outcome)
            self._next_claim = now

    def _keep(self) -> None:
        """What the application still has is not overdue, neither for others nor for the next look of our own."""
        if self._held:
            consumer = self._consumer
            self._link.tell(
                "XCLAIM", consumer.queue, consumer.group, consumer.name, 0, *self._held, "IDLE", 0, "JUSTID"
            )

    # --- delivering

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
                self._tell_dead(entry, fields, counts[entry] - 1)
            else:
                good.append((entry, fields))
        self._acknowledge(await self._take(good, counts))

    async def _take(self, entries: Entries, counts: dict[str, int] | None) -> list[str]:
        """Deliver; returns what is to be acknowledged. Cancelled, it acknowledges what was delivered."""
        done: list[str] = []
        settled = self._clock.monotonic()
        try:
            for entry, fields in entries:
                if fields is None or await self._hand_over(entry, fields, 1 if counts is None else counts[entry]):
                    done.append(entry)
                now = self._clock.monotonic()
                if now - settled > _SETTLE:
                    self._acknowledge(done)
                    done, settled = [], now
        except asyncio.CancelledError:
            self._acknowledge(done)
            raise
        return done

    async def _hand_over(self, entry: str, fields: Fields, attempts: int) -> bool:
        """Whether it may be acknowledged."""
        try:
            verdict = self._deliver(self._inbound(entry, fields, attempts))
            outcome = verdict if verdict.__class__ is Verdict else await verdict
        except BridgeError as error:
            log.warning("message stays pending", stream=self._consumer.queue, entry=entry, why=error.message)
            return False
        if outcome is Verdict.HOLD and self._hold is not None:
            self._held.pop(entry, None)
            self._held[entry] = self._clock.monotonic() + self._hold.visibility
            return False
        return True

    def _inbound(self, entry: str, fields: Fields, attempts: int) -> Inbound:
        message, headers = decode_fields(fields, self._codec)
        return Inbound(
            topic=self._consumer.queue,
            message=message,
            headers=headers,
            message_id=self._message_id(entry),
            attempts=attempts,
        )

    def _tell_dead(self, entry: str, fields: Fields, attempts: int) -> None:
        if self._hold is not None:
            with contextlib.suppress(BridgeError):  # it could never be read, and so never be acknowledged
                inbound = self._inbound(entry, fields, attempts)
                self._hold.on_dead(inbound, f"delivered {attempts} times and never acknowledged")

    def _acknowledge(self, entries: list[str]) -> None:
        """XACK, in the same write as the next read. A lost connection only means that they come again."""
        if entries:
            self._link.tell("XACK", self._consumer.queue, self._consumer.group, *entries)


def _look_at_outcome(reply: asyncio.Future[Any]) -> None:
    if not reply.cancelled():
        reply.exception()


class Consuming:
    """What `unsubscribe` needs to end the reading of a stream."""

    def __init__(self, task: asyncio.Task[None], link: Link) -> None:
        self.task = task
        self.link = link
