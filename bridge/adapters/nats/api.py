"""What streams, queues and buckets need of JetStream: its requests, its answers, what it says of a message."""

import contextlib
import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from bridge.adapters._common.json import parse as parse_json
from bridge.adapters.nats.connection import NatsConnection
from bridge.adapters.nats.errors import refused_by_jetstream
from bridge.adapters.nats.protocol import NatsMessage
from bridge.core.errors import ProtocolError, UnavailableError
from bridge.core.ports import Clock

#: What is written to the reply subject of a message.
ACK: Final = b"+ACK"
IN_PROGRESS: Final = b"+WPI"
#: What the reply subject of a message begins with.
ACK_SUBJECT: Final = "$JS.ACK."
#: For how many seconds one pull asks.
EXPIRES: Final = 10.0
#: How many seconds an answer to a pull may be late before it counts as lost.
LATE: Final = 5.0
#: Seconds between two pulls at least, where the first has brought nothing: without a leader each may end at once.
PULL_SPACING: Final = 1.0

#: Seconds for which it is tried to go on with a consumer although JetStream does not answer, and that it has for each
#: answer until it is asked again.
_PERSIST: Final = 20.0
_ATTEMPT: Final = 3.0
#: Deliveries and sequences are unsigned numbers of 64 bits.
_COUNT: Final = re.compile(r"[0-9]{1,20}")
_NANO: Final = 10**9
#: JetStream's durations have 64 bits.
_MOST_NANO: Final = 2**63 - 1
_API: Final = "$JS.API."

#: Codes of JetStream's errors (`err_code`).
STREAM_NOT_FOUND: Final = 10059
CONSUMER_NOT_FOUND: Final = 10014
MESSAGE_NOT_FOUND: Final = 10037
STREAM_EXISTS: Final = 10058
CONSUMER_EXISTS: Final = frozenset({10013, 10105, 10148})
WRONG_LAST_SEQUENCE: Final = frozenset({10071, 10164})


class ApiError(msgspec.Struct):
    """An error as JetStream sends it."""

    code: int | None = None
    err_code: int | None = None
    description: str | None = None


class Answer(msgspec.Struct):
    """What each answer of JetStream may be: an error."""

    error: ApiError | None = None


class PubAck(Answer):
    """The answer to a publish: stored, or an error."""

    stream: str = ""
    seq: int = 0


class StoredState(msgspec.Struct):
    """`state` of a stream."""

    messages: int = 0
    bytes: int = 0
    first_seq: int = 0
    last_seq: int = 0


class StreamInfo(Answer):
    """How a stream is configured, as JSON's objects, and what is in it."""

    config: dict[str, Any] = {}
    state: StoredState = msgspec.field(default_factory=StoredState)
    ts: datetime | None = None


class Place(msgspec.Struct):
    """How far a consumer has come."""

    consumer_seq: int = 0
    stream_seq: int = 0


class ConsumerInfo(Answer):
    """How a consumer is configured, and how far it has come."""

    name: str = ""
    created: datetime | None = None
    config: dict[str, Any] = {}
    delivered: Place = msgspec.field(default_factory=Place)
    ack_floor: Place = msgspec.field(default_factory=Place)
    num_ack_pending: int = 0
    num_pending: int = 0
    ts: datetime | None = None


class StoredMessage(msgspec.Struct):
    """A message as JetStream returns it by its API."""

    subject: str = ""
    seq: int = 0
    data: bytes = b""
    hdrs: bytes = b""
    stored: datetime | None = msgspec.field(default=None, name="time")


class MessageAnswer(Answer):
    """The answer to a question for one message."""

    message: StoredMessage | None = None


_PUB_ACK: Final = msgspec.json.Decoder(PubAck)
_DECODERS: Final[dict[type[Answer], msgspec.json.Decoder[Any]]] = {
    kind: msgspec.json.Decoder(kind) for kind in (Answer, StreamInfo, ConsumerInfo, MessageAnswer)
}
_R = TypeVar("_R")
_A = TypeVar("_A", bound=Answer)


class Metadata(NamedTuple):
    """What JetStream tells about a message in its reply subject.

    Attributes:
        stream: Where it is stored.
        consumer: Which consumer delivers it.
        deliveries: How often it was delivered, this time included.
        sequence: Its number in the stream.
        timestamp: When it was stored, as the server writes it: nanoseconds of Unix time. A number comes again in a
            stream that is made again; a number with the same time does not.
        number: Its number among all deliveries of the consumer.
        pending: How many messages are to come after it, at that moment.
    """

    stream: str
    consumer: str
    deliveries: int
    sequence: int
    timestamp: str
    number: int
    pending: int


def read_metadata(reply: str) -> Metadata:
    """Read the reply subject of a JetStream message, in the old form and the new one with domain and account (ADR-15).

    Raises:
        ProtocolError: It is of neither form. Anybody may send such a message.
    """
    parts = reply.split(".")
    if len(parts) >= 11:
        del parts[2:4]
    if len(parts) >= 9 and reply.startswith(ACK_SUBJECT):
        stream, consumer, deliveries, sequence, number, timestamp, pending = parts[2:9]
        if all(_COUNT.fullmatch(count) for count in (deliveries, sequence, number, pending)):
            return Metadata(stream, consumer, int(deliveries), int(sequence), timestamp, int(number), int(pending))
    raise ProtocolError("a JetStream message whose reply subject cannot be read")


def metadata_from(message: NatsMessage, stream: str, consumer: str) -> Metadata:
    """Read the reply subject of a message that a consumer is to have delivered.

    Raises:
        ProtocolError: It is not of this consumer. Anybody may send such a message.
    """
    metadata = read_metadata(message.reply)
    if (metadata.stream, metadata.consumer) != (stream, consumer):
        raise ProtocolError("a message of another consumer than was asked")
    return metadata


def nanoseconds(seconds: float) -> int:
    """Return a duration as JetStream takes it."""
    return min(int(seconds * _NANO), _MOST_NANO)


def ends_by_time(status: NatsMessage) -> bool:
    """Return whether a status ends a pull for which there was no message (ADR-13): the next one may do better."""
    return status.code in {"404", "408"}


def ends_by_server(status: NatsMessage) -> bool:
    """Return whether a status ends a pull because another server leads now, or because of what it limits itself.

    The next pull may do better. Any other status than this one, or that of `ends_by_time`, is a setting that cannot
    work, or the consumer is gone.
    """
    reason = status.description.lower()
    return any(
        words in reason for words in ("leadership change", "server shutdown", "exceeds maxbytes", "batch completed")
    )


def read_stored(answer: NatsMessage, subject: str) -> PubAck:
    """Read what answers a publish that is to be stored.

    Raises:
        UnavailableError: No stream stores the subject, or JetStream is off, or cannot at the moment.
        RejectedError: JetStream refuses it.
        ProtocolError: The answer is none of JetStream's.
    """
    if answer.says_no_responders:
        raise UnavailableError(f'no stream stores "{subject}", or JetStream is off', maybe_sent=False)
    try:
        stored: PubAck = parse_json(answer.data, _PUB_ACK, "the answer")
    except ProtocolError:
        raise ProtocolError(f'what answered on "{subject}" is no stream') from None
    _check(stored)
    if not stored.stream:
        raise ProtocolError(f'what answered on "{subject}" is no stream')
    return stored


async def call(connection: NatsConnection, method: str, question: Any, kind: type[_A]) -> _A:
    """Ask JetStream by its API, and return the answer.

    Args:
        connection: Where to ask.
        method: What follows `$JS.API.` in the subject.
        question: What is sent as JSON; None: nothing.
        kind: Of the answer.

    Raises:
        UnavailableError: JetStream is off, or cannot at the moment.
        RejectedError: It refuses, with its `err_code` as the code; or the server forbids the subject.
        ProtocolError: The answer cannot be read.
        BridgeError: See `NatsConnection.ask`.
    """
    body = b"" if question is None else msgspec.json.encode(question)
    answer = await connection.ask(_API + method, body)
    if answer.says_no_responders:
        raise UnavailableError("JetStream is off, or not for this account", maybe_sent=False)
    found: _A = parse_json(answer.data, _DECODERS[kind], "an answer of JetStream")
    _check(found)
    return found


async def insist(clock: Clock, ask: Callable[[], Awaitable[_R]]) -> _R:
    """Return what a call returns that may be repeated; ask again for as long as there is no answer.

    JetStream without a leader is silent, and never answers what it was asked then. The caller limits the time.

    Args:
        clock: Limits each call, to `_ATTEMPT` seconds.
        ask: Makes the call; it may be cancelled, and then called again.
    """
    while True:
        with contextlib.suppress(TimeoutError):
            async with clock.timeout(_ATTEMPT):
                return await ask()


async def persist(clock: Clock, attempt: Callable[[], Awaitable[None]], what: str) -> None:
    """Try something again and again for as long as JetStream does not answer: its leader may be about to change.

    Args:
        clock: Limits each attempt, and all of them.
        attempt: What to try; it may be cancelled, and then called again.
        what: Names it in the error.

    Raises:
        UnavailableError: JetStream has not answered for `_PERSIST` seconds.
        BridgeError: Any other error of `attempt`.
    """
    end = clock.monotonic() + _PERSIST
    while True:
        failure = UnavailableError(f"{what}: JetStream does not answer", maybe_sent=False)
        try:
            async with clock.timeout(_ATTEMPT):
                await attempt()
        except TimeoutError:
            pass
        except UnavailableError as error:
            failure = error
        else:
            return
        if clock.monotonic() >= end:
            raise failure
        await clock.sleep(PULL_SPACING)


def _check(answer: Answer) -> None:
    refusal = answer.error
    if refusal is not None:
        raise refused_by_jetstream(refusal.code, refusal.err_code, refusal.description)
