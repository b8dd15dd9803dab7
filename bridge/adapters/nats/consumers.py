"""JetStream's streams and durable pull consumers: made, checked, and found by a queue's name."""

import asyncio
import re
from dataclasses import dataclass, field
from typing import Final

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as NatsSubscription
from nats.errors import Error
from nats.js.api import AckPolicy, ConsumerInfo
from nats.js.errors import NotFoundError

from bridge.adapters.nats.config import NAME_PATTERN, NatsConfig
from bridge.adapters.nats.connection import Link
from bridge.adapters.nats.errors import translate
from bridge.adapters.nats.subjects import check_subject
from bridge.core.errors import BridgeError, InvalidError, NotConnectedError, RejectedError

#: Seconds; JetStream's own default.
_ACK_WAIT: Final = 30.0


@dataclass(eq=False)
class Consumer:
    """One durable pull consumer, and who waits for a message of it."""

    stream: str
    name: str
    ack_wait: float
    inbox: str = ""
    subscription: NatsSubscription | None = None
    waiting: dict[str, asyncio.Future[Msg]] = field(default_factory=dict)
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def next_subject(self) -> str:
        """The subject on which the server is asked for the next messages."""
        return f"$JS.API.CONSUMER.MSG.NEXT.{self.stream}.{self.name}"


class Consumers:
    """Those of one session."""

    def __init__(self, link: Link, config: NatsConfig) -> None:
        """Nothing is asked of the server before `prepare`."""
        self._link = link
        self._config = config
        self._consumers: dict[tuple[str, str], Consumer] = {}
        self._named: dict[tuple[str, str | None], Consumer] = {}

    async def prepare(self) -> None:
        """Make or check what the configuration names.

        Raises:
            NotConnectedError: It is there and different, or cannot be made; `needs_person`.
        """
        stream = self._config.stream
        if stream is None:
            return
        try:
            await self._prepare_stream(stream.name, stream.subjects)
            if self._config.durable is not None:
                await self._prepare_consumer(stream.name, self._config.durable)
        except Error as error:
            ours = translate(error)
            message = f"JetStream: stream {stream.name}: {ours.message}"
            raise NotConnectedError(message, needs_person=isinstance(ours, RejectedError)) from None
        except BridgeError as error:
            raise NotConnectedError(f"JetStream: {error.message}", needs_person=error.needs_person) from None

    async def _prepare_stream(self, name: str, subjects: tuple[str, ...]) -> None:
        jetstream = self._link.jetstream
        try:
            info = await jetstream.stream_info(name)
        except NotFoundError:
            await jetstream.add_stream(name=name, subjects=list(subjects))
            return
        there = info.config.subjects or []
        if set(there) != set(subjects):
            message = f"stream {name} stores {', '.join(there)}; the configuration says {', '.join(subjects)}"
            raise NotConnectedError(message, needs_person=True)

    async def _prepare_consumer(self, stream: str, name: str) -> None:
        jetstream = self._link.jetstream
        try:
            info = await jetstream.consumer_info(stream, name)
        except NotFoundError:
            info = await jetstream.add_consumer(stream, durable_name=name, ack_policy=AckPolicy.EXPLICIT)
        unfit = _unfit(info)
        if unfit is not None:
            raise NotConnectedError(f"consumer {stream}/{name}: {unfit}", needs_person=True)

    async def find(self, queue: str, group: str | None = None) -> Consumer:
        """The consumer that a queue's name means: `stream/consumer`, or a stream or its only subject read by `durable`.

        Raises:
            InvalidError: The name means none.
            RejectedError: There is no such stream or consumer.
        """
        known = self._named.get((queue, group))
        if known is not None:
            return known
        stream, slash, name = queue.partition("/")
        name = name if slash else group or self._config.durable or ""
        if not name:
            raise InvalidError(f'queue: "{queue}" names no consumer; write "stream/consumer", or set `durable`')
        try:
            if not slash:
                stream = await self._stream_of(queue)
            for part in (stream, name):
                if not re.fullmatch(NAME_PATTERN, part):
                    raise InvalidError(f'queue: "{part}" cannot be the name of a stream or consumer')
            info = await self._info(stream, name)
        except Error as error:
            raise translate(error) from None
        unfit = _unfit(info)
        if unfit is not None:
            raise InvalidError(f"queue: consumer {stream}/{name}: {unfit}")
        ack_wait = float(info.config.ack_wait or _ACK_WAIT)
        consumer = self._consumers.setdefault((stream, name), Consumer(stream, name, ack_wait))
        self._named[queue, group] = consumer
        return consumer

    async def _info(self, stream: str, name: str) -> ConsumerInfo:
        try:
            info: ConsumerInfo = await self._link.jetstream.consumer_info(stream, name)
        except Error as error:
            ours = translate(error)
            if isinstance(ours, RejectedError):
                raise RejectedError(f"queue {stream}/{name}: {ours.message}", code=ours.code) from None
            raise ours from None
        return info

    async def see(self, consumer: Consumer) -> None:
        """Ask whether a consumer is still there; a server of 2.9 is silent about pulls from one that is not.

        Raises:
            RejectedError: It is gone.
        """
        try:
            await self._info(consumer.stream, consumer.name)
        except BridgeError:
            self._named.clear()
            raise

    async def _stream_of(self, queue: str) -> str:
        """The stream of that name, or the one that stores this subject and no other."""
        jetstream = self._link.jetstream
        if self._config.stream is not None and queue == self._config.stream.name:
            return queue
        check_subject(queue, "queue", wildcards=True)
        try:
            name = await jetstream.find_stream_name_by_subject(queue)
        except NotFoundError:
            if re.fullmatch(NAME_PATTERN, queue):
                return queue
            raise InvalidError(f'queue: no stream stores "{queue}"') from None
        subjects = (await jetstream.stream_info(name)).config.subjects
        if subjects != [queue]:
            shown = ", ".join(subjects or [])
            raise InvalidError(f'queue: "{queue}" is a part of stream {name} ({shown}); write "{name}/consumer"')
        return name


def _unfit(info: ConsumerInfo) -> str | None:
    """Why a consumer cannot be pulled from and acknowledged to, message by message."""
    if info.config.deliver_subject:
        return "it pushes; a pull consumer is needed"
    if info.config.ack_policy != AckPolicy.EXPLICIT:
        return "its acknowledgement policy is not explicit"
    return None
