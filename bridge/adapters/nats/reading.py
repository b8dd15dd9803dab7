"""Read a durable pull consumer for a fabric: many messages in hand at once, each acknowledged when it is done with."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable
from functools import partial
from typing import Final

from bridge.adapters.nats.api import (
    ACK,
    ACK_SUBJECT,
    CONSUMER_NOT_FOUND,
    EXPIRES,
    IN_PROGRESS,
    PULL_SPACING,
    ConsumerInfo,
    Metadata,
    call,
    ends_by_server,
    ends_by_time,
    metadata_from,
    nanoseconds,
    persist,
    read_metadata,
)
from bridge.adapters.nats.connection import NatsConnection
from bridge.adapters.nats.delivery import NatsSubscription
from bridge.adapters.nats.errors import Permission
from bridge.adapters.nats.protocol import NO_RESPONDERS, NatsMessage
from bridge.adapters.nats.subjects import received
from bridge.core.cluster import Handle, OnEnded
from bridge.core.errors import BridgeError, ProtocolError, RejectedError
from bridge.core.ports import AdapterSetup
from bridge.core.timer import Timer

#: Messages and bytes that one pull asks for at most; the server ends the pull before a message that would be more.
_BATCH: Final = 500
_BATCH_BYTES: Final = 8 << 20
#: Bytes in hand above which no more are asked for.
_MOST_BYTES: Final = 64 << 20
#: Seconds between two signs of life of a pull for which there is no message.
_HEARTBEAT: Final = 2.5
#: Missing signs of life after which the server is asked what became of the consumer.
_MISSED: Final = 3
#: `ack_wait` is taken for at least and at most this, in seconds, whatever the server says.
_SHORTEST_ACK_WAIT: Final = 0.2
_LONGEST_ACK_WAIT: Final = 3600.0
_ACK_WAIT: Final = 30.0
_ALIVE: Final = "100"


class Reading:
    """One `consume` of a session; see `core.cluster.ClusterSession.consume`."""

    def __init__(
        self,
        connection: NatsConnection,
        setup: AdapterSetup,
        stream: str,
        name: str,
        *,
        handle: Handle,
        on_ended: OnEnded,
        prefetch: int,
    ) -> None:
        """Ask for nothing yet."""
        self._connection = connection
        self._setup = setup
        self._clock = setup.clock
        self.stream = stream
        self.name = name
        self._handle = handle
        self._on_ended = on_ended
        self._prefetch = prefetch
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}"
        self._inbox = connection.new_inbox()
        self._subscription: NatsSubscription | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._ack_wait = _ACK_WAIT
        #: Messages that are not done with: number → reply subject, since when it is known to be in progress, bytes.
        self._in_hand: dict[int, tuple[str, float, int]] = {}
        self._bytes = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._pull = 0  # the number of the last pull
        self._left = 0  # how many messages it may still bring
        self._brought = False
        self._asked = self._heard = 0.0
        self._again = Timer(self._clock)
        self._is_over = False

    async def start(self) -> None:
        """Begin to read; return when the server has taken the first pull.

        Raises:
            RejectedError: There is no such consumer, or it cannot be pulled from, or the server forbids it.
            BridgeError: See `NatsConnection.subscribe`.
        """
        await self._look_up()
        self._subscription = await self._connection.subscribe(
            f"{self._inbox}.*", self._arrived, on_ended=self._lose_inbox
        )
        try:
            self._ask()
            await self._connection.flushed(Permission("publish", self._next))
            self._subscription.check()
            self._keeper = self._connection.start(self._keep())
        except BaseException:
            self.close()
            raise

    async def _look_up(self) -> None:
        """Ask for the consumer. Raises RejectedError where it is gone, or none that can be pulled from."""
        info = await call(self._connection, f"CONSUMER.INFO.{self.stream}.{self.name}", None, ConsumerInfo)
        check_fit(info, self.stream, self.name)
        wait = info.config.get("ack_wait")
        seconds = wait / 10**9 if isinstance(wait, int) and wait > 0 else _ACK_WAIT
        self._ack_wait = max(_SHORTEST_ACK_WAIT, min(_LONGEST_ACK_WAIT, seconds))

    # --- pulls

    def _ask(self) -> None:
        """Ask for as many messages as there is room for, if any."""
        room = min(_BATCH, self._prefetch - len(self._in_hand))
        if self._is_over or self._left or room <= 0 or self._bytes >= _MOST_BYTES:
            return
        self._again.cancel()
        self._pull += 1
        self._left, self._brought = room, False
        self._asked = self._heard = self._clock.monotonic()
        question = {
            "batch": room,
            "max_bytes": _BATCH_BYTES + self._connection.max_payload,
            "expires": nanoseconds(EXPIRES),
            "idle_heartbeat": nanoseconds(_HEARTBEAT),
        }
        with contextlib.suppress(BridgeError):  # the connection is gone, and all with it
            self._connection.post(self._next, json.dumps(question).encode(), reply=f"{self._inbox}.{self._pull}")

    def _ask_later(self) -> None:
        """Ask again: now where the last pull has brought something, else not more than once a second."""
        self._left = 0
        wait = self._asked + PULL_SPACING - self._clock.monotonic()
        if self._brought or wait <= 0:
            self._ask()
        else:
            self._again.set(wait, self._ask)

    def _status(self, status: NatsMessage) -> None:
        """Handle what the server says of a pull. One of an earlier pull means nothing any more."""
        if status.subject != f"{self._inbox}.{self._pull}" or not self._left or status.code == _ALIVE:
            return
        if ends_by_time(status) or ends_by_server(status):
            self._ask_later()
        elif status.code == NO_RESPONDERS or "deleted" in status.description.lower():
            self._left = 0
            self._connection.start(self._check())
        else:
            words = f"consumer {self.stream}/{self.name}: {status.description or 'refused'}"
            self.end(RejectedError(words, code=status.code, maybe_sent=False))

    async def _check(self) -> None:
        """Ask what became of the consumer, since a pull had no answer; end, or pull again."""
        try:
            await persist(self._clock, self._look_up, f"consumer {self.stream}/{self.name}")
        except BridgeError as error:
            self.end(error)
        else:
            self._ask_later()

    # --- messages

    def _arrived(self, message: NatsMessage) -> None:
        self._heard = self._clock.monotonic()
        if not message.reply.startswith(ACK_SUBJECT):
            self._status(message)
            return
        try:
            metadata = metadata_from(message, self.stream, self.name)
        except ProtocolError as error:
            self._setup.on_dropped(error, message.subject)
            return
        self._left, self._brought = max(0, self._left - 1), True
        self._take(message, metadata)
        self._ask()

    def _take(self, message: NatsMessage, metadata: Metadata) -> None:
        sequence, size = metadata.sequence, len(message.data)
        before = self._in_hand.get(sequence)
        self._in_hand[sequence] = message.reply, self._heard, size
        if before is not None:  # it was not told in time that it is in progress: this process stood still
            self._post(message.reply, IN_PROGRESS)
            return
        self._bytes += size
        waiting = self._handle(received(message, metadata.sequence, metadata.deliveries))
        if waiting is None:
            self._done(sequence)
        elif isinstance(waiting, asyncio.Future):
            waiting.add_done_callback(partial(self._finished, sequence))
        else:
            task = self._connection.start(self._await(sequence, waiting))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _await(self, sequence: int, waiting: Awaitable[None]) -> None:
        """Acknowledge a message when it is done with. What raises a BridgeError leaves it to be delivered again."""
        try:
            await waiting
        except BridgeError:
            self._give_up(sequence)
        except BaseException:
            self._give_up(sequence)
            raise
        else:
            self._done(sequence)

    def _finished(self, sequence: int, waiting: "asyncio.Future[None]") -> None:
        error = None if waiting.cancelled() else waiting.exception()
        if waiting.cancelled() or isinstance(error, BridgeError):
            self._give_up(sequence)
        elif error is None:
            self._done(sequence)
        else:
            self._give_up(sequence)
            with contextlib.suppress(BridgeError):
                self._connection.start(_raise(error))  # a bug of ours: it ends the session

    def _done(self, sequence: int) -> None:
        """Acknowledge a message.

        That is not waited for: an acknowledgement that is lost means that the message comes again.
        """
        reply = self._give_up(sequence)
        if reply is not None:
            self._post(reply, ACK)

    def _give_up(self, sequence: int) -> str | None:
        """Have a message in hand no more; return its reply subject, None where it was not in hand."""
        found = self._in_hand.pop(sequence, None)
        if found is None:
            return None
        self._bytes -= found[2]
        if not self._left and not self._again.is_set:
            self._ask()
        return found[0]

    def _post(self, reply: str, what: bytes) -> None:
        with contextlib.suppress(BridgeError):  # the connection is gone, and all with it
            self._connection.post(reply, what)

    async def _keep(self) -> None:
        """Tell the server of what is in progress, so that it does not deliver it again; notice its silence."""
        step = min(self._ack_wait / 3, _HEARTBEAT)
        while not self._is_over:
            await self._clock.sleep(step)
            now = self._clock.monotonic()
            for sequence, (reply, since, size) in tuple(self._in_hand.items()):
                if now - since >= self._ack_wait / 3 - step / 2:
                    self._in_hand[sequence] = reply, now, size
                    self._post(reply, IN_PROGRESS)
            if self._left and now - self._heard > _MISSED * _HEARTBEAT:
                self._left = 0
                await self._check()

    # --- the end

    def forbids(self, subject: str, error: BridgeError) -> bool:
        """End where the server lets it not pull or acknowledge any more; return whether it does so here."""
        if subject != self._next:
            if not subject.startswith(ACK_SUBJECT):
                return False
            try:
                metadata = read_metadata(subject)
            except ProtocolError:
                return False
            if (metadata.stream, metadata.consumer) != (self.stream, self.name):
                return False
        self.end(error)
        return True

    def _lose_inbox(self, error: BridgeError) -> None:
        self.end(error)

    def end(self, error: BridgeError) -> None:
        """End it while the connection goes on, and tell. A lost connection ends all, and was told already."""
        if self._is_over or not self._connection.is_live:
            return
        self.close()
        self._on_ended(error)

    def close(self) -> None:
        """Hand over and acknowledge nothing more; what is in hand comes again."""
        self._is_over = True
        self._again.cancel()
        if self._subscription is not None:
            self._connection.unsubscribe(self._subscription)
        for task in (self._keeper, *self._tasks):
            if task is not None and task is not asyncio.current_task():
                task.cancel()
        self._in_hand.clear()
        self._bytes = 0


def check_fit(info: ConsumerInfo, stream: str, name: str) -> None:
    """Raise RejectedError where messages of a consumer cannot be pulled and acknowledged one by one."""
    unfit = None
    if info.config.get("deliver_subject"):
        unfit = "it pushes; a pull consumer is needed"
    elif info.config.get("ack_policy") != "explicit":
        unfit = "its acknowledgement policy is not explicit"
    if unfit is not None:
        raise RejectedError(f"consumer {stream}/{name}: {unfit}", code=CONSUMER_NOT_FOUND, maybe_sent=False)


async def _raise(error: BaseException) -> None:
    raise error
