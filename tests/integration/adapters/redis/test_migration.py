"""Redis Cluster while a slot is on its way between two nodes: keys on either side, and how it ends."""

import asyncio
from collections.abc import Iterator

import pytest

from bridge.core.errors import BridgeError, UnavailableError
from bridge.core.model import Inbound
from bridge.core.ports import AckDecision
from bridge.core.settings import Hold
from tests.support.adapters.redis_cluster import THIRDS, Migration, cluster_session, queue_between
from tests.support.servers.redis_server import RedisServer, Told, redis_cluster
from tests.support.wait import until


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[RedisServer]]:
    """Three masters and a replica of the first."""
    with redis_cluster() as made:
        yield made


async def test_keys_on_either_side(nodes: list[RedisServer]) -> None:
    """Each call goes where its key is, one by one and many at once; the map of slots stays, and nobody is lost."""
    tag, elsewhere = queue_between("one", *THIRDS[0]), queue_between("other", *THIRDS[2])
    old, new = f"{{{tag}}}old", f"{{{tag}}}new"
    lost: list[BridgeError] = []
    async with cluster_session(nodes[1], lost) as adapter:
        await adapter.enqueue(old, 0)
        migration = Migration(nodes[:3], tag, nodes[0], nodes[2])
        await adapter.enqueue(old, 1)
        await adapter.enqueue(new, 1)
        queues = [old, new, elsewhere] * 40
        names = await asyncio.gather(*(adapter.enqueue(queue, n) for n, queue in enumerate(queues)))
        assert len(set(names)) == len(queues)
        with nodes[0].client() as client:
            assert client.xlen(old) == 42
        assert migration.at_target(new) == 41
        for queue in (old, new):
            first = await adapter.dequeue(queue)
            assert first is not None
            await adapter.nack(first.message_id)
            again = await adapter.dequeue(queue)
            assert again is not None
            assert (again.message_id, again.attempts) == (first.message_id, 2)
            await adapter.ack(again.message_id)
        await adapter.check()
        for queue in (old, new):
            migration.move(queue)
        assert migration.at_target(old) == 42
        await adapter.enqueue(old, 2)
        migration.finish()
        await adapter.enqueue(old, 3)
        with nodes[2].client() as client:
            assert client.xlen(old) == 44
        assert not lost


async def test_a_waiting_reader_follows(nodes: list[RedisServer]) -> None:
    """Who waits at the source when its stream leaves is sent on, or up to Redis 7.0 told to try again, and finds it."""
    queue = queue_between("wait", *THIRDS[1])
    async with cluster_session(nodes[0]) as adapter:
        assert await adapter.dequeue(queue) is None
        waiting = asyncio.create_task(adapter.dequeue(queue, wait=10.0))
        migration = Migration(nodes[:3], queue, nodes[1], nodes[0])
        with nodes[1].client() as client:
            await until(lambda: client.info("clients")["blocked_clients"] == 1)
        migration.move(queue)
        await adapter.enqueue(queue, "here")
        try:
            found = await waiting
        except UnavailableError as error:
            assert not error.maybe_sent  # noqa: PT017  # only some servers raise it
            found = await adapter.dequeue(queue)
        assert found is not None
        assert found.message == "here"
        migration.finish()
        await adapter.ack(found.message_id)


async def test_an_answer_reaches_the_reader(nodes: list[RedisServer]) -> None:
    """The session that reads a stream under way is told of answers that go the direct way later."""
    queue = queue_between("held", *THIRDS[2])
    got: list[Inbound] = []

    async def deliver(message: Inbound) -> AckDecision:
        got.append(message)
        return AckDecision.HOLD

    async with cluster_session(nodes[0]) as adapter:
        migration = Migration(nodes[:3], queue, nodes[2], nodes[1])
        hold = Hold(limit=1, visibility=60.0, max_deliveries=5, on_dead=lambda *_: None)
        await adapter.consume(queue, deliver, hold=hold)  # type: ignore[call-arg]
        for n in range(3):
            await adapter.enqueue(queue, n)
        await until(lambda: len(got) == 1)
        assert got[0].message_id is not None
        await adapter.ack(got[0].message_id)
        await until(lambda: len(got) == 2)
        migration.finish()
        assert got[1].message_id is not None
        await adapter.ack(got[1].message_id)
        await until(lambda: len(got) == 3)
        assert [message.message for message in got] == [0, 1, 2]


async def test_a_stream_that_moves_under_its_reader(nodes: list[RedisServer]) -> None:
    """Its subscription ends as one that may be made again at once, and the next one reads on at the new node."""
    queue = queue_between("read", *THIRDS[1])
    told, got = Told(), []

    async def deliver(message: Inbound) -> None:
        got.append(message.message)

    async with cluster_session(nodes[0], told=told) as adapter:
        await adapter.consume(queue, deliver)
        await adapter.enqueue(queue, 1)
        await until(lambda: got == [1])
        migration = Migration(nodes[:3], queue, nodes[1], nodes[2])
        migration.move(queue)
        migration.finish()
        await until(lambda: told.ended)
        assert [(topic, error.kind) for topic, error in told.ended] == [(queue, "unavailable")]
        await adapter.consume(queue, deliver)
        await adapter.enqueue(queue, 2)
        await until(lambda: got == [1, 2])
        assert not told.lost


async def test_keys_on_both_sides_of_one_call(nodes: list[RedisServer]) -> None:
    """A dead letter that would need both (TRYAGAIN) waits until the slot has arrived."""
    queue = queue_between("both", *THIRDS[0])
    told = Told()
    async with cluster_session(nodes[0], max_deliveries=1, claim_after=1.0, told=told) as adapter:
        await adapter.enqueue(queue, 1)
        taken = await adapter.dequeue(queue)
        assert taken is not None
        await adapter.nack(taken.message_id)
        migration = Migration(nodes[:3], queue, nodes[0], nodes[1])
        migration.move(queue)
        await adapter.nack(taken.message_id)
        assert await adapter.dequeue(queue) is None
        assert "Multiple keys" in told.warnings[f"dead letters of {queue}"]
        migration.finish()
        next_one = asyncio.create_task(adapter.dequeue(queue, wait=20.0))
        with nodes[1].client() as client:
            await until(lambda: client.xlen(f"{{{queue}}}:dead") == 1)
        await adapter.enqueue(queue, 2)
        found = await next_one
        assert found is not None
        assert found.message == 2


async def test_nodes_that_disagree(nodes: list[RedisServer]) -> None:
    """The source sends it on, the target sends it back (MOVED): it ends, and may be tried again."""
    queue = queue_between("back", *THIRDS[1])
    lost: list[BridgeError] = []
    async with cluster_session(nodes[0], lost) as adapter:
        migration = Migration(nodes[:3], queue, nodes[1], nodes[2])
        migration.forget(nodes[2])
        with pytest.raises(UnavailableError, match="from node to node") as caught:
            await adapter.enqueue(queue, 1)
        assert not caught.value.maybe_sent
        migration.forget(nodes[1])
        await adapter.enqueue(queue, 1)
        assert not lost
