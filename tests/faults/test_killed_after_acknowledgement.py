"""The bridge is killed at the moment of an acknowledgement: what the remote counts as delivered has been delivered.

And where it is stopped in order, all that was delivered is acknowledged.
"""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import pytest
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.errors import NotFoundError

from tests.support.adapters.mqtt import connected
from tests.support.bus.bus import Peer
from tests.support.servers import acknowledgements
from tests.support.servers.mosquitto import mosquitto
from tests.support.servers.nats_server import nats_client, nats_server
from tests.support.servers.proxy import FaultProxy, fault_proxy
from tests.support.servers.redis_server import redis_server
from tests.support.sidecar.restarts import restarts
from tests.support.sidecar.sidecar import Sidecar, sidecar
from tests.support.wait import PATIENCE, until

pytestmark = [pytest.mark.slow, pytest.mark.idle_machine]

#: Messages that are sent together, and kills.
_BURST: Final = 20
_KILLS: Final = 5
#: Orderly ends, and the seconds within which what was not acknowledged comes again.
_STOPS: Final = 3
_AGAIN: Final = 1.5
#: Messages that are sent and have not arrived, at most: Mosquitto keeps no more than 1,000 for a session.
_MOST_UNDER_WAY: Final = 500


@dataclass(frozen=True)
class Way:
    """How messages come in.

    Attributes:
        port: The server's.
        text: Returns the configuration of the sidecar that is killed, for the port of a proxy before the server.
        send: Sends numbered messages to the server; they are stored when it returns.
        acknowledges: Returns whether what a client says has an acknowledgement.
        begun: To be awaited once the first sidecar runs: it returns when nothing that is sent can miss it.
    """

    port: int
    text: Callable[[int], str]
    send: Callable[[Iterable[int]], Coroutine[Any, Any, None]]
    acknowledges: Callable[[bytes], bool]
    begun: Callable[[Sidecar], Coroutine[Any, Any, None]]


async def _subscribed(running: Sidecar) -> None:
    with running.program("health.remote") as program:
        await program.wait("health.remote", lambda event: event["payload"]["status"] == "connected")


def _integration(kind: str, port: int, config: str, place: str) -> str:
    return f"""
integration "remote" {{
  type = "{kind}"
  endpoint {{
    url = "{kind}://127.0.0.1:{port}"
  }}
  config {{
    {config}
  }}
}}
subscription "in" {{
  integration = "remote"
  emit        = "came"
  {place}
}}
"""


@asynccontextmanager
async def _redis() -> AsyncIterator[Way]:
    with redis_server() as server, server.client() as client:

        async def send(numbers: Iterable[int]) -> None:
            with client.pipeline(transaction=False) as pipe:
                for number in numbers:
                    pipe.xadd("jobs", {"data": json.dumps(number)})
                pipe.execute()

        yield Way(
            server.port,
            lambda port: _integration("redis", port, "", 'queue = "jobs"'),
            send,
            acknowledgements.of_redis,
            _subscribed,
        )


@asynccontextmanager
async def _mqtt(qos: int, version: str) -> AsyncIterator[Way]:
    config = f'client_id = "sidecar"\n    clean_start = false\n    version = "{version}"'
    with mosquitto() as broker:
        async with connected(broker.url) as outside:

            async def send(numbers: Iterable[int]) -> None:
                async with asyncio.TaskGroup() as group:
                    for number in numbers:
                        group.create_task(outside.publish("jobs", number, qos=qos))

            yield Way(
                broker.port,
                lambda port: _integration("mqtt", port, config, f'topic = "jobs"\n  qos = {qos}'),
                send,
                acknowledgements.of_mqtt,
                _subscribed,
            )


@asynccontextmanager
async def _jetstream() -> AsyncIterator[Way]:
    with nats_server() as server:
        async with nats_client(server.port) as client:
            jetstream = client.jetstream()
            await jetstream.add_stream(name="JOBS", subjects=["jobs"])
            settings = ConsumerConfig(durable_name="nemo", ack_policy=AckPolicy.EXPLICIT, ack_wait=1.0)
            await jetstream.add_consumer("JOBS", settings)

            async def send(numbers: Iterable[int]) -> None:
                for number in numbers:
                    await jetstream.publish("jobs", json.dumps(number).encode())

            yield Way(
                server.port,
                lambda port: _integration("nats", port, "", 'queue = "JOBS/nemo"'),
                send,
                acknowledgements.of_jetstream,
                _subscribed,
            )


async def _comes_again_soon(jetstream: JetStreamContext, stream: str, consumer: str) -> bool:
    """Let a consumer deliver again after a second; return whether it is there."""
    await asyncio.sleep(0.02)
    try:
        found = await jetstream.consumer_info(stream, consumer)
    except NotFoundError:
        return False
    found.config.ack_wait = 1.0
    await jetstream.add_consumer(stream, found.config)
    return True


_NODE: Final = """
integration "cluster" {{
  type = "nats"
  endpoint {{
    url = "nats://127.0.0.1:{port}"
  }}
}}
fabric "plant" {{
  integration = "cluster"
  node        = "{node}"
  delivery    = "at_least_once"
  {more}
}}
"""


@asynccontextmanager
async def _fabric() -> AsyncIterator[Way]:
    """Another sidecar exports what is sent on its bus."""
    export = 'export = ["came"]\n  receipts = true'
    with (
        nats_server() as server,
        sidecar(_NODE.format(port=server.port, node="a", more=export)) as other,
        Peer(other.publish, other.subscribe, "receipt.cluster.delivered") as sender,
    ):
        with other.program("health.fabric.") as program:
            await program.wait("health.fabric.plant", lambda event: event["payload"]["status"] == "connected")
        stored: set[str] = set()

        async def send(numbers: Iterable[int]) -> None:
            missing = {str(number) for number in numbers}

            def all_stored() -> bool:
                stored.update(event["payload"]["idempotency_key"] for event in sender.received())
                return missing <= stored

            for number in numbers:
                sender.send("came", number, headers={"idempotency_key": str(number)})
            await until(all_stored)

        async def begun(_: Sidecar) -> None:
            """Let what a killed node had come again soon."""
            async with nats_client(server.port) as client:
                jetstream = client.jetstream()

                async with asyncio.timeout(PATIENCE):
                    while not await _comes_again_soon(jetstream, "NEMO_plant", "node_b"):
                        pass

        yield Way(
            server.port,
            lambda port: _NODE.format(port=port, node="b", more='import = ["came"]'),
            send,
            acknowledgements.of_jetstream,
            begun,
        )


_WAYS: Final = {
    "redis": _redis,
    "mqtt-5-qos-1": lambda: _mqtt(1, "5"),
    "mqtt-5-qos-2": lambda: _mqtt(2, "5"),
    "mqtt-3.1.1-qos-1": lambda: _mqtt(1, "3.1.1"),
    "mqtt-3.1.1-qos-2": lambda: _mqtt(2, "3.1.1"),
    "jetstream": _jetstream,
    "fabric": _fabric,
}


class _Killer:
    """Kills the sidecar as soon as it says its n-th acknowledgement from now on."""

    def __init__(self, proxy: FaultProxy, acknowledges: Callable[[bytes], bool]) -> None:
        proxy.on_said = self._said
        self._acknowledges = acknowledges
        self._victim: Sidecar | None = None
        self._left = 0
        self.killed = asyncio.Event()

    def aim(self, victim: Sidecar, left: int) -> None:
        self.killed.clear()
        self._victim, self._left = victim, left

    def _said(self, said: bytes) -> None:
        if self._victim is None or not self._acknowledges(said):
            return
        self._left -= 1
        if self._left <= 0:
            self._victim.process.kill()
            self._victim = None
            self.killed.set()


class _Arrivals:
    """What has arrived at a program on the bus.

    Attributes:
        sent: So many numbers were sent, from 0 on.
        got: How often each number has come.
    """

    def __init__(self, remote: Way, listener: Peer) -> None:
        self._remote = remote
        self._listener = listener
        self.sent = 0
        self.got: Counter[int] = Counter()

    async def send_until(self, done: Callable[[], object]) -> None:
        """Send bursts as fast as they arrive."""
        while not done():
            if self.sent - len(self.got) < _MOST_UNDER_WAY:
                await self._remote.send(range(self.sent, self.sent + _BURST))
                self.sent += _BURST
            await asyncio.sleep(0.01)
            self.are_complete()

    def are_complete(self) -> bool:
        """Take what has come; return whether all that was sent is among it."""
        for event in self._listener.received():
            payload = event["payload"]
            self.got[payload if isinstance(payload, int) else payload["message"]] += 1
        return len(self.got) == self.sent

    async def check(self) -> None:
        """Check that all has arrived."""
        with contextlib.suppress(AssertionError):
            await until(self.are_complete, seconds=10)
        lost = sorted(set(range(self.sent)) - self.got.keys())
        assert not lost, f"{len(lost)} of {self.sent} are lost: {lost[:20]}"


@pytest.mark.parametrize("way", _WAYS)
async def test_what_is_acknowledged_has_arrived(way: str) -> None:
    """All messages arrive, although the bridge and its bus die whenever the remote is about to hear that some have."""
    async with _WAYS[way]() as remote, fault_proxy("127.0.0.1", remote.port) as proxy:
        killer = _Killer(proxy, remote.acknowledges)
        with restarts(remote.text(proxy.port)) as start:
            running = await asyncio.to_thread(start)
            await remote.begun(running)
            with Peer(running.publish, running.subscribe, "came") as listener:
                arrivals = _Arrivals(remote, listener)
                for number in range(_KILLS):
                    killer.aim(running, 1 + 2 * number)
                    await arrivals.send_until(killer.killed.is_set)
                    running = await asyncio.to_thread(start)
                await arrivals.check()


@pytest.mark.parametrize("way", _WAYS)
async def test_an_orderly_end_brings_nothing_twice(way: str) -> None:
    """What was acknowledged just in time before the bridge has stopped does not come again to the next one."""
    async with _WAYS[way]() as remote:
        with restarts(remote.text(remote.port)) as start:
            running = await asyncio.to_thread(start)
            await remote.begun(running)
            with Peer(running.publish, running.subscribe, "came") as listener:
                arrivals = _Arrivals(remote, listener)
                for number in range(1, _STOPS + 1):
                    await arrivals.send_until(lambda least=number * 7 * _BURST: len(arrivals.got) > least)
                    running.term()
                    await arrivals.send_until(lambda stopped=running: stopped.process.poll() is not None)
                    assert running.wait() == 0, running.text
                    running = await asyncio.to_thread(start)
                await arrivals.check()
                await asyncio.sleep(_AGAIN)  # what comes again comes within this time
                arrivals.are_complete()
                twice = sorted(number for number, times in arrivals.got.items() if times > 1)
                assert not twice, f"{len(twice)} of {arrivals.sent} came twice: {twice[:20]}"
