"""Read a stream continuously: own pending entries, new ones, and what other consumers left."""

import asyncio
import contextlib
import math
from collections.abc import Callable
from typing import Final

import structlog

from bridge.adapters._common.content import Codec
from bridge.adapters.redis.connection import Connection, ignore_outcome
from bridge.adapters.redis.streams.entries import Fields, decode_fields
from bridge.adapters.redis.streams.groups import Consumer, make_group, parse_read
from bridge.core.errors import BridgeError, ConnectionLostError
from bridge.core.model import Inbound
from bridge.core.ports import AckDecision, Clock, Deliver
from bridge.core.settings import Hold

_BATCH: Final = 100
#: Seconds that one blocking read waits at most.
BLOCK: Final = 1.0
#: Seconds after which a batch that is delivered slowly is acknowledged as far as it has come.
_ACKNOWLEDGE_EVERY: Final = 1.0

log = structlog.get_logger(__name__)

Entries = list[tuple[str, Fields | None]]


class StreamReader:
    """Deliver one stream's messages in order, over a connection of its own, whose reads block.

    Args:
        connection: Open and running; nobody else may use it.
        consumer: Stream, group and name. The name is lasting, so what a killed bridge left is found again at the start.
        codec: For messages.
        deliver: Called with each message. Where it raises a BridgeError the entry stays pending and comes again.
        message_id: Returns the `message_id` of an entry.
        claim_every: Seconds between two searches for what other consumers left.
        clock: Measures how long the application may take, and the intervals.
        hold: How entries wait for the application; None: each is acknowledged once it is delivered.
    """

    def __init__(
        self,
        connection: Connection,
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
        self._unacknowledged: dict[str, float] = {}
        self._answered = asyncio.Event()
        self._next_claim = 0.0
        self._connection = connection
        self._consumer = consumer
        self._codec = codec
        self._deliver = deliver
        self._message_id = message_id
        self._claim_every = claim_every

    async def prepare(self) -> None:
        """Create the group unless it exists. Raises BridgeError."""
        await make_group(self._connection, self._consumer.queue, self._consumer.group)

    def check(self) -> None:
        """Raise ConnectionLostError where a blocking read is long overdue."""
        since = self._connection.waiting_since
        if since is not None and self._clock.monotonic() - since > BLOCK + 5.0:
            raise ConnectionLostError(f"reading {self._consumer.queue!r} has had no answer for too long")

    async def run(self) -> None:
        """Read and deliver until cancelled. Raises BridgeError for what the server refuses or when it is gone."""
        await self._redeliver_own()
        self._next_claim = self._clock.monotonic()
        while True:
            capacity = await self._capacity()
            if self._clock.monotonic() >= self._next_claim:
                self._next_claim = self._clock.monotonic() + self._claim_every
                await self._claim_from_others()
                continue
            due = min(self._next_claim, next(iter(self._unacknowledged.values()), math.inf))
            block = min(BLOCK, max(0.001, due - self._clock.monotonic()))
            reply = self._consumer.read(self._connection, ">", capacity, block=block)
            self._acknowledge(await self._deliver_batch(parse_read(await reply), None))

    async def _redeliver_own(self) -> None:
        after = "0"
        while entries := parse_read(await self._consumer.read(self._connection, after, await self._capacity())):
            await self._redeliver(entries)
            after = entries[-1][0]

    async def _claim_from_others(self) -> None:
        cursor = "0-0"
        while True:
            capacity = await self._capacity()
            self._refresh_unacknowledged()
            cursor, entries = await self._consumer.claim(self._connection, cursor, capacity)
            await self._redeliver(entries)
            if cursor == "0-0":
                return

    # --- not yet acknowledged by the application

    def settled(self, consumer: Consumer, entry: str, *, again_in: float | None = None) -> None:
        """Forget an entry, because the application has answered; it comes again after `again_in` seconds, if any."""
        if (consumer.queue, consumer.group) != (self._consumer.queue, self._consumer.group):
            return
        if self._unacknowledged.pop(entry, None) is not None:
            self._answered.set()
            if again_in is not None:
                self._next_claim = min(self._next_claim, self._clock.monotonic() + again_in)

    async def _capacity(self) -> int:
        """Wait until an entry may be read, and return how many may. Entries past their visibility are released."""
        if self._hold is None:
            return _BATCH
        while True:
            self._release_expired()
            capacity = self._hold.limit - len(self._unacknowledged)
            if capacity > 0:
                return min(capacity, _BATCH)
            self._answered.clear()
            oldest = next(iter(self._unacknowledged.values()))
            with contextlib.suppress(TimeoutError):
                async with self._clock.timeout(max(0.001, min(oldest - self._clock.monotonic(), self._claim_every))):
                    await self._answered.wait()
                continue
            self._refresh_unacknowledged()

    def _release_expired(self) -> None:
        """Make entries overdue that the application has not answered in time; the oldest stand first."""
        now = self._clock.monotonic()
        while self._unacknowledged:
            entry, until = next(iter(self._unacknowledged.items()))
            if until > now:
                return
            del self._unacknowledged[entry]
            self._consumer.make_overdue(self._connection, entry, 0.0).add_done_callback(ignore_outcome)
            self._next_claim = now

    def _refresh_unacknowledged(self) -> None:
        """Reset the idle time of entries that wait for the application, so that neither others nor we claim them."""
        if self._unacknowledged:
            consumer = self._consumer
            self._connection.send_and_forget(
                "XCLAIM", consumer.queue, consumer.group, consumer.name, 0, *self._unacknowledged, "IDLE", 0, "JUSTID"
            )

    # --- delivering

    async def _redeliver(self, entries: Entries) -> None:
        """Deliver entries again; those that were delivered too often become dead letters."""
        if not entries:
            return
        counts = await self._consumer.deliveries(self._connection, [entry for entry, _ in entries])
        good: Entries = []
        for entry, fields in entries:
            if fields is not None and self._consumer.is_exhausted(counts[entry]):
                await self._consumer.move_to_dead_letters(self._connection, entry, fields, counts[entry])
                log.warning("dead letter", stream=self._consumer.queue, entry=entry, attempts=counts[entry] - 1)
                self._report_dead_letter(entry, fields, counts[entry] - 1)
            else:
                good.append((entry, fields))
        self._acknowledge(await self._deliver_batch(good, counts))

    async def _deliver_batch(self, entries: Entries, counts: dict[str, int] | None) -> list[str]:
        """Deliver entries, and return those to acknowledge. When cancelled, acknowledge what was delivered."""
        done: list[str] = []
        settled = self._clock.monotonic()
        try:
            for entry, fields in entries:
                if fields is None or await self._deliver_one(entry, fields, 1 if counts is None else counts[entry]):
                    done.append(entry)
                now = self._clock.monotonic()
                if now - settled > _ACKNOWLEDGE_EVERY:
                    self._acknowledge(done)
                    done, settled = [], now
        except asyncio.CancelledError:
            self._acknowledge(done)
            raise
        return done

    async def _deliver_one(self, entry: str, fields: Fields, attempts: int) -> bool:
        """Deliver an entry, and return whether it may be acknowledged now."""
        try:
            decision = self._deliver(self._inbound(entry, fields, attempts))
            outcome = decision if decision.__class__ is AckDecision else await decision
        except BridgeError as error:
            log.warning("message stays pending", stream=self._consumer.queue, entry=entry, why=error.message)
            return False
        if outcome is AckDecision.HOLD and self._hold is not None:
            self._unacknowledged.pop(entry, None)
            self._unacknowledged[entry] = self._clock.monotonic() + self._hold.visibility
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

    def _report_dead_letter(self, entry: str, fields: Fields, attempts: int) -> None:
        if self._hold is not None:
            with contextlib.suppress(BridgeError):  # it could never be read, and so never be acknowledged
                inbound = self._inbound(entry, fields, attempts)
                self._hold.on_dead(inbound, f"delivered {attempts} times and never acknowledged")

    def _acknowledge(self, entries: list[str]) -> None:
        """Send XACK, in the same write as the next read. If the connection is lost, the entries come again."""
        if entries:
            self._connection.send_and_forget("XACK", self._consumer.queue, self._consumer.group, *entries)


class StreamSubscription:
    """The handle of a subscription to a stream: the task that reads it, and its connection."""

    def __init__(self, task: asyncio.Task[None], connection: Connection) -> None:
        self.task = task
        self.connection = connection
