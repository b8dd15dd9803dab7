"""The faults of the cluster in memory: lost sessions, silent links, latency, no leader, refusals; what it stores."""

import asyncio
from typing import Any

import pytest

from bridge.core.cluster import KeyEntry, Received, StreamSpec, subject_matches
from bridge.core.errors import BridgeError, ConnectionLostError, NotConnectedError, RejectedError, UnavailableError
from bridge.core.model import Export
from bridge.core.ports import Context
from bridge.simulation.cluster import MemoryCluster, MemorySession
from bridge.simulation.stream import overlap
from tests.support.clock import FakeClock

_SPEC = StreamSpec(name="T", subjects=("t.event.>",), max_age=100.0, duplicate_window=10.0)


def _ignore(_: BridgeError) -> None:
    """Nothing is to be told."""


async def _export(session: MemorySession, key: str) -> Any:
    return await session.export(Export(subject="t.event.x", body=key.encode(), sender="s", stored=True), key)


async def test_a_silent_link_holds_what_passes_it() -> None:
    """Calls, messages and changes of keys wait for a silent node, and pass in their order when it is healed."""
    clock = FakeClock()
    cluster = MemoryCluster(clock)
    one, two = cluster.session("one"), cluster.session("two")
    got, entries = list[Received](), list[KeyEntry]()
    await one.bucket("B", replicas=1)
    await two.subscribe("t.>", got.append, _ignore)
    await two.watch("B", entries.append, _ignore)
    cluster.silence("two")
    writing = asyncio.ensure_future(two.create("B", "k", b"two"))
    await one.create("B", "k", b"one")
    cluster.publish("t.x", b"1")
    await clock.advance(60)
    assert (got, entries, writing.done(), two.is_lost) == ([], [], False, False)
    with pytest.raises(NotConnectedError):
        cluster.session("two")
    cluster.heal("two")
    await clock.settle()
    assert [message.body for message in got] == [b"1"]
    assert [entry.value for entry in entries] == [b"one"]
    assert "wrong last revision" in str(writing.exception())


async def test_an_answer_that_is_lost() -> None:
    """With only the way back silent, a call takes effect, and its caller does not hear of it before the loss."""
    clock = FakeClock()
    cluster = MemoryCluster(clock)
    one = cluster.session("one")
    await one.bucket("B", replicas=1)
    cluster.silence("one", direction="from")
    writing = asyncio.ensure_future(one.create("B", "k", b"1"))
    await clock.settle()
    entry = cluster.value("B", "k")
    assert entry is not None
    assert (entry.value, writing.done()) == (b"1", False)
    one.lose()
    await clock.settle()
    assert isinstance(writing.exception(), ConnectionLostError)
    cluster.heal()
    assert cluster.session("one").cluster.max_payload == cluster.max_payload


async def test_latency_counts_both_ways() -> None:
    """A call takes twice the latency; what was sent first arrives first, also where the latency shrinks."""
    clock = FakeClock()
    cluster = MemoryCluster(clock)
    cluster.latency = 0.5
    one = cluster.session("one")
    making = asyncio.ensure_future(one.bucket("B", replicas=1))
    await clock.advance(0.1)
    cluster.latency = 0.0
    writing = asyncio.ensure_future(one.create("B", "k", b"1"))
    await clock.advance(0.3)
    assert not making.done()
    await clock.advance(0.1)
    assert (making.done(), writing.done()) == (True, True)
    assert writing.result() == 1


async def test_the_whole_cluster_is_away() -> None:
    """Each session is lost and told so once; when the servers are back, all is there that was stored."""
    clock = FakeClock()
    cluster = MemoryCluster(clock)
    lost: list[BridgeError] = []
    one = cluster.session("one", lost.append)
    await one.stream(_SPEC)
    await _export(one, "a")
    cluster.stop()
    with pytest.raises(NotConnectedError):
        cluster.session("one")
    with pytest.raises(NotConnectedError):
        await one.stream_state("T")
    with pytest.raises(NotConnectedError):
        _ = one.cluster
    cluster.start()
    assert (await cluster.session("one").stream_state("T")).messages == 1
    assert len(lost) == 1


async def test_jetstream_without_a_leader() -> None:
    """Streams and buckets are silent until it has one; turned off, they are refused; subjects work all the same."""
    clock = FakeClock()
    cluster = MemoryCluster(clock)
    one = cluster.session("one")
    cluster.jetstream = "silent"
    making = asyncio.ensure_future(one.stream(_SPEC))
    got: list[Received] = []
    await one.subscribe("t.>", got.append, _ignore)
    cluster.publish("t.x", b"1")
    await clock.advance(60)
    assert (len(got), making.done()) == (1, False)
    cluster.jetstream = "up"
    await clock.settle()
    assert making.result() == _SPEC
    cluster.jetstream = "off"
    with pytest.raises(UnavailableError):
        await one.stream_state("T")


async def test_a_call_that_is_refused() -> None:
    """The next call of a method fails without an effect, once, and for the node that is named."""
    clock = FakeClock()
    cluster = MemoryCluster(clock)
    one, two = cluster.session("one"), cluster.session("two")
    await one.bucket("B", replicas=1)
    cluster.refuse("create", RejectedError("no"), node="two")
    await one.create("B", "a", b"1")
    with pytest.raises(RejectedError, match="no"):
        await two.create("B", "b", b"1")
    assert cluster.value("B", "b") is None
    await two.create("B", "b", b"1")
    assert cluster.calls["create"] == 3


async def test_subscriptions_that_a_server_ends() -> None:
    """Who subscribes, serves, watches or reads is told once, and the session goes on."""
    clock = FakeClock()
    cluster = MemoryCluster(clock)
    one = cluster.session("one")
    ended: list[BridgeError] = []
    await one.stream(_SPEC)
    await one.bucket("B", replicas=1)
    await one.consumer("T", "c", "t.event.>")
    await one.subscribe("t.live", lambda _: None, ended.append)
    await one.serve("t.use", "g", lambda _: None, ended.append)
    await one.watch("B", lambda _: None, ended.append)
    await one.consume("T", "c", lambda _: None, ended.append, prefetch=1)
    one.revoke("t.live", RejectedError("1"))
    one.revoke("t.use", RejectedError("2"))
    cluster.delete_bucket("B")
    cluster.delete_stream("T")
    await clock.settle()
    assert [error.kind for error in ended] == ["rejected"] * 4
    with pytest.raises(UnavailableError):
        await one.ask("t.use", b"")


async def test_ids_are_forgotten() -> None:
    """A message with a known id is not stored again within the window; after it, it is; old messages are removed."""
    clock = FakeClock()
    one = MemoryCluster(clock).session("one")
    await one.stream(_SPEC)
    assert (await _export(one, "a"))["sequence"] == 1
    await clock.advance(9)
    assert (await _export(one, "a"))["sequence"] == 1
    await clock.advance(2)
    assert (await _export(one, "a"))["sequence"] == 2
    await clock.advance(90)
    state = await one.stream_state("T")
    assert (state.first, state.last, state.messages) == (2, 2, 1)


async def test_what_a_silent_session_has_in_hand_goes_to_another() -> None:
    """After `ACK_WAIT` without a sign of life; a session that lives keeps what it has in hand for hours."""
    clock = FakeClock()
    cluster = MemoryCluster(clock)
    maker = cluster.session("maker")
    await maker.stream(_SPEC)
    await maker.consumer("T", "c", "t.event.>")
    one, two = cluster.session("one"), cluster.session("two")
    mine, theirs = list[Received](), list[Received]()

    def keep(message: Received) -> "asyncio.Future[None]":
        mine.append(message)
        return asyncio.get_running_loop().create_future()

    await one.consume("T", "c", keep, _ignore, prefetch=1)
    await _export(maker, "a")
    await two.consume("T", "c", theirs.append, _ignore, prefetch=1)
    await clock.advance(60)
    assert (len(mine), len(theirs)) == (1, 0)
    cluster.silence("one")
    await clock.advance(15)
    assert [message.deliveries for message in theirs] == [2]


async def test_a_command_is_begun_as_by_an_adapter() -> None:
    """`begin` returns the coroutine that exports; without a key the event has no id."""
    cluster = MemoryCluster(FakeClock())
    one = cluster.session("one")
    await one.stream(_SPEC)
    command = Export(subject="t.event.x", body=b"1", sender="s", stored=True)
    promise = asyncio.get_running_loop().create_future()
    for number in (1, 2):
        assert await one.begin(command, Context(), promise) == {"stream": "T", "sequence": number}
    assert [message.message_id for message in cluster.messages("T")] == [None, None]


@pytest.mark.parametrize(
    ("subject", "pattern", "fits"),
    [
        *(("a", "a", True), ("a", "*", True), ("a", ">", True), ("a.b", "*", False), ("a.b", "a.>", True)),
        *(("a", "a.>", False), ("a.b.c", "a.*.c", True), ("a.b.c", "a.*", False), ("a.b", "b.>", False)),
    ],
)
def test_subjects_and_patterns(subject: str, pattern: str, fits: bool) -> None:
    """`*` is one part, `>` one or more at the end; what fits a pattern overlaps with it."""
    assert subject_matches(subject, pattern) is fits
    assert overlap(subject, pattern) is fits
    assert overlap(pattern, subject) is fits


@pytest.mark.parametrize(
    ("one", "other", "common"),
    [("a.>", "a.b.*", True), ("a.*", "*.b", True), ("a.*", "b.>", False), (">", "a", True), ("a.>", "*", False)],
)
def test_patterns_that_overlap(one: str, other: str, common: bool) -> None:
    """Two patterns overlap where one subject fits both."""
    assert overlap(one, other) is common
    assert overlap(other, one) is common
