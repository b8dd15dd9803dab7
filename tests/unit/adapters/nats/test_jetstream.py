"""How long a consumption lets the application keep a message, on the bridge's clock."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from bridge.adapters._common.content import Codec
from bridge.adapters.nats.config import NatsConfig
from bridge.adapters.nats.consumers import Consumer
from bridge.adapters.nats.jetstream import Queues
from bridge.adapters.nats.protocol import NatsMessage
from bridge.core.errors import BridgeError
from bridge.core.model import Inbound
from bridge.core.ports import AckDecision
from bridge.core.settings import Hold
from tests.support.clock import FakeClock


class Server:
    """A connection to a server that a test plays."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, bytes]] = []
        self.asked: list[tuple[str, bytes]] = []
        self.answer: asyncio.Future[NatsMessage] = asyncio.get_running_loop().create_future()
        self.lost: list[BridgeError] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.arrived: Callable[[NatsMessage], None] = lambda _: None

    def new_inbox(self) -> str:
        """See `NatsConnection`."""
        return "_INBOX.x"

    async def subscribe(self, _subject: str, arrived: Callable[[NatsMessage], None]) -> None:
        """See `NatsConnection`."""
        self.arrived = arrived

    def post(self, subject: str, payload: bytes, *, reply: str = "") -> None:
        """See `NatsConnection`."""
        if subject.startswith("$JS.ACK."):
            self.posts.append((subject, payload))

    async def flushed(self, *_: str) -> None:
        """See `NatsConnection`."""

    async def ask(self, subject: str, payload: bytes) -> NatsMessage:
        """See `NatsConnection`; answered when the test says so."""
        self.asked.append((subject, payload))
        return await self.answer

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """See `NatsConnection`."""
        self.tasks.append(asyncio.create_task(work))
        return self.tasks[-1]

    def lose(self, error: BridgeError) -> None:
        """See `NatsConnection`."""
        self.lost.append(error)


def reply_to(delivered: int) -> str:
    """The subject to acknowledge the only message on, in its n-th delivery."""
    return f"$JS.ACK.JOBS.nemo.{delivered}.7.{delivered}.1700000000000000000.0"


def delivery(delivered: int) -> NatsMessage:
    """The only message of the stream, in its n-th delivery."""
    return NatsMessage(1, "jobs", reply_to(delivered), b"1")


class Room:
    """A consumption by an application that keeps all that it gets."""

    message_id = "JOBS/nemo/7"

    def __init__(self, clock: FakeClock, server: Server) -> None:
        self.clock, self.server = clock, server
        self.queues = Queues(server, NatsConfig(), Codec(), clock)  # type: ignore[arg-type]
        self.got: list[int | None] = []

    async def begin(self) -> None:
        """Begin to consume; the server hears of what is kept every 10 s."""

        async def find(_queue: str, _group: str | None = None) -> Consumer:
            return Consumer("JOBS", "nemo", ack_wait=30.0)

        async def check_exists(_consumer: Consumer) -> None:
            """It is there."""

        self.queues._consumers.find = find  # type: ignore[method-assign]
        self.queues._consumers.check_exists = check_exists  # type: ignore[method-assign]
        await self.queues.consume("JOBS/nemo", self.deliver, None, Hold(visibility=60.0))

    async def deliver(self, inbound: Inbound) -> AckDecision:
        """See `ports.Deliver`."""
        self.got.append(inbound.attempts)
        return AckDecision.HOLD

    async def come(self, delivered: int) -> None:
        """The server delivers the message for the n-th time."""
        self.server.arrived(delivery(delivered))
        await self.clock.settle()


@asynccontextmanager
async def consuming() -> AsyncIterator[Room]:
    """A running consumption; the application has the message."""
    room = Room(FakeClock(), Server())
    await room.begin()
    await room.come(1)
    assert room.got == [1]
    try:
        yield room
    finally:
        assert not any(task.done() for task in room.server.tasks)
        for task in room.server.tasks:
            task.cancel()
        await asyncio.gather(*room.server.tasks, return_exceptions=True)
    assert room.server.lost == []


async def test_given_back_when_its_time_is_over() -> None:
    """Not before that time has passed on the clock; meanwhile the server hears that it is in work."""
    async with consuming() as room:
        await room.clock.advance(59.0)
        assert set(room.server.posts) == {(reply_to(1), b"+WPI")}
        await room.clock.advance(15.0)
        assert room.server.posts[-1] == (reply_to(1), b"-NAK")
        await room.come(2)
        assert room.got == [1, 2]


async def test_delivered_again_while_the_application_has_it() -> None:
    """After `ack_wait` without a word of a suspended sidecar: it has its time still, and nothing comes twice."""
    async with consuming() as room:
        await room.come(2)
        assert room.got == [1]
        assert room.server.posts == [(reply_to(2), b"+WPI")]
        await room.clock.advance(40.0)
        assert set(room.server.posts) == {(reply_to(2), b"+WPI")}
        room.server.answer.set_result(NatsMessage(1, "", "", b""))
        await room.queues.ack(room.message_id)
        assert room.server.asked == [(reply_to(2), b"+ACK")]
        before = len(room.server.posts)
        await room.clock.advance(200.0)
        assert len(room.server.posts) == before


async def test_given_back_and_delivered_at_once() -> None:
    """A server that delivers it again before it answers the `nack`: that delivery counts, with a time of its own."""
    async with consuming() as room:
        giving = asyncio.create_task(room.queues.nack(room.message_id, None))
        await room.clock.settle()
        await room.come(2)
        assert room.got == [1, 2]
        room.server.answer.set_result(NatsMessage(1, "", "", b""))
        await giving
        await room.clock.advance(75.0)
        assert room.server.posts[-1] == (reply_to(2), b"-NAK")
