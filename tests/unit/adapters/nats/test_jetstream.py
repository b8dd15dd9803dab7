"""How long a consumption lets the application keep a message, on the bridge's clock."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from bridge.adapters._common.content import Codec
from bridge.adapters.nats.config import NatsConfig
from bridge.adapters.nats.consumers import Consumer
from bridge.adapters.nats.delivery import NatsSubscription, OnMessage
from bridge.adapters.nats.errors import Permission
from bridge.adapters.nats.jetstream import Queues
from bridge.adapters.nats.protocol import NatsMessage
from bridge.core.errors import BridgeError, InvalidError
from bridge.core.model import Inbound
from bridge.core.ports import NO_OPTIONS, AckDecision, SubscriptionOptions
from bridge.core.settings import Hold
from tests.support.adapters.on_bus import HeldBack
from tests.support.adapters.setup import adapter_setup
from tests.support.adapters.told import Told
from tests.support.clock import FakeClock

HOLD = Hold(visibility=60.0)


class Server:
    """A connection to a server that a test plays."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, bytes]] = []
        self.pulls = 0
        self.batch = 0
        self.asked: list[tuple[str, bytes]] = []
        self.answer: asyncio.Future[NatsMessage] = asyncio.get_running_loop().create_future()
        self.unsubscribed: list[NatsSubscription] = []
        self.posting_fails: BridgeError | None = None
        self.is_live = True
        self.forbidden: Callable[[str, BridgeError], bool] = lambda _, __: False
        self.tasks: list[asyncio.Task[None]] = []
        self.arrived: OnMessage = lambda _: None

    def on_forbidden_post(self, told: Callable[[str, BridgeError], bool]) -> None:
        """See `NatsConnection`."""
        self.forbidden = told

    def new_inbox(self) -> str:
        """See `NatsConnection`."""
        return "_INBOX.x"

    async def subscribe(
        self, subject: str, arrived: OnMessage, on_ended: Callable[[BridgeError], None]
    ) -> NatsSubscription:
        """See `NatsConnection`."""
        self.arrived = arrived
        subscription = NatsSubscription(
            *(1, subject, "", arrived), start=self.start, on_ended=on_ended, on_dropped=lambda _, __: None
        )
        subscription.is_confirmed = True
        return subscription

    def unsubscribe(self, subscription: NatsSubscription) -> None:
        """See `NatsConnection`."""
        self.unsubscribed.append(subscription)

    def post(self, subject: str, payload: bytes, *, reply: str = "") -> None:
        """See `NatsConnection`."""
        if self.posting_fails is not None:
            raise self.posting_fails
        if subject.startswith("$JS.ACK."):
            self.posts.append((subject, payload))
        else:
            self.pulls += 1
            self.batch = json.loads(payload)["batch"]

    async def flushed(self, *_: Permission) -> None:
        """See `NatsConnection`."""

    @contextmanager
    def expected(self, _use: Permission) -> Iterator[asyncio.Future[Any]]:
        """See `NatsConnection`."""
        yield asyncio.get_running_loop().create_future()

    async def ask(self, subject: str, payload: bytes) -> NatsMessage:
        """See `NatsConnection`; answered when the test says so."""
        self.asked.append((subject, payload))
        return await self.answer

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """See `NatsConnection`."""
        self.tasks.append(asyncio.create_task(work))
        return self.tasks[-1]

    async def stop(self) -> None:
        """End what runs on the connection."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


def reply_to(delivered: int) -> str:
    """The subject to acknowledge the only message on, in its n-th delivery."""
    return f"$JS.ACK.JOBS.nemo.{delivered}.7.{delivered}.1700000000000000000.0"


def delivery(delivered: int) -> NatsMessage:
    """The only message of the stream, in its n-th delivery."""
    return NatsMessage(1, "jobs", reply_to(delivered), b"1")


class Room:
    """A consumption by an application that keeps all that it gets."""

    message_id = "JOBS/nemo/7"

    def __init__(self, clock: FakeClock, server: Server, bus: HeldBack | None = None) -> None:
        self.clock, self.server = clock, server
        self.told = Told()
        more = {} if bus is None else {"when_on_bus": bus.when_on_bus}
        setup = adapter_setup("test", clock=clock, **self.told.callbacks, **more)
        self.queues = Queues(server, NatsConfig(), Codec(), setup)  # type: ignore[arg-type]
        self.ended: list[BridgeError] = []
        self.got: list[int | None] = []
        self.listens = asyncio.Event()

    async def begin(self, hold: Hold) -> None:
        """Begin to consume; the server hears of what is kept every 10 s."""
        self.find()
        await self.queues.consume("JOBS/nemo", self.deliver, SubscriptionOptions(hold=hold), self.ended.append)

    def find(self) -> None:
        """Let the consumer be there."""

        async def find(_queue: str, _group: str | None = None) -> Consumer:
            return Consumer("JOBS", "nemo", ack_wait=30.0)

        async def check_exists(_consumer: Consumer) -> None:
            """It is there."""

        self.queues._consumers.find = find  # type: ignore[method-assign]
        self.queues._consumers.check_exists = check_exists  # type: ignore[method-assign]

    async def deliver(self, inbound: Inbound) -> AckDecision:
        """See `ports.Deliver`."""
        self.got.append(inbound.attempts)
        return AckDecision.HOLD

    async def deliver_when_somebody_listens(self, inbound: Inbound) -> None:
        """See `ports.Deliver`; it waits for `listens`."""
        self.got.append(inbound.attempts)
        await self.listens.wait()

    async def come(self, delivered: int) -> None:
        """The server delivers the message for the n-th time."""
        self.server.arrived(delivery(delivered))
        await self.clock.settle()


@asynccontextmanager
async def consuming(hold: Hold = HOLD) -> AsyncIterator[Room]:
    """A running consumption; the application has the message."""
    room = Room(FakeClock(), Server())
    await room.begin(hold)
    await room.come(1)
    assert room.got == [1]
    try:
        yield room
    finally:
        assert not any(task.done() for task in room.server.tasks)
        await room.server.stop()
    assert room.ended == []


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


async def test_given_up_after_so_many_deliveries() -> None:
    """The message that is reported as given up says how often it was delivered; the next time it is terminated."""
    dead: list[tuple[int | None, str]] = []
    hold = Hold(visibility=60.0, max_deliveries=3, on_dead=lambda message, why: dead.append((message.attempts, why)))
    async with consuming(hold) as room:
        for delivered in (2, 3, 4):
            await room.clock.advance(75.0)
            await room.come(delivered)
        assert room.got == [1, 2, 3]
        assert dead == [(3, "delivered 3 times and never acknowledged")]
        assert room.server.posts[-1] == (reply_to(4), b"+TERM")


@asynccontextmanager
async def taken(visibility: float | None) -> AsyncIterator[Room]:
    """The application has taken the message by `dequeue`."""
    room = Room(FakeClock(), Server())
    room.find()
    taking = asyncio.create_task(room.queues.dequeue("JOBS/nemo", 5.0, visibility))
    await room.clock.settle()
    await room.come(1)
    message = await taking
    assert message is not None
    assert message.message_id == room.message_id
    try:
        yield room
    finally:
        await room.server.stop()


@pytest.mark.parametrize("visibility", [4.0, 30.0, 95.0])
async def test_given_back_when_its_visibility_is_over(visibility: float) -> None:
    """Shorter or longer than the consumer's 30 s: until then the server hears that it is in progress."""
    async with taken(visibility) as room:
        await room.clock.advance(visibility - 0.5)
        assert set(room.server.posts) == {(reply_to(1), b"+WPI")}
        assert len(room.server.posts) >= visibility / 10
        await room.clock.advance(1.0)
        assert room.server.posts[-1] == (reply_to(1), b"-NAK")
        before = len(room.server.posts)
        await room.clock.advance(200.0)
        assert len(room.server.posts) == before


async def test_acknowledged_before_its_visibility_is_over() -> None:
    """The server hears no more of it."""
    async with taken(60.0) as room:
        room.server.answer.set_result(NatsMessage(1, "", "", b""))
        await room.queues.ack(room.message_id)
        before = len(room.server.posts)
        await room.clock.advance(200.0)
        assert len(room.server.posts) == before


async def test_without_a_visibility_the_consumer_decides() -> None:
    """The server hears nothing, and delivers it again after `ack_wait`."""
    async with taken(None) as room:
        await room.clock.advance(200.0)
        assert room.server.posts == []
        assert room.server.tasks == []


async def test_a_subscription_that_cannot_go_on() -> None:
    """It ends once, and unsubscribes; what it held is acknowledged no more, should the stream be another one then."""
    room = Room(FakeClock(), Server())
    await room.begin(HOLD)
    await room.come(1)
    room.server.arrived(NatsMessage(1, "_INBOX.x", "", b"", status="409 Consumer Deleted"))
    await room.clock.settle()
    assert [error.message for error in room.ended] == ["queue JOBS/nemo: Consumer Deleted"]
    assert len(room.server.unsubscribed) == 1
    await room.clock.advance(200.0)
    assert all(task.done() for task in room.server.tasks)
    with pytest.raises(InvalidError, match="holds no message"):
        await room.queues.ack(room.message_id)
    assert len(room.ended) == 1


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_consume_that_does_not_begin_unsubscribes(cancelled: bool) -> None:
    """Whether its first pull fails or is given up: nothing is left at the server."""
    room = Room(FakeClock(), Server())
    room.find()
    if not cancelled:
        room.server.posting_fails = InvalidError("no")
    else:

        async def stuck(*_: Permission) -> None:
            await asyncio.Event().wait()

        room.server.flushed = stuck  # type: ignore[method-assign]
    consuming = asyncio.create_task(room.queues.consume("JOBS/nemo", room.deliver, NO_OPTIONS, room.ended.append))
    await room.clock.settle()
    consuming.cancel()
    with pytest.raises((InvalidError, asyncio.CancelledError)):
        await consuming
    assert len(room.server.unsubscribed) == 1
    assert (room.server.tasks, room.ended) == ([], [])


async def test_nobody_listens_for_hours() -> None:
    """What is in hand is kept alive at the server, and no more is asked for; then all is delivered and acknowledged."""
    room = Room(FakeClock(), Server())
    room.find()
    await room.queues.consume("JOBS/nemo", room.deliver_when_somebody_listens, NO_OPTIONS, room.ended.append)
    replies = [f"$JS.ACK.JOBS.nemo.1.{number}.{number}.1700000000000000000.0" for number in range(1, 100)]
    for reply in replies:
        room.server.arrived(NatsMessage(1, "jobs", reply, b"1"))
    room.server.arrived(NatsMessage(1, "_INBOX.x", "", b"", status="408 Request Timeout"))
    for _ in range(6):
        room.server.posts.clear()
        await room.clock.advance(1800.0)
        assert len(room.server.posts) == 99 * 180
        assert {how for _, how in room.server.posts} == {b"+WPI"}
    assert (room.got, room.server.pulls, room.ended) == ([1], 1, [])
    room.server.posts.clear()
    room.listens.set()
    await room.clock.settle()
    assert room.server.posts == [(reply, b"+ACK") for reply in replies]
    assert room.server.pulls == 2
    await room.server.stop()


async def test_pulls_that_end_at_once() -> None:
    """As of a cluster without a leader: they are repeated, but not without a pause."""
    room = Room(FakeClock(), Server())
    room.find()
    await room.queues.consume("JOBS/nemo", room.deliver_when_somebody_listens, NO_OPTIONS, room.ended.append)
    for _ in range(20):
        room.server.arrived(NatsMessage(1, "_INBOX.x", "", b"", status="409 Leadership Change"))
        room.server.arrived(NatsMessage(1, "_INBOX.x", "", b"", status="408 Request Timeout"))
        await room.clock.advance(0.5)
    assert room.server.pulls in {10, 11}
    assert room.ended == []
    await room.server.stop()


async def test_jetstream_falls_silent() -> None:
    """No pull has an answer, nor has the question about the consumer: the subscription ends and says so."""
    room = Room(FakeClock(), Server())
    room.find()

    async def silent(_consumer: Consumer) -> None:
        await asyncio.Event().wait()

    room.queues._consumers.check_exists = silent  # type: ignore[method-assign]
    await room.queues.consume("JOBS/nemo", room.deliver, NO_OPTIONS, room.ended.append)
    await room.clock.advance(21.0)
    assert [error.kind for error in room.ended] == ["unavailable"]
    assert all(task.done() for task in room.server.tasks)


async def test_more_messages_than_were_asked_for() -> None:
    """A server gone mad does not fill the memory; what is left out is told, and not acknowledged."""
    room = Room(FakeClock(), Server())
    room.find()
    await room.queues.consume("JOBS/nemo", room.deliver_when_somebody_listens, NO_OPTIONS, room.ended.append)
    for number in range(1, 3001):
        reply = f"$JS.ACK.JOBS.nemo.1.{number}.{number}.1700000000000000000.0"
        room.server.arrived(NatsMessage(1, "jobs", reply, b"1"))
    assert len(room.told.dropped) == 3000 - 1024
    await room.clock.settle()
    room.listens.set()
    await room.clock.settle()
    assert len(room.server.posts) == 1024
    await room.server.stop()


async def test_a_new_message_with_the_number_of_one_that_the_application_has() -> None:
    """The stream was made again: it is delivered, and acknowledged only for itself; the old one is let go."""
    async with consuming() as room:
        new = "$JS.ACK.JOBS.nemo.1.7.1.1800000000000000000.0"
        room.server.arrived(NatsMessage(1, "jobs", new, b"2"))
        await room.clock.settle()
        assert room.got == [1, 1]
        assert "JOBS/nemo/7 is another message" in room.told.warnings["stream JOBS"]
        await room.clock.advance(40.0)
        assert set(room.server.posts) == {(new, b"+WPI")}
        room.server.answer.set_result(NatsMessage(1, "", "", b""))
        await room.queues.ack(room.message_id)
        assert room.server.asked == [(new, b"+ACK")]


async def test_given_back_where_its_caller_has_just_left() -> None:
    """The message had come, and the caller was cancelled before it had it: others get it now, not after `ack_wait`."""
    room = Room(FakeClock(), Server())
    room.find()
    taking = asyncio.create_task(room.queues.dequeue("JOBS/nemo", 5.0, None))
    await room.clock.settle()
    room.server.arrived(delivery(1))
    taking.cancel()
    await asyncio.wait([taking])
    assert room.server.posts == [(reply_to(1), b"-NAK")]


async def test_no_more_is_in_hand_than_prefetch():
    """With `ack = "bus"`, too: so many are asked for, and more only when all of them are on the bus."""
    clock, server = FakeClock(), Server()
    room = Room(clock, server)
    room.find()
    options = SubscriptionOptions(prefetch=2)
    await room.queues.consume("JOBS/nemo", room.deliver_when_somebody_listens, options, room.ended.append)
    assert (server.pulls, server.batch) == (1, 2)
    for number in (1, 2):
        server.arrived(NatsMessage(1, "jobs", f"$JS.ACK.JOBS.nemo.1.{number}.1.1700000000000000000.0", b"1"))
    await clock.settle()
    assert (server.pulls, server.posts) == (1, [])
    room.listens.set()
    await clock.settle()
    assert (server.pulls, server.batch, len(server.posts)) == (2, 2, 2)
    await server.stop()


def numbered(number: int, delivered: int = 1, timestamp: int = 17) -> NatsMessage:
    """One of many messages, in its n-th delivery, of a stream that was made at some time."""
    reply = f"$JS.ACK.JOBS.nemo.{delivered}.{number}.{number}.{timestamp}00000000000000000.0"
    return NatsMessage(1, "jobs", reply, b"1")


async def begun(bus: HeldBack, prefetch: int) -> Room:
    """A consumption whose messages get on the bus when `bus` says so."""
    room = Room(FakeClock(), Server(), bus)
    room.find()
    room.listens.set()
    options = SubscriptionOptions(prefetch=prefetch)
    await room.queues.consume("JOBS/nemo", room.deliver_when_somebody_listens, options, room.ended.append)
    return room


async def test_what_is_not_on_the_bus_yet_is_not_acknowledged() -> None:
    """Meanwhile more is asked for, and the server hears that it is in progress."""
    bus = HeldBack()
    room = await begun(bus, 2)
    messages = [numbered(number) for number in (1, 2, 3)]
    for message in messages:
        room.server.arrived(message)
    await room.clock.settle()
    assert (room.server.pulls, len(room.got), room.server.posts) == (2, 3, [])
    await room.clock.advance(10.0)
    assert room.server.posts == [(message.reply, b"+WPI") for message in messages]
    room.server.posts.clear()
    bus.confirm()
    await room.clock.settle()
    assert room.server.posts == [(message.reply, b"+ACK") for message in messages]
    room.server.posts.clear()
    await room.clock.advance(60.0)
    assert room.server.posts == []
    await room.server.stop()


async def test_a_bus_that_is_gone() -> None:
    """No more is asked for than some thousand messages; it goes on when they are on the bus."""
    bus = HeldBack()
    room = await begun(bus, 100)
    for number in range(5_000):
        room.server.arrived(numbered(number))
        await asyncio.sleep(0)
    await room.clock.settle()
    assert (len(room.got), room.server.pulls) == (5_000, 50)
    bus.confirm()
    await room.clock.settle()
    assert room.server.pulls == 51
    await room.server.stop()


async def test_made_again_before_it_is_on_the_bus() -> None:
    """The number is another message's by then, which is acknowledged only for itself."""
    bus = HeldBack()
    room = await begun(bus, 100)
    room.server.arrived(numbered(7))
    await room.clock.settle()
    room.server.arrived(numbered(7, timestamp=18))
    await room.clock.settle()
    bus.confirm()
    await room.clock.settle()
    assert room.server.posts == [(numbered(7, timestamp=18).reply, b"+ACK")]
    await room.server.stop()


async def test_an_orderly_end() -> None:
    """Nothing more is delivered; what is on the bus a moment later is acknowledged before the session is closed."""
    bus = HeldBack()
    room = await begun(bus, 100)
    room.server.arrived(numbered(1))
    await room.clock.settle()
    closing = asyncio.create_task(room.queues.close())
    await room.clock.settle()
    room.server.arrived(numbered(2))
    await room.clock.settle()
    assert (closing.done(), len(room.got), room.server.posts) == (False, 1, [])
    bus.confirm()
    await closing
    assert room.server.posts == [(numbered(1).reply, b"+ACK")]
    await room.server.stop()


async def test_an_orderly_end_without_a_bus() -> None:
    """It does not take longer than half a second; what is not on the bus comes again."""
    room = await begun(HeldBack(), 100)
    room.server.arrived(numbered(1))
    await room.clock.settle()
    closing = asyncio.create_task(room.queues.close())
    await room.clock.advance(0.5)
    assert (closing.done(), room.server.posts) == (True, [])
    await room.server.stop()
