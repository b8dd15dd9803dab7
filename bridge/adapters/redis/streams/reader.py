"""Read a stream continuously: own pending entries, new ones, and what other consumers left."""

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from bridge.adapters._common.content import Codec
from bridge.adapters.redis.connection import Connection, ignore_outcome
from bridge.adapters.redis.streams.entries import Fields, decode_fields
from bridge.adapters.redis.streams.groups import Consumer, make_group, parse_read, position, rest_of
from bridge.core.errors import BridgeError
from bridge.core.log import structlog
from bridge.core.model import Inbound
from bridge.core.ports import AckDecision, Clock, Deliver
from bridge.core.settings import DEFAULT_PREFETCH, Hold
from bridge.core.timer import Timer
from bridge.core.wakeups import INTERVAL, MANY, Frequency

_BATCH: Final = 100
#: Entries whose events are on the bus and that are not acknowledged, at most: some tenths of a second of a fast stream.
MOST_UNCONFIRMED: Final = 5_000
#: Seconds that one blocking read waits at most.
BLOCK: Final = 1.0
#: Seconds after which a batch that is delivered slowly is acknowledged as far as it has come.
_ACKNOWLEDGE_EVERY: Final = 1.0

log = structlog.get_logger(__name__)

Entries = list[tuple[str, Fields | None]]


class StreamReader:
    """Deliver one stream's messages in order, over a connection of its own, whose reads block.

    While a message waits for the bus, which may take hours, it and those read with it stay pending at the server: they
    are kept from being claimed by others, and are not counted as delivered. One whose event is on the bus is
    acknowledged when the event has left for those who listen; reading goes on meanwhile.

    Args:
        connection: Open and running; nobody else may use it.
        consumer: Stream, group and name. The name is lasting, so what a killed bridge left is found again at the start.
        codec: For messages.
        deliver: Called with each message.
        when_on_bus: Calls a function once all that was delivered is on the bus; see `AdapterSetup.when_on_bus`.
        acknowledge: Sends XACK, on a connection where no read blocks, since the server would take it only after that;
            returns the future of the reply.
        message_id: Returns the `message_id` of an entry.
        claim_every: Seconds between two searches for what other consumers left.
        clock: Measures how long the application may take, and the intervals.
        on_dropped: Called with an error and the stream for an entry that cannot be delivered; the entry stays pending.
        hold: How entries wait for the application; None: each is acknowledged once its event is on the bus.
        prefetch: Without `hold`: entries that are read and not on the bus, at most.
    """

    def __init__(
        self,
        connection: Connection,
        consumer: Consumer,
        codec: Codec,
        deliver: Deliver,
        *,
        when_on_bus: Callable[[Callable[[], None]], None],
        acknowledge: Callable[..., asyncio.Future[Any]],
        message_id: Callable[[str], str],
        claim_every: float,
        clock: Clock,
        on_dropped: Callable[[BridgeError, str], None],
        hold: Hold | None = None,
        prefetch: int = DEFAULT_PREFETCH,
    ) -> None:
        self._hold = hold
        self._prefetch = prefetch
        self._clock = clock
        self._unacknowledged: dict[str, float] = {}
        self._answered = asyncio.Event()
        self._next_claim = 0.0
        self._connection = connection
        self._consumer = consumer
        self._codec = codec
        self._deliver = deliver
        self._when_on_bus = when_on_bus
        self._send_acknowledgement = acknowledge
        self._message_id = message_id
        self._claim_every = claim_every
        self._on_dropped = on_dropped
        # The batch that is being delivered, and how often its entries were delivered, this time included (None: once);
        # those of it to acknowledge, and those whose delivery the server does not count, because they wait.
        self._batch: Entries = []
        self._counts: dict[str, int] | None = None
        self._delivered: list[str] = []
        self._uncounted: set[str] = set()
        # Delivered and not on the bus yet; on the bus, to be acknowledged in this turn; and the reply to the last XACK.
        self._unconfirmed: dict[str, None] = {}
        self._confirmed: list[str] = []
        self._acknowledged: asyncio.Future[Any] | None = None
        self._waiting = Timer(clock)
        self._frequency = Frequency()

    async def prepare(self) -> None:
        """Create the group unless it exists. Raises BridgeError."""
        await make_group(self._connection, self._consumer.queue, self._consumer.group)

    async def run(self) -> None:
        """Read and deliver until cancelled. Raises BridgeError for what the server refuses or when it is gone."""
        await self._redeliver_own()
        self._next_claim = self._clock.monotonic()
        while True:
            capacity = await self._capacity()
            now = self._clock.monotonic()
            if now >= self._next_claim:
                self._next_claim = now + self._claim_every
                await self._claim_from_others()
                continue
            due = min(self._next_claim, next(iter(self._unacknowledged.values()), math.inf))
            block = min(BLOCK, max(0.001, due - now))
            entries = parse_read(await self._consumer.read(self._connection, ">", capacity, block=block))
            if not entries:
                await rest_of(block, now, self._clock)
                continue
            await self._deliver_batch(entries, None)
            # Where the application answers, or there may be more, it is read at once.
            count = len(entries) if len(entries) < capacity else MANY + 1
            if self._hold is None and self._frequency.has_read(count, self._clock.monotonic()):
                await self._clock.sleep(INTERVAL)

    async def _redeliver_own(self) -> None:
        after = "0-0"
        while entries := parse_read(await self._consumer.read(self._connection, after, await self._capacity())):
            await self._redeliver(entries)
            before, after = after, entries[-1][0]
            if position(after) <= position(before):  # a server that does not get on
                return

    async def _claim_from_others(self) -> None:
        cursor = "0-0"
        while True:
            capacity = await self._capacity()
            self._refresh_unacknowledged()
            before = cursor
            cursor, entries = await self._consumer.claim(self._connection, cursor, capacity)
            await self._redeliver(entries)
            if cursor == "0-0" or position(cursor) <= position(before):  # the second: a server that does not get on
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
        while True:
            if self._unacknowledged:
                self._release_expired()
            if self._hold is None:
                capacity = min(self._prefetch, MOST_UNCONFIRMED - len(self._unconfirmed))
            else:
                capacity = self._hold.limit - len(self._unacknowledged)
            if capacity > 0:
                return min(capacity, _BATCH)
            self._answered.clear()
            with contextlib.suppress(TimeoutError):
                async with self._clock.timeout(self._until_next_refresh()):
                    await self._answered.wait()
                continue
            self._refresh_unacknowledged()

    def _until_next_refresh(self) -> float:
        """Return the seconds until an entry's visibility ends or its idle time is to be reset."""
        oldest = next(iter(self._unacknowledged.values()), math.inf)
        return max(0.001, min(oldest - self._clock.monotonic(), self._claim_every))

    def _release_expired(self) -> None:
        """Make entries overdue that the application has not answered in time; the oldest stand first."""
        now = self._clock.monotonic()
        while self._unacknowledged:
            entry, until = next(iter(self._unacknowledged.items()))
            if until > now:
                return
            del self._unacknowledged[entry]
            self._connection.send_and_forget(*self._consumer.overdue_command(entry, 0.0))
            self._next_claim = now

    def _refresh_unacknowledged(self) -> None:
        """Reset the idle time of entries that wait for the application or the bus: neither others nor we claim them."""
        for waiting in (self._unacknowledged, self._unconfirmed):
            if waiting:
                self._connection.send_and_forget(*self._consumer.keep_command(waiting))

    # --- delivering

    async def _redeliver(self, entries: Entries) -> None:
        """Deliver entries again; those that were delivered too often become dead letters."""
        if not entries:
            return
        counts = await self._consumer.deliveries(self._connection, [entry for entry, _ in entries])
        good: Entries = []
        for entry, fields in entries:
            if fields is None or not self._consumer.is_exhausted(counts[entry]):
                good.append((entry, fields))
            elif await self._consumer.move_to_dead_letters(self._connection, entry, fields, counts[entry]):
                log.warning("dead letter", stream=self._consumer.queue, entry=entry, attempts=counts[entry] - 1)
                self._report_dead_letter(entry, fields, counts[entry] - 1)
        await self._deliver_batch(good, counts)

    async def _deliver_batch(self, entries: Entries, counts: dict[str, int] | None) -> None:
        """Deliver entries, and acknowledge them; where it is cancelled, those that were delivered."""
        self._batch, self._counts = entries, counts
        settled = self._clock.monotonic()
        try:
            for entry, fields in entries:
                if fields is not None:
                    attempts = 1 if counts is None else counts[entry]
                    try:
                        inbound = self._inbound(entry, fields, attempts)
                    except BridgeError as error:  # the server's nonsense
                        self._on_dropped(error, self._consumer.queue)
                        continue
                    delivery = self._deliver(inbound)
                    decision = delivery if isinstance(delivery, AckDecision) else None
                    if decision is None:
                        decision = await self._wait_for(delivery, entry)
                        if self._clock.monotonic() - settled > _ACKNOWLEDGE_EVERY:
                            self._acknowledge()
                            settled = self._clock.monotonic()
                    if decision is AckDecision.HOLD and self._hold is not None:
                        self._note_held(entry, attempts, self._hold)
                        continue
                self._delivered.append(entry)
        finally:
            self._acknowledge()
            self._uncounted.clear()

    def _note_held(self, entry: str, attempts: int, hold: Hold) -> None:
        """Wait for the application's answer to an entry that it has."""
        self._unacknowledged.pop(entry, None)
        self._unacknowledged[entry] = self._clock.monotonic() + hold.visibility
        if entry in self._uncounted:
            self._connection.send_and_forget(*self._consumer.keep_command([entry], deliveries=attempts))

    async def _wait_for(self, decision: Awaitable[AckDecision | None], entry: str) -> AckDecision | None:
        """Wait for an entry's delivery, and keep what is in hand from the other consumers meanwhile."""
        self._waiting.set(min(_ACKNOWLEDGE_EVERY, self._until_next_refresh()), lambda: self._keep_in_hand(entry))
        try:
            return await decision
        finally:
            self._waiting.cancel()

    def _keep_in_hand(self, entry: str) -> None:
        """Keep what the application has, and the entries of the batch from the one on that is being delivered."""
        self._acknowledge()
        self._release_expired()
        self._refresh_unacknowledged()
        names = [name for name, _ in self._batch]
        by_attempts: dict[int, list[str]] = {}
        for name in names[names.index(entry) :]:
            by_attempts.setdefault(1 if self._counts is None else self._counts[name], []).append(name)
            self._uncounted.add(name)
        for attempts, waiting in by_attempts.items():
            # What waits for the bus was not delivered: else it would become a dead letter, by sessions that end.
            self._connection.send_and_forget(*self._consumer.keep_command(waiting, deliveries=attempts - 1))
        self._waiting.set(self._until_next_refresh(), lambda: self._keep_in_hand(entry))

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

    # --- acknowledging

    def _acknowledge(self) -> None:
        """Acknowledge what was delivered, once it is on the bus. If the connection is lost, the entries come again."""
        if self._delivered:
            delivered, self._delivered = self._delivered, []
            self._unconfirmed |= dict.fromkeys(delivered)
            self._when_on_bus(partial(self._confirm, delivered))

    def _confirm(self, entries: list[str]) -> None:
        """Acknowledge entries, with all others of this turn."""
        for entry in entries:
            self._unconfirmed.pop(entry, None)
        if not self._confirmed:
            asyncio.get_running_loop().call_soon(self._send_confirmed)
        self._confirmed += entries
        self._answered.set()

    def _send_confirmed(self) -> None:
        confirmed, self._confirmed = self._confirmed, []
        reply = self._send_acknowledgement("XACK", self._consumer.queue, self._consumer.group, *confirmed)
        reply.add_done_callback(ignore_outcome)
        self._acknowledged = reply

    async def acknowledged(self) -> None:
        """Return when the server has taken all acknowledgements that were sent, or can take them no more."""
        if self._acknowledged is not None:
            await asyncio.wait([self._acknowledged])

    @property
    def is_unconfirmed(self) -> bool:
        """Whether entries wait for their acknowledgement since they are on the bus only just."""
        return bool(self._unconfirmed)


class StreamSubscription:
    """The handle of a subscription to a stream: its reader, the task that runs it, and its connection."""

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.reader: StreamReader | None = None
        self.task: asyncio.Task[None] | None = None
