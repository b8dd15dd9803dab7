"""Readers and watches of a fabric against a server that a test plays: silence, gaps, forged messages, statuses."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import pytest

from bridge.adapters.nats.cluster import NatsCluster
from bridge.adapters.nats.delivery import NatsSubscription, OnMessage
from bridge.adapters.nats.protocol import NatsMessage
from bridge.core.cluster import KeyEntry, Received, StreamSpec
from bridge.core.errors import BridgeError, ProtocolError, RejectedError, UnavailableError
from tests.support.adapters.setup import adapter_setup
from tests.support.adapters.told import Told
from tests.support.clock import FakeClock

_NEXT: Final = "$JS.API.CONSUMER.MSG.NEXT.T.c"
_INFO: Final = {"config": {"ack_policy": "explicit", "ack_wait": 10 * 10**9}}
_SINCE: Final = 1_700_000_000


class Server:
    """A connection to a server that a test plays.

    Attributes:
        answers: The beginning of a subject → what is answered, or a future of that; nothing ever is to any other one.
        asked: The subjects of all requests, and what was sent.
        posts: What was written without waiting: subject, content, where an answer is to go.
    """

    max_payload = 1000
    is_live = True

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[str, Any]] = []
        self.posts: list[tuple[str, bytes, str]] = []
        self.forbidden: Callable[[str, BridgeError], bool] = lambda _, __: False
        self.subscriptions: list[NatsSubscription] = []
        self.tasks: list[asyncio.Task[None]] = []
        self._inboxes = 0

    def on_forbidden_post(self, told: Callable[[str, BridgeError], bool]) -> None:
        """See `NatsConnection`."""
        self.forbidden = told

    def new_inbox(self) -> str:
        """See `NatsConnection`."""
        self._inboxes += 1
        return f"_INBOX.{self._inboxes}"

    async def subscribe(
        self, subject: str, arrived: OnMessage, *, on_ended: Callable[[BridgeError], None]
    ) -> NatsSubscription:
        """See `NatsConnection`."""
        subscription = NatsSubscription(
            *(len(self.subscriptions) + 1, subject, "", arrived),
            start=self.start,
            on_ended=on_ended,
            on_dropped=lambda _, __: None,
        )
        subscription.is_confirmed = True
        self.subscriptions.append(subscription)
        return subscription

    def unsubscribe(self, subscription: NatsSubscription) -> None:
        """See `NatsConnection`."""
        if subscription in self.subscriptions:
            self.subscriptions.remove(subscription)

    def post(self, subject: str, payload: bytes, headers: bytes = b"", reply: str = "") -> None:
        """See `NatsConnection`."""
        assert not headers
        self.posts.append((subject, payload, reply))

    def check_takes_headers(self) -> None:
        """See `NatsConnection`."""

    async def flushed(self, *_: Any) -> None:
        """See `NatsConnection`."""

    @contextmanager
    def expected(self, _: Any) -> Iterator[asyncio.Future[Any]]:
        """See `NatsConnection`."""
        yield asyncio.get_running_loop().create_future()

    async def ask(self, subject: str, payload: bytes = b"", headers: bytes = b"") -> NatsMessage:
        """See `NatsConnection`."""
        self.asked.append((subject, json.loads(payload) if payload[:1] == b"{" else headers))
        found = next((answer for start, answer in self.answers.items() if subject.startswith(start)), None)
        if found is None:
            await asyncio.Event().wait()
        if isinstance(found, asyncio.Future):
            found = await found
        return NatsMessage(0, "answer", "", found if isinstance(found, bytes) else json.dumps(found).encode())

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """See `NatsConnection`."""
        self.tasks.append(asyncio.create_task(work))
        return self.tasks[-1]

    # --- what the server sends

    @property
    def pulls(self) -> list[tuple[dict[str, Any], str]]:
        """What was asked for by pulls, and where their status is to go."""
        return [(json.loads(body), reply) for subject, body, reply in self.posts if subject == _NEXT]

    def deliver(self, number: int, *, consumer: str = "c", deliveries: int = 1, body: bytes = b"1") -> None:
        """Deliver a message of the stream."""
        reply = f"$JS.ACK.T.{consumer}.{deliveries}.{number}.{number}.{_SINCE}000000000.0"
        self.subscriptions[-1].put(NatsMessage(1, "t.event.x", reply, body))

    def say(self, status: str, subject: str, headers: dict[str, str] | None = None) -> None:
        """Send a status."""
        self.subscriptions[-1].put(NatsMessage(1, subject, "", b"", headers or {}, "", status))


class Playing:
    """What a fabric does on a played server."""

    def __init__(self) -> None:
        self.clock, self.server, self.told = FakeClock(), Server(), Told()
        setup = adapter_setup("test", clock=self.clock, **self.told.callbacks)
        self.cluster = NatsCluster(self.server, setup)  # type: ignore[arg-type]
        self.got: list[Received] = []
        self.entries: list[KeyEntry] = []
        self.ended: list[BridgeError] = []
        self.held: dict[bytes, asyncio.Future[None]] = {}

    def handle(self, message: Received) -> "asyncio.Future[None] | None":
        """Take a message; what is in `held` stays in hand."""
        self.got.append(message)
        return self.held.get(message.body)

    async def consume(self, prefetch: int = 5) -> None:
        """Begin to read consumer `c`."""
        self.server.answers["$JS.API.CONSUMER.INFO.T.c"] = _INFO
        await self.cluster.consume("T", "c", self.handle, self.ended.append, prefetch=prefetch)

    async def watch(self) -> str:
        """Begin to watch an empty bucket; return the name of the consumer."""
        self.server.answers |= {
            "$JS.API.CONSUMER.CREATE.KV_B.": {"created": "2023-11-14T22:13:25Z", "num_pending": 0},
            "$JS.API.STREAM.INFO.KV_B": {"state": {"last_seq": 100}},
        }
        await self.cluster.watch("B", self.entries.append, self.ended.append)
        return self.watcher

    @property
    def watcher(self) -> str:
        """The name of the consumer that was made last."""
        made = [asked for subject, asked in self.server.asked if subject.startswith("$JS.API.CONSUMER.CREATE.")]
        return str(made[-1]["config"]["name"])

    def change(self, number: int, revision: int, body: bytes = b"1", *, pending: int = 0) -> None:
        """Let the server tell of a change, as the n-th of the consumer."""
        reply = f"$JS.ACK.KV_B.{self.watcher}.1.{revision}.{number}.{_SINCE}000000000.{pending}"
        self.server.subscriptions[-1].put(NatsMessage(1, "$KV.B.a", reply, body))


@asynccontextmanager
async def playing() -> Any:
    """A fabric on a played server; what it left running is ended."""
    one = Playing()
    try:
        yield one
    finally:
        for task in one.server.tasks:
            task.cancel()
        await asyncio.gather(*one.server.tasks, return_exceptions=True)


# --- reading


async def test_one_pull_at_a_time() -> None:
    """A pull asks for what there is room for; the next one when it has brought all of that, or has ended."""
    async with playing() as one:
        await one.consume(prefetch=3)
        assert [pull["batch"] for pull, _ in one.server.pulls] == [3]
        for number in (1, 2, 3):
            one.server.deliver(number)
        assert [pull["batch"] for pull, _ in one.server.pulls] == [3, 3]
        assert sum(body == b"+ACK" for _, body, _ in one.server.posts) == 3
        one.server.say("408 Request Timeout", one.server.pulls[0][1])  # of the first pull, which is over
        assert len(one.server.pulls) == 2
        one.server.say("408 Request Timeout", one.server.pulls[1][1])
        await one.clock.advance(0.5)
        assert len(one.server.pulls) == 2  # it has brought nothing: a second between two at least
        await one.clock.advance(0.5)
        assert len(one.server.pulls) == 3
        assert not one.ended


async def test_what_is_in_hand_is_told_to_be_in_progress() -> None:
    """Several times in each `ack_wait`, until it is done with; delivered again meanwhile, it is not handed over."""
    async with playing() as one:
        one.held[b"slow"] = asyncio.get_running_loop().create_future()
        await one.consume()
        one.server.deliver(1, body=b"slow")
        one.server.deliver(2)
        for _ in range(12):  # the pull shows life
            await one.clock.advance(2.5)
            one.server.say("100 Idle Heartbeat", one.server.pulls[-1][1])
        told = [subject for subject, body, _ in one.server.posts if body == b"+WPI"]
        assert 6 <= len(told) <= 12
        assert {subject.split(".")[5] for subject in told} == {"1"}
        one.server.deliver(1, deliveries=2, body=b"slow")
        one.held[b"slow"].set_result(None)
        await one.clock.settle()
        assert [message.sequence for message in one.got] == [1, 2]
        acknowledged = [subject for subject, body, _ in one.server.posts if body == b"+ACK"]
        assert acknowledged[-1].startswith("$JS.ACK.T.c.2.1.")  # in its last delivery


async def test_a_silent_pull_is_asked_about() -> None:
    """Without a sign of life the server is asked for the consumer: there it is pulled again, gone it ends."""
    async with playing() as one:
        await one.consume()
        await one.clock.advance(12)
        assert len(one.server.pulls) == 2
        one.server.answers["$JS.API.CONSUMER.INFO.T.c"] = {"error": {"code": 404, "err_code": 10014}}
        await one.clock.advance(12)
        assert [type(error) for error in one.ended] == [RejectedError]
        assert not one.server.subscriptions


async def test_jetstream_that_never_answers_ends_the_reading() -> None:
    """It is asked for a while, since its leader may be about to change; then whoever reads is told."""
    async with playing() as one:
        await one.consume()
        del one.server.answers["$JS.API.CONSUMER.INFO.T.c"]
        await one.clock.advance(20)
        assert not one.ended
        await one.clock.advance(20)
        assert [type(error) for error in one.ended] == [UnavailableError]


@pytest.mark.parametrize("status", ["409 Consumer is push based", "400 Bad Request"])
async def test_a_pull_that_cannot_work(status: str) -> None:
    """A setting that cannot work ends the reading with what the server says."""
    async with playing() as one:
        await one.consume()
        one.server.say(status, one.server.pulls[0][1])
        assert [error.message for error in one.ended] == [f"consumer T/c: {status.partition(' ')[2]}"]


async def test_forged_messages() -> None:
    """What no message of the consumer can be is reported, not handed over, and not acknowledged."""
    async with playing() as one:
        await one.consume()
        before = len(one.server.posts)
        one.server.deliver(1, consumer="other")
        one.server.subscriptions[-1].put(NatsMessage(1, "x", "$JS.ACK.garbage", b""))
        one.server.subscriptions[-1].put(NatsMessage(1, "x", "", b"neither message nor status"))
        assert (one.got, len(one.server.posts), one.ended) == ([], before, [])
        assert len(one.told.dropped) == 2


async def test_bytes_in_hand_are_bounded() -> None:
    """With more than 64 MiB of messages in hand no more are asked for, until one of them is done with."""
    async with playing() as one:
        one.held[bytes(33 << 20)] = asyncio.get_running_loop().create_future()
        await one.consume(prefetch=1000)
        for number in (1, 2):
            one.server.deliver(number, body=bytes(33 << 20))
        assert one.server.pulls[0][0]["max_bytes"] <= 16 << 20
        one.server.say("409 Message Size Exceeds MaxBytes", one.server.pulls[0][1])
        await one.clock.advance(2)
        assert len(one.server.pulls) == 1
        one.held[bytes(33 << 20)].set_result(None)
        await one.clock.settle()
        assert len(one.server.pulls) == 2


# --- watching


async def test_a_gap_is_noticed() -> None:
    """A delivery that is missing makes another consumer, and nothing is told twice."""
    async with playing() as one:
        first = await one.watch()
        one.change(1, 10, b"a")
        one.change(3, 12, b"c")
        await one.clock.settle()
        assert one.watcher != first
        one.change(1, 10, b"a", pending=1)
        one.change(2, 12, b"c")
        assert [(entry.revision, entry.value) for entry in one.entries] == [(10, b"a"), (12, b"c")]
        assert not one.ended


async def test_a_sign_of_life_tells_of_a_gap() -> None:
    """It names the last delivery; where that has not come, another consumer is made."""
    async with playing() as one:
        first = await one.watch()
        one.server.say("100 Idle Heartbeat", "x", {"Nats-Last-Consumer": "0"})
        await one.clock.settle()
        assert one.watcher == first
        one.server.say("100 Idle Heartbeat", "x", {"Nats-Last-Consumer": "1"})
        await one.clock.settle()
        assert one.watcher != first


async def test_a_silent_watch_goes_on() -> None:
    """Without a sign of life another consumer is made within 10 s; where JetStream is silent, too, the watch ends."""
    async with playing() as one:
        first = await one.watch()
        await one.clock.advance(10)
        second = one.watcher
        assert second != first
        one.server.answers.clear()
        await one.clock.advance(40)
        assert [type(error) for error in one.ended] == [UnavailableError]


async def test_a_bucket_that_was_made_again() -> None:
    """Its revisions mean something else: the watch ends, and whoever watches begins anew."""
    async with playing() as one:
        await one.watch()
        one.change(1, 101)
        await one.clock.advance(10)
        assert [type(error) for error in one.ended] == [RejectedError]


async def test_the_age_of_what_comes_before_the_answer() -> None:
    """It waits for the server's time; ages are by the server's clock, whatever ours says."""
    async with playing() as one:
        answer = asyncio.get_running_loop().create_future()
        one.server.answers["$JS.API.CONSUMER.CREATE.KV_B."] = answer
        watching = asyncio.ensure_future(one.cluster.watch("B", one.entries.append, one.ended.append))
        await one.clock.settle()
        one.change(1, 10)
        assert not one.entries
        answer.set_result({"created": "2023-11-14T22:13:25Z", "num_pending": 1})
        await watching
        assert [entry.age for entry in one.entries] == [5.0]


async def test_a_server_whose_answers_are_garbage() -> None:
    """They are `protocol` errors and nothing worse."""
    async with playing() as one:
        for garbage in (b"", b"[]", b"\xff", b'{"config": 5}', b'{"state": {"last_seq": "x"}}', b"[" * 5000):
            one.server.answers["$"] = garbage
            for call in (
                one.cluster.stream(StreamSpec(name="T", subjects=("t.>",), max_age=1.0)),
                one.cluster.stream_state("T"),
                one.cluster.get("B", "a"),
                one.cluster.update("B", "a", b"1", 1),
            ):
                with pytest.raises((ProtocolError, RejectedError)):
                    await call


# --- silence


_STREAM: Final = {"config": {"name": "T", "subjects": ["t.>"]}, "state": {"last_seq": 7}}


@pytest.mark.parametrize(
    ("call", "asked", "answer"),
    [
        (lambda it: it.stream(StreamSpec(name="T", subjects=("t.>",), max_age=60)), "STREAM.INFO.T", _STREAM),
        (lambda it: it.stream_state("T"), "STREAM.INFO.T", _STREAM),
        (
            lambda it: it.consumer("T", "c", "t.>"),
            "CONSUMER.INFO.T.c",
            {"config": _INFO["config"] | {"filter_subject": "t.>"}},
        ),
    ],
    ids=["stream", "stream_state", "consumer"],
)
async def test_a_question_without_an_answer_is_asked_again(
    call: Callable[[NatsCluster], Coroutine[Any, Any, Any]], asked: str, answer: dict[str, Any]
) -> None:
    """JetStream without a leader is silent, and never answers what it was asked then: later it has one."""
    async with playing() as it:
        waiting = asyncio.create_task(call(it.cluster))
        await it.clock.advance(2.9)
        assert len(it.server.asked) == 1
        it.server.answers[f"$JS.API.{asked}"] = answer
        await it.clock.advance(0.2)
        assert waiting.done()
        await waiting
        assert [subject for subject, _ in it.server.asked][:2] == [f"$JS.API.{asked}"] * 2


async def test_a_consumer_that_was_made_without_an_answer() -> None:
    """It is found when the server is asked again, and counts as made: nothing of before is known."""
    absent = {"error": {"code": 404, "err_code": 10014, "description": "consumer not found"}}
    made = _INFO | {"config": _INFO["config"] | {"filter_subject": "t.>", "opt_start_seq": 8}}
    async with playing() as it:
        it.server.answers |= {"$JS.API.CONSUMER.INFO.T.c": absent, "$JS.API.STREAM.INFO.T": _STREAM}
        waiting = asyncio.create_task(it.cluster.consumer("T", "c", "t.>"))
        await it.clock.advance(1)
        assert it.server.asked[-1][0].startswith("$JS.API.CONSUMER.CREATE.T.c")
        it.server.answers["$JS.API.CONSUMER.INFO.T.c"] = made
        await it.clock.advance(2.1)
        assert (await waiting).made
