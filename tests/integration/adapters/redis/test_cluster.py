"""Redis Cluster: a real one, of three masters and a replica, made by the test."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from bridge.adapters.redis import SPEC
from bridge.adapters.redis.config import RedisConfig
from bridge.core.errors import BridgeError, NotConnectedError, RejectedError
from bridge.core.model import Inbound
from tests.support.adapters.redis_cluster import THIRDS, Migration, cluster_session, queue_between
from tests.support.adapters.setup import adapter_setup
from tests.support.servers.redis_server import RedisServer, Told, redis_cluster, redis_server
from tests.support.sidecar.sidecar import sidecar
from tests.support.wait import until


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[RedisServer]]:
    """Three masters and a replica of the first."""
    with redis_cluster() as made:
        yield made


async def test_each_queue_at_its_node(nodes: list[RedisServer]) -> None:
    """Written, read, acknowledged, given back and given up, wherever it lies; the letters lie beside it."""
    got: list[Inbound] = []

    async def deliver(message: Inbound) -> None:
        got.append(message)

    async with cluster_session(nodes[2], max_deliveries=1, max_length=100) as adapter:
        await adapter.check()
        for node, third in zip(nodes, THIRDS, strict=False):
            queue = queue_between("jobs", *third)
            names = [await adapter.enqueue(queue, {"n": n}) for n in range(3)]
            with node.client() as client:
                assert client.xlen(queue) == 3
            first = await adapter.dequeue(queue, wait=1.0)
            assert first is not None
            assert (first.message_id, first.message) == (names[0], {"n": 0})
            await adapter.nack(first.message_id)
            second = await adapter.dequeue(queue, wait=1.0)
            assert second is not None
            await adapter.ack(second.message_id)
            with node.client() as client:
                assert client.xlen(f"{{{queue}}}:dead") == 1
            subscription = await adapter.consume(queue, deliver, group="others")
            await until(lambda: len(got) == 3)
            await adapter.unsubscribe(subscription)
            assert [message.message for message in got] == [{"n": n} for n in range(3)]
            got.clear()


async def test_channels_reach_across_nodes(nodes: list[RedisServer]) -> None:
    """Each message once, by name and by pattern, whichever node it was published at."""
    got: list[Any] = []

    async def deliver(message: Inbound) -> None:
        got.append(message.message)

    async with cluster_session(nodes[0]) as adapter:
        subscriptions = [await adapter.subscribe(topic, deliver) for topic in ("news", "p*")]
        for node in nodes[:3]:
            with node.client() as client:
                client.publish("news", node.port)
                client.publish("press", node.port)
        await adapter.publish("news", "last")
        await until(lambda: len(got) == 7)
        for subscription in subscriptions:
            await adapter.unsubscribe(subscription)
        assert sorted(map(str, got)) == sorted([str(node.port) for node in nodes[:3]] * 2 + ["last"])


async def test_a_key_that_has_moved_is_followed(nodes: list[RedisServer]) -> None:
    """The map is read again, and the call goes to the right node; nothing else notices."""
    queue = queue_between("moving", *THIRDS[1])
    to = nodes[2]
    lost: list[BridgeError] = []
    async with cluster_session(nodes[0], lost) as adapter:
        Migration(nodes[:3], queue, nodes[1], to).finish()
        await adapter.enqueue(queue, "here")
        with to.client() as client:
            assert client.xlen(queue) == 1
        assert not lost


async def test_nothing_is_left_of_a_session(nodes: list[RedisServer]) -> None:
    """No task; with one frozen node the check passes by the others, and closing does not take long."""
    tasks = asyncio.all_tasks()
    async with cluster_session(nodes[0]) as adapter:
        await adapter.subscribe("news", _ignore)
        await adapter.consume(queue_between("read", *THIRDS[2]), _ignore)
        nodes[1].freeze()
        try:
            async with asyncio.timeout(5):
                await adapter.check()
                await adapter.disconnect()
        finally:
            nodes[1].thaw()
        with pytest.raises(NotConnectedError):
            await adapter.check()
    await until(lambda: asyncio.all_tasks() <= tasks)


async def _ignore(_: Inbound) -> None:
    pass


async def test_what_is_no_cluster_is_said() -> None:
    """A server alone is a matter for a person; a node without `cluster = true` says what to write."""
    with redis_server() as alone:
        with pytest.raises(NotConnectedError, match="no node of a cluster") as caught:
            async with cluster_session(alone):
                pass
        assert caught.value.permanent


async def test_a_node_without_the_setting(nodes: list[RedisServer]) -> None:
    """The answer says what to write."""
    async with cluster_session(nodes[0], cluster=False) as adapter:
        with pytest.raises(RejectedError, match="cluster = true"):
            await adapter.enqueue(queue_between("elsewhere", *THIRDS[2]), 1)


async def test_the_next_seed_is_asked(nodes: list[RedisServer]) -> None:
    """Where the endpoint is away."""
    with redis_server() as gone:
        pass
    async with cluster_session(gone, cluster=(f"127.0.0.1:{nodes[1].port}",)) as adapter:
        await adapter.check()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"db": 1}, "database 0"),
        ({"sentinel": "x"}, "exclude each other"),
        ({"cluster": ("a:b",)}, "no address"),
        ({"cluster": ("redis://a", "rediss://b")}, "disagree about TLS"),
    ],
)
def test_contradictions_are_told(config: dict[str, Any], words: str, nodes: list[RedisServer]) -> None:
    """When the session is made."""
    settings = RedisConfig(**{"cluster": True, **config})
    with pytest.raises(ValueError, match=words):
        SPEC.create(adapter_setup("test", nodes[0].endpoint, config=settings))


async def test_a_master_that_dies_alone(nodes: list[RedisServer]) -> None:
    """Without full coverage the living shards go on; what was read at the dead one is told, and it comes back."""
    told = Told()
    got: list[Any] = []

    async def deliver(message: Inbound) -> None:
        got.append(message.message)

    dead, living = queue_between("dead", *THIRDS[1]), queue_between("living", *THIRDS[2])
    for node in nodes:
        with node.client() as client:
            client.config_set("cluster-require-full-coverage", "no")
    async with cluster_session(nodes[0], told=told) as adapter:
        await adapter.consume(dead, deliver)
        await adapter.consume(living, deliver)
        await adapter.subscribe(dead, deliver)  # a channel of the same name is at the same node
        nodes[1].kill()
        try:
            await until(lambda: len(told.ended) == 2)
            assert {topic for topic, _ in told.ended} == {dead}
            await adapter.check()
            await adapter.enqueue(living, 1)
            await until(lambda: got == [1])
            with pytest.raises(NotConnectedError, match=f"127.0.0.1:{nodes[1].port}"):
                await adapter.enqueue(dead, 2)
            await adapter.subscribe(dead, deliver)
            await adapter.publish(dead, 3)
            await until(lambda: got == [1, 3])
            assert str(nodes[1].port) in told.warnings["masters of the cluster"]
            async with cluster_session(nodes[0]) as another:
                await another.enqueue(living, 4)
            await until(lambda: got == [1, 3, 4])
        finally:
            nodes[1].restart()
        await until(lambda: not told.warnings)
        with nodes[1].client() as client:
            await until(lambda: "cluster_state:ok" in client.execute_command("CLUSTER", "INFO"))
        await adapter.consume(dead, deliver)
        await adapter.enqueue(dead, 5)
        await until(lambda: got == [1, 3, 4, 5])
        assert not told.lost
    for node in nodes:
        with node.client() as client:
            client.config_set("cluster-require-full-coverage", "yes")


async def test_the_node_of_the_configuration_dies(nodes: list[RedisServer]) -> None:
    """The next session finds the cluster by the nodes that it named before."""
    state: dict[str, Any] = {}
    with redis_server() as gone:
        pass
    async with cluster_session(nodes[0], state=state) as adapter:
        await adapter.check()
    async with cluster_session(gone, state=state) as adapter:
        await adapter.check()
    with pytest.raises(NotConnectedError):
        async with cluster_session(gone):
            pass


_SIDECAR = """
integration "store" {{
  type = "redis"
  endpoint {{
    url = "redis://127.0.0.1:{0}"
  }}
  config {{
    cluster = ["127.0.0.1:{1}"]
  }}
  health {{
    interval = "500ms"
    timeout  = "1s"
  }}
}}
subscription "jobs" {{
  integration = "store"
  queue       = "{2}"
  emit        = "job"
}}
"""


@pytest.mark.slow
async def test_a_failover_through_the_sidecar() -> None:
    """A master dies: calls fail as declared, the replica takes over, and reading goes on there."""
    queue = queue_between("jobs", *THIRDS[0])
    with redis_cluster() as made:
        text = _SIDECAR.format(made[0].port, made[1].port, queue)
        with sidecar(text) as running, running.program() as program:
            await program.wait("health.store", lambda event: event["payload"]["status"] == "connected")
            sent = await program.ask("integration.store.enqueue", {"queue": queue, "message": 1})
            assert sent["ok"], sent
            await program.wait("job", lambda event: event["payload"]["message"] == 1)
            since = program.mark()
            made[0].kill()
            told = await program.wait("health.store", lambda event: event["payload"]["subscriptions"], since=since)
            assert told["payload"]["status"] == "degraded"
            refused = await program.ask("integration.store.enqueue", {"queue": queue, "message": 0})
            assert refused["error"]["kind"] in {"not_connected", "connection_lost", "unavailable"}
            await program.wait(
                "health.store", lambda event: event["payload"]["status"] == "connected", since=since, seconds=20
            )
            sent = await program.ask("integration.store.enqueue", {"queue": queue, "message": 2})
            assert sent["ok"], sent
            await program.wait("job", lambda event: event["payload"]["message"] == 2, since=since)
            with made[3].client() as client:
                assert client.xlen(queue) == 2
