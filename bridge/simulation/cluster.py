"""A NATS cluster with JetStream in memory, for fabrics: its sessions are `core.cluster.ClusterSession`.

It outlives its sessions, and several nodes share it. All is deterministic: time comes from a clock, a group takes
turns, and what a session sends or gets keeps its order. A test makes the faults: a session that is lost, a link that is
silent, a cluster that is away, JetStream without a leader, a call that is refused.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal, TypeVar

import msgspec

from bridge.core.cluster import (
    NO_HEADERS,
    Asked,
    ConflictError,
    ConsumerState,
    Handle,
    Headers,
    KeyEntry,
    OnEnded,
    OnMessage,
    Received,
    Stop,
    StreamSpec,
    StreamState,
    message_id,
    subject_matches,
)
from bridge.core.errors import (
    BridgeError,
    ConnectionLostError,
    InvalidError,
    NotConnectedError,
    RejectedError,
    UnavailableError,
)
from bridge.core.model import Export
from bridge.core.ports import Clock, Context, Promise
from bridge.simulation.durable import DurableConsumer, Reading
from bridge.simulation.line import Line
from bridge.simulation.stream import StoredBucket, StoredMessage, StoredStream, overlap, size_of

#: Seconds after which a message is delivered again that nobody has acknowledged or called in progress.
ACK_WAIT: Final = 10.0

#: Seconds that the end of a subscription waits for the broker.
_STOP: Final = 1.0
_T = TypeVar("_T")


class MemoryCluster:
    """The broker.

    Attributes:
        servers: How many servers it stands for: no stream has more replicas.
        max_payload: Bytes of a message at most, headers included.
        latency: Seconds that each message takes from a session to the broker, and back.
        calls: How often each method of the sessions was called, by its name; for tests that count what a part asks.
    """

    def __init__(
        self, clock: Clock, *, servers: int = 1, max_payload: int = 1_048_576, ack_wait: float = ACK_WAIT
    ) -> None:
        """Start it; it holds nothing.

        Args:
            clock: All time.
            servers: See the attribute.
            max_payload: See the attribute.
            ack_wait: Seconds after which a message is delivered again that nobody has called in progress.
        """
        self.servers = servers
        self.max_payload = max_payload
        self.latency = 0.0
        self.calls: Counter[str] = Counter()
        self._clock = clock
        self._ack_wait = ack_wait
        self._sessions: list[MemorySession] = []
        self._streams: dict[str, StoredStream] = {}
        self._consumers: dict[tuple[str, str], DurableConsumer] = {}
        self._buckets: dict[str, StoredBucket] = {}
        self._silent: dict[Literal["to", "from"], set[str]] = {"to": set(), "from": set()}
        self._refusals: list[tuple[str, str | None, BridgeError]] = []
        self._turns: Counter[tuple[str, str]] = Counter()
        self._is_away = False
        self._jetstream: Literal["up", "silent", "off"] = "up"
        self._stalled: list[Callable[[], None]] = []

    # --- sessions and faults

    def session(self, node: str, on_lost: Callable[[BridgeError], None] = lambda _: None) -> "MemorySession":
        """Open a session of a node.

        Args:
            node: Who opens it; faults name nodes.
            on_lost: Called once when the session is lost.

        Raises:
            NotConnectedError: The cluster is away, or cannot be reached by this node.
        """
        if self._is_away or self.is_silent("to", node) or self.is_silent("from", node):
            raise NotConnectedError("no server answers")
        session = MemorySession(self, node, self._clock, on_lost)
        self._sessions.append(session)
        return session

    def stop(self) -> None:
        """Kill all servers: each session is lost, and none can be opened. What is stored stays."""
        self._is_away = True
        for session in tuple(self._sessions):
            session.lose(ConnectionLostError("the connection ended"))

    def start(self) -> None:
        """Start the servers again."""
        self._is_away = False

    def silence(self, *nodes: str, direction: Literal["both", "to", "from"] = "both") -> None:
        """Let nothing pass between the cluster and these nodes, without an error for either; without names all nodes.

        What is sent meanwhile waits, as on a connection of TCP.

        Args:
            nodes: Whose links.
            direction: `to`: only what goes to the cluster waits. `from`: only what comes from it, so that calls take
                effect and nobody hears of that.
        """
        for way in self._ways(direction):
            self._silent[way].update(nodes or {session.node for session in self._sessions})

    def heal(self, *nodes: str, direction: Literal["both", "to", "from"] = "both") -> None:
        """Let pass again, for these nodes or all, what waited on sessions that still live, in its order."""
        for way in self._ways(direction):
            self._silent[way].difference_update(nodes or tuple(self._silent[way]))
        for session in tuple(self._sessions):
            session.pass_on()

    def _ways(self, direction: Literal["both", "to", "from"]) -> tuple[Literal["to", "from"], ...]:
        return ("to", "from") if direction == "both" else (direction,)

    def is_silent(self, way: Literal["to", "from"], node: str) -> bool:
        """Return whether nothing passes from a node to the cluster, or from the cluster to it."""
        return node in self._silent[way]

    @property
    def jetstream(self) -> Literal["up", "silent", "off"]:
        """Whether streams, consumers and buckets work: `silent` as without a leader, `off`: refused at once."""
        return self._jetstream

    @jetstream.setter
    def jetstream(self, state: Literal["up", "silent", "off"]) -> None:
        self._jetstream = state
        if state == "silent":
            return
        stalled, self._stalled = self._stalled, []
        for work in stalled:
            work()
        self._pump_all()

    def refuse(self, call: str, error: BridgeError, node: str | None = None) -> None:
        """Let the next call of a method fail, without an effect: of any session, or of one node's."""
        self._refusals.append((call, node, error))

    def refusal(self, call: str, node: str) -> BridgeError | None:
        """Return the error with which this call is to fail, once."""
        for one in self._refusals:
            if one[0] == call and one[1] in {None, node}:
                self._refusals.remove(one)
                return one[2]
        return None

    # --- for tests: what others do

    def publish(self, subject: str, body: bytes, headers: Headers = NO_HEADERS, message_id: str | None = None) -> None:
        """Send a message as any other client of the cluster may, for example garbage."""
        self.send(subject, body, headers, message_id)

    def put(self, bucket: str, key: str, value: bytes | None) -> int:
        """Write a key as any other client may, whatever its revision; return the new one. None deletes it."""
        entry = self._bucket(bucket).put(key, value)
        self._tell(bucket, entry)
        return entry.revision

    def value(self, bucket: str, key: str) -> KeyEntry | None:
        """Return the last change of a key."""
        return self._bucket(bucket).get(key)

    def messages(self, stream: str) -> list[StoredMessage]:
        """Return all messages of a stream."""
        return list(self._stream(stream).after(0, ">"))

    def delete_stream(self, name: str) -> None:
        """Delete a stream with its consumers; who reads them is told."""
        del self._streams[name]
        for stream, consumer in tuple(self._consumers):
            if stream == name:
                self.delete_consumer(stream, consumer)

    def delete_bucket(self, name: str) -> None:
        """Delete a bucket; who watches it is told."""
        del self._buckets[name]
        for session in tuple(self._sessions):
            session.end_watches(name, RejectedError("stream not found", code=10059))

    # --- what sessions ask for

    def when_jetstream(self, work: Callable[[], None], refuse: Callable[[BridgeError], None]) -> None:
        """Do what needs JetStream: now, or when it has a leader, or never."""
        if self._jetstream == "off":
            refuse(UnavailableError("JetStream is off", maybe_sent=False))
        elif self._jetstream == "silent":
            self._stalled.append(work)
        else:
            work()

    def leave(self, session: "MemorySession") -> None:
        """Forget a session that is over."""
        self._sessions.remove(session)
        for consumer in self._consumers.values():
            consumer.leave(session)

    def send(self, subject: str, body: bytes, headers: Headers, message_id: str | None) -> tuple[str, int] | None:
        """Send a message to all who listen; store it where a stream takes it, and return which and its number."""
        self.fan_out(subject, Received(subject=subject, body=body, headers=headers, message_id=message_id))
        for name, stream in self._streams.items():
            if stream.takes(subject):
                number = stream.append(subject, body, headers, message_id)
                self._pump_all()
                return name, number
        return None

    def fan_out(self, subject: str, message: Received) -> int:
        """Give a message to each who subscribes to its subject; return how many they are."""
        return sum(session.take(subject, message) for session in tuple(self._sessions))

    def dispatch(self, asked: "_Asked", subject: str) -> bool:
        """Give a request to one member of each group that serves its subject; return whether there is any."""
        groups: dict[str, list[_Service]] = {}
        for session in self._sessions:
            for service in session.services:
                if subject_matches(subject, service.subject):
                    groups.setdefault(service.group, []).append(service)
        for group, members in groups.items():
            turn = self._turns[subject, group]
            self._turns[subject, group] += 1
            members[turn % len(members)].give(asked)
        heard = self.fan_out(subject, Received(subject=subject, body=asked.body, headers=asked.headers))
        return bool(groups or heard)

    def stream(self, wanted: StreamSpec) -> StreamSpec:
        """See `ClusterSession.stream`."""
        found = self._streams.get(wanted.name)
        if found is None:
            self._check(wanted)
            found = self._streams[wanted.name] = StoredStream(_as_made(wanted), self._clock.elapsed)
        return found.spec

    def change_stream(self, wanted: StreamSpec) -> None:
        """See `ClusterSession.change_stream`."""
        found = self._stream(wanted.name)
        self._check(wanted)
        found.spec = _as_made(wanted)

    def _check(self, wanted: StreamSpec) -> None:
        if wanted.replicas > self.servers:
            raise RejectedError("insufficient resources", code=10023, maybe_sent=False)
        others = (one.spec.subjects for name, one in self._streams.items() if name != wanted.name)
        if any(overlap(mine, theirs) for subjects in others for theirs in subjects for mine in wanted.subjects):
            raise RejectedError("subjects overlap with an existing stream", code=10065, maybe_sent=False)

    def _stream(self, name: str) -> StoredStream:
        if name not in self._streams:
            raise RejectedError("stream not found", code=10059, maybe_sent=False)
        return self._streams[name]

    def stream_state(self, name: str) -> StreamState:
        """See `ClusterSession.stream_state`."""
        return self._stream(name).state

    def consumer(self, stream: str, name: str, subject: str) -> ConsumerState:
        """See `ClusterSession.consumer`."""
        stored = self._stream(stream)
        found = self._consumers.get((stream, name))
        made = found is None
        if found is None:
            found = DurableConsumer(
                stored, self._clock, self._ack_wait, self.is_silent, lambda: self._jetstream == "up"
            )
            self._consumers[stream, name] = found
        found.subject = subject
        found.pump()
        return ConsumerState(acknowledged=found.acknowledged, pending=found.pending, made=made)

    def _is_up(self) -> bool:
        return self._jetstream == "up"

    def consumer_of(self, stream: str, name: str) -> "DurableConsumer":
        """Return a consumer. Raises RejectedError where there is none."""
        self._stream(stream)
        if (stream, name) not in self._consumers:
            raise RejectedError("consumer not found", code=10014, maybe_sent=False)
        return self._consumers[stream, name]

    def delete_consumer(self, stream: str, name: str) -> None:
        """See `ClusterSession.delete_consumer`."""
        found = self._consumers.pop((stream, name), None)
        if found is not None:
            found.end(RejectedError("consumer not found", code=10014, maybe_sent=False))

    def _pump_all(self) -> None:
        for consumer in self._consumers.values():
            consumer.pump()

    def bucket(self, name: str, replicas: int) -> None:
        """See `ClusterSession.bucket`."""
        if name not in self._buckets:
            if replicas > self.servers:
                raise RejectedError("insufficient resources", code=10023, maybe_sent=False)
            self._buckets[name] = StoredBucket(self._clock.elapsed)

    def _bucket(self, name: str) -> StoredBucket:
        if name not in self._buckets:
            raise RejectedError("stream not found", code=10059, maybe_sent=False)
        return self._buckets[name]

    def values(self, bucket: str) -> list[KeyEntry]:
        """Return all keys of a bucket that have a value, in the order of their revisions."""
        return self._bucket(bucket).values()

    def write(self, bucket: str, key: str, value: bytes | None, revision: int | None) -> int:
        """Write a key (None deletes it) if its last revision is this one; None: if it has no value.

        Raises:
            ConflictError: It has another one.
        """
        last = self._bucket(bucket).get(key)
        if revision is None:
            fits = last is None or last.value is None
        else:
            fits = revision == (0 if last is None else last.revision)
        if not fits:
            raise ConflictError(f"{key}: wrong last revision")
        return self.put(bucket, key, value)

    def _tell(self, bucket: str, entry: KeyEntry) -> None:
        for session in tuple(self._sessions):
            session.tell(bucket, entry)


def _as_made(wanted: StreamSpec) -> StreamSpec:
    """Return what becomes of a wanted stream: ids are not remembered longer than messages."""
    return msgspec.structs.replace(wanted, duplicate_window=min(wanted.duplicate_window, wanted.max_age))


class _Asked:
    """A request that has come; see `core.cluster.Asked`."""

    def __init__(self, asker: "MemorySession", body: bytes, headers: Headers, future: "asyncio.Future[bytes]") -> None:
        self.body = body
        self.headers = headers
        self.session: MemorySession | None = None
        self._asker = asker
        self._future = future
        self._is_answered = False

    def copy_for(self, session: "MemorySession") -> "_Asked":
        """Return it as one member of a group has it."""
        mine = _Asked(self._asker, self.body, self.headers, self._future)
        mine.session = session
        return mine

    def answer(self, body: bytes) -> None:
        """See `core.cluster.Asked.answer`."""
        session = self.session
        if self._is_answered or session is None or session.is_lost or len(body) > session.max_payload:
            return
        self._is_answered = True
        session.lines[0].send(partial(self._asker.lines[1].send, partial(_settle, self._future, body)))


@dataclass(eq=False)
class _Service:
    """One `serve` of a session."""

    session: "MemorySession"
    subject: str
    group: str
    on_asked: Callable[[Asked], None]
    on_ended: OnEnded

    def give(self, asked: _Asked) -> None:
        """Send a request there."""
        self.session.lines[1].send(lambda: self.on_asked(asked.copy_for(self.session)))


@dataclass(eq=False)
class _Subscribed:
    """One `subscribe` of a session."""

    subject: str
    on_message: OnMessage
    on_ended: OnEnded
    is_over: bool = False

    def take(self, message: Received) -> None:
        if not self.is_over:
            self.on_message(message)


@dataclass(eq=False)
class _Watch:
    """One `watch` of a session."""

    bucket: str
    on_entry: Callable[[KeyEntry], None]
    on_ended: OnEnded
    is_over: bool = False

    def take(self, entry: KeyEntry) -> None:
        if not self.is_over:
            self.on_entry(entry)


def _settle(future: "asyncio.Future[_T]", result: _T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: "asyncio.Future[Any]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


@dataclass(eq=False)
class MemorySession:
    """One session of a node; see `core.cluster.ClusterSession`. `MemoryCluster.session` makes it.

    Attributes:
        node: Whose it is.
        is_lost: Whether it has ended.
        lines: What goes to the cluster, and what comes from it.
        services: What it serves.
    """

    broker: MemoryCluster
    node: str
    clock: Clock
    on_lost: Callable[[BridgeError], None]
    is_lost: bool = False
    services: list[_Service] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Connect."""
        broker, node = self.broker, self.node
        self.lines = tuple(
            Line(self.clock, lambda: broker.latency, partial(broker.is_silent, way, node)) for way in ("to", "from")
        )
        self._subscribed: list[_Subscribed] = []
        self._watches: list[_Watch] = []
        self._readings: list[Reading] = []
        self._waiting: set[asyncio.Future[Any]] = set()

    @property
    def max_payload(self) -> int:
        """See `ClusterSession.max_payload`."""
        return self.broker.max_payload

    @property
    def cluster(self) -> "MemorySession":
        """Itself: an adapter's session has its part for a fabric under this name."""
        if self.is_lost:
            raise NotConnectedError("there is no session")
        return self

    # --- life, for tests and stand-ins

    def lose(self, error: BridgeError | None = None) -> None:
        """End it as a broken connection does: calls fail, subscriptions end without a word, and `on_lost` is told."""
        if not self.is_lost:
            lost = error or ConnectionLostError("the connection ended")
            self._end(lost)
            self.on_lost(lost)

    def close(self) -> None:
        """End it in order; nobody is told."""
        if not self.is_lost:
            self._end(ConnectionLostError("the session was closed"))

    def _end(self, error: BridgeError) -> None:
        self.is_lost = True
        for line in self.lines:
            line.cut()
        for future in self._waiting:
            _fail(future, ConnectionLostError(error.message))
        for reading in self._readings:
            reading.close()
        self.broker.leave(self)

    def pass_on(self) -> None:
        """Hand over what waited while the link was silent."""
        for line in self.lines:
            line.pass_on()

    def revoke(self, subject: str, error: BridgeError) -> None:
        """End what was subscribed to or served at a subject, as a server does that has taken a permission back."""
        for one in tuple(self._subscribed):
            if one.subject == subject:
                self._subscribed.remove(one)
                self.lines[1].send(partial(one.on_ended, error))
        for service in tuple(self.services):
            if service.subject == subject:
                self.services.remove(service)
                self.lines[1].send(partial(service.on_ended, error))

    def end_watches(self, bucket: str, error: BridgeError) -> None:
        """End the watching of a bucket that is gone."""
        for watch in tuple(self._watches):
            if watch.bucket == bucket:
                self._watches.remove(watch)
                self.lines[1].send(partial(watch.on_ended, error))

    # --- what the broker sends

    def take(self, subject: str, message: Received) -> int:
        """Pass a message on to the subscriptions that it is for; return how many they are."""
        taking = [one for one in self._subscribed if subject_matches(subject, one.subject)]
        for one in taking:
            self.lines[1].send(partial(one.take, message))
        return len(taking)

    def tell(self, bucket: str, entry: KeyEntry) -> None:
        """Pass the change of a key on."""
        for watch in self._watches:
            if watch.bucket == bucket:
                self.lines[1].send(partial(watch.take, entry))

    # --- calls

    async def _call(self, name: str, work: Callable[[], _T], *, jetstream: bool = False) -> _T:
        """Let the broker do something, and return the result when it has come back."""
        self.broker.calls[name] += 1
        if self.is_lost:
            raise NotConnectedError("there is no session")
        future: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)

        def refused(error: Exception) -> None:
            self.lines[1].send(partial(_fail, future, error))

        def done() -> None:
            refusal = self.broker.refusal(name, self.node)
            if refusal is not None:
                refused(refusal)
                return
            try:
                result = work()
            except (BridgeError, ConflictError) as error:
                refused(error)
            else:
                self.lines[1].send(lambda: _settle(future, result))

        self.lines[0].send(partial(self.broker.when_jetstream, done, refused) if jetstream else done)
        try:
            return await future
        finally:
            self._waiting.discard(future)
            if not future.cancel() and not future.cancelled():
                future.exception()  # it may have failed in the moment in which its caller was cancelled

    async def _settled(self, name: str, work: Callable[[], None]) -> None:
        """Let the broker end something, and wait until it has, if it does so at all."""
        with contextlib.suppress(TimeoutError, BridgeError):
            async with self.clock.timeout(_STOP):
                await self._call(name, work)

    def _check_size(self, body: bytes, headers: Headers) -> None:
        size = size_of(body, headers)
        if size > self.max_payload:
            raise InvalidError(f"message: {size} bytes with headers; the server takes {self.max_payload}")

    async def stream(self, wanted: StreamSpec) -> StreamSpec:
        """See `ClusterSession.stream`."""
        return await self._call("stream", partial(self.broker.stream, wanted), jetstream=True)

    async def change_stream(self, wanted: StreamSpec) -> None:
        """See `ClusterSession.change_stream`."""
        await self._call("change_stream", partial(self.broker.change_stream, wanted), jetstream=True)

    async def stream_state(self, name: str) -> StreamState:
        """See `ClusterSession.stream_state`."""
        return await self._call("stream_state", partial(self.broker.stream_state, name), jetstream=True)

    async def consumer(self, stream: str, name: str, subject: str) -> ConsumerState:
        """See `ClusterSession.consumer`."""
        return await self._call("consumer", partial(self.broker.consumer, stream, name, subject), jetstream=True)

    async def delete_consumer(self, stream: str, name: str) -> None:
        """See `ClusterSession.delete_consumer`."""
        await self._call("delete_consumer", partial(self.broker.delete_consumer, stream, name), jetstream=True)

    async def consume(self, stream: str, name: str, handle: Handle, on_ended: OnEnded, *, prefetch: int) -> Stop:
        """See `ClusterSession.consume`."""

        def begin() -> tuple[DurableConsumer, Reading]:
            consumer = self.broker.consumer_of(stream, name)
            reading = Reading(self, handle, on_ended, prefetch, consumer.acknowledge)
            self._readings.append(reading)
            consumer.read(reading)
            return consumer, reading

        consumer, reading = await self._call("consume", begin, jetstream=True)

        async def end() -> None:
            reading.close()
            if reading in self._readings:
                self._readings.remove(reading)
                await self._settled("end_consume", partial(consumer.leave, self, reading))

        return end

    async def subscribe(self, subject: str, on_message: OnMessage, on_ended: OnEnded) -> Stop:
        """See `ClusterSession.subscribe`."""
        subscribed = _Subscribed(subject, on_message, on_ended)
        await self._call("subscribe", partial(self._subscribed.append, subscribed))

        async def end() -> None:
            subscribed.is_over = True
            await self._settled("unsubscribe", partial(_remove, self._subscribed, subscribed))

        return end

    async def serve(self, subject: str, group: str, on_asked: Callable[[Asked], None], on_ended: OnEnded) -> Stop:
        """See `ClusterSession.serve`."""
        service = _Service(self, subject, group, on_asked, on_ended)
        await self._call("serve", partial(self.services.append, service))

        async def end() -> None:
            await self._settled("end_serve", partial(_remove, self.services, service))

        return end

    async def ask(self, subject: str, body: bytes, headers: Headers = NO_HEADERS) -> bytes:
        """See `ClusterSession.ask`."""
        self._check_size(body, headers)
        self.broker.calls["ask"] += 1
        if self.is_lost:
            raise NotConnectedError("there is no session")
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)

        def arrive() -> None:
            refusal = self.broker.refusal("ask", self.node)
            if refusal is None and not self.broker.dispatch(_Asked(self, body, headers, future), subject):
                refusal = UnavailableError(f'nobody answers on "{subject}"', maybe_sent=False)
            if refusal is not None:
                self.lines[1].send(partial(_fail, future, refusal))

        self.lines[0].send(arrive)
        try:
            return await future
        finally:
            self._waiting.discard(future)
            if not future.cancel() and not future.cancelled():
                future.exception()

    async def bucket(self, name: str, *, replicas: int) -> None:
        """See `ClusterSession.bucket`."""
        await self._call("bucket", partial(self.broker.bucket, name, replicas), jetstream=True)

    async def get(self, bucket: str, key: str) -> KeyEntry | None:
        """See `ClusterSession.get`."""
        return await self._call("get", partial(self.broker.value, bucket, key), jetstream=True)

    async def create(self, bucket: str, key: str, value: bytes) -> int:
        """See `ClusterSession.create`."""
        return await self._write("create", bucket, key, value, None)

    async def update(self, bucket: str, key: str, value: bytes, revision: int) -> int:
        """See `ClusterSession.update`."""
        return await self._write("update", bucket, key, value, revision)

    async def delete(self, bucket: str, key: str, revision: int) -> None:
        """See `ClusterSession.delete`."""
        await self._write("delete", bucket, key, None, revision)

    async def _write(self, name: str, bucket: str, key: str, value: bytes | None, revision: int | None) -> int:
        self._check_size(value or b"", NO_HEADERS)
        return await self._call(name, partial(self.broker.write, bucket, key, value, revision), jetstream=True)

    async def watch(self, bucket: str, on_entry: Callable[[KeyEntry], None], on_ended: OnEnded) -> Stop:
        """See `ClusterSession.watch`."""
        watch = _Watch(bucket, on_entry, on_ended)

        def begin() -> None:
            for entry in self.broker.values(bucket):
                self.lines[1].send(partial(watch.take, entry))
            self._watches.append(watch)

        await self._call("watch", begin, jetstream=True)

        async def end() -> None:
            watch.is_over = True
            await self._settled("end_watch", partial(_remove, self._watches, watch))

        return end

    # --- the commands that an adapter of the session would take

    def begin(self, command: Export, context: Context, _: Promise) -> Coroutine[Any, Any, Any]:
        """Send an event to the other nodes, as an adapter that carries fabrics; see `ProtocolAdapter.begin`."""
        return self.export(command, context.idempotency_key)

    async def export(self, command: Export, key: str | None) -> dict[str, Any]:
        """Send an event to the other nodes.

        Args:
            command: The event; with the key, `sender` is the id by which a repetition is known.
            key: The idempotency key; None: it has no id.

        Returns:
            The stream and the number in it; nothing where no stream is to store it.

        Raises:
            InvalidError: It is larger than `max_payload`.
            UnavailableError: It is to be stored, and no stream does so.
        """
        unique = None if key is None else message_id(command.sender, key)
        self._check_size(command.body, NO_HEADERS if unique is None else {"Nats-Msg-Id": unique})

        def send() -> dict[str, Any]:
            stored = self.broker.send(command.subject, command.body, NO_HEADERS, unique)
            if not command.stored:
                return {}
            if stored is None:
                raise UnavailableError(f'no stream stores "{command.subject}"', maybe_sent=False)
            return {"stream": stored[0], "sequence": stored[1]}

        return await self._call("export", send, jetstream=command.stored)


def _remove(everything: list[_T], one: _T) -> None:
    if one in everything:
        everything.remove(one)
