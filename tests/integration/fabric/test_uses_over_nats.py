"""Commands between bridges over a real NATS server."""

from contextlib import AsyncExitStack

from bridge.adapters import nats
from bridge.core.clock import RealClock
from bridge.core.cluster import ClusterSession, cluster_of
from bridge.core.endpoint import Endpoint
from tests.support.adapters.setup import adapter_setup
from tests.support.fabric.bridges import Bridge, Known, all_running
from tests.support.servers.nats_server import NatsServer, nats_server
from tests.support.wait import until


async def _session(stack: AsyncExitStack, server: NatsServer, name: str) -> ClusterSession:
    adapter = nats.SPEC.create(adapter_setup(name, Endpoint(url=f"nats://127.0.0.1:{server.port}")))
    await adapter.connect()
    stack.push_async_callback(adapter.disconnect)
    return cluster_of(adapter)


async def test_two_nodes_share_the_commands_of_a_third():
    """Both get some, errors come as they were, a draining node gets no more, and without any it is `unavailable`."""
    clock, known = RealClock(), Known(["one", "two"], 5.0)
    makers = [Bridge(clock, name, own=True) for name in known.nodes]
    user = Bridge(clock, "user", own=False, known=known)

    with nats_server() as server:
        async with AsyncExitStack() as stack:
            bridges = {one: await _session(stack, server, one.name) for one in (*makers, user)}
            async with all_running(bridges):
                await until(lambda: all(one.offers.serving for one in makers))
                await until(lambda: user.bus.kept.get("health.erp", {}).get("status") == "connected")
                for number in range(100):
                    user.call("echo", number)
                await until(lambda: len(user.responses) == 100)
                assert sorted(one["result"] for one in user.responses) == list(range(100))
                assert all(one.remote.calls["echo"] for one in makers)
                user.call("fail", {"code": 7, "message": "no", "data": None})
                await until(lambda: len(user.responses) == 101)
                assert user.responses[-1]["error"]["code"] == 7
                before = makers[0].remote.calls["echo"]
                await makers[0].offers.drain()
                for number in range(20):
                    user.call("echo", number)
                await until(lambda: len(user.responses) == 121)
                assert makers[0].remote.calls["echo"] == before
                await makers[1].offers.drain()
                known.nodes = []
                user.call("echo", 1)
                await until(lambda: len(user.responses) == 122)
                assert user.responses[-1]["error"]["kind"] == "unavailable"
