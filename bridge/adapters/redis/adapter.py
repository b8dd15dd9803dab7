"""Redis: Pub/Sub and queues on Streams: `type = "redis"`.

**Pub/Sub**: a topic is a channel; with `*`, `?`, `[` or a backslash it is a pattern. At most once, and without headers,
by Redis' nature.

**Queue**: a queue is a stream. An entry has the fields `data`, the message by codec, and `headers`, a JSON object, in
which hop and idempotency key travel too; an entry with other fields is read as a map of them. What is taken belongs to
a consumer of a group until it is acknowledged; what nobody acknowledges within `claim_after` comes again. Redis 6.2 or
newer.
"""

import asyncio
import contextlib
import operator
import socket
from collections.abc import Coroutine
from typing import Any

import structlog

from bridge.adapters._common.background import Background
from bridge.adapters._common.content import Codec
from bridge.adapters.redis.config import RedisConfig
from bridge.adapters.redis.connection import AskingConnection, Connection, Converted, OnPush, ignore_push
from bridge.adapters.redis.names import check_channel, check_pattern, check_stream
from bridge.adapters.redis.pubsub import PubSub
from bridge.adapters.redis.sentinel import master_of
from bridge.adapters.redis.streams.dequeue import Dequeuer
from bridge.adapters.redis.streams.entries import check_name, encode_headers, message_id, parse_message_id
from bridge.adapters.redis.streams.groups import TRIM, Consumer
from bridge.adapters.redis.streams.reader import StreamReader, StreamSubscription
from bridge.adapters.redis.target import Target, targets
from bridge.core.errors import AuthError, BridgeError, InvalidError, NotConnectedError
from bridge.core.model import Ack, Command, Enqueue, Publish, QueueMessage
from bridge.core.ports import (
    NO_OPTIONS,
    AdapterBase,
    AdapterSetup,
    Context,
    Deliver,
    Promise,
    Subscription,
    SubscriptionOptions,
)
from bridge.core.settings import Hold

log = structlog.get_logger(__name__)


class RedisAdapter(AdapterBase):
    """One session: a connection for commands, one for Pub/Sub, one for each stream that is read.

    The first of them that breaks ends the session. See `ports.ProtocolAdapter`.
    """

    protocol = "redis"

    def __init__(self, setup: AdapterSetup, target: Target | None = None, *, asking: bool = False) -> None:
        """Make one session; nothing is opened yet.

        Args:
            setup: The integration's.
            target: The node of a cluster; None for the endpoint of the setup.
            asking: Whether it is for slots that are on their way to this node of a cluster.

        Raises:
            ValueError: Endpoint, auth, TLS and database do not fit together.
        """
        config = setup.config if isinstance(setup.config, RedisConfig) else RedisConfig()
        self._setup = setup
        self._config = config
        self._codec = Codec(config.codec)
        self._target = targets(setup, config)[0] if target is None else target
        self._consumer_name = config.consumer or f"nemo-{socket.gethostname()}-{setup.integration}"
        self._connection_type = AskingConnection if asking else Connection
        self._commands: Connection | None = None
        self._pubsub: PubSub | None = None
        self._dequeuer: Dequeuer | None = None
        self._connections: list[Connection] = []
        self._readers: dict[asyncio.Task[None], StreamReader] = {}
        self._opening = asyncio.Lock()
        self._background = Background(self._on_lost)
        self._closed = False
        self._untrimmed: dict[str, int] = {}

    # --- life

    async def connect(self) -> None:
        """Open the connection for commands, which logs in. Raises NotConnectedError or AuthError."""
        await self._background.open()
        if self._config.sentinel is not None:
            self._target = await master_of(
                self._target, self._config.sentinel, self._background.start, self._setup.clock
            )
        self._commands = await self._open()
        self._dequeuer = Dequeuer(self._commands, self._open, self._codec, self._consumer, self._setup.clock)

    async def _open(self, on_push: OnPush = ignore_push) -> Connection:
        connection = self._connection_type(self._target, self._setup.clock, self._on_lost, on_push)
        await connection.open()
        if self._closed:
            await connection.close()
            raise NotConnectedError("the session is closed")
        self._connections.append(connection)
        self._background.start(connection.run())
        return connection

    def _on_lost(self, error: BridgeError) -> None:
        """End all connections of the session, because one of them has broken."""
        if not self._closed:
            self._closed = True
            for connection in self._connections:
                connection.end(error.message)
            self._setup.on_lost(error)

    async def disconnect(self) -> None:
        """Close all connections. Operations in flight fail with ConnectionLostError."""
        self._closed = True
        try:
            for reader in self._readers:
                reader.cancel()
            if self._readers:
                await asyncio.wait(self._readers)
            async with asyncio.TaskGroup() as group:
                for connection in self._connections:
                    group.create_task(connection.close())
        finally:
            await self._background.close()

    async def check(self) -> None:
        """Send a PING on each connection that can answer at once, and see that no blocking read is overdue."""
        commands = self._open_commands()
        pings = [commands.call("PING")]
        if self._pubsub is not None:
            pings.append(self._pubsub.ping())
        for reader in self._readers.values():
            reader.check()
        try:
            for ping in pings:
                with contextlib.suppress(AuthError):  # a server that forbids PING is alive
                    await ping
        finally:
            for ping in pings:
                ping.cancel()

    def is_idempotent(self, command: Command) -> bool:
        """Return True for `ack`: a message may be settled twice."""
        return isinstance(command, Ack)

    def _open_commands(self) -> Connection:
        if self._commands is None or self._closed:
            raise NotConnectedError("there is no session")
        return self._commands

    # --- Pub/Sub

    def begin(self, command: Command, context: Context, promise: Promise) -> Coroutine[Any, Any, Any] | None:
        """Send PUBLISH or XADD at once, without a task; start a task for every other command.

        The result of a publish has `receivers`, the number of subscribers that got the message. An XADD that is
        repeated after a lost connection may add a second entry with the same `idempotency_key` header.
        """
        if type(command) is Enqueue:
            self._enqueue(command, context, promise)
        elif type(command) is Publish:
            self._publish(command, promise)
        else:
            return super().begin(command, context, promise)
        return None

    def _publish(self, command: Publish, promise: Promise) -> None:
        # Redis Pub/Sub has no headers: those of the command are not sent.
        if command.qos or command.retain:
            raise InvalidError("Redis Pub/Sub has neither `qos` above 0 nor `retain`; `enqueue` stores")
        topic = command.topic
        check_channel(topic)
        data, _ = self._codec.encode(command.message)
        self._open_commands().send(Converted(promise, "PUBLISH", _receivers), "PUBLISH", topic, data)

    async def subscribe(self, topic: str, deliver: Deliver, options: SubscriptionOptions = NO_OPTIONS) -> Subscription:
        """Send SUBSCRIBE, or PSUBSCRIBE where the topic has a wildcard; `qos` has no meaning here."""
        check_pattern(topic, options.group)
        self._open_commands()
        async with self._opening:
            if self._pubsub is None:
                pubsub = PubSub(self._codec)
                pubsub.connection = await self._open(pubsub.on_push)
                self._pubsub = pubsub
        return Subscription(topic, await self._pubsub.add(topic, deliver))

    async def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription to a channel, or the reading of a stream."""
        self._open_commands()
        handle = subscription.handle
        if isinstance(handle, StreamSubscription):
            handle.task.cancel()
            await asyncio.wait([handle.task])
            await self._close(handle.connection)
        elif self._pubsub is not None:
            await self._pubsub.remove(subscription.topic, handle)

    # --- Queue

    def _enqueue(self, command: Enqueue, context: Context, promise: Promise) -> None:
        commands, queue, headers = self._open_commands(), command.queue, context.joined(command.headers)
        check_name(queue, "queue")
        data, _ = self._codec.encode(command.message)
        if context.idempotency_key is not None:
            headers = {**headers, "idempotency_key": context.idempotency_key}
        stored = Converted(promise, "XADD", lambda entry: {"message_id": message_id(entry.decode(), queue)})
        if headers:
            commands.send(stored, "XADD", queue, "*", "data", data, "headers", encode_headers(headers))
        else:
            commands.send(stored, "XADD", queue, "*", "data", data)
        if self._config.max_length is not None:
            self._trim(commands, queue, self._config.max_length)

    def _trim(self, commands: Connection, queue: str, max_length: int) -> None:
        """Trim a stream after each tenth of `max_length` entries, 1,000 at most, in the same write as the XADD."""
        period = max(1, min(1000, max_length // 10))
        added = self._untrimmed.get(queue, period - 1) + 1
        if added >= period:
            added = 0
            commands.call("EVAL", TRIM, 1, queue, max_length).add_done_callback(_note_trimming)
        self._untrimmed[queue] = added

    async def dequeue(self, queue: str, wait: float, visibility: float | None) -> QueueMessage | None:
        """Return the longest overdue entry, or a new one; `visibility` is at most `claim_after`."""
        self._open_commands()
        self._check_delay("visibility_ms", visibility)
        check_name(queue, "queue")
        assert self._dequeuer is not None  # noqa: S101 - made with the connection
        return await self._dequeuer.take(queue, wait, visibility)

    async def consume(self, queue: str, deliver: Deliver, options: SubscriptionOptions = NO_OPTIONS) -> Subscription:
        """Read a stream in batches, each acknowledged by one XACK; with `hold` entries wait for `ack` or `nack`."""
        self._open_commands()
        group, hold = options.group, options.hold
        check_stream(queue, group)
        connection = await self._open()
        reader = StreamReader(
            connection,
            self._consumer(queue, group, self._consumer_name, hold),
            self._codec,
            deliver,
            message_id=lambda entry: message_id(entry, queue, group),
            claim_every=self._config.claim_after / 2,
            clock=self._setup.clock,
            hold=hold,
        )
        try:
            await reader.prepare()
        except BaseException:
            await self._close(connection)
            raise
        task = self._background.start(self._consuming(reader))
        self._readers[task] = reader
        task.add_done_callback(self._readers.pop)
        return Subscription(queue, StreamSubscription(task, connection))

    async def _consuming(self, reader: StreamReader) -> None:
        try:
            await reader.run()
        except BridgeError as error:
            self._on_lost(error)

    async def _close(self, connection: Connection) -> None:
        if connection in self._connections:
            self._connections.remove(connection)
        await connection.close()

    def _consumer(
        self, queue: str, group: str | None = None, name: str | None = None, hold: Hold | None = None
    ) -> Consumer:
        return Consumer(
            queue,
            group or self._config.group,
            name or f"{self._consumer_name}-dequeue",  # a reader delivers all that is pending under its name
            claim_after=self._config.claim_after,
            max_deliveries=(hold and hold.max_deliveries) or self._config.max_deliveries,
            in_cluster=self._config.cluster is not False,
        )

    async def ack(self, message_id: str) -> None:
        """Send XACK; a message that was acknowledged before is no error."""
        name = parse_message_id(message_id)
        consumer = self._consumer(name.queue, name.group)
        await self._open_commands().call("XACK", name.queue, consumer.group, name.entry)
        self.settled(message_id)

    async def nack(self, message_id: str, delay: float | None) -> None:
        """Make a message overdue now, or after `delay` seconds, at most `claim_after`."""
        self._check_delay("delay_ms", delay)
        name = parse_message_id(message_id)
        consumer = self._consumer(name.queue, name.group)
        await consumer.make_overdue(self._open_commands(), name.entry, delay or 0.0)
        assert self._dequeuer is not None  # noqa: S101 - made with the connection
        self._dequeuer.expect_overdue(name.queue, delay or 0.0)
        self.settled(message_id, again_in=delay or 0.0)

    def settled(self, message_id: str, *, again_in: float | None = None) -> None:
        """Tell the readers of that stream in this session that the application has answered."""
        name = parse_message_id(message_id)
        consumer = self._consumer(name.queue, name.group)
        for reader in self._readers.values():
            reader.settled(consumer, name.entry, again_in=again_in)

    def _check_delay(self, name: str, seconds: float | None) -> None:
        if seconds is not None and seconds > self._config.claim_after:
            raise InvalidError(f"{name}: at most `claim_after`, which is {self._config.claim_after:g} s here")


def _receivers(count: Any) -> dict[str, Any]:
    return {"receivers": operator.index(count)}


def _note_trimming(reply: asyncio.Future[Any]) -> None:
    error = None if reply.cancelled() else reply.exception()
    if error is not None and not isinstance(error, NotConnectedError):
        log.warning("stream not trimmed", why=str(error))
