"""Redis: Pub/Sub and queues on Streams: `type = "redis"`.

**Pub/Sub**: a topic is a channel; with `*`, `?`, `[` or a backslash it is a pattern. At most once, and without headers,
by Redis' nature.

**Queue**: a queue is a stream. An entry has the fields `data`, the message by codec, and `headers`, a JSON object, in
which hop and idempotency key travel too; an entry with other fields is read as a map of them. What is taken belongs to
a consumer of a group until it is acknowledged; what nobody acknowledges within `claim_after` comes again. Redis 6.2 or
newer.
"""

import asyncio
import math
import operator
import socket
from collections.abc import Coroutine
from functools import partial
from typing import Any, Final

from bridge.adapters._common.background import Background
from bridge.adapters._common.content import Codec
from bridge.adapters.redis.config import RedisConfig
from bridge.adapters.redis.connection import AskingConnection, Connection, OnEnd, OnPush
from bridge.adapters.redis.names import check_channel, check_pattern, check_stream
from bridge.adapters.redis.pubsub import PubSub
from bridge.adapters.redis.replies import wrong_shape
from bridge.adapters.redis.sentinel import Sentinels
from bridge.adapters.redis.slots import SlotMap, read_slots
from bridge.adapters.redis.streams.dequeue import Dequeuer
from bridge.adapters.redis.streams.entries import check_name, encode_headers, message_id, parse_message_id
from bridge.adapters.redis.streams.groups import TRIM, Consumer
from bridge.adapters.redis.streams.reader import BLOCK, StreamReader, StreamSubscription
from bridge.adapters.redis.target import Target, targets, warn_of
from bridge.core.backoff import Backoff
from bridge.core.errors import (
    BridgeError,
    ConnectionLostError,
    InvalidError,
    NotConnectedError,
    ProtocolError,
    RejectedError,
    UnavailableError,
)
from bridge.core.log import structlog
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
from bridge.core.timer import Timer

#: What a session leaves for the next one: after how many seconds it sends PING on connections without traffic.
_KEEP_ALIVE: Final = "keep_alive"
_SHORTEST_KEEP_ALIVE: Final = 1.0
#: The same: when it may ask for another session again, and the seconds between two of these.
_NEXT_OUTDATED: Final = "next_outdated"
_OUTDATED_SPACING: Final = 10.0
#: Seconds without traffic after which the end of a connection is taken for the server's `timeout`.
_LEAST_IDLE: Final = 1.0
#: Seconds that opening the connection for commands again may take.
_REOPEN_TIMEOUT: Final = 5.0
#: Seconds without an answer after which a connection beside the one for commands has ended.
_LONGEST_SILENCE: Final = BLOCK + 4.0
#: Codes of errors by which reading a stream ends, and that do not come again when it is read anew: the stream was
#: deleted, or another node of the cluster has it.
_READ_ANEW: Final = frozenset({"NOGROUP", "MOVED"})

log = structlog.get_logger(__name__)


class RedisAdapter(AdapterBase):
    """One session: a connection for commands, one for Pub/Sub, one for each stream that is read.

    The end of one connection is not the end of the session. One for a stream ends that subscription, one for Pub/Sub
    all those to channels and patterns; their owner subscribes again. The one for commands is opened again; if it cannot
    be, the session is lost. See `ports.ProtocolAdapter`.
    """

    protocol = "redis"

    def __init__(self, setup: AdapterSetup, target: Target | None = None, *, asking: bool = False) -> None:
        """Make one session; nothing is opened yet.

        Args:
            setup: The integration's.
            target: The node of a cluster, which must be a master; None for the endpoint of the setup.
            asking: Whether it is for slots that are on their way to this node of a cluster.

        Raises:
            ValueError: Endpoint, auth, TLS and database do not fit together.
        """
        config = setup.config if isinstance(setup.config, RedisConfig) else RedisConfig()
        self._setup = setup
        self._config = config
        self._codec = Codec(config.codec)
        servers = targets(setup, config) if target is None else [target]
        self._target = servers[0]
        self._sentinels: Sentinels | None = None
        if target is None and config.sentinel is not None:
            self._sentinels = Sentinels(servers, config.sentinel, setup.session_state)
        self._must_be_master = target is not None or self._sentinels is not None
        self._consumer_name = config.consumer or f"nemo-{socket.gethostname()}-{setup.integration}"
        self._connection_type = AskingConnection if asking else Connection
        self._commands: Connection | None = None
        self._reopening: asyncio.Task[None] | None = None
        self._backoff = Backoff(setup.clock, setup.random)
        self._pubsub: PubSub | None = None
        self._dequeuer = Dequeuer(self._open_commands, self._open, self._codec, self._consumer, setup.clock)
        self._connections: list[Connection] = []
        self._streams: dict[StreamSubscription, Subscription] = {}
        self._opening = asyncio.Lock()
        self._background = Background(self.lose)
        self._closed = False
        self._end: BridgeError | None = None
        self._keep_alive = Timer(setup.clock)
        self._overdue = Timer(setup.clock)
        self._untrimmed: dict[str, int] = {}

    # --- life

    async def connect(self) -> None:
        """Open the connection for commands, which logs in. Raises NotConnectedError or AuthError."""
        await self._background.open()
        if self._sentinels is not None:
            self._target = await self._sentinels.master(self._background.start, self._setup.clock)
        try:
            self._commands = await self._open_for_commands()
        except BaseException:  # also where it is cancelled, because the server does not answer
            if self._sentinels is not None:
                self._sentinels.doubt()
            raise
        self._warn()
        every = self._setup.session_state.get(_KEEP_ALIVE)
        if every is not None:
            self._keep_alive.set(every, self._ping_idle)

    async def _open_for_commands(self) -> Connection:
        """Open the connection for commands, to a server that answers them."""
        connection = await self._open(self._commands_ended)
        try:
            await _ping(connection)
        except (ConnectionLostError, UnavailableError) as error:  # it is loading its data, or a replica without master
            raise NotConnectedError(f"no connection to {self._target.name}: {error.message}") from None
        if self._must_be_master and connection.role not in {"master", None}:
            raise NotConnectedError(f"{self._target.name} is no master any more, but a {connection.role}")
        if not connection.usable:
            raise NotConnectedError(f"no connection to {self._target.name}: the server has closed it at once")
        self._backoff.opened()
        return connection

    def _warn(self) -> None:
        """Tell what a person should know of the server of this session."""
        role = None if self._commands is None else self._commands.role
        replica = f"{self._target.name} is a replica: it takes no messages" if role in {"replica", "slave"} else None
        self._setup.on_warning("replica", replica)
        warn_of(self._setup, self._config, self._target)

    def _drop_push(self, _: list[Any]) -> None:
        """Drop a push on a connection without subscriptions, and tell that."""
        self._setup.on_dropped(ProtocolError("the server has sent a push that nobody asked for"), "")

    async def _open(self, on_end: OnEnd, on_push: OnPush | None = None) -> Connection:
        def ended(connection: Connection, error: BridgeError) -> None:
            self._forget(connection)
            self._learn_keep_alive(connection)
            if not self._closed:
                on_end(connection, error)

        take_push = on_push or self._drop_push
        connection = self._connection_type(self._target, self._setup.clock, ended, take_push, self._outdated)
        await connection.open()
        if self._closed:
            await connection.close()
            raise self._ended()
        self._connections.append(connection)
        self._background.start(connection.run())
        return connection

    def _outdated(self, error: BridgeError) -> None:
        """Ask for another session, but not again and again while no other server is in charge yet."""
        now, state = self._setup.clock.monotonic(), self._setup.session_state
        if now >= state.get(_NEXT_OUTDATED, -math.inf):
            state[_NEXT_OUTDATED] = now + _OUTDATED_SPACING
            self._setup.on_outdated(error)

    def _ended(self) -> NotConnectedError:
        """Return the error for what is asked of a session that has ended."""
        why = "it was closed" if self._end is None else self._end.message
        return NotConnectedError(f"the session has ended: {why}")

    def _forget(self, connection: Connection) -> None:
        if connection in self._connections:
            self._connections.remove(connection)

    async def _close(self, connection: Connection) -> None:
        self._forget(connection)
        await connection.close()

    def _commands_ended(self, connection: Connection, error: BridgeError) -> None:
        """Open the connection for commands again."""
        if connection is self._commands:  # else it ended while it was opened, and who opens it is told
            self._commands = None
            self._reopening = self._background.start(self._reopen(error))

    async def _reopen(self, error: BridgeError) -> None:
        """Open the connection for commands again, where it has not lasted with back-off; or end the session."""
        wait = self._backoff.failed(error)
        if self._backoff.failures > 1:
            await self._setup.clock.sleep(wait)
        try:
            async with self._setup.clock.timeout(_REOPEN_TIMEOUT):
                if self._sentinels is not None:
                    named = await self._sentinels.master(self._background.start, self._setup.clock)
                    if named.server != self._target.server:
                        raise NotConnectedError(f"the master is {named.name} now, it was {self._target.name}")
                self._commands = await self._open_for_commands()
        except TimeoutError:
            self.lose(error)
        except BridgeError as failure:
            self.lose(failure)

    def lose(self, error: BridgeError) -> None:
        """End all connections of the session, and tell its owner that it is lost; do nothing where it has ended."""
        if not self._closed:
            self._closed = True
            self._end = error
            self._keep_alive.cancel()
            self._overdue.cancel()
            for connection in self._connections:
                connection.end(error.message)
            self._setup.on_lost(error)

    async def disconnect(self) -> None:
        """Close all connections. Operations in flight fail with ConnectionLostError."""
        self._closed = True
        self._keep_alive.cancel()
        self._overdue.cancel()
        try:
            async with asyncio.TaskGroup() as group:
                for stream in self._streams:
                    group.create_task(self._stop(stream))
            async with asyncio.TaskGroup() as group:
                for connection in self._connections:
                    group.create_task(connection.close())
        finally:
            await self._background.close()

    # --- checks

    @property
    def last_heard(self) -> float | None:
        """When bytes last came on any connection. One on which nothing comes any more is ended by `check`."""
        return max((connection.last_heard for connection in self._connections), default=None)

    async def check(self) -> None:
        """Send a PING on the connection for commands, and end connections on which the server does not answer any more.

        Nothing is asked while the connection for commands is being opened again, which ends the session if it fails.
        """
        if self._pubsub is not None:
            self._pubsub.connection.send_and_forget("PING")
        if not self._overdue.is_set:
            self._overdue.set(_LONGEST_SILENCE, self._end_overdue)
        self._end_overdue()
        if self._reopening is not None and not self._reopening.done():
            return  # it decides whether the session goes on
        commands = self._open_commands()
        asked = self._setup.clock.monotonic()
        answer = commands.call("PING")
        try:
            await _alive(answer)
        except asyncio.CancelledError:  # there was no answer in time
            heard = self.last_heard
            if heard is not None and heard >= asked > commands.last_heard:
                commands.lose("the server answers on other connections, and not on this one")
            raise
        finally:
            answer.cancel()

    async def read_slots(self) -> SlotMap:
        """Return the table of slots, as a node of a cluster tells it. Raises BridgeError."""
        return await read_slots(self._open_commands(), self._target)

    def _end_overdue(self) -> None:
        """End the connections beside the one for commands on which the server does not answer any more."""
        for connection in tuple(self._connections):
            stalled = self._pubsub is not None and connection is self._pubsub.connection and self._pubsub.stalled
            if connection is not self._commands and not stalled and connection.is_overdue(_LONGEST_SILENCE):
                connection.lose("the server does not answer on this connection any more")

    def _learn_keep_alive(self, connection: Connection) -> None:
        """Remember how soon the server ends a connection without traffic (its `timeout`), and prevent that."""
        idle = self._setup.clock.monotonic() - connection.last_heard
        if connection.was_idle and idle > _LEAST_IDLE and not self._closed:
            state = self._setup.session_state
            every = min(max(idle / 2, _SHORTEST_KEEP_ALIVE), state.get(_KEEP_ALIVE, math.inf))
            state[_KEEP_ALIVE] = every
            self._keep_alive.set(every, self._ping_idle)

    def _ping_idle(self) -> None:
        for connection in self._connections:
            if connection.waiting_since is None:
                connection.send_and_forget("PING")
        self._keep_alive.set(self._setup.session_state[_KEEP_ALIVE], self._ping_idle)

    def is_idempotent(self, command: Command) -> bool:
        """Return True for `ack`: a message may be settled twice."""
        return isinstance(command, Ack)

    def _check_live(self) -> None:
        """Raise NotConnectedError where there is no session. It lives while the connection for commands is opened."""
        if self._closed:
            raise self._ended()
        if not self._background.is_open:
            raise NotConnectedError("there is no session")

    def _open_commands(self) -> Connection:
        if self._commands is None or self._closed:
            self._check_live()
            raise NotConnectedError("the connection for commands is being opened")
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
        self._open_commands().send(promise, "PUBLISH", topic, data, convert=_receivers)

    async def subscribe(self, topic: str, deliver: Deliver, options: SubscriptionOptions = NO_OPTIONS) -> Subscription:
        """Send SUBSCRIBE, or PSUBSCRIBE where the topic has a wildcard; `qos` has no meaning here."""
        check_pattern(topic, options.group)
        self._check_live()
        async with self._opening:
            pubsub = self._pubsub or await self._open_pubsub()
        return await pubsub.add(topic, deliver)

    async def _open_pubsub(self) -> PubSub:
        pubsub = PubSub(self._codec, self._setup.on_dropped)
        pubsub.connection = await self._open(self._pubsub_ended, pubsub.on_push)
        if not pubsub.connection.usable:
            raise ConnectionLostError("the connection has ended as soon as it was open")
        pubsub.delivering = self._background.start(pubsub.run())
        pubsub.delivering.add_done_callback(lambda _: pubsub.drop_waiting())
        self._pubsub = pubsub
        return pubsub

    def _pubsub_ended(self, connection: Connection, error: BridgeError) -> None:
        """Tell the end of all subscriptions to channels and patterns, because their connection has ended."""
        pubsub = self._pubsub
        if pubsub is not None and connection is pubsub.connection:
            self._pubsub = None
            pubsub.delivering.cancel()
            for subscription in pubsub.end(error.message):
                self._setup.on_subscription_ended(subscription, error)

    async def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription to a channel, or the reading of a stream."""
        self._check_live()
        stream = subscription.handle
        if isinstance(stream, StreamSubscription):
            if self._streams.pop(stream, None) is not None:
                await self._stop(stream)
        elif self._pubsub is not None:
            await self._pubsub.remove(subscription)

    async def _stop(self, stream: StreamSubscription) -> None:
        """End the reading of a stream. What is on the bus is acknowledged, so that it does not come again."""
        if stream.task is not None:
            stream.task.cancel()
            await asyncio.wait([stream.task])
        reader = stream.reader
        if reader is not None:
            await self._setup.acknowledge_last(unconfirmed=lambda: reader.is_unconfirmed, taken=reader.acknowledged)
        if stream.connection is not None:
            await self._close(stream.connection)

    # --- Queue

    def _enqueue(self, command: Enqueue, context: Context, promise: Promise) -> None:
        commands, queue = self._open_commands(), command.queue
        headers = context.joined(command.headers) if command.headers else context.headers
        check_name(queue, "queue")
        data, _ = self._codec.encode(command.message)
        if context.idempotency_key is not None:
            headers = {**headers, "idempotency_key": context.idempotency_key}
        stored = partial(_stored, queue)
        if headers:
            entry = ("XADD", queue, "*", "data", data, "headers", encode_headers(headers))
            commands.send(promise, *entry, convert=stored)
        else:
            commands.send(promise, "XADD", queue, "*", "data", data, convert=stored)
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
        return await self._dequeuer.take(queue, wait, visibility)

    async def consume(self, queue: str, deliver: Deliver, options: SubscriptionOptions = NO_OPTIONS) -> Subscription:
        """Read a stream in batches of at most `prefetch`, each with one XACK; with `hold` entries wait for `ack`."""
        self._check_live()
        group, hold = options.group, options.hold
        check_stream(queue, group)
        stream = StreamSubscription()
        subscription = Subscription(queue, stream)
        connection = await self._open(lambda _, error: self._end_stream(stream, error))
        stream.connection = connection
        stream.reader = StreamReader(
            connection,
            self._consumer(queue, group, self._consumer_name, hold),
            self._codec,
            deliver,
            when_on_bus=self._setup.when_on_bus,
            acknowledge=lambda *command: self._acknowledge(connection, *command),
            message_id=partial(message_id, queue=queue, group=group),
            claim_every=self._config.claim_after / 2,
            clock=self._setup.clock,
            on_dropped=self._setup.on_dropped,
            hold=hold,
            prefetch=options.prefetch,
        )
        try:
            await stream.reader.prepare()
        except BaseException:
            await self._close(connection)
            raise
        self._streams[stream] = subscription
        stream.task = self._background.start(self._read(stream, stream.reader))
        return subscription

    def _acknowledge(self, reading: Connection, *command: str) -> asyncio.Future[Any]:
        """Send XACK on the connection for commands, or while there is none on the one that reads the stream."""
        connection = self._commands
        if connection is None or not connection.usable:
            connection = reading
        if connection.usable:
            return connection.call(*command)
        lost: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        lost.cancel()
        return lost

    async def _read(self, stream: StreamSubscription, reader: StreamReader) -> None:
        try:
            await reader.run()
        except BridgeError as error:
            if error.code in _READ_ANEW:
                error = UnavailableError(error.message, code=error.code, maybe_sent=False)
            self._end_stream(stream, error)

    def _end_stream(self, stream: StreamSubscription, error: BridgeError) -> None:
        """Tell the end of the subscription to a stream, once; do nothing where the session has ended with it."""
        subscription = self._streams.pop(stream, None)
        if subscription is not None and not self._closed:
            self._background.start(self._stop(stream))
            self._setup.on_subscription_ended(subscription, error)

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
            on_warning=self._setup.on_warning,
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
        self._dequeuer.expect_overdue(name.queue, delay or 0.0)
        self.settled(message_id, again_in=delay or 0.0)

    def settled(self, message_id: str, *, again_in: float | None = None) -> None:
        """Tell the readers of that stream in this session that the application has answered."""
        name = parse_message_id(message_id)
        consumer = self._consumer(name.queue, name.group)
        for stream in self._streams:
            if stream.reader is not None:
                stream.reader.settled(consumer, name.entry, again_in=again_in)

    def _check_delay(self, name: str, seconds: float | None) -> None:
        if seconds is not None and seconds > self._config.claim_after:
            raise InvalidError(f"{name}: at most `claim_after`, which is {self._config.claim_after:g} s here")


async def _ping(connection: Connection) -> None:
    """Send a PING, and return when the server has answered. Raises BridgeError."""
    await _alive(connection.call("PING"))


async def _alive(answer: asyncio.Future[Any]) -> None:
    """Wait for the answer to a PING. Raises BridgeError."""
    try:
        reply = await answer
    except RejectedError as error:
        if error.code != "NOPERM":  # a server that forbids PING is alive
            raise
    else:
        if reply != b"PONG":
            raise wrong_shape("PING")


def _stored(queue: str, entry: Any) -> dict[str, Any]:
    return {"message_id": message_id(entry.decode(), queue)}


def _receivers(count: Any) -> dict[str, Any]:
    return {"receivers": operator.index(count)}


def _note_trimming(reply: asyncio.Future[Any]) -> None:
    error = None if reply.cancelled() else reply.exception()
    if error is not None and not isinstance(error, NotConnectedError):
        log.warning("stream not trimmed", why=str(error))
