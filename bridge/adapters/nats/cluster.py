"""What a fabric of bridges does on a session of NATS; see `core.cluster.ClusterSession`."""

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

from bridge.adapters.nats.api import (
    CONSUMER_EXISTS,
    CONSUMER_NOT_FOUND,
    STREAM_NOT_FOUND,
    Answer,
    ConsumerInfo,
    StreamInfo,
    call,
    insist,
    nanoseconds,
    read_stored,
)
from bridge.adapters.nats.connection import NatsConnection
from bridge.adapters.nats.key_value import KeyValue, ServerTime, find_or_make
from bridge.adapters.nats.protocol import NatsMessage
from bridge.adapters.nats.reading import Reading, check_fit
from bridge.adapters.nats.subjects import MESSAGE_ID, check_headers, check_subject, header_block, received
from bridge.core.cluster import (
    NO_HEADERS,
    Asked,
    ConsumerState,
    Handle,
    Headers,
    KeyEntry,
    OnEnded,
    OnMessage,
    Stop,
    StreamSpec,
    StreamState,
    message_id,
)
from bridge.core.errors import BridgeError, RejectedError, UnavailableError
from bridge.core.model import Export
from bridge.core.ports import AdapterSetup, Promise

#: Seconds after which a message comes again that nobody acknowledges or calls in progress: what a node that was killed
#: had in hand waits as long.
ACK_WAIT: Final = 10.0
#: Messages that a consumer may have delivered and not acknowledged; what dead sessions had counts for `ACK_WAIT`.
_MOST_UNACKNOWLEDGED: Final = 20_000
#: Seconds that the end of a subscription waits for the server.
_STOP: Final = 1.0
_NANO: Final = 10**9


class NatsCluster:
    """The part of a session that carries a fabric."""

    def __init__(self, connection: NatsConnection, setup: AdapterSetup) -> None:
        """Nothing is asked of the server yet."""
        self._connection = connection
        self._setup = setup
        self._clock = setup.clock
        self._time = ServerTime(setup.clock)
        self._buckets = KeyValue(connection, setup, self._time)
        self._readings: set[Reading] = set()
        connection.on_forbidden_post(self._forbidden)

    def _forbidden(self, subject: str, error: BridgeError) -> bool:
        """End what the server does not let pull or acknowledge any more; return whether it was anything of ours."""
        found = False
        for reading in tuple(self._readings):
            found = reading.forbids(subject, error) or found
        return found

    @property
    def max_payload(self) -> int:
        """See `ClusterSession.max_payload`."""
        return self._connection.max_payload

    # --- streams

    async def stream(self, wanted: StreamSpec) -> StreamSpec:
        """See `ClusterSession.stream`."""
        config: dict[str, Any] = {
            "retention": "limits",
            "discard": "old",
            "storage": "file",
            "max_consumers": -1,
            "max_msgs": -1,
            "max_msg_size": -1,
        }
        info = await insist(self._clock, lambda: find_or_make(self._connection, config | _config(wanted)))
        self._time.learn(info.ts)
        return _spec(wanted.name, info.config)

    async def change_stream(self, wanted: StreamSpec) -> None:
        """See `ClusterSession.change_stream`."""
        await insist(self._clock, lambda: self._change_stream(wanted))

    async def _change_stream(self, wanted: StreamSpec) -> None:
        info = await call(self._connection, f"STREAM.INFO.{wanted.name}", None, StreamInfo)
        await call(self._connection, f"STREAM.UPDATE.{wanted.name}", info.config | _config(wanted), StreamInfo)

    async def stream_state(self, name: str) -> StreamState:
        """See `ClusterSession.stream_state`."""
        info = await insist(self._clock, lambda: call(self._connection, f"STREAM.INFO.{name}", None, StreamInfo))
        state = info.state
        first = state.first_seq if state.messages else state.last_seq + 1
        return StreamState(first=first, last=state.last_seq, messages=state.messages, bytes=state.bytes)

    # --- consumers

    async def consumer(self, stream: str, name: str, subject: str) -> ConsumerState:
        """See `ClusterSession.consumer`."""
        made: list[str] = []  # also where the answer to that does not come
        return await insist(self._clock, lambda: self._consumer(stream, name, subject, made))

    async def _consumer(self, stream: str, name: str, subject: str, made: list[str]) -> ConsumerState:
        config: dict[str, Any] = {
            "durable_name": name,
            "name": name,
            "ack_policy": "explicit",
            "ack_wait": nanoseconds(ACK_WAIT),
            "max_deliver": -1,
            "max_ack_pending": _MOST_UNACKNOWLEDGED,
            "replay_policy": "instant",
            "filter_subject": subject,
        }
        info = await self._consumer_info(stream, name)
        if info is None:
            # A number, and not the policy `new`: nats-server 2.9 does not say where a consumer of that one began.
            begin = (await self.stream_state(stream)).last + 1
            config |= {"deliver_policy": "by_start_sequence", "opt_start_seq": begin}
            try:
                made.append(name)
                info = await self._make(stream, name, config)
            except RejectedError as error:
                made.clear()
                if error.code not in CONSUMER_EXISTS:
                    raise
                info = await call(self._connection, f"CONSUMER.INFO.{stream}.{name}", None, ConsumerInfo)
        check_fit(info, stream, name)
        if info.config.get("filter_subject") != subject:
            info = await self._make(stream, name, info.config | {"filter_subject": subject})
        return ConsumerState(acknowledged=_acknowledged(info), pending=info.num_pending, made=bool(made))

    async def _consumer_info(self, stream: str, name: str) -> ConsumerInfo | None:
        try:
            return await call(self._connection, f"CONSUMER.INFO.{stream}.{name}", None, ConsumerInfo)
        except RejectedError as error:
            if error.code == CONSUMER_NOT_FOUND:
                return None
            raise

    async def _make(self, stream: str, name: str, config: dict[str, Any]) -> ConsumerInfo:
        """Make a consumer, or give the one that is there this configuration."""
        method = f"CONSUMER.CREATE.{stream}.{name}.{config['filter_subject']}"
        return await call(self._connection, method, {"stream_name": stream, "config": config}, ConsumerInfo)

    async def delete_consumer(self, stream: str, name: str) -> None:
        """See `ClusterSession.delete_consumer`."""
        try:
            await call(self._connection, f"CONSUMER.DELETE.{stream}.{name}", None, Answer)
        except RejectedError as error:
            if error.code not in {CONSUMER_NOT_FOUND, STREAM_NOT_FOUND}:
                raise

    async def consume(self, stream: str, name: str, handle: Handle, on_ended: OnEnded, *, prefetch: int) -> Stop:
        """See `ClusterSession.consume`."""

        def ended(error: BridgeError) -> None:
            self._readings.discard(reading)
            on_ended(error)

        reading = Reading(self._connection, self._setup, stream, name, handle=handle, on_ended=ended, prefetch=prefetch)
        self._readings.add(reading)
        try:
            await reading.start()
        except BaseException:
            self._readings.discard(reading)
            raise

        async def stop() -> None:
            self._readings.discard(reading)
            reading.close()
            await self._settled(self._connection.flushed())

        return stop

    # --- subjects

    async def subscribe(self, subject: str, on_message: OnMessage, on_ended: OnEnded) -> Stop:
        """See `ClusterSession.subscribe`."""
        check_subject(subject, "subject", wildcards=True)

        def arrived(message: NatsMessage) -> None:
            on_message(received(message))

        subscription = await self._connection.subscribe(subject, arrived, on_ended=on_ended)

        async def stop() -> None:
            self._connection.unsubscribe(subscription)
            await self._settled(self._connection.flushed())

        return stop

    async def serve(self, subject: str, group: str, on_asked: Callable[[Asked], None], on_ended: OnEnded) -> Stop:
        """See `ClusterSession.serve`."""
        check_subject(subject, "subject", wildcards=True)

        def arrived(message: NatsMessage) -> None:
            on_asked(_Asked(self._connection, message))

        subscription = await self._connection.subscribe(subject, arrived, group, on_ended)

        async def stop() -> None:
            await self._settled(self._connection.end(subscription))

        return stop

    async def _settled(self, waiting: Awaitable[None]) -> None:
        """Wait until the server has taken the end of a subscription, if it does so at all."""
        with contextlib.suppress(TimeoutError, BridgeError):
            async with self._clock.timeout(_STOP):
                await waiting

    async def ask(self, subject: str, body: bytes, headers: Headers = NO_HEADERS) -> bytes:
        """See `ClusterSession.ask`."""
        check_headers(headers)
        answer = await self._connection.ask(check_subject(subject, "subject"), body, _block(headers))
        if answer.says_no_responders:
            raise UnavailableError(f'nobody answers on "{subject}"', maybe_sent=False)
        return answer.data

    # --- events

    def live(self, command: Export, key: str | None, promise: Promise) -> None:
        """Send an event that no stream is to store; the promise has `{}` when the server has it.

        Raises:
            InvalidError: It is larger than the server takes, or the subject is none.
            NotConnectedError: There is no session (any more).
        """
        check_subject(command.subject, "subject")
        self._connection.send(command.subject, command.body, _block(_id(command, key)), promise)

    async def store(self, command: Export, key: str | None) -> dict[str, Any]:
        """Store an event; one that is stored already is not stored again. Return its stream and its number there.

        Raises:
            InvalidError: It is larger than the server takes, or the subject is none.
            UnavailableError: No stream stores it.
            RejectedError: The server forbids or refuses it.
            BridgeError: See `NatsConnection.ask`.
        """
        self._connection.check_takes_headers()
        check_subject(command.subject, "subject")
        answer = await self._connection.ask(command.subject, command.body, _block(_id(command, key)))
        stored = read_stored(answer, command.subject)
        return {"stream": stored.stream, "sequence": stored.seq}

    # --- buckets of keys

    async def bucket(self, name: str, *, replicas: int) -> None:
        """See `ClusterSession.bucket`."""
        await insist(self._clock, lambda: self._buckets.bucket(name, replicas))

    async def get(self, bucket: str, key: str) -> KeyEntry | None:
        """See `ClusterSession.get`."""
        return await insist(self._clock, lambda: self._buckets.get(bucket, key))

    async def create(self, bucket: str, key: str, value: bytes) -> int:
        """See `ClusterSession.create`."""
        return await self._buckets.create(bucket, key, value)

    async def update(self, bucket: str, key: str, value: bytes, revision: int) -> int:
        """See `ClusterSession.update`."""
        return await self._buckets.update(bucket, key, value, revision)

    async def delete(self, bucket: str, key: str, revision: int) -> None:
        """See `ClusterSession.delete`."""
        await self._buckets.delete(bucket, key, revision)

    async def watch(self, bucket: str, on_entry: Callable[[KeyEntry], None], on_ended: OnEnded) -> Stop:
        """See `ClusterSession.watch`."""
        watch = await self._buckets.watch(bucket, on_entry, on_ended)

        async def stop() -> None:
            watch.close()
            await self._settled(watch.delete())

        return stop


class _Asked:
    """A request that has come; see `core.cluster.Asked`."""

    def __init__(self, connection: NatsConnection, message: NatsMessage) -> None:
        self.body = message.data
        self.headers: Headers = message.headers or {}
        self._connection = connection
        self._reply = message.reply

    def answer(self, body: bytes) -> None:
        """See `core.cluster.Asked.answer`."""
        reply, self._reply = self._reply, ""
        # Whoever asks chooses the subject. What begins with `$` governs the server, and we may have the right to that.
        if reply and not reply.startswith("$"):
            with contextlib.suppress(BridgeError):  # the connection is gone, or the body is too large
                self._connection.post(reply, body)


def _block(headers: Headers) -> bytes:
    return header_block(headers) if headers else b""


def _id(command: Export, key: str | None) -> Headers:
    return NO_HEADERS if key is None else {MESSAGE_ID: message_id(command.sender, key)}


def _acknowledged(info: ConsumerInfo) -> int:
    """Return the number up to which all was acknowledged, or was not for this consumer."""
    begin = info.config.get("opt_start_seq")
    before = begin - 1 if isinstance(begin, int) else 0
    delivered = 0 if info.num_ack_pending else info.delivered.stream_seq
    return max(before, delivered, info.ack_floor.stream_seq)


def _config(wanted: StreamSpec) -> dict[str, Any]:
    """Return what `wanted` says, as JetStream's configuration of a stream."""
    return {
        "name": wanted.name,
        "subjects": list(wanted.subjects),
        "max_age": nanoseconds(wanted.max_age),
        "max_bytes": -1 if wanted.max_bytes is None else wanted.max_bytes,
        "num_replicas": wanted.replicas,
        "duplicate_window": nanoseconds(min(wanted.duplicate_window, wanted.max_age)),
    }


def _spec(name: str, config: dict[str, Any]) -> StreamSpec:
    """Return the configuration of a stream as it is. What is left out or is of no known type counts as 0."""

    def number(key: str) -> int:
        found = config.get(key)
        return found if isinstance(found, int) else 0

    subjects = config.get("subjects")
    return StreamSpec(
        name=name,
        subjects=tuple(one for one in subjects if isinstance(one, str)) if isinstance(subjects, list) else (),
        max_age=number("max_age") / _NANO,
        max_bytes=number("max_bytes") if number("max_bytes") > 0 else None,
        replicas=number("num_replicas"),
        duplicate_window=number("duplicate_window") / _NANO,
    )
