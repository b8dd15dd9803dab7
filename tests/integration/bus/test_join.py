"""Two brokers on one endpoint, hosts that die, and joining a bus that another process hosts."""

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import Any

import pytest
import zmq

from bridge.bus import Broker, Bus
from bridge.core.clock import RealClock
from bridge.core.errors import BusError
from bridge.core.model import Event
from tests.support.bus.bus import Peer
from tests.support.bus.bus_host import bus_host
from tests.support.servers.proxy import fault_proxy
from tests.support.wait import until


def make(publish: str, subscribe: str, seen: list[Event], **more: Any) -> Bus:
    """A bus that joins."""
    settings: dict[str, Any] = {"mode": "connect", "source": "bridge/two", "max_message": 4096, "own": lambda _: True}
    return Bus(publish=publish, subscribe=subscribe, clock=RealClock(), on_event=seen.append, **{**settings, **more})


def pair(directory: Path) -> tuple[str, str]:
    """The ipc endpoints in a directory."""
    return f"ipc://{directory}/pub", f"ipc://{directory}/sub"


async def test_second_host_is_refused(tmp_path: Path) -> None:
    """The second broker's error names endpoint and process; the first one works on."""
    with bus_host(*pair(tmp_path)) as (process, publish, subscribe):
        with pytest.raises(BusError, match=rf"ipc://{tmp_path}/pub: process {process.pid} hosts a bus"):
            await Broker(publish, subscribe, 4096, RealClock()).start()
        seen: list[Event] = []
        bus = make(publish, subscribe, seen)
        await bus.start()
        bus.publish("data.x", 1)
        await until(lambda: seen)
        await bus.stop()


async def test_stale_socket_is_taken_over(tmp_path: Path) -> None:
    """After `kill -9` the endpoints are free for the next host, and a joined bus finds it by itself."""
    seen: list[Event] = []
    with bus_host(*pair(tmp_path)) as (process, publish, subscribe):
        bus = make(publish, subscribe, seen)
        await bus.start()
        process.kill()
        process.wait()
        assert (tmp_path / "pub").exists()
        broker = Broker(publish, subscribe, 4096, RealClock())
        await broker.start()
        before = len(seen)

        def say() -> bool:
            bus.publish("data.again", None)
            return len(seen) > before

        await until(say)
        await bus.stop()
        await broker.stop()


async def test_start_stop_start(tmp_path: Path) -> None:
    """A broker that stopped in order leaves endpoints that can be bound again; stopping twice is fine."""
    for _ in range(3):
        broker = Broker(*pair(tmp_path), 4096, RealClock())
        await broker.start()
        await broker.stop()
        await broker.stop()


async def test_taken_tcp_port() -> None:
    """A TCP port in use is a clear error, and nothing is left open."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(BusError, match=f"{endpoint}: something else listens there"):
            await Broker("tcp://127.0.0.1:*", endpoint, 4096, RealClock()).start()


async def test_refused_host_leaves_no_lock(tmp_path: Path) -> None:
    """Where the second endpoint is in use, the lock of the first one is released."""
    publish, subscribe = pair(tmp_path)
    other = Broker(f"ipc://{tmp_path}/other", subscribe, 4096, RealClock())
    await other.start()
    with pytest.raises(BusError, match="/sub: process"):
        await Broker(publish, subscribe, 4096, RealClock()).start()
    await other.stop()
    broker = Broker(publish, subscribe, 4096, RealClock())
    await broker.start()
    await broker.stop()


async def test_nobody_hosts(tmp_path: Path) -> None:
    """Joining where nobody hosts a bus is a clear error after the time limit."""
    bus = make(*pair(tmp_path), [], join_timeout=0.1)
    with pytest.raises(BusError, match="/sub: nobody hosts a bus there"):
        await bus.start()
    await bus.stop()


async def test_two_on_one_bus(tmp_path: Path) -> None:
    """A joined bus and the hosting one hear each other, from the first event on, with no gap."""
    heard: dict[str, list[Event]] = {"one": [], "two": []}
    one = make(*pair(tmp_path), heard["one"], mode="host", source="one", own=lambda _: False)
    two = make(*pair(tmp_path), heard["two"], source="two", own=lambda _: False)
    await one.start()
    await two.start()
    for number in range(1000):
        one.publish("data.one", number)
        two.publish("data.two", number)
    await until(lambda: len(heard["one"]) == len(heard["two"]) == 1000)
    assert [event.payload for event in heard["one"]] == list(range(1000))
    assert [event.payload for event in heard["two"]] == list(range(1000))
    assert one.stats.gaps == two.stats.gaps == 0
    await two.stop()
    await one.stop()


async def test_a_subscription_that_reaches_the_broker_late() -> None:
    """A bus that has joined hears all that is published from then on, however late its subscription arrives."""
    hosting = make("tcp://127.0.0.1:*", "tcp://127.0.0.1:*", [], mode="host", source="one", own=lambda _: False)
    await hosting.start()
    host, port = hosting.subscribe_endpoint.removeprefix("tcp://").split(":")
    async with fault_proxy(host, int(port)) as proxy:
        proxy.mode = "late"
        heard: list[Event] = []
        joined = make(
            hosting.publish_endpoint, f"tcp://127.0.0.1:{proxy.port}", heard, source="two", own=lambda _: False
        )
        await joined.start()
        for number in range(10):
            hosting.publish("data.one", number)
        await until(lambda: heard and heard[-1].payload == 9)
        assert [event.payload for event in heard] == list(range(10))
        await joined.stop()
    await hosting.stop()


async def test_application_binds_itself() -> None:
    """An application that binds a PUB and a SUB of its own, without a broker, can be joined."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sub, pub = context.socket(zmq.SUB), context.socket(zmq.PUB)
    sub.subscribe("response.")
    ports = [socket_.bind_to_random_port("tcp://127.0.0.1") for socket_ in (sub, pub)]
    seen: list[Event] = []
    bus = make(f"tcp://127.0.0.1:{ports[0]}", f"tcp://127.0.0.1:{ports[1]}", seen)
    await bus.start()

    # The application's own SUB subscribes at our side only when it is polled.
    def answer() -> int:
        bus.publish("response.x", 1)
        return sub.poll(0)

    await until(answer)
    assert sub.recv_multipart()[0] == b"response.x"
    # Used only for its frames.
    with Peer("inproc://none", "inproc://none") as maker:

        def say() -> int:
            pub.send_multipart([b"data.x", maker.event("data.x", 5)])
            return len(seen)

        await until(say)
    assert seen[0].payload == 5
    await bus.stop()
    context.destroy(0)


async def test_dead_socket_is_rebuilt() -> None:
    """A connection that libzmq gives up for good, because a peer broke the protocol, is rebuilt."""
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        endpoints = [f"tcp://127.0.0.1:{server.getsockname()[1]}" for server in servers]
        seen: list[Event] = []
        bus = make(*endpoints, seen, join_timeout=20)
        async with asyncio.TaskGroup() as group:
            starting = group.create_task(bus.start())
            for server in servers:
                connection, _ = await asyncio.to_thread(server.accept)
                # A ZMTP 3.0 greeting with a mechanism that nobody knows: a protocol error.
                connection.sendall(b"\xff" + b"\0" * 8 + b"\x7f\x03\x00" + b"NONSENSE" + b"\0" * 44)
                stack.enter_context(connection)
            for server in servers:
                server.close()
            broker = Broker(*endpoints, 4096, RealClock())
            await broker.start()
            await starting
        bus.publish("data.x", 1)
        await until(lambda: seen)
        await bus.stop()
        await broker.stop()
