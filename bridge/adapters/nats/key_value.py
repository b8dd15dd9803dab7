"""Buckets of keys on JetStream (ADR-8): a stream that keeps the last message of each subject.

Reads and writes go to the leader of the stream. A watch is a push consumer of the server's memory; where that is gone,
or a message of it is missing, another one goes on where it was.
"""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from nats.nuid import NUID

from bridge.adapters.nats.api import (
    ACK_SUBJECT,
    MESSAGE_NOT_FOUND,
    STREAM_EXISTS,
    STREAM_NOT_FOUND,
    WRONG_LAST_SEQUENCE,
    Answer,
    ConsumerInfo,
    MessageAnswer,
    Metadata,
    StreamInfo,
    call,
    metadata_from,
    nanoseconds,
    persist,
    read_stored,
)
from bridge.adapters.nats.connection import NatsConnection
from bridge.adapters.nats.delivery import NatsSubscription
from bridge.adapters.nats.protocol import NatsMessage, read_headers
from bridge.adapters.nats.subjects import header_block
from bridge.core.cluster import ConflictError, KeyEntry, OnEnded
from bridge.core.errors import BridgeError, ProtocolError, RejectedError
from bridge.core.ports import AdapterSetup, Clock

_EXPECTED: Final = "Nats-Expected-Last-Subject-Sequence"
_OPERATION: Final = "KV-Operation"
#: What the server itself writes where a value has become too old.
_MARKER: Final = "Nats-Marker-Reason"
#: Seconds between two signs of life of a watch without changes, and how many may be missing.
_HEARTBEAT: Final = 2.0
_MISSED: Final = 2.5
#: Seconds after which the server forgets a watch that nobody listens to.
_INACTIVE: Final = 30.0
#: Changes that wait for the answer to the making of their consumer at most.
_MOST_EARLY: Final = 4096
_NANO: Final = 10**9
_ALIVE: Final = "100"
_LAST_NUMBER: Final = "Nats-Last-Consumer"


class ServerTime:
    """The server's clock, as far as its answers have told it: the clocks of two machines differ."""

    def __init__(self, clock: Clock) -> None:
        """Know nothing yet."""
        self._clock = clock
        self._known: tuple[float, float] | None = None

    def learn(self, said: datetime | None) -> None:
        """Note what the server has said just now."""
        if said is not None:
            self._known = said.timestamp(), self._clock.elapsed()

    def age(self, since: float) -> float:
        """Return the seconds since a time that the server has said; 0 where its clock is not known."""
        if self._known is None:
            return 0.0
        said, at = self._known
        return max(0.0, said + self._clock.elapsed() - at - since)


class KeyValue:
    """The buckets of one session."""

    def __init__(self, connection: NatsConnection, setup: AdapterSetup, time: ServerTime) -> None:
        """Nothing is asked of the server yet."""
        self._connection = connection
        self._setup = setup
        self._time = time

    async def bucket(self, name: str, replicas: int) -> None:
        """Make a bucket, if there is none of that name; see `ClusterSession.bucket`."""
        stream, subjects = f"KV_{name}", [f"$KV.{name}.>"]
        config: dict[str, Any] = {
            "name": stream,
            "subjects": subjects,
            "retention": "limits",
            "discard": "new",
            "storage": "file",
            "max_consumers": -1,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_msg_size": -1,
            "max_msgs_per_subject": 1,
            "num_replicas": replicas,
            "allow_rollup_hdrs": True,
            "deny_delete": True,
        }
        info = await find_or_make(self._connection, config)
        self._time.learn(info.ts)
        if info.config.get("subjects") != subjects:
            raise RejectedError(f"stream {stream} is no bucket: it does not store {subjects[0]}", maybe_sent=False)

    async def get(self, bucket: str, key: str) -> KeyEntry | None:
        """Return the last change of a key; see `ClusterSession.get`."""
        question = {"last_by_subj": f"$KV.{bucket}.{key}"}
        try:
            answer = await call(self._connection, f"STREAM.MSG.GET.KV_{bucket}", question, MessageAnswer)
        except RejectedError as error:
            if error.code == MESSAGE_NOT_FOUND:
                return None
            raise
        found = answer.message
        if found is None:
            raise ProtocolError("an answer of JetStream has no message")
        headers = read_headers(found.hdrs)[0] if found.hdrs else {}
        age = 0.0 if found.stored is None else self._time.age(found.stored.timestamp())
        return KeyEntry(key, None if _deletes(headers) else found.data, found.seq, age)

    async def create(self, bucket: str, key: str, value: bytes) -> int:
        """Write a key that has no value; see `ClusterSession.create`."""
        try:
            return await self._write(bucket, key, value, 0)
        except ConflictError:
            last = await self.get(bucket, key)
            if last is None or last.value is not None:
                raise
        return await self._write(bucket, key, value, last.revision)

    async def update(self, bucket: str, key: str, value: bytes, revision: int) -> int:
        """Write a key of a known revision; see `ClusterSession.update`."""
        return await self._write(bucket, key, value, revision)

    async def delete(self, bucket: str, key: str, revision: int) -> None:
        """Delete a key of a known revision; see `ClusterSession.delete`."""
        await self._write(bucket, key, b"", revision, {_OPERATION: "DEL"})

    async def _write(
        self, bucket: str, key: str, value: bytes, revision: int, headers: dict[str, str] | None = None
    ) -> int:
        self._connection.check_takes_headers()
        subject = f"$KV.{bucket}.{key}"
        block = header_block({_EXPECTED: str(revision)} | (headers or {}))
        answer = await self._connection.ask(subject, value, block)
        try:
            return read_stored(answer, subject).seq
        except RejectedError as error:
            if error.code in WRONG_LAST_SEQUENCE:
                raise ConflictError(f"{key}: {error.message}") from None
            raise

    async def watch(self, bucket: str, on_entry: Callable[[KeyEntry], None], on_ended: OnEnded) -> "Watch":
        """Begin to watch a bucket; return when the values that were there are handed over."""
        watch = Watch(self._connection, self._setup, self._time, bucket, on_entry=on_entry, on_ended=on_ended)
        await watch.start()
        return watch


class Watch:
    """One watched bucket."""

    def __init__(
        self,
        connection: NatsConnection,
        setup: AdapterSetup,
        time: ServerTime,
        bucket: str,
        *,
        on_entry: Callable[[KeyEntry], None],
        on_ended: OnEnded,
    ) -> None:
        """Ask for nothing yet."""
        self._connection = connection
        self._setup = setup
        self._clock = setup.clock
        self._time = time
        self._stream = f"KV_{bucket}"
        self._prefix = f"$KV.{bucket}."
        self._on_entry = on_entry
        self._on_ended = on_ended
        self._nuid = NUID()
        self._name = ""
        self._subscription: NatsSubscription | None = None
        self._revision = 0  # the last one that was handed over
        self._number = 0  # of the last delivery of this consumer
        self._early: list[NatsMessage] | None = None  # what comes before the consumer is known to be made
        self._heard = 0.0
        self._ready: asyncio.Future[Any] | None = None  # done when all values were handed over that were there
        self._broken = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._is_over = False

    async def start(self) -> None:
        """Begin; return when the values that are there now are handed over.

        Raises:
            BridgeError: There is no such bucket, the server forbids it, or JetStream does not answer.
        """
        with self._connection.expected(None) as self._ready:
            try:
                await self._open()
                self._keeper = self._connection.start(self._keep())
                await self._ready
            except BaseException:
                self.close()
                raise

    async def _open(self) -> None:
        """Make a consumer of the last value of each key, and listen to it."""
        self._drop()
        self._name, self._number = self._nuid.next().decode(), 0
        self._broken.clear()
        self._early = []
        inbox = self._connection.new_inbox()
        self._subscription = await self._connection.subscribe(inbox, self._arrived, on_ended=self._end)
        config = {
            "name": self._name,
            "deliver_subject": inbox,
            "deliver_policy": "last_per_subject",
            "ack_policy": "none",
            "max_deliver": 1,
            "filter_subject": f"{self._prefix}>",
            "replay_policy": "instant",
            "idle_heartbeat": nanoseconds(_HEARTBEAT),
            "inactive_threshold": nanoseconds(_INACTIVE),
            "num_replicas": 1,
            "mem_storage": True,
        }
        question = {"stream_name": self._stream, "config": config}
        method = f"CONSUMER.CREATE.{self._stream}.{self._name}.{self._prefix}>"
        made = await call(self._connection, method, question, ConsumerInfo)
        self._time.learn(made.ts or made.created)
        self._heard = self._clock.monotonic()
        self._take_early()
        if made.num_pending == made.delivered.consumer_seq == self._number == 0:
            self._is_ready()

    def _take_early(self) -> None:
        early, self._early = self._early, None
        for message in early or ():
            self._take(message)

    def _is_ready(self) -> None:
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)

    def _arrived(self, message: NatsMessage) -> None:
        self._heard = self._clock.monotonic()
        if not message.reply.startswith(ACK_SUBJECT):
            if message.code == _ALIVE:
                said = (message.headers or {}).get(_LAST_NUMBER, "")
                if (
                    self._early is None
                    and said.isascii()
                    and said.isdigit()
                    and len(said) < 20
                    and int(said) != self._number
                ):
                    self._broken.set()
            elif message.code:
                self._broken.set()
        elif self._early is None:
            self._take(message)
        else:  # it can be told how old it is when the server has said the time, with its answer
            self._early.append(message)
            if len(self._early) >= _MOST_EARLY:
                self._take_early()

    def _take(self, message: NatsMessage) -> None:
        try:
            metadata = metadata_from(message, self._stream, self._name)
        except ProtocolError as error:
            self._setup.on_dropped(error, message.subject)
            return
        if metadata.number != self._number + 1:
            self._broken.set()
            return
        self._number = metadata.number
        if metadata.sequence > self._revision:
            self._revision = metadata.sequence
            self._hand_over(message, metadata)
        if metadata.pending == 0:
            self._is_ready()

    def _hand_over(self, message: NatsMessage, metadata: Metadata) -> None:
        """Tell of a change. Keys that had been deleted before this began are left out."""
        deleted = _deletes(message.headers or {})
        if deleted and self._ready is not None and not self._ready.done():
            return
        age = self._time.age(int(metadata.timestamp) / _NANO) if metadata.timestamp.isdigit() else 0.0
        key = message.subject.removeprefix(self._prefix)
        self._on_entry(KeyEntry(key, None if deleted else message.data, metadata.sequence, age))

    async def _keep(self) -> None:
        """Make another consumer where this one is silent or has lost something; end where that cannot be."""
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with self._clock.timeout(_HEARTBEAT):
                        await self._broken.wait()
                silent = self._clock.monotonic() - self._heard > _MISSED * _HEARTBEAT
                if self._broken.is_set() or silent:
                    await persist(self._clock, self._open_again, f"stream {self._stream}")
        except BridgeError as error:
            self._end(error)

    async def _open_again(self) -> None:
        """Go on with another consumer.

        Raises:
            RejectedError: The bucket is gone, or was made again, so that its revisions mean something else.
        """
        info = await call(self._connection, f"STREAM.INFO.{self._stream}", None, StreamInfo)
        if info.state.last_seq < self._revision:
            raise RejectedError(f"stream {self._stream} was made again", maybe_sent=False)
        await self._open()

    def _end(self, error: BridgeError) -> None:
        """End it while the connection goes on, and tell."""
        if self._is_over or not self._connection.is_live:
            return
        self.close()
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(error)
        else:
            self._on_ended(error)

    def _drop(self) -> None:
        """Listen to the consumer no longer; the server deletes it by itself."""
        if self._subscription is not None:
            self._connection.unsubscribe(self._subscription)
            self._subscription = None

    def close(self) -> None:
        """Hand over nothing more."""
        self._is_over = True
        self._drop()
        if self._keeper is not None and self._keeper is not asyncio.current_task():
            self._keeper.cancel()

    async def delete(self) -> None:
        """Delete the consumer at the server, which else does so half a minute later."""
        with contextlib.suppress(BridgeError):
            await call(self._connection, f"CONSUMER.DELETE.{self._stream}.{self._name}", None, Answer)


def _deletes(headers: dict[str, str]) -> bool:
    return headers.get(_OPERATION) in {"DEL", "PURGE"} or _MARKER in headers


async def find_or_make(connection: NatsConnection, config: dict[str, Any]) -> StreamInfo:
    """Return a stream as it is, made with this configuration if there is none of its name. Raises what `call` does."""
    name = config["name"]
    for _ in range(2):  # another node may make it in between
        with contextlib.suppress(_Absent):
            return await _stream_info(connection, name)
        try:
            return await call(connection, f"STREAM.CREATE.{name}", config, StreamInfo)
        except RejectedError as error:
            if error.code != STREAM_EXISTS:
                raise
    return await call(connection, f"STREAM.INFO.{name}", None, StreamInfo)


class _Absent(Exception):  # noqa: N818 - it is no error
    """There is no stream of that name."""


async def _stream_info(connection: NatsConnection, name: str) -> StreamInfo:
    try:
        return await call(connection, f"STREAM.INFO.{name}", None, StreamInfo)
    except RejectedError as error:
        if error.code == STREAM_NOT_FOUND:
            raise _Absent from None
        raise
