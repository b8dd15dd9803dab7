"""JetStream against the real server: storing, taking, settling, consuming."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from nats.aio.client import Client
from nats.js.api import AckPolicy

from bridge.adapters.nats import jetstream
from bridge.adapters.nats.adapter import NatsAdapter, NatsConfig
from bridge.core.endpoint import Endpoint
from bridge.core.errors import (
    InvalidError,
    ProtocolError,
    RejectedError,
    UnavailableError,
)
from bridge.core.model import Inbound
from bridge.core.ports import Context
from tests.support.adapters.direct import Direct
from tests.support.adapters.setup import adapter_setup
from tests.support.adapters.told import Told
from tests.support.servers.nats_server import NatsServer, nats_client, nats_server, subscribed
from tests.support.servers.programs import in_wheel, on_path
from tests.support.wait import until

_ORDERS = {"stream": {"name": "ORDERS", "subjects": ["orders.*"]}, "durable": "worker"}


@asynccontextmanager
async def _session(
    server: NatsServer, told: Told | None = None, state: dict[str, Any] | None = None, **config: Any
) -> AsyncIterator[Direct]:
    endpoint = Endpoint(url=f"nats://127.0.0.1:{server.port}")
    callbacks = {} if told is None else told.callbacks
    settings = NatsConfig.model_validate(config or _ORDERS)
    kept = {} if state is None else state
    adapter = NatsAdapter(adapter_setup("test", endpoint, config=settings, session_state=kept, **callbacks))
    await adapter.connect()
    try:
        yield Direct(adapter)
    finally:
        await adapter.disconnect()


async def _quick_consumer(client: Client) -> None:
    """One that waits half a second for an acknowledgement."""
    explicit = AckPolicy.EXPLICIT
    await client.jetstream().add_consumer("ORDERS", durable_name="quick", ack_policy=explicit, ack_wait=0.5)


async def test_the_stream_is_made_once_and_then_checked() -> None:
    """A second session finds it; one that wants other subjects says so, and all but that stream works."""
    told, words = Told(), r"stores orders\.\*; the configuration says other"
    with nats_server() as server:
        async with _session(server), _session(server, told):
            assert not told.warnings
        async with _session(server, told, stream={"name": "ORDERS", "subjects": ["other"]}, durable="w") as adapter:
            assert re.search(words, told.warnings["stream"])
            with pytest.raises(RejectedError, match=words):
                await adapter.dequeue("ORDERS")
            await adapter.publish("t", 1)
    assert not told.lost


async def test_a_consumer_that_cannot_be_acknowledged_is_refused() -> None:
    """Pull and explicit acknowledgement are what is needed."""
    with nats_server() as server:
        async with nats_client(server.port) as outside:
            jetstream = outside.jetstream()
            await jetstream.add_stream(name="ORDERS", subjects=["orders.*"])
            await jetstream.add_consumer("ORDERS", durable_name="worker", ack_policy=AckPolicy.ALL)
        told = Told()
        async with _session(server, told) as adapter:
            assert "not explicit" in told.warnings["stream"]
            with pytest.raises(InvalidError, match="not explicit"):
                await adapter.dequeue("ORDERS")
            await adapter.publish("t", 1)


async def test_an_idempotency_key_is_stored_once() -> None:
    """JetStream knows the key again; the id is the first one's."""
    with nats_server() as server:
        async with _session(server) as adapter:
            first = await adapter.enqueue("orders.new", 1, context=Context(idempotency_key="k"))
            again = await adapter.enqueue("orders.new", 1, context=Context(idempotency_key="k"))
            other = await adapter.enqueue("orders.new", 1, context=Context(idempotency_key="l"))
    assert (first, again, other) == ("ORDERS/1", "ORDERS/1", "ORDERS/2")


async def test_where_nothing_is_stored() -> None:
    """No stream for the subject: unavailable, and surely not stored. A service that answers is no stream."""
    with nats_server() as server:
        async with _session(server) as adapter, nats_client(server.port) as outside:
            with pytest.raises(UnavailableError) as caught:
                await adapter.enqueue("elsewhere", 1)
            assert not caught.value.maybe_sent

            async def answer(message: Any) -> None:
                await outside.publish(message.reply, b"hello")

            await outside.subscribe("service", cb=answer)
            await subscribed(outside)
            with pytest.raises(ProtocolError):
                await adapter.enqueue("service", 1)


async def test_what_a_stream_refuses() -> None:
    """JetStream's own code and words."""
    with nats_server() as server:
        async with nats_client(server.port) as outside, _session(server) as adapter:
            await outside.jetstream().add_stream(name="SMALL", subjects=["small"], max_msg_size=10)
            with pytest.raises(RejectedError, match="message size exceeds") as caught:
                await adapter.enqueue("small", "x" * 100)
    assert caught.value.code == 10054


async def test_names_of_queues() -> None:
    """`stream/consumer`, or a stream by `durable`; a part of a stream, an unknown one and a malformed one are told."""
    with nats_server() as server:
        async with _session(server) as adapter:
            await adapter.enqueue("orders.new", 1)
            await adapter.enqueue("orders.new", 2)
            first, second = await adapter.dequeue("ORDERS/worker"), await adapter.dequeue("ORDERS")
            assert first is not None
            assert second is not None
            assert (first.message, second.message) == (1, 2)
            assert await adapter.dequeue("orders.*") is None
            with pytest.raises(InvalidError, match="part of stream ORDERS"):
                await adapter.dequeue("orders.new")
            with pytest.raises(RejectedError, match="consumer not found"):
                await adapter.dequeue("ORDERS/nobody")
            with pytest.raises(RejectedError, match="stream not found"):
                await adapter.dequeue("NOTHING/worker")
            with pytest.raises(InvalidError, match="cannot be the name"):
                await adapter.dequeue("ORDERS/a.b")
        async with _session(server, codec="auto") as adapter:
            with pytest.raises(InvalidError, match="names no consumer"):
                await adapter.dequeue("ORDERS")


async def test_giving_back_with_a_delay() -> None:
    """It comes after the delay and not before; meanwhile the queue is empty."""
    with nats_server() as server:
        async with _session(server) as adapter:
            message_id = await adapter.enqueue("orders.new", {"n": 1}, headers={"a": "b"})
            taken = await adapter.dequeue("ORDERS", wait=2)
            assert taken is not None
            assert (taken.message_id, taken.attempts, taken.headers["a"]) == (message_id, 1, "b")
            loop = asyncio.get_running_loop()
            started = loop.time()
            await adapter.nack(message_id, delay=0.4)
            assert await adapter.dequeue("ORDERS") is None
            again = await adapter.dequeue("ORDERS", wait=5)
            assert again is not None
            assert again.attempts == 2
            assert loop.time() - started >= 0.35
            await adapter.ack(again.message_id)
            with pytest.raises(InvalidError, match="holds no message"):
                await adapter.ack(again.message_id)


async def test_two_consumers_hold_the_same_message() -> None:
    """Each settles its own."""
    with nats_server() as server:
        async with _session(server) as adapter, nats_client(server.port) as outside:
            await outside.jetstream().add_consumer("ORDERS", durable_name="audit", ack_policy=AckPolicy.EXPLICIT)
            await adapter.enqueue("orders.new", 1)
            one = await adapter.dequeue("ORDERS/worker", wait=2)
            two = await adapter.dequeue("ORDERS/audit", wait=2)
            assert one is not None
            assert two is not None
            assert (one.message_id, two.message_id) == ("ORDERS/1", "ORDERS/audit/1")
            await adapter.ack(two.message_id)
            info = await outside.jetstream().consumer_info("ORDERS", "worker")
            assert info.num_ack_pending == 1
            await adapter.ack(one.message_id)
            info = await outside.jetstream().consumer_info("ORDERS", "worker")
            assert info.num_ack_pending == 0


async def test_many_wait_at_the_same_time() -> None:
    """Each gets one message, none gets another's."""
    with nats_server() as server:
        async with _session(server) as adapter:
            takers = [asyncio.ensure_future(adapter.dequeue("ORDERS", wait=5)) for _ in range(20)]
            for n in range(20):
                await adapter.enqueue("orders.new", n)
            taken = [message.message for message in await asyncio.gather(*takers) if message]
    assert sorted(taken) == list(range(20))


async def test_who_gives_up_waiting_takes_no_message_along() -> None:
    """What comes for him goes to another at once, not after the consumer's 30 seconds."""
    with nats_server() as server:
        async with _session(server) as adapter:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await adapter.dequeue("ORDERS", wait=20)
            await adapter.enqueue("orders.new", "kept")
            taken = await adapter.dequeue("ORDERS", wait=5)
    assert taken is not None
    assert taken.message == "kept"


async def test_consume_acknowledges_after_delivery() -> None:
    """In order, across several batches; in the end nothing is pending."""
    got: list[Any] = []

    async def deliver(message: Inbound) -> None:
        got.append(message)

    with nats_server() as server:
        async with _session(server) as adapter, nats_client(server.port) as outside:
            subscription = await adapter.consume("ORDERS/worker", deliver)
            await asyncio.gather(*[adapter.enqueue(f"orders.n{n}", n) for n in range(700)])
            await until(lambda: len(got) == 700, "all messages")
            assert [message.message for message in got] == list(range(700))
            first = got[0]
            assert (first.topic, first.message_id, first.attempts) == ("orders.n0", "ORDERS/1", 1)
            await adapter.unsubscribe(subscription)
            info = await outside.jetstream().consumer_info("ORDERS", "worker")
            assert (info.num_ack_pending, info.num_pending) == (0, 0)
            await adapter.enqueue("orders.late", 1)
            await adapter.check()
            assert len(got) == 700


async def test_what_was_not_delivered_comes_again() -> None:
    """A session that ends in the middle of a delivery has acknowledged only what was delivered."""
    got: list[Any] = []
    hold = asyncio.Event()

    async def stuck(message: Inbound) -> None:
        got.append(message.message)
        if message.message == 2:
            await hold.wait()

    async def deliver(message: Inbound) -> None:
        got.append((message.message, message.attempts))

    with nats_server() as server:
        async with _session(server) as adapter, nats_client(server.port) as outside:
            await _quick_consumer(outside)
            for n in range(5):
                await adapter.enqueue("orders.new", n)
            subscription = await adapter.consume("ORDERS/quick", stuck)
            await until(lambda: got == [0, 1, 2], "the third message")
            await adapter.unsubscribe(subscription)
        got.clear()
        async with _session(server) as adapter:
            await adapter.consume("ORDERS/quick", deliver)
            await until(lambda: {message for message, _ in got} == {2, 3, 4}, "the rest")
    assert all(attempts > 1 for _, attempts in got)


async def test_what_the_codec_cannot_read_comes_as_bytes() -> None:
    """With the reason as a header, and acknowledged like any other: consumed, or taken one by one."""
    got: list[Any] = []

    async def deliver(message: Inbound) -> None:
        got.append((message.message, "codec_error" in message.headers))

    with nats_server() as server:
        async with _session(server, **_ORDERS, codec="json") as adapter, nats_client(server.port) as outside:
            await outside.jetstream().publish("orders.new", b"{no json")
            taken = await adapter.dequeue("ORDERS", wait=5)
            assert taken is not None
            assert (taken.message, "is not JSON" in taken.headers["codec_error"]) == (b"{no json", True)
            await adapter.ack(taken.message_id)
            for data in (b"{no json", b"1"):
                await outside.jetstream().publish("orders.new", data)
            subscription = await adapter.consume("ORDERS/worker", deliver)
            await until(lambda: len(got) == 2, "both")
            await adapter.unsubscribe(subscription)
            info = await outside.jetstream().consumer_info("ORDERS", "worker")
            assert (info.num_ack_pending, info.num_pending) == (0, 0)
    assert got == [(b"{no json", True), (1, False)]


async def test_a_slow_delivery_is_not_delivered_twice() -> None:
    """The server is told that it is in progress, for what waits behind it, too."""
    got: list[tuple[Any, Any]] = []
    loop = asyncio.get_running_loop()

    async def deliver(message: Inbound) -> None:
        end = loop.time() + 1.2
        if not got:
            await until(lambda: loop.time() >= end, "more than the consumer's patience")
        got.append((message.message, message.attempts))

    with nats_server() as server:
        async with _session(server) as adapter, nats_client(server.port) as outside:
            await _quick_consumer(outside)
            for n in range(3):
                await adapter.enqueue("orders.new", n)
            await adapter.consume("ORDERS/quick", deliver)
            await until(lambda: len(got) >= 3, "all three")
            await adapter.check()
    assert got == [(0, 1), (1, 1), (2, 1)]


async def test_a_consumer_that_is_deleted_ends_its_subscription() -> None:
    """Nothing would ever come again. The session goes on, and subscribing again makes the consumer again."""
    told = Told()

    async def deliver(_: Inbound) -> None:
        pass

    with nats_server() as server:
        async with _session(server, told) as adapter, nats_client(server.port) as outside:
            subscription = await adapter.consume("ORDERS/worker", deliver)
            while not (await outside.jetstream().consumer_info("ORDERS", "worker")).num_waiting:  # noqa: ASYNC110  # the server's
                await asyncio.sleep(0.005)
            await outside.jetstream().delete_consumer("ORDERS", "worker")
            await until(lambda: told.ended, "the news")
            await adapter.unsubscribe(subscription)
            await adapter.consume("ORDERS/worker", deliver)
            assert "consumer ORDERS/worker was made again" in told.warnings["consumer ORDERS/worker"]
    (topic, error), *more = told.ended
    assert (topic, error.kind, more, told.lost) == ("ORDERS/worker", "rejected", [], [])
    assert "Consumer Deleted" in error.message


@pytest.mark.parametrize("find", [on_path, in_wheel])
async def test_a_consumer_that_was_deleted_before_is_noticed(
    find: Callable[[str], str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is silent about it, or from 2.10 on says that nobody answers, so it is asked."""
    monkeypatch.setattr(jetstream, "LATE", 0.1)
    with nats_server(program=find("nats-server")) as server:
        async with _session(server) as adapter, nats_client(server.port) as outside:
            assert await adapter.dequeue("ORDERS") is None
            await outside.jetstream().delete_consumer("ORDERS", "worker")
            with pytest.raises(RejectedError, match="consumer not found"):
                await adapter.dequeue("ORDERS")


async def test_nothing_is_lost_over_a_restart() -> None:
    """The server dies and comes back: what was stored and not acknowledged comes, to a new session."""
    got: list[Any] = []
    told = Told()

    async def deliver(message: Inbound) -> None:
        got.append(message.message)

    with nats_server() as server:
        async with _session(server, told) as adapter:
            for n in range(50):
                await adapter.enqueue("orders.new", n)
            server.restart()
            await until(lambda: told.lost, "the news")
        async with _session(server) as adapter:
            await adapter.consume("ORDERS/worker", deliver)
            await until(lambda: len(got) == 50, "all messages")
    assert got == list(range(50))


async def test_jetstream_is_off() -> None:
    """The configuration wants a stream that cannot be: a warning; queues fail, and publishing works."""

    async def deliver(_: Inbound) -> None:
        pass

    told = Told()
    with nats_server("accounts { A { users: [ { user: a, password: b } ] } }\nno_auth_user: a") as server:
        async with _session(server, told) as adapter:
            assert "JetStream" in told.warnings["stream"]
            with pytest.raises(UnavailableError):
                await adapter.enqueue("orders.new", 1)
            with pytest.raises((UnavailableError, RejectedError)):
                await adapter.consume("ORDERS", deliver)
            await adapter.publish("t", 1)
    assert not told.lost
