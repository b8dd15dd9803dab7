"""A cluster whose masters come and go, on a fake clock."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bridge.adapters.redis import cluster as module
from bridge.adapters.redis.cluster import RedisClusterAdapter
from bridge.adapters.redis.config import RedisConfig
from bridge.adapters.redis.errors import AskError, MovedError
from bridge.adapters.redis.slots import SLOTS, Node, SlotMap
from bridge.adapters.redis.target import Target, targets
from bridge.core.endpoint import Endpoint
from bridge.core.errors import BridgeError, ConnectionLostError, NotConnectedError, UnavailableError
from bridge.core.model import Enqueue
from bridge.core.ports import AdapterBase, AdapterSetup, Context, Subscription
from tests.support.adapters.direct import Direct
from tests.support.adapters.setup import adapter_setup
from tests.support.clock import FakeClock
from tests.support.servers.redis_server import Told

MASTERS: list[Node] = [("10.0.0.1", 1), ("10.0.0.2", 2), ("10.0.0.3", 3)]
HEIR: Node = ("10.0.0.4", 4)


class Cluster:
    """The masters: each may be away, silent or refuse."""

    def __init__(self) -> None:
        self.masters = MASTERS
        self.asks: Node | None = None
        self.state: dict[Node, str] = dict.fromkeys([*MASTERS, HEIR], "well")
        self.sessions: list[Any] = []
        self.opened: dict[Node, int] = dict.fromkeys([*MASTERS, HEIR], 0)
        self.asked: list[Node] = []

    def map(self) -> SlotMap:
        """Return the table: a third for each."""
        third = SLOTS // 3 + 1
        starts = tuple(range(0, SLOTS, third))
        return SlotMap(
            starts, (*(start - 1 for start in starts[1:]), SLOTS - 1), tuple(self.masters), tuple(self.masters)
        )

    async def answer(self, node: Node) -> None:
        """Do as a node does."""
        match self.state[node]:
            case "silent":
                await asyncio.Event().wait()
            case "away":
                raise NotConnectedError("it is away")

    def end(self, node: Node) -> None:
        """A node dies."""
        self.state[node] = "away"
        for session in self.sessions:
            if session.node == node:
                session.lose(ConnectionLostError("it has died"))

    def session_type(self) -> type:
        """Return what stands in for `RedisAdapter`."""
        cluster = self

        class Session(AdapterBase):
            """A session with one node."""

            last_heard = None

            def __init__(self, setup: AdapterSetup, target: Target, *, asking: bool = False) -> None:
                self.node = (target.server.host, target.server.port)
                self.setup = setup
                self.asking, self.ended = asking, False
                cluster.sessions.append(self)

            async def connect(self) -> None:
                cluster.opened[self.node] += 1
                await cluster.answer(self.node)

            async def check(self) -> None:
                await cluster.answer(self.node)

            async def read_slots(self) -> SlotMap:
                cluster.asked.append(self.node)
                await cluster.answer(self.node)
                return cluster.map()

            async def enqueue(self, command: Enqueue, context: Context) -> str:
                if cluster.state[self.node] == "down":
                    raise UnavailableError("no quorum", code="CLUSTERDOWN", maybe_sent=False)
                if cluster.asks is not None and not self.asking:
                    raise AskError("on its way", cluster.asks)
                if self.node not in cluster.masters:
                    raise MovedError("moved", HEIR)
                return "1-0/q"

            async def subscribe(self, topic: str, *_: Any) -> Subscription:
                return Subscription(topic, object())

            consume = subscribe

            def lose(self, error: BridgeError) -> None:
                if not self.ended:
                    self.ended = True
                    self.setup.on_lost(error)

        return Session


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Three masters."""
    cluster = Cluster()

    async def ask_slots(target: Target, *_: Any) -> SlotMap:
        node = (target.server.host, target.server.port)
        cluster.asked.append(node)
        await cluster.answer(node)
        return cluster.map()

    monkeypatch.setattr(module, "RedisAdapter", cluster.session_type())
    monkeypatch.setattr(module, "ask_slots", ask_slots)
    return cluster


@asynccontextmanager
async def session(clock: FakeClock, told: Told, state: dict[str, Any] | None = None) -> AsyncIterator[Direct]:
    """A session that is being opened for up to 20 seconds."""
    config = RedisConfig(cluster=("10.0.0.2:2",))
    endpoint = Endpoint(address="10.0.0.1", port=1, tls=False)
    setup = adapter_setup(
        "test", endpoint, config=config, clock=clock, session_state={} if state is None else state, **told.callbacks()
    )
    adapter = RedisClusterAdapter(setup, targets(setup, config))
    opening = asyncio.create_task(adapter.connect())
    await clock.advance(20.0)
    try:
        opening.result()
        yield Direct(adapter)
    finally:
        await adapter.disconnect()


def queue_at(adapter: Direct, node: Node) -> str:
    """A queue that a node has."""
    return next(name for name in map("q{}".format, range(1000)) if adapter._map.node_of(name) == node)


@pytest.mark.parametrize("how", ["away", "silent"])
async def test_a_master_that_cannot_be_reached_at_the_start(nodes: Cluster, how: str) -> None:
    """The session is opened with the others within seconds; a warning names it until it is there."""
    clock, told = FakeClock(), Told()
    nodes.state[MASTERS[0]] = how
    async with session(clock, told) as adapter:
        assert "10.0.0.1:1" in told.warnings["masters of the cluster"]
        await adapter.enqueue(queue_at(adapter, MASTERS[1]), 1)
        with pytest.raises(NotConnectedError, match=r"10\.0\.0\.1:1"):
            await adapter.enqueue(queue_at(adapter, MASTERS[0]), 1)
        nodes.state[MASTERS[0]] = "well"
        await clock.advance(10.0)
        assert told.warnings == {}
        await adapter.enqueue(queue_at(adapter, MASTERS[0]), 1)


async def test_a_master_dies_and_comes_back(nodes: Cluster) -> None:
    """Its subscriptions end, and no other; it is tried with back-off, and found within five seconds."""
    clock, told = FakeClock(), Told()
    async with session(clock, told) as adapter:
        mine, other = queue_at(adapter, MASTERS[1]), queue_at(adapter, MASTERS[2])
        for queue in (mine, other):
            await adapter.consume(queue, lambda _: None)
        opened = nodes.opened[MASTERS[1]]
        nodes.end(MASTERS[1])
        assert [(topic, error.message) for topic, error in told.ended] == [(mine, "it has died")]
        await clock.advance(10.0)
        assert 4 < nodes.opened[MASTERS[1]] - opened <= 12
        assert "it is away" in told.warnings["masters of the cluster"]
        nodes.state[MASTERS[1]] = "well"
        await clock.advance(5.0)
        assert (told.warnings, told.lost) == ({}, [])
        await adapter.enqueue(mine, 1)


async def test_a_master_falls_silent(nodes: Cluster) -> None:
    """The check passes by the others; the silent one is ended after five seconds, and only it."""
    clock, told = FakeClock(), Told()
    async with session(clock, told) as adapter:
        nodes.state[MASTERS[1]] = "silent"
        check = asyncio.create_task(adapter.check())
        await clock.advance(0.1)
        check.result()
        await clock.advance(4.0)
        assert told.warnings == {}
        await clock.advance(1.0)
        assert "did not answer" in told.warnings["masters of the cluster"]
        assert told.lost == []


async def test_all_masters_fall_silent(nodes: Cluster) -> None:
    """The check has no answer; each is ended, and with the last one the session is lost, once."""
    clock, told = FakeClock(), Told()
    async with session(clock, told) as adapter:
        for node in MASTERS:
            nodes.state[node] = "silent"
        check = asyncio.create_task(adapter.check())
        await clock.advance(4.0)
        assert not check.done()
        await clock.advance(2.0)
        assert len(told.lost) == 1
        with pytest.raises(ConnectionLostError, match="did not answer"):
            check.result()
        with pytest.raises(NotConnectedError):
            await adapter.enqueue("q", 1)


async def test_a_table_that_is_doubtful(nodes: Cluster) -> None:
    """After CLUSTERDOWN it is read again, from another node each time, in the end about once in five seconds."""
    clock, told = FakeClock(), Told()
    async with session(clock, told) as adapter:
        nodes.state[MASTERS[0]] = "down"
        nodes.asked.clear()
        for _ in range(100):
            with pytest.raises(UnavailableError):
                await adapter.enqueue(queue_at(adapter, MASTERS[0]), 1)
            await clock.advance(0.1)
        assert 3 < len(nodes.asked) <= 12
        assert len(set(nodes.asked)) == 3
        assert sum(nodes.opened.values()) == 3  # over the sessions that are open


async def test_the_nodes_that_were_named_before(nodes: Cluster) -> None:
    """Where those of the configuration are away, the cluster is found by another node of the last session."""
    state: dict[str, Any] = {}
    async with session(FakeClock(), Told(), state):
        pass
    nodes.state[MASTERS[0]] = nodes.state[MASTERS[1]] = "silent"
    told = Told()
    async with session(FakeClock(), told, state) as adapter:
        await adapter.enqueue(queue_at(adapter, MASTERS[2]), 1)
    nodes.state[MASTERS[2]] = "away"
    nodes.state[MASTERS[0]] = nodes.state[MASTERS[1]] = "away"
    with pytest.raises(NotConnectedError):
        async with session(FakeClock(), told, state):
            pass


@pytest.mark.parametrize("how", ["away", "silent"])
async def test_a_caller_that_cannot_read_the_table(nodes: Cluster, how: str) -> None:
    """After MOVED no node tells it, or the caller has no time left for that: it is read without the caller."""
    clock, told = FakeClock(), Told()
    async with session(clock, told) as adapter:
        queue = queue_at(adapter, MASTERS[0])
        nodes.masters = [HEIR, *MASTERS[1:]]
        nodes.state = dict.fromkeys(nodes.state, "away") if how == "away" else nodes.state | {HEIR: "silent"}
        call = asyncio.create_task(adapter.enqueue(queue, 1))
        await clock.advance(0.5)
        call.cancel()
        await asyncio.wait([call])
        nodes.state = dict.fromkeys(nodes.state, "well")
        await clock.advance(5.0)
        assert HEIR in adapter._map.nodes
        await adapter.enqueue(queue, 1)


async def test_the_end_of_a_session_for_slots_on_their_way(nodes: Cluster) -> None:
    """That with the same node as a master goes on: nothing is missing."""
    clock, told = FakeClock(), Told()
    async with session(clock, told) as adapter:
        nodes.asks = MASTERS[1]
        queue = queue_at(adapter, MASTERS[0])
        await adapter.enqueue(queue, 1)
        imported = nodes.sessions[-1]
        assert imported.node == MASTERS[1]
        imported.lose(ConnectionLostError("it was idle"))
        assert (told.warnings, told.lost) == ({}, [])
        await adapter.enqueue(queue, 1)
        assert nodes.sessions[-1] is not imported
