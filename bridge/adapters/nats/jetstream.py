"""JetStream: streams and durable pull consumers, messages one by one and continuously.

A message read through the configured `durable` has the id `stream/sequence`, the one that `enqueue` returned; read
through another consumer its id names that, too, since several consumers may hold the same message.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from bridge.adapters._common.content import Codec
from bridge.adapters._common.delivered import Delivered
from bridge.adapters.nats.api import (
    ACK,
    ACK_SUBJECT,
    EXPIRES,
    IN_PROGRESS,
    LATE,
    PULL_SPACING,
    ends_by_server,
    ends_by_time,
    nanoseconds,
    read_metadata,
    read_stored,
)
from bridge.adapters.nats.config import NatsConfig
from bridge.adapters.nats.connection import NatsConnection
from bridge.adapters.nats.consumers import Consumer, Consumers
from bridge.adapters.nats.delivery import NatsSubscription
from bridge.adapters.nats.errors import Permission
from bridge.adapters.nats.protocol import NO_RESPONDERS, NatsMessage
from bridge.adapters.nats.subjects import CONTENT_TYPE, MESSAGE_ID, shown_headers
from bridge.core.errors import (
    BridgeError,
    InvalidError,
    OverloadedError,
    ProtocolError,
    RejectedError,
    UnavailableError,
)
from bridge.core.model import Inbound, QueueMessage
from bridge.core.ports import AckDecision, AdapterSetup, Deliver, SubscriptionOptions
from bridge.core.settings import Hold

_NAK: Final = b"-NAK"
_TERM: Final = b"+TERM"
#: How many messages one pull of `consume` asks for at most. So many are in hand at most.
_BATCH: Final = 100
#: Messages that wait to be delivered at most. A server sends only what was asked for.
_MOST_ARRIVALS: Final = 1024
#: Messages that are on the bus and not acknowledged, at most. JetStream itself lets 1,000 be so unless told otherwise.
_MOST_UNCONFIRMED: Final = 5_000
#: Ids of messages that were given out; JetStream itself lets 1,000 a consumer be unsettled unless told otherwise.
_MOST_UNACKNOWLEDGED: Final = 65_536

#: Name of the warning about the configured stream.
_STREAM: Final = "stream"
#: Seconds that JetStream has to answer about the configured stream. Without a leader it is silent, and a session that
#: is opened does not wait for it.
_PREPARE: Final = 2.0
#: Seconds until the configured stream is tried again, for as long as that fails.
_PREPARE_AGAIN: Final = 15.0


@dataclass(eq=False)
class Consumption:
    """A running `consume`.

    Attributes:
        consumer: Where the messages come from.
        on_ended: Called when it ends by itself, with the reason, while the connection goes on.
        subscription: That of `inbox`.
        inbox: The subject to which the server sends messages, and the status of a pull.
        arrivals: Messages and statuses that were not handled yet.
        hold: Set where the application acknowledges; None where it is enough that the events are on the bus.
        prefetch: How many messages may be here and not on the bus, or with `hold` not acknowledged.
        in_progress: Reply subjects of messages that are here and not acknowledged. The server is told now and then that
            they are in progress, so that it does not deliver them again.
        delivered: Ids and reply subjects of those that were delivered and are not acknowledged yet.
        unanswered: Messages that the application has to acknowledge: id → reply subject, and the time on the clock
            until which it has to.
        answered: Set when the application has acknowledged one, or one is on the bus.
        tasks: What delivers the messages, and what tells the server of those in progress.
    """

    consumer: Consumer
    on_ended: Callable[[BridgeError], None]
    subscription: NatsSubscription
    inbox: str
    arrivals: asyncio.Queue[NatsMessage]
    hold: Hold | None
    prefetch: int
    in_progress: dict[str, None]
    delivered: Delivered[tuple[str, str]]
    unanswered: dict[str, tuple[str, float]] = field(default_factory=dict)
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: tuple[asyncio.Task[None], ...] = ()

    @property
    def room(self) -> int:
        """How many messages may come now."""
        return min(_BATCH, self.prefetch - len(self.unanswered), _MOST_UNCONFIRMED - self.delivered.count)


class Queues:
    """The JetStream queues of one session."""

    def __init__(self, connection: NatsConnection, config: NatsConfig, codec: Codec, setup: AdapterSetup) -> None:
        """Nothing is asked of the server yet."""
        self._connection = connection
        self._config = config
        self._codec = codec
        self._setup = setup
        self._clock = setup.clock
        self._consumers = Consumers(connection, config, setup, self._forget_messages)
        self._unacknowledged: dict[str, str] = {}
        self._settling: set[str] = set()  # reply subjects on which an acknowledgement is on its way
        self._running: list[Consumption] = []
        self._tokens = 0
        self._is_unprepared = False
        connection.on_forbidden_post(self._forbidden)

    async def prepare(self) -> None:
        """Make or check the configured stream and consumer, for a new session.

        What fails is a warning: it concerns the queues and nothing else. It is tried again until it succeeds.

        Raises:
            BridgeError: The connection is lost.
        """
        await self._prepare()

    async def _prepare(self) -> bool:
        """Make or check the configured stream and consumer; return whether anything was made.

        Raises:
            BridgeError: The connection is lost. Any other failure is a warning.
        """
        try:
            async with self._clock.timeout(_PREPARE):
                made = await self._consumers.prepare()
        except TimeoutError:
            self._warn_of_stream("there is no answer")
            return False
        except BridgeError as error:
            if not self._connection.is_live:
                raise
            self._warn_of_stream(error.message)
            return False
        self._is_unprepared = False
        self._setup.on_warning(_STREAM, None)
        return made

    def _warn_of_stream(self, why: str) -> None:
        self._setup.on_warning(_STREAM, f"JetStream: {why}")
        if not self._is_unprepared:
            self._is_unprepared = True
            self._connection.start(self._prepare_later())

    async def _prepare_later(self) -> None:
        with contextlib.suppress(BridgeError):  # the connection is lost
            while self._is_unprepared:
                await self._clock.sleep(_PREPARE_AGAIN)
                await self._prepare()

    def _forget_messages(self, stream: str, consumer: str | None = None) -> None:
        """Forget the messages of a stream, or of one consumer, that was made again or may be.

        To acknowledge one of them would acknowledge another one of the same number.
        """
        for message_id, reply in tuple(self._unacknowledged.items()):
            metadata = read_metadata(reply)
            if metadata.stream == stream and consumer in {None, metadata.consumer}:
                del self._unacknowledged[message_id]
                self._let_go(message_id, reply)

    def _let_go(self, message_id: str, reply: str) -> None:
        """Note that the application does not have a message any more."""
        for consumption in self._running:
            if consumption.unanswered.get(message_id, ("",))[0] == reply:
                del consumption.unanswered[message_id]
                consumption.in_progress.pop(reply, None)
                consumption.answered.set()

    def _forbidden(self, subject: str, error: BridgeError) -> bool:
        """End what the server does not let pull or acknowledge any more; return whether it was anything of ours."""
        acknowledged = None
        if subject.startswith(ACK_SUBJECT):
            try:
                metadata = read_metadata(subject)
            except ProtocolError:
                return False
            acknowledged = metadata.stream, metadata.consumer
        ended = [
            consumption
            for consumption in self._running
            if subject == consumption.consumer.next_subject
            or acknowledged == (consumption.consumer.stream, consumption.consumer.name)
        ]
        for consumption in ended:
            self._end(consumption, error)
        return bool(ended)

    # --- in

    async def enqueue(self, subject: str, payload: bytes, headers: bytes) -> str:
        """Store a message under a subject; return its id when JetStream has confirmed that it is stored.

        Where no stream stores the subject, that of the configuration is made, should it be gone.

        Raises:
            UnavailableError: No stream stores the subject, or JetStream is off.
            RejectedError: JetStream refuses it.
            ProtocolError: The answer is none of JetStream's.
            BridgeError: See `NatsConnection.ask`.
        """
        answer = await self._connection.ask(subject, payload, headers)
        if answer.says_no_responders and self._config.stream is not None and await self._prepare():
            answer = await self._connection.ask(subject, payload, headers)  # surely not stored before
        stored = read_stored(answer, subject)
        return f"{stored.stream}/{stored.seq}"

    # --- out, one by one

    async def dequeue(self, queue: str, wait: float, visibility: float | None) -> QueueMessage | None:
        """Take one message; return None where none has come within `wait` seconds.

        Args:
            queue: See `Consumers.find`.
            wait: Seconds.
            visibility: Seconds until the message comes again if it is not acknowledged; None: the `ack_wait` of the
                consumer.

        Raises:
            InvalidError: `queue` names no consumer.
            RejectedError: The consumer is gone, or a pull from it cannot work.
            ProtocolError: The message is none of JetStream's.
            BridgeError: See `NatsConnection.subscribe`.
        """
        consumer = await self._consumers.find(queue)
        await self._listen(consumer)
        self._tokens += 1
        token = str(self._tokens)
        ask: dict[str, Any] = {"batch": 1}
        ask |= {"expires": max(1, nanoseconds(wait))} if wait > 0 else {"no_wait": True}
        with self._connection.expected(Permission("publish", consumer.next_subject)) as future:
            consumer.waiting[token] = future
            try:
                reply = f"{consumer.inbox}.{token}"
                self._connection.post(consumer.next_subject, json.dumps(ask).encode(), reply=reply)
                async with self._clock.timeout(wait + LATE):
                    message = await self._taken(future)
            except TimeoutError:
                await self._check_exists(consumer)
                return None
            finally:
                del consumer.waiting[token]
        if not message.reply.startswith(ACK_SUBJECT):
            await self._check_empty(message, consumer)
            return None
        taken = self._as_queue_message(message)
        if visibility is not None:
            self._connection.start(self._keep_invisible(consumer, taken.message_id, message.reply, visibility))
        return taken

    async def _taken(self, arrival: asyncio.Future[NatsMessage]) -> NatsMessage:
        """Wait for the answer to a pull; where that is cancelled and a message has come meanwhile, give it back."""
        try:
            return await arrival
        except asyncio.CancelledError:
            if not arrival.cancelled() and arrival.exception() is None:
                reply = arrival.result().reply
                if reply.startswith(ACK_SUBJECT):
                    with contextlib.suppress(BridgeError):  # the connection is lost: it comes again after `ack_wait`
                        self._connection.post(reply, _NAK)
            raise

    async def _keep_invisible(self, consumer: Consumer, message_id: str, reply: str, visibility: float) -> None:
        """Give a message back after `visibility` seconds, unless it was acknowledged; not before.

        JetStream has one `ack_wait` for all messages of a consumer. So the server is told now and then that the message
        is in progress. A late acknowledgement still counts.
        """
        until = self._clock.monotonic() + visibility
        with contextlib.suppress(BridgeError):  # the connection is lost: it comes again after `ack_wait`
            while (left := until - self._clock.monotonic()) > 0:
                self._connection.post(reply, IN_PROGRESS)
                await self._clock.sleep(min(left, consumer.ack_wait / 3))
                if self._unacknowledged.get(message_id) != reply:
                    return
            if reply not in self._settling:
                self._connection.post(reply, _NAK)

    async def _check_exists(self, consumer: Consumer) -> None:
        """Ask whether a consumer is still there, since a pull had no answer.

        Raises:
            RejectedError: It is gone.
            UnavailableError: JetStream does not answer.
        """
        try:
            async with self._clock.timeout(LATE):
                await self._consumers.check_exists(consumer)
        except TimeoutError:
            words = f"queue {consumer.stream}/{consumer.name}: JetStream does not answer"
            raise UnavailableError(words, maybe_sent=False) from None

    async def _listen(self, consumer: Consumer) -> None:
        async with consumer.opening:
            if consumer.subscription is not None:
                return

            def arrived(message: NatsMessage) -> None:
                self._arrived(consumer, message)

            def ended(error: BridgeError) -> None:
                consumer.subscription = None
                for future in consumer.waiting.values():
                    if not future.done():
                        future.set_exception(RejectedError(error.message, code=error.code))

            consumer.inbox = self._connection.new_inbox()
            consumer.subscription = await self._connection.subscribe(f"{consumer.inbox}.*", arrived, on_ended=ended)

    def _arrived(self, consumer: Consumer, message: NatsMessage) -> None:
        """Give a status to the call whose pull it answers, and a message to the call that has waited longest."""
        if not message.reply.startswith(ACK_SUBJECT):
            future = consumer.waiting.get(message.subject.rpartition(".")[2])
            if future is not None and not future.done():
                future.set_result(message)
            return
        for future in consumer.waiting.values():
            if not future.done():
                future.set_result(message)
                return
        # The call that asked for it was given up. Given back, the message goes to another now, not after `ack_wait`.
        self._connection.post(message.reply, _NAK)

    def _as_queue_message(self, message: NatsMessage) -> QueueMessage:
        message_id, attempts = self._track(message)
        content, headers = self._content(message)
        return QueueMessage(message_id=message_id, message=content, attempts=attempts, headers=headers)

    def _content(self, message: NatsMessage) -> tuple[Any, dict[str, str]]:
        """Return the content of a message, or its bytes where the codec cannot read them, and its headers."""
        headers = shown_headers(message)
        content, more = self._codec.decode_or_keep(message.data, headers.get(CONTENT_TYPE))
        return content, {**headers, **more} if more else headers

    def _track(self, message: NatsMessage) -> tuple[str, int]:
        """Remember a message until it is acknowledged; return its id and how often it was delivered.

        Raises ProtocolError for a reply subject that cannot be read.
        """
        metadata = read_metadata(message.reply)
        own = metadata.consumer == self._config.durable
        place = metadata.stream if own else f"{metadata.stream}/{metadata.consumer}"
        message_id = f"{place}/{metadata.sequence}"
        before = self._unacknowledged.get(message_id)
        if before is not None:
            if read_metadata(before).timestamp != metadata.timestamp:
                self._forget_messages(metadata.stream)
                words = f"stream {metadata.stream} was made again: {message_id} is another message than before"
                self._setup.on_warning(f"stream {metadata.stream}", words)
            else:
                del self._unacknowledged[message_id]
        self._unacknowledged[message_id] = message.reply
        if len(self._unacknowledged) > _MOST_UNACKNOWLEDGED:
            del self._unacknowledged[next(iter(self._unacknowledged))]
        return message_id, metadata.deliveries

    # --- settling

    async def ack(self, message_id: str) -> None:
        """Acknowledge a message; return when the server has confirmed. Raises InvalidError for one that is not ours."""
        await self._settle(message_id, ACK)

    async def nack(self, message_id: str, delay: float | None) -> None:
        """Give a message back, to come again after `delay` seconds; errors as for `ack`."""
        more = json.dumps({"delay": nanoseconds(delay)}).encode() if delay else b""
        await self._settle(message_id, _NAK + b" " + more if more else _NAK)

    async def _settle(self, message_id: str, how: bytes) -> None:
        reply = self._unacknowledged.get(message_id)
        if reply is None:
            raise InvalidError(
                f"message_id: this session holds no message {message_id}; it comes again if it is not done"
            )
        self._settling.add(reply)
        try:
            answer = await self._connection.ask(reply, how)
        finally:
            self._settling.discard(reply)
        if answer.says_no_responders:
            raise RejectedError(f"{message_id}: its consumer is gone", maybe_sent=False)
        if self._unacknowledged.get(message_id) == reply:
            del self._unacknowledged[message_id]
        self._let_go(message_id, reply)

    # --- out, continuously

    async def consume(
        self,
        queue: str,
        deliver: Deliver,
        options: SubscriptionOptions,
        on_ended: Callable[[BridgeError], None],
    ) -> Consumption:
        """Deliver messages one by one; return when the server has taken the first pull.

        Args:
            queue: See `Consumers.find`.
            deliver: Gets each message, which is acknowledged when it is on the bus, unless `deliver` returns
                `AckDecision.HOLD`: then the application acknowledges it.
            options: `group` is the consumer, where `queue` names none.
            on_ended: Called if it ends by itself after this has returned, while the connection goes on.

        Raises:
            BridgeError: See `Consumers.find` and `NatsConnection.subscribe`.
        """
        consumer = await self._consumers.find(queue, options.group)
        hold = options.hold
        arrivals: asyncio.Queue[NatsMessage] = asyncio.Queue()
        in_progress: dict[str, None] = {}

        def arrived(message: NatsMessage) -> None:
            if arrivals.qsize() >= _MOST_ARRIVALS:
                words = "dropped: more came than was asked for; if it is stored, it comes again"
                self._setup.on_dropped(OverloadedError(words), message.subject)
                return
            if message.reply.startswith(ACK_SUBJECT):
                in_progress[message.reply] = None
            arrivals.put_nowait(message)

        def ended(error: BridgeError) -> None:
            self._end(consumption, error)

        inbox = self._connection.new_inbox()
        subscription = await self._connection.subscribe(inbox, arrived, on_ended=ended)
        consumption = Consumption(
            consumer,
            on_ended,
            subscription,
            inbox,
            arrivals,
            hold,
            options.prefetch if hold is None else hold.limit,
            in_progress,
            Delivered(self._setup.when_on_bus, lambda delivered: self._confirm(consumption, delivered)),
        )
        try:
            first = await self._pull(consumption)
            await self._connection.flushed(Permission("publish", consumer.next_subject))
            subscription.check()
            consumption.tasks = (
                self._connection.start(self._deliver_all(consumption, deliver, first)),
                self._connection.start(self._extend(consumption)),
            )
        except BaseException:
            self._connection.unsubscribe(subscription)
            raise
        self._running.append(consumption)
        return consumption

    async def _pull(self, consumption: Consumption) -> int:
        """Ask for as many messages as there is room for, and return their number; wait until there is room for one."""
        while (room := consumption.room) <= 0:
            consumption.answered.clear()
            await consumption.answered.wait()
        ask = json.dumps({"batch": room, "expires": nanoseconds(EXPIRES)}).encode()
        self._connection.post(consumption.consumer.next_subject, ask, reply=consumption.inbox)
        return room

    async def stop(self, *consumptions: Consumption) -> None:
        """End each `consume`: acknowledge what is on the bus; the rest comes again after the consumer's `ack_wait`.

        It is not given back at once: nats-server 2.9 mixes up what is given back while a pull waits that nobody
        listens to any more.
        """
        for consumption in consumptions:
            if consumption in self._running:
                self._running.remove(consumption)
                self._connection.unsubscribe(consumption.subscription)
                for task in consumption.tasks:
                    task.cancel()
        await asyncio.gather(*(task for one in consumptions for task in one.tasks), return_exceptions=True)
        await self._setup.acknowledge_last(
            unconfirmed=lambda: any(one.delivered.count for one in consumptions), taken=self._connection.flushed
        )

    async def close(self) -> None:
        """Stop each `consume` of a session that is about to end."""
        if self._running and self._connection.is_live:
            with contextlib.suppress(BridgeError):
                await self.stop(*self._running)

    def _end(self, consumption: Consumption, error: BridgeError) -> None:
        """End a `consume` that cannot go on. A lost connection ends them all, and was told already."""
        if consumption not in self._running or not self._connection.is_live:
            return
        self._running.remove(consumption)
        self._connection.unsubscribe(consumption.subscription)
        self._consumers.forget()
        if isinstance(error, RejectedError):
            self._forget_messages(consumption.consumer.stream, consumption.consumer.name)
        for task in consumption.tasks:
            if task is not asyncio.current_task():
                task.cancel()
        consumption.on_ended(error)

    async def _deliver_all(self, consumption: Consumption, deliver: Deliver, left: int) -> None:
        try:
            while True:
                asked, until = left, self._clock.monotonic() + PULL_SPACING
                while left:
                    try:
                        async with self._clock.timeout(EXPIRES + LATE):
                            message = await consumption.arrivals.get()
                    except TimeoutError:
                        await self._check_exists(consumption.consumer)
                        break
                    if not message.reply.startswith(ACK_SUBJECT):
                        await self._check_pull(message, consumption.consumer)
                        break
                    await self._deliver(message, consumption, deliver)
                    left -= 1
                if left == asked:
                    await self._clock.sleep(until - self._clock.monotonic())
                left = await self._pull(consumption)
        except BridgeError as error:
            self._end(consumption, error)

    async def _deliver(self, message: NatsMessage, consumption: Consumption, deliver: Deliver) -> None:
        try:
            message_id, attempts = self._track(message)
        except ProtocolError as error:
            consumption.in_progress.pop(message.reply, None)
            self._setup.on_dropped(error, message.subject)
            return
        if self._is_unanswered(message_id, message, consumption):
            return
        content, headers = self._content(message)
        inbound = Inbound(
            topic=message.subject,
            message=content,
            headers=headers,
            message_id=message_id,
            attempts=attempts,
            unique=headers.get(MESSAGE_ID),
        )
        hold = consumption.hold
        if hold is not None and hold.max_deliveries is not None and attempts > hold.max_deliveries:
            # It is not delivered this time, so the times before count.
            given_up = msgspec.structs.replace(inbound, attempts=attempts - 1)
            hold.on_dead(given_up, f"delivered {attempts - 1} times and never acknowledged")
            self._done(message_id, message.reply, consumption, _TERM)
        elif await deliver(inbound) is AckDecision.HOLD and hold is not None:
            until = self._clock.monotonic() + hold.visibility
            before, _ = consumption.unanswered.pop(message_id, ("", 0.0))
            consumption.in_progress.pop(before, None)
            consumption.unanswered[message_id] = (message.reply, until)
        else:
            consumption.delivered.add((message_id, message.reply))

    def _confirm(self, consumption: Consumption, delivered: list[tuple[str, str]]) -> None:
        """Acknowledge messages whose events are on the bus, unless that was done, or the stream was made again."""
        consumption.answered.set()
        for message_id, reply in delivered:
            consumption.in_progress.pop(reply, None)
            if self._unacknowledged.get(message_id) == reply:
                with contextlib.suppress(BridgeError):  # the connection is lost: it comes again
                    self._done(message_id, reply, consumption, ACK)

    def _done(self, message_id: str, reply: str, consumption: Consumption, how: bytes) -> None:
        """Be done with a message.

        The answer is not waited for: an acknowledgement that is lost means that the message comes again.
        """
        self._unacknowledged.pop(message_id, None)
        consumption.in_progress.pop(reply, None)
        self._connection.post(reply, how)

    def _is_unanswered(self, message_id: str, message: NatsMessage, consumption: Consumption) -> bool:
        """Return whether the application has this message and time left to acknowledge it; then tell the server again.

        The server delivers such a message again where it heard nothing for `ack_wait`: this process stood still.
        """
        reply, until = consumption.unanswered.get(message_id, ("", 0.0))
        if not reply or reply in self._settling:  # or the application has just given it back
            return False
        consumption.in_progress.pop(reply, None)
        consumption.unanswered[message_id] = (message.reply, until)
        self._connection.post(message.reply, IN_PROGRESS)
        return True

    async def _extend(self, consumption: Consumption) -> None:
        """Tell the server again and again which messages are in progress, so that it does not deliver them again.

        A message that the application has not acknowledged in time is given back; a late acknowledgement still counts.
        """
        step = consumption.consumer.ack_wait / 3
        if consumption.hold is not None:
            step = min(step, consumption.hold.visibility / 4)
        try:
            while True:
                await self._clock.sleep(step)
                now = self._clock.monotonic()
                for message_id, (reply, until) in tuple(consumption.unanswered.items()):
                    if until <= now:
                        del consumption.unanswered[message_id]
                        consumption.in_progress.pop(reply, None)
                        consumption.answered.set()
                        self._connection.post(reply, _NAK)
                for reply in tuple(consumption.in_progress):
                    self._connection.post(reply, IN_PROGRESS)
        except BridgeError as error:
            self._end(consumption, error)

    async def _check_empty(self, status: NatsMessage, consumer: Consumer) -> None:
        """Return where a status tells that there is no message for now; raise an error for any other status."""
        queue = f"queue {consumer.stream}/{consumer.name}"
        if status.code == NO_RESPONDERS:
            # nats-server from 2.10 on answers so for a consumer that is gone, too; 2.9 is silent.
            await self._check_exists(consumer)
            raise UnavailableError(f"{queue}: nobody answers for it; is JetStream on?", maybe_sent=False)
        if not ends_by_time(status):
            raise RejectedError(f"{queue}: {status.description or 'refused'}", code=status.code, maybe_sent=False)

    async def _check_pull(self, status: NatsMessage, consumer: Consumer) -> None:
        """Return where the consumer is to be pulled from again after a status; else as `_check_empty`."""
        if not ends_by_server(status):
            await self._check_empty(status, consumer)
