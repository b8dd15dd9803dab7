"""What every broker of a fabric keeps of `core.cluster.ClusterSession`: NATS, old and new, and the one in memory."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

import pytest

from bridge.adapters import nats
from bridge.core.clock import RealClock
from bridge.core.cluster import (
    Asked,
    ClusterSession,
    ConflictError,
    KeyEntry,
    Received,
    StreamSpec,
    cluster_of,
)
from bridge.core.endpoint import Endpoint
from bridge.core.errors import (
    BridgeError,
    ConnectionLostError,
    InvalidError,
    NotConnectedError,
    RejectedError,
    UnavailableError,
)
from bridge.core.model import Export
from bridge.core.ports import Context, ProtocolAdapter, perform
from bridge.simulation.cluster import MemoryCluster
from tests.support.adapters.setup import adapter_setup
from tests.support.servers.nats_server import NatsServer, nats_client, nats_server
from tests.support.servers.programs import in_wheel
from tests.support.wait import PATIENCE, until

_T = TypeVar("_T")
#: Seconds after which a consumer of these tests delivers again.
_ACK_WAIT: Final = 1.0
_EVENTS: Final = "t.event.>"
_SPEC: Final = StreamSpec(name="T", subjects=(_EVENTS,), max_age=3600.0, duplicate_window=60.0)


@dataclass
class Node:
    """One session of a node.

    Attributes:
        cluster: Its part for a fabric.
        export: Sends an event: subject, body, key, whether it is stored.
        lose: Ends the session; nothing is acknowledged or given back.
    """

    cluster: ClusterSession
    export: Callable[[str, bytes, str | None, bool], Awaitable[Any]]
    lose: Callable[[], Awaitable[None]]


class Broker(Protocol):
    """A broker that is under test."""

    async def open(self, name: str) -> Node:
        """Open a session."""
        ...

    async def hasty_consumer(self, name: str) -> None:
        """Make a durable consumer of the stream that delivers again after `_ACK_WAIT`."""
        ...

    async def delete_stream(self, name: str) -> None:
        """Delete a stream, as an operator may."""
        ...

    async def send(self, subject: str, body: bytes) -> None:
        """Send a message as any other client may."""
        ...


class InMemory:
    """The broker in memory."""

    def __init__(self) -> None:
        """Start it."""
        self._cluster = MemoryCluster(RealClock(), ack_wait=_ACK_WAIT)

    async def open(self, name: str) -> Node:
        """See `Broker.open`."""
        session = self._cluster.session(name)

        async def export(subject: str, body: bytes, key: str | None, stored: bool) -> Any:
            return await session.export(Export(subject=subject, body=body, sender=name, stored=stored), key)

        async def lose() -> None:
            session.lose()

        return Node(session, export, lose)

    async def hasty_consumer(self, name: str) -> None:
        """See `Broker.hasty_consumer`."""
        await (await self.open("maker")).cluster.consumer("T", name, _EVENTS)

    async def delete_stream(self, name: str) -> None:
        """See `Broker.delete_stream`."""
        if name.startswith("KV_"):
            self._cluster.delete_bucket(name.removeprefix("KV_"))
        else:
            self._cluster.delete_stream(name)

    async def send(self, subject: str, body: bytes) -> None:
        """See `Broker.send`."""
        self._cluster.publish(subject, body)


@dataclass
class Nats:
    """A real server."""

    server: NatsServer
    adapters: list[ProtocolAdapter] = field(default_factory=list)
    lost: list[BridgeError] = field(default_factory=list)

    async def open(self, name: str) -> Node:
        """See `Broker.open`."""
        endpoint = Endpoint(url=f"nats://127.0.0.1:{self.server.port}")
        adapter = nats.SPEC.create(adapter_setup(name, endpoint, on_lost=self.lost.append))
        await adapter.connect()
        self.adapters.append(adapter)

        async def export(subject: str, body: bytes, key: str | None, stored: bool) -> Any:
            command = Export(subject=subject, body=body, sender=name, stored=stored)
            return await perform(adapter, command, Context(idempotency_key=key))

        async def lose() -> None:
            self.adapters.remove(adapter)
            await adapter.disconnect()

        return Node(cluster_of(adapter), export, lose)

    async def hasty_consumer(self, name: str) -> None:
        """See `Broker.hasty_consumer`."""
        async with nats_client(self.server.port) as client:
            await client.jetstream().add_consumer(
                "T",
                durable_name=name,
                ack_policy="explicit",
                ack_wait=_ACK_WAIT,
                filter_subject=_EVENTS,
                deliver_policy="new",
            )

    async def delete_stream(self, name: str) -> None:
        """See `Broker.delete_stream`."""
        async with nats_client(self.server.port) as client:
            await client.jetstream().delete_stream(name)

    async def send(self, subject: str, body: bytes) -> None:
        """See `Broker.send`."""
        async with nats_client(self.server.port) as client:
            await client.publish(subject, body)
            await client.flush()

    async def close(self) -> None:
        """Close all sessions."""
        for adapter in self.adapters:
            await adapter.disconnect()


_PROGRAMS: Final[dict[str, dict[str, Any]]] = {"nats": {}, "nats-wheel": {"program": in_wheel("nats-server")}}


@asynccontextmanager
async def _started(kind: str) -> AsyncIterator[Broker]:
    if kind == "memory":
        yield InMemory()
        return
    with nats_server(**_PROGRAMS[kind]) as server:
        real = Nats(server)
        try:
            yield real
        finally:
            await real.close()


def each_broker(test: Callable[[Broker], Awaitable[None]]) -> Callable[[str], Awaitable[None]]:
    """Run a test with each broker."""

    @functools.wraps(test)
    async def run(kind: str) -> None:
        async with _started(kind) as broker:
            await test(broker)

    del run.__wrapped__  # its arguments are not those of the test
    return pytest.mark.parametrize("kind", ["memory", *_PROGRAMS])(run)


@dataclass
class Taken:
    """What a subscription, a consumer or a watch has got; `handle` keeps the messages of `held` in hand."""

    messages: list[Received] = field(default_factory=list)
    entries: list[KeyEntry] = field(default_factory=list)
    ended: list[BridgeError] = field(default_factory=list)
    held: dict[bytes, "asyncio.Future[None]"] = field(default_factory=dict)

    def handle(self, message: Received) -> Awaitable[None] | None:
        """Take a message of a consumer."""
        self.messages.append(message)
        return self.held.get(message.body)

    def hold(self, *bodies: bytes) -> None:
        """Be not done with these messages."""
        self.held.update({body: asyncio.get_running_loop().create_future() for body in bodies})

    @property
    def bodies(self) -> list[bytes]:
        """What came."""
        return [message.body for message in self.messages]


async def _comes(ask: Callable[[], Awaitable[_T]], good: Callable[[_T], bool]) -> None:
    """Ask again and again until the answer is good."""
    async with asyncio.timeout(PATIENCE):
        for _ in range(int(PATIENCE / 0.02)):
            if good(answer := await ask()):
                return
            await asyncio.sleep(0.02)
    raise AssertionError(f"what was waited for did not come: {answer}")


# --- streams


@each_broker
async def test_a_stream_is_made_once(broker: Broker) -> None:
    """The first makes it as wanted; who wants another one gets it as it is, until it is changed."""
    one, two = await broker.open("one"), await broker.open("two")
    assert await one.cluster.stream(_SPEC) == _SPEC
    other = StreamSpec(name="T", subjects=(_EVENTS,), max_age=60.0, max_bytes=100_000)
    assert await two.cluster.stream(other) == _SPEC
    await two.cluster.change_stream(other)
    changed = await one.cluster.stream(_SPEC)
    assert (changed.max_age, changed.max_bytes, changed.duplicate_window) == (60.0, 100_000, 60.0)


@each_broker
async def test_a_stream_that_cannot_be(broker: Broker) -> None:
    """More replicas than servers, and subjects of another stream: refused; so is the state of one that is not there."""
    node = await broker.open("one")
    await node.cluster.stream(_SPEC)
    for spec in (
        StreamSpec(name="R", subjects=("r.>",), max_age=60.0, replicas=3),
        StreamSpec(name="O", subjects=("t.event.x.*",), max_age=60.0),
    ):
        with pytest.raises((RejectedError, UnavailableError)) as caught:
            await node.cluster.stream(spec)
        assert not caught.value.maybe_sent
    with pytest.raises(RejectedError):
        await node.cluster.stream_state("N")


@each_broker
async def test_what_is_in_a_stream(broker: Broker) -> None:
    """Events get rising numbers, one with the same key is stored once, and one of another node's key is another."""
    one, two = await broker.open("one"), await broker.open("two")
    await one.cluster.stream(_SPEC)
    empty = await one.cluster.stream_state("T")
    assert (empty.first, empty.last, empty.messages) == (1, 0, 0)
    for key in ("a", "b", "a"):
        stored = await one.export("t.event.one.x", b"1", key, True)
        assert stored == {"stream": "T", "sequence": {"a": 1, "b": 2}[key]}
    assert await two.export("t.event.two.x", b"1", "a", True) == {"stream": "T", "sequence": 3}
    assert await two.export("t.event.two.x", b"1", "spaces at the end \n", True) == {"stream": "T", "sequence": 4}
    assert await two.export("t.event.two.x", b"1", "spaces at the end \n", True) == {"stream": "T", "sequence": 4}
    state = await one.cluster.stream_state("T")
    assert (state.first, state.last, state.messages) == (1, 4, 4)
    assert state.bytes > 0


@each_broker
async def test_a_stream_removes_the_oldest(broker: Broker) -> None:
    """By bytes at once, by age a little later; what is left begins behind what was removed."""
    node = await broker.open("one")
    await node.cluster.stream(StreamSpec(name="T", subjects=(_EVENTS,), max_age=3600.0, max_bytes=5000))
    for number in range(10):
        await node.export("t.event.one.x", bytes(1000), str(number), True)
    state = await node.cluster.stream_state("T")
    assert state.last == 10
    assert 1 <= state.messages <= 4
    assert state.first == 11 - state.messages
    await node.cluster.change_stream(StreamSpec(name="T", subjects=(_EVENTS,), max_age=0.2, max_bytes=5000))

    await _comes(lambda: node.cluster.stream_state("T"), lambda state: not state.messages)
    state = await node.cluster.stream_state("T")
    assert (state.first, state.last) == (11, 10)


@each_broker
async def test_an_event_that_nobody_stores(broker: Broker) -> None:
    """It is `unavailable` and surely not sent; sent at most once, it is done with all the same."""
    node = await broker.open("one")
    with pytest.raises(UnavailableError) as caught:
        await node.export("t.event.one.x", b"1", "a", True)
    assert not caught.value.maybe_sent
    assert await node.export("t.live.one.x", b"1", "a", False) == {}


@each_broker
async def test_an_event_that_is_too_large(broker: Broker) -> None:
    """It is `invalid`, and the session goes on."""
    node = await broker.open("one")
    await node.cluster.stream(_SPEC)
    large = bytes(node.cluster.max_payload + 1)
    for stored in (True, False):
        with pytest.raises(InvalidError):
            await node.export("t.event.one.x", large, "a", stored)
    with pytest.raises(InvalidError):
        await node.cluster.ask("t.use.x", large)
    assert (await node.cluster.stream_state("T")).messages == 0


# --- consumers


@each_broker
async def test_a_consumer_begins_with_what_comes_later(broker: Broker) -> None:
    """It gets what is stored after it was made, in order, with id and number, and says how far it has come."""
    one, two = await broker.open("one"), await broker.open("two")
    await one.cluster.stream(_SPEC)
    await one.export("t.event.one.x", b"before", "0", True)
    state = await two.cluster.consumer("T", "node_two", _EVENTS)
    assert (state.acknowledged, state.pending, state.made) == (1, 0, True)
    for number in range(1, 4):
        await one.export("t.event.one.x", b"%d" % number, str(number), True)
    state = await two.cluster.consumer("T", "node_two", _EVENTS)
    assert (state.acknowledged, state.pending, state.made) == (1, 3, False)
    taken = Taken()
    await two.cluster.consume("T", "node_two", taken.handle, taken.ended.append, prefetch=10)
    await until(lambda: len(taken.messages) == 3, "all messages")
    first = taken.messages[0]
    assert (first.subject, first.message_id, first.sequence, first.deliveries) == ("t.event.one.x", "one.1", 2, 1)
    assert taken.bodies == [b"1", b"2", b"3"]
    await _acknowledged(two, "node_two", 4)
    assert not taken.ended


async def _acknowledged(node: Node, name: str, sequence: int) -> None:
    """Wait until a consumer has come so far."""
    await _comes(lambda: node.cluster.consumer("T", name, _EVENTS), lambda state: state.acknowledged == sequence)


@each_broker
async def test_a_consumer_with_a_filter(broker: Broker) -> None:
    """It gets only what its subject takes, and another one when it is asked for with that."""
    node = await broker.open("one")
    await node.cluster.stream(_SPEC)
    await node.cluster.consumer("T", "node_one", "t.event.*.order.>")
    taken = Taken()
    await node.cluster.consume("T", "node_one", taken.handle, taken.ended.append, prefetch=10)
    for end in ("order.a", "other.b", "order.c"):
        await node.export(f"t.event.one.{end}", end.encode(), end, True)
    await until(lambda: len(taken.messages) == 2, "both")
    assert taken.bodies == [b"order.a", b"order.c"]
    await node.cluster.consumer("T", "node_one", "t.event.*.other.>")
    await node.export("t.event.one.order.d", b"order.d", "d", True)
    await node.export("t.event.one.other.e", b"other.e", "e", True)
    await until(lambda: b"other.e" in taken.bodies, "what the new subject takes")
    assert b"order.d" not in taken.bodies


@each_broker
async def test_many_messages_pass(broker: Broker) -> None:
    """More than one pull brings: all of them, in order, and each is acknowledged."""
    node = await broker.open("one")
    await node.cluster.stream(_SPEC)
    await node.cluster.consumer("T", "node_one", _EVENTS)
    taken = Taken()
    await node.cluster.consume("T", "node_one", taken.handle, taken.ended.append, prefetch=700)
    await asyncio.gather(*(node.export("t.event.one.x", b"%d" % n, str(n), True) for n in range(2000)))
    await until(lambda: len({message.sequence for message in taken.messages}) == 2000, "all messages")
    # On a busy machine one may come a second time, since it was not acknowledged within a second.
    assert list(dict.fromkeys(message.sequence for message in taken.messages)) == list(range(1, 2001))
    await _acknowledged(node, "node_one", 2000)


@each_broker
async def test_no_more_are_in_hand_than_wanted(broker: Broker) -> None:
    """While `prefetch` messages are not done with, no more come, and those do not come again however long that is."""
    node = await broker.open("one")
    await node.cluster.stream(_SPEC)
    await broker.hasty_consumer("node_one")
    taken = Taken()
    taken.hold(b"0", b"1", b"2")
    await node.cluster.consume("T", "node_one", taken.handle, taken.ended.append, prefetch=3)
    for number in range(6):
        await node.export("t.event.one.x", b"%d" % number, str(number), True)
    await until(lambda: len(taken.messages) == 3, "the first three")
    await asyncio.sleep(2.5 * _ACK_WAIT)
    assert taken.bodies == [b"0", b"1", b"2"]
    taken.held[b"1"].set_result(None)
    await until(lambda: len(taken.messages) == 6, "the others, which are done with at once")
    assert taken.bodies == [b"0", b"1", b"2", b"3", b"4", b"5"]
    assert (await node.cluster.consumer("T", "node_one", _EVENTS)).acknowledged == 0
    taken.held[b"0"].set_result(None)
    taken.held[b"2"].set_result(None)
    await _acknowledged(node, "node_one", 6)


@each_broker
async def test_what_a_lost_session_had_in_hand_comes_again(broker: Broker) -> None:
    """Another session of the node continues: with what was not acknowledged, and with what came meanwhile."""
    one, two = await broker.open("one"), await broker.open("two")
    await one.cluster.stream(_SPEC)
    await broker.hasty_consumer("node_two")
    taken = Taken()
    taken.hold(b"1", b"3")
    await two.cluster.consume("T", "node_two", taken.handle, taken.ended.append, prefetch=10)
    for number in range(4):
        await one.export("t.event.one.x", b"%d" % number, str(number), True)
    await until(lambda: len(taken.messages) == 4, "all messages")
    await _acknowledged(one, "node_two", 1)
    await two.lose()
    await one.export("t.event.one.x", b"4", "4", True)
    again, later = await broker.open("two"), Taken()
    await again.cluster.consume("T", "node_two", later.handle, later.ended.append, prefetch=10)
    await until(lambda: len(later.messages) == 3, "what was left")
    assert sorted(later.bodies) == [b"1", b"3", b"4"]
    assert {message.body: message.deliveries for message in later.messages} == {b"1": 2, b"3": 2} | {
        b"4": later.messages[later.bodies.index(b"4")].deliveries
    }
    await _acknowledged(again, "node_two", 5)
    assert not taken.ended


@each_broker
async def test_what_is_given_up_comes_again(broker: Broker) -> None:
    """A message whose awaitable is cancelled or raises a BridgeError is not acknowledged, and comes again later."""
    node = await broker.open("one")
    await node.cluster.stream(_SPEC)
    await broker.hasty_consumer("node_one")
    taken: list[tuple[bytes, int]] = []

    async def fail() -> None:
        raise UnavailableError("not now")

    def handle(message: Received) -> Awaitable[None] | None:
        taken.append((message.body, message.deliveries))
        if message.deliveries > 1:
            return None
        if message.body == b"raises":
            return fail()
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        return future

    await node.cluster.consume("T", "node_one", handle, lambda _: None, prefetch=10)
    for body in (b"raises", b"cancelled"):
        await node.export("t.event.one.x", body, body.decode(), True)
    await until(lambda: len(taken) == 4, "both again")
    assert sorted(taken) == [(b"cancelled", 1), (b"cancelled", 2), (b"raises", 1), (b"raises", 2)]
    await _acknowledged(node, "node_one", 2)


@each_broker
async def test_the_end_of_reading(broker: Broker) -> None:
    """After the function was called nothing more comes; a later `consume` goes on."""
    node = await broker.open("one")
    await node.cluster.stream(_SPEC)
    await broker.hasty_consumer("node_one")
    taken, later = Taken(), Taken()
    stop = await node.cluster.consume("T", "node_one", taken.handle, taken.ended.append, prefetch=10)
    await node.export("t.event.one.x", b"1", "1", True)
    await until(lambda: len(taken.messages) == 1)
    await _acknowledged(node, "node_one", 1)
    await stop()
    await node.export("t.event.one.x", b"2", "2", True)
    await node.cluster.consume("T", "node_one", later.handle, later.ended.append, prefetch=10)
    await until(lambda: len(later.messages) == 1)
    assert (taken.bodies, later.bodies) == ([b"1"], [b"2"])
    await stop()  # once more does nothing
    assert not taken.ended


@each_broker
async def test_a_consumer_that_is_gone(broker: Broker) -> None:
    """Who reads it is told once; to read it or to delete it again changes nothing; made again, it begins anew."""
    one, two = await broker.open("one"), await broker.open("two")
    await one.cluster.stream(_SPEC)
    await one.cluster.consumer("T", "node_one", _EVENTS)
    taken = Taken()
    await one.cluster.consume("T", "node_one", taken.handle, taken.ended.append, prefetch=10)
    await two.cluster.delete_consumer("T", "node_one")
    await until(lambda: taken.ended, "the end")
    assert isinstance(taken.ended[0], RejectedError)
    await two.cluster.delete_consumer("T", "node_one")
    await two.cluster.delete_consumer("NONE", "node_one")
    with pytest.raises(RejectedError):
        await one.cluster.consume("T", "node_one", taken.handle, taken.ended.append, prefetch=10)
    await one.export("t.event.one.x", b"1", "1", True)
    assert (await one.cluster.consumer("T", "node_one", _EVENTS)).made
    assert len(taken.ended) == 1


@each_broker
async def test_a_stream_that_is_gone(broker: Broker) -> None:
    """Who reads one of its consumers is told."""
    node = await broker.open("one")
    await node.cluster.stream(_SPEC)
    await node.cluster.consumer("T", "node_one", _EVENTS)
    taken = Taken()
    await node.cluster.consume("T", "node_one", taken.handle, taken.ended.append, prefetch=10)
    await broker.delete_stream("T")
    await until(lambda: taken.ended, "the end")
    with pytest.raises(RejectedError):
        await node.cluster.consumer("T", "node_one", _EVENTS)


# --- subjects


@each_broker
async def test_what_is_sent_at_most_once(broker: Broker) -> None:
    """Each subscription gets what its subject takes, the sender's own too, in order, until it ends."""
    one, two = await broker.open("one"), await broker.open("two")
    mine, theirs = Taken(), Taken()
    await one.cluster.subscribe("t.live.>", mine.messages.append, mine.ended.append)
    stop = await two.cluster.subscribe("t.live.*.a.>", theirs.messages.append, theirs.ended.append)
    for end in ("a.b", "b.c", "a.c"):
        await one.export(f"t.live.one.{end}", end.encode(), end, False)
    await until(lambda: len(mine.messages) == 3 and len(theirs.messages) == 2, "all messages")
    assert (mine.bodies, theirs.bodies) == ([b"a.b", b"b.c", b"a.c"], [b"a.b", b"a.c"])
    assert (mine.messages[0].message_id, mine.messages[0].sequence) == ("one.a.b", 0)
    await stop()
    await one.export("t.live.one.a.d", b"a.d", "a.d", False)
    await until(lambda: len(mine.messages) == 4)
    assert len(theirs.messages) == 2
    await broker.send("t.live.\x7f.garbage", b"\xff\x00")
    await until(lambda: len(mine.messages) == 5, "what others send")
    assert (mine.messages[4].body, mine.messages[4].message_id) == (b"\xff\x00", None)


@each_broker
async def test_requests_are_shared(broker: Broker) -> None:
    """Each goes to one member of the group, with its headers; nobody there is `unavailable`, surely not sent."""
    asker, one, two = await broker.open("asker"), await broker.open("one"), await broker.open("two")
    with pytest.raises(UnavailableError) as caught:
        await asker.cluster.ask("t.use.erp", b"1")
    assert not caught.value.maybe_sent
    asked: list[tuple[str, Asked]] = []

    def serving(name: str) -> Callable[[Asked], None]:
        def on_asked(request: Asked) -> None:
            asked.append((name, request))
            request.answer(name.encode() + b":" + request.body)
            request.answer(b"a second answer goes nowhere")

        return on_asked

    stop_one = await one.cluster.serve("t.use.erp", "g", serving("one"), lambda _: None)
    stop_two = await two.cluster.serve("t.use.erp", "g", serving("two"), lambda _: None)
    answers = await asyncio.gather(*(asker.cluster.ask("t.use.erp", b"%d" % n, {"a": "b"}) for n in range(40)))
    assert [answer.partition(b":")[2] for answer in answers] == [b"%d" % n for n in range(40)]
    assert {name for name, _ in asked} == {"one", "two"}
    assert len(asked) == 40
    assert dict(asked[0][1].headers) == {"a": "b"}
    await stop_one()
    asked.clear()
    await asyncio.gather(*(asker.cluster.ask("t.use.erp", b"%d" % n) for n in range(10)))
    assert [name for name, _ in asked] == ["two"] * 10
    await stop_two()
    with pytest.raises(UnavailableError):
        await asker.cluster.ask("t.use.erp", b"1")


@each_broker
async def test_a_request_before_the_end_is_answered(broker: Broker) -> None:
    """What came before serving ended may be answered after it."""
    asker, server = await broker.open("asker"), await broker.open("server")
    asked: list[Asked] = []
    stop = await server.cluster.serve("t.use.erp", "g", asked.append, lambda _: None)
    answers = [asyncio.ensure_future(asker.cluster.ask("t.use.erp", b"%d" % n)) for n in range(20)]
    await until(lambda: asked, "the first request")
    await stop()
    await until(lambda: len(asked) == 20 or any(answer.done() for answer in answers))
    for request in asked:
        request.answer(b"yes")
    results = await asyncio.gather(*answers, return_exceptions=True)
    assert all(result == b"yes" or isinstance(result, UnavailableError) for result in results)
    assert results.count(b"yes") == len(asked)


@each_broker
async def test_who_serves_dies(broker: Broker) -> None:
    """A request that was passed on to a session that ends has no answer; to give it up leaves nothing behind."""
    asker, server = await broker.open("asker"), await broker.open("server")
    asked: list[Asked] = []
    await server.cluster.serve("t.use.erp", "g", asked.append, lambda _: None)
    waiting = asyncio.ensure_future(asker.cluster.ask("t.use.erp", b"1"))
    await until(lambda: asked)
    await server.lose()
    asked[0].answer(b"nobody gets it")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(waiting), 0.2)
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    with pytest.raises(UnavailableError):
        await asker.cluster.ask("t.use.erp", b"1")


# --- buckets


@each_broker
async def test_keys_and_their_revisions(broker: Broker) -> None:
    """Who writes must know the last revision: one of two writers at the same time gets `ConflictError`."""
    one, two = await broker.open("one"), await broker.open("two")
    for node in (one, two):
        await node.cluster.bucket("B", replicas=1)
    assert await one.cluster.get("B", "node.a") is None
    revision = await one.cluster.create("B", "node.a", b"1")
    with pytest.raises(ConflictError):
        await two.cluster.create("B", "node.a", b"2")
    entry = await two.cluster.get("B", "node.a")
    assert entry is not None
    assert (entry.key, entry.value, entry.revision) == ("node.a", b"1", revision)
    results = await asyncio.gather(
        *(node.cluster.update("B", "node.a", b"3", revision) for node in (one, two, one, two)), return_exceptions=True
    )
    written = [result for result in results if isinstance(result, int)]
    assert len(written) == 1
    assert sum(isinstance(result, ConflictError) for result in results) == 3
    other = await one.cluster.create("B", "lease.x", b"")
    assert other > written[0] > revision
    with pytest.raises(ConflictError):
        await one.cluster.delete("B", "node.a", revision)
    await one.cluster.delete("B", "node.a", written[0])
    gone = await one.cluster.get("B", "node.a")
    assert gone is not None
    assert gone.value is None
    with pytest.raises(ConflictError):
        await one.cluster.update("B", "node.a", b"4", written[0])
    assert await two.cluster.create("B", "node.a", b"5") > gone.revision
    empty = await two.cluster.get("B", "lease.x")
    assert empty is not None
    assert empty.value == b""


@each_broker
async def test_a_bucket_that_is_not_there(broker: Broker) -> None:
    """To read, write or watch it is an error, not a conflict and not an empty answer."""
    node = await broker.open("one")
    for call in (
        lambda: node.cluster.get("B", "a"),
        lambda: node.cluster.create("B", "a", b"1"),
        lambda: node.cluster.watch("B", lambda _: None, lambda _: None),
    ):
        with pytest.raises((RejectedError, UnavailableError)) as caught:
            await call()
        assert not caught.value.maybe_sent


@each_broker
async def test_a_watch_has_all_and_then_the_changes(broker: Broker) -> None:
    """First the values that are there, without those that were deleted, with their age; then the changes in order."""
    one, two = await broker.open("one"), await broker.open("two")
    await one.cluster.bucket("B", replicas=1)
    for key in ("a", "b.c", "d"):
        await one.cluster.create("B", key, key.encode())
    revision = await one.cluster.update("B", "a", b"A", 1)
    await one.cluster.delete("B", "d", 3)
    await asyncio.sleep(0.3)
    taken = Taken()
    stop = await two.cluster.watch("B", taken.entries.append, taken.ended.append)
    assert [(entry.key, entry.value, entry.revision) for entry in taken.entries] == [
        ("b.c", b"b.c", 2),
        ("a", b"A", revision),
    ]
    assert all(0.25 <= entry.age < 20 for entry in taken.entries)
    taken.entries.clear()
    for number in range(100):
        revision = await one.cluster.update("B", "a", b"%d" % number, revision)
    await one.cluster.delete("B", "a", revision)
    await until(lambda: taken.entries and taken.entries[-1].value is None, "the last change")
    came = [(entry.revision, entry.value) for entry in taken.entries]
    all_changes = [(revision - 99 + number, b"%d" % number) for number in range(100)]
    assert came == [*sorted(set(came).intersection(all_changes)), (revision + 1, None)]
    await stop()
    taken.entries.clear()
    await one.cluster.create("B", "e", b"e")
    await two.cluster.get("B", "e")
    assert (taken.entries, taken.ended) == ([], [])


@each_broker
async def test_a_watch_of_an_empty_bucket(broker: Broker) -> None:
    """It begins at once, also where all keys were deleted."""
    node = await broker.open("one")
    await node.cluster.bucket("B", replicas=1)
    taken = Taken()
    await (await node.cluster.watch("B", taken.entries.append, taken.ended.append))()
    await node.cluster.delete("B", "a", await node.cluster.create("B", "a", b"1"))
    await node.cluster.watch("B", taken.entries.append, taken.ended.append)
    assert not taken.entries
    await node.cluster.create("B", "a", b"2")
    await until(lambda: taken.entries)
    assert taken.entries[0].value == b"2"


@each_broker
async def test_a_bucket_that_is_gone(broker: Broker) -> None:
    """Who watches it is told once, and may make it again."""
    node = await broker.open("one")
    await node.cluster.bucket("B", replicas=1)
    taken = Taken()
    await node.cluster.watch("B", taken.entries.append, taken.ended.append)
    await broker.delete_stream("KV_B")
    await until(lambda: taken.ended, "the end of the watch")
    await node.cluster.bucket("B", replicas=1)
    assert await node.cluster.create("B", "a", b"1") == 1
    assert len(taken.ended) == 1


# --- the end


@each_broker
async def test_a_session_that_is_lost(broker: Broker) -> None:
    """Calls in flight fail once, later ones at once and unsent; nothing comes any more, and nothing ends by itself."""
    asker, server = await broker.open("asker"), await broker.open("server")
    await server.cluster.serve("t.use.erp", "g", lambda _: None, lambda _: None)
    await asker.cluster.bucket("B", replicas=1)
    taken = Taken()
    stops = [
        await asker.cluster.subscribe("t.live.>", taken.messages.append, taken.ended.append),
        await asker.cluster.watch("B", taken.entries.append, taken.ended.append),
    ]
    waiting = asyncio.ensure_future(asker.cluster.ask("t.use.erp", b"1"))
    await asyncio.sleep(0.05)
    await asker.lose()
    with pytest.raises(ConnectionLostError) as caught:
        await waiting
    assert caught.value.maybe_sent
    with pytest.raises(NotConnectedError):
        await asker.cluster.ask("t.use.erp", b"1")
    for stop in stops:
        await stop()
    await server.export("t.live.x", b"1", None, False)
    await server.cluster.create("B", "a", b"1")
    assert (taken.messages, taken.entries, taken.ended) == ([], [], [])
