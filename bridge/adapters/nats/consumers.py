"""JetStream's streams and durable pull consumers: made, checked, and found by a queue's name."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from nats.errors import Error, NoRespondersError
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig
from nats.js.errors import NotFoundError
from nats.js.manager import JetStreamManager

from bridge.adapters.nats.config import NAME_PATTERN, NatsConfig
from bridge.adapters.nats.connection import NatsConnection
from bridge.adapters.nats.delivery import NatsSubscription
from bridge.adapters.nats.errors import translate
from bridge.adapters.nats.protocol import NatsMessage
from bridge.adapters.nats.subjects import split_queue
from bridge.core.errors import BridgeError, InvalidError, ProtocolError, RejectedError
from bridge.core.ports import AdapterSetup

if TYPE_CHECKING:
    from nats.aio.client import Client, ServerVersion

#: Seconds; JetStream's own default.
_ACK_WAIT: Final = 30.0
#: A consumer's `ack_wait` is taken for at least and at most this, in seconds, whatever the server says: it decides how
#: often the server hears what is in progress.
_SHORTEST_ACK_WAIT: Final = 0.2
_LONGEST_ACK_WAIT: Final = 3600.0
_CREATED: Final = "created"

_T = TypeVar("_T")


class _Requests:
    """The part of nats-py's client that its `JetStreamManager` uses, on our connection.

    This is all that the adapter uses of nats-py beyond its documented interface: that the management calls below ask
    nothing else of their client. `tests/unit/adapters/test_nats_libraries.py` fails in a version where they do.
    """

    def __init__(self, connection: NatsConnection) -> None:
        self._connection = connection

    @property
    def connected_server_version(self) -> "ServerVersion":
        """The server's version; 0.0.0 where what it says is none."""
        from nats.aio.client import ServerVersion  # noqa: PLC0415 - half a megabyte, which JetStream alone needs

        version = ServerVersion(self._connection.server_version)
        try:
            version.parse_version()
        except ValueError:
            return ServerVersion("0.0.0")
        return version

    async def request(self, subject: str, payload: bytes = b"", timeout: float = 0.5) -> NatsMessage:  # noqa: ARG002
        """Ask the server. It fails at once when the connection is lost; time limits are the guard's."""
        answer = await self._connection.ask(subject, payload)
        if answer.says_no_responders:
            raise NoRespondersError
        return answer


async def _answer(call: Awaitable[_T]) -> _T:
    """The result of one of nats-py's management calls.

    Raises:
        nats.errors.Error: JetStream refuses.
        BridgeError: The connection is lost, or the answer cannot be read, for which nats-py has no error.
    """
    try:
        return await call
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
        raise _unreadable() from None


def _unreadable() -> ProtocolError:
    return ProtocolError("an answer of JetStream cannot be read")


@dataclass(eq=False)
class Consumer:
    """One durable pull consumer, and the calls that wait for a message of it."""

    stream: str
    name: str
    ack_wait: float = _ACK_WAIT
    inbox: str = ""
    subscription: NatsSubscription | None = None
    waiting: dict[str, asyncio.Future[NatsMessage]] = field(default_factory=dict)
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def next_subject(self) -> str:
        """The subject on which the server is asked for the next messages."""
        return f"$JS.API.CONSUMER.MSG.NEXT.{self.stream}.{self.name}"


class Consumers:
    """Find, make and check the consumers of one session."""

    def __init__(
        self,
        connection: NatsConnection,
        config: NatsConfig,
        setup: AdapterSetup,
        on_made_again: Callable[[str], None],
    ) -> None:
        """Nothing is asked of the server before `prepare`.

        Args:
            connection: Where to ask.
            config: Of the integration.
            setup: Its session state remembers when streams and consumers were made, over sessions.
            on_made_again: Called with the name of a stream that was made again, or one of whose consumers was: sequence
                numbers of before mean nothing any more.
        """
        self._jetstream = JetStreamManager(cast("Client", _Requests(connection)))
        self._config = config
        self._on_warning = setup.on_warning
        self._created: dict[str, str] = setup.session_state.setdefault(_CREATED, {})
        self._on_made_again = on_made_again
        self._consumers: dict[tuple[str, str], Consumer] = {}
        self._named: dict[tuple[str, str | None], Consumer] = {}

    async def prepare(self) -> bool:
        """Make or check what the configuration names; return whether anything was made.

        Raises:
            RejectedError: It is there and different, or JetStream refuses.
            UnavailableError: JetStream does not answer.
            BridgeError: See `NatsConnection.ask`.
        """
        stream = self._config.stream
        if stream is None:
            return False
        try:
            made = await self._prepare_stream(stream.name, stream.subjects)
            if self._config.durable is not None:
                made = await self._prepare_consumer(stream.name, self._config.durable) or made
        except Error as error:
            ours = translate(error)
            raise type(ours)(f"stream {stream.name}: {ours.message}", code=ours.code, maybe_sent=False) from None
        return made

    async def _prepare_stream(self, name: str, subjects: tuple[str, ...]) -> bool:
        try:
            there = await self._subjects(name)
        except NotFoundError:
            made = await _answer(self._jetstream.add_stream(name=name, subjects=list(subjects)))
            self._note_created(name, f"stream {name}", made)
            return True
        if set(there) != set(subjects):
            message = f"stream {name} stores {', '.join(there)}; the configuration says {', '.join(subjects)}"
            raise RejectedError(message)
        return False

    async def _prepare_consumer(self, stream: str, name: str) -> bool:
        made = False
        try:
            config = await self._consumer_config(stream, name)
        except NotFoundError:
            await _answer(self._jetstream.add_consumer(stream, durable_name=name, ack_policy=AckPolicy.EXPLICIT))
            config, made = await self._consumer_config(stream, name), True
        unfit = _unfit(config)
        if unfit is not None:
            raise RejectedError(f"consumer {stream}/{name}: {unfit}")
        return made

    async def _consumer_config(self, stream: str, name: str) -> ConsumerConfig:
        """Ask how a consumer is configured. Raises what `_answer` does."""
        info = await _answer(self._jetstream.consumer_info(stream, name))
        config: Any = info.config
        if not isinstance(config, ConsumerConfig):
            raise _unreadable()
        self._note_created(stream, f"consumer {stream}/{name}", info)
        return config

    def _note_created(self, stream: str, what: str, info: object) -> None:
        """Remember when a stream or consumer was made; warn where it was made again since it was last seen."""
        created = getattr(info, "created", None)
        if not isinstance(created, datetime):
            return
        now, before = created.isoformat(timespec="milliseconds"), self._created.get(what)
        self._created[what] = now
        if before is not None and before != now:
            self._on_made_again(stream)
            self._on_warning(
                what,
                f"{what} was made again at {now}; before, it was that of {before}: "
                "what it held may be lost, and what it holds may come again",
            )

    async def find(self, queue: str, group: str | None = None) -> Consumer:
        """The consumer that a queue's name means: `stream/consumer`, or a stream or its only subject read by `durable`.

        Raises:
            InvalidError: The name means none.
            RejectedError: There is no such stream or consumer. Those of the configuration are made instead.
        """
        known = self._named.get((queue, group))
        if known is not None:
            return known
        named, name = split_queue(queue, group or self._config.durable)
        try:
            stream = await self._stream_of(queue) if named is None else named
            if not re.fullmatch(NAME_PATTERN, stream):
                raise InvalidError(f'queue: "{stream}" cannot be the name of a stream')
            config = await self._look_up_or_make(stream, name)
        except Error as error:
            raise translate(error) from None
        unfit = _unfit(config)
        if unfit is not None:
            raise InvalidError(f"queue: consumer {stream}/{name}: {unfit}")
        consumer = self._consumers.setdefault((stream, name), Consumer(stream, name))
        # In this order of arguments what is no number (NaN) becomes the longest.
        consumer.ack_wait = max(_SHORTEST_ACK_WAIT, min(_LONGEST_ACK_WAIT, config.ack_wait or _ACK_WAIT))
        self._named[queue, group] = consumer
        return consumer

    async def _look_up_or_make(self, stream: str, name: str) -> ConsumerConfig:
        try:
            return await self._look_up(stream, name)
        except RejectedError:
            ours = self._config.stream
            if ours is None or ours.name != stream or self._config.durable != name or not await self.prepare():
                raise
        return await self._look_up(stream, name)

    async def _look_up(self, stream: str, name: str) -> ConsumerConfig:
        try:
            return await self._consumer_config(stream, name)
        except Error as error:
            ours = translate(error)
            if isinstance(ours, RejectedError):
                raise RejectedError(f"queue {stream}/{name}: {ours.message}", code=ours.code) from None
            raise ours from None

    async def check_exists(self, consumer: Consumer) -> None:
        """Ask whether a consumer is still there; nats-server 2.9 is silent about pulls from one that is not.

        Raises:
            RejectedError: It is gone.
        """
        try:
            await self._look_up(consumer.stream, consumer.name)
        except BridgeError:
            self.forget()
            raise

    def forget(self) -> None:
        """Ask the server again for each queue that is named from now on."""
        self._named.clear()

    async def _stream_of(self, queue: str) -> str:
        """The stream of that name, or the one that stores this subject and no other."""
        if self._config.stream is not None and queue == self._config.stream.name:
            return queue
        ours = self._config.stream
        if ours is not None and queue in ours.subjects:
            await self.prepare()
        try:
            name = await _answer(self._jetstream.find_stream_name_by_subject(queue))
        except NotFoundError:
            if re.fullmatch(NAME_PATTERN, queue):
                return queue
            raise InvalidError(f'queue: no stream stores "{queue}"') from None
        subjects = await self._subjects(name)
        if subjects != [queue]:
            shown = ", ".join(subjects)
            raise InvalidError(f'queue: "{queue}" is a part of stream {name} ({shown}); write "{name}/consumer"')
        return name

    async def _subjects(self, stream: str) -> list[str]:
        """What a stream stores. Raises what `_answer` does."""
        info = await _answer(self._jetstream.stream_info(stream))
        self._note_created(stream, f"stream {stream}", info)
        config: Any = info.config
        subjects = (config.subjects or []) if isinstance(config, StreamConfig) else None
        if not isinstance(subjects, list) or not all(isinstance(subject, str) for subject in subjects):
            raise _unreadable()
        return subjects


def _unfit(config: ConsumerConfig) -> str | None:
    """Why messages of a consumer cannot be pulled and acknowledged one by one; None where they can."""
    if config.deliver_subject:
        return "it pushes; a pull consumer is needed"
    if config.ack_policy != AckPolicy.EXPLICIT:
        return "its acknowledgement policy is not explicit"
    return None
