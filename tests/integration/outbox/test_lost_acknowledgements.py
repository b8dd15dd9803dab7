"""An acknowledgement that is lost on its way: the broker delivers again what is on the bus already.

It is one event, and it is acknowledged: nothing of it is left at the broker.
"""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from nats.js.api import AckPolicy, ConsumerConfig

from tests.support.adapters.mqtt import connected
from tests.support.bus.program import Program
from tests.support.servers import acknowledgements
from tests.support.servers.mosquitto import Mosquitto, mosquitto
from tests.support.servers.nats_server import NatsServer, nats_client, nats_server
from tests.support.servers.proxy import FaultProxy, fault_proxy
from tests.support.servers.redis_server import RedisServer, redis_server
from tests.support.sidecar.sidecar import sidecar
from tests.support.wait import until


class Redis:
    """A stream."""

    acknowledges = staticmethod(acknowledgements.of_redis)
    config = 'claim_after = "20s"'
    place = 'queue = "jobs"'

    def __init__(self, server: RedisServer) -> None:
        self.port = server.port
        self._server = server

    async def prepare(self) -> None:
        """A stream is there when it is written to."""

    async def put(self, message: Any) -> None:
        """Store a message."""
        with self._server.client() as client:
            client.xadd("jobs", {"data": json.dumps(message)})

    async def open(self) -> int:
        """How many messages are delivered and not acknowledged."""
        with self._server.client() as client:
            return int(client.xpending("jobs", "nemo")["pending"])  # type: ignore[index]


class JetStream:
    """A stream with a consumer whose messages come again after a second."""

    acknowledges = staticmethod(acknowledgements.of_jetstream)
    config = ""
    place = 'queue = "JOBS/nemo"'

    def __init__(self, server: NatsServer) -> None:
        self.port = server.port

    async def prepare(self) -> None:
        """Make both."""
        async with nats_client(self.port) as client:
            await client.jetstream().add_stream(name="JOBS", subjects=["jobs"])
            config = ConsumerConfig(durable_name="nemo", ack_policy=AckPolicy.EXPLICIT, ack_wait=1.0)
            await client.jetstream().add_consumer("JOBS", config)

    async def put(self, message: Any) -> None:
        """Store a message."""
        async with nats_client(self.port) as client:
            await client.jetstream().publish("jobs", json.dumps(message).encode())

    async def open(self) -> int:
        """How many messages are delivered and not acknowledged."""
        async with nats_client(self.port) as client:
            return int((await client.jetstream().consumer_info("JOBS", "nemo")).num_ack_pending or 0)


class Mqtt:
    """A topic; its sender gives each message a key, since MQTT has no identity that lasts."""

    acknowledges = staticmethod(acknowledgements.of_mqtt)
    config = 'client_id = "sidecar"\n    clean_start = false\n    receive_maximum = 1'
    place = 'topic = "jobs"'

    def __init__(self, server: Mosquitto) -> None:
        self.port = server.port
        self._server = server

    async def prepare(self) -> None:
        """A topic is always there."""

    async def put(self, message: Any) -> None:
        """Publish a message."""
        async with connected(self._server.url) as client:
            await client.publish("jobs", message, headers={"idempotency_key": f"key-{message}"})

    async def open(self) -> int:
        """The broker does not say: that the next message comes, of which it sends one at a time, proves it."""
        return -1


class MqttExactlyOnce(Mqtt):
    """With QoS 2 nobody needs a key: until it is released an answered identifier stands for the same message."""

    place = 'topic = "jobs"\n  qos = 2'

    async def put(self, message: Any) -> None:
        """Publish a message."""
        async with connected(self._server.url) as client:
            await client.publish("jobs", message, qos=2)


SERVERS = {
    "redis": (redis_server, Redis),
    "nats": (nats_server, JetStream),
    "mqtt": (mosquitto, Mqtt),
    "mqtt, QoS 2": (mosquitto, MqttExactlyOnce),
}


@contextmanager
def _place(kind: str) -> Iterator[Any]:
    server, place = SERVERS[kind]
    with server() as running:  # type: ignore[operator]
        yield place(running)  # type: ignore[operator]


def _text(kind: str, place: Any, port: int) -> str:
    kind = kind.split(",", maxsplit=1)[0]
    return f"""
integration "remote" {{
  type = "{kind}"
  endpoint {{
    url = "{kind}://127.0.0.1:{port}"
  }}
  config {{
    {place.config}
  }}
  health {{
    interval = "300ms"
    timeout  = "500ms"
  }}
}}
subscription "jobs" {{
  integration = "remote"
  {place.place}
  emit        = "job.come"
}}
"""


async def _all_acknowledged(place: Any, program: Program) -> None:
    async with asyncio.timeout(10):
        while await place.open() > 0:
            await program.ask("bridge.ping")


async def _lose_one(place: Any, proxy: FaultProxy, program: Program) -> int:
    """Have a message delivered of which the acknowledgement is lost; its number.

    Where the sidecar was just about to ask for the next one, that is lost, too, and nothing comes: once more then.
    """
    said: list[bytes] = []
    proxy.on_said = said.append
    for number in range(1, 6):
        await program.wait("health.remote", lambda event: event["payload"]["status"] == "connected", seconds=20)
        proxy.mode = "deaf"
        await place.put(number)
        said.clear()
        try:
            await program.wait("job.come", lambda event, n=number: event["payload"]["message"] == n, seconds=1)
        except AssertionError:
            since = program.mark()
            proxy.mode = "pass"
            proxy.end_all(reset=True)
            await program.wait("job.come", since=since)
            await _all_acknowledged(place, program)
        else:
            await until(lambda: any(map(place.acknowledges, said)), "the acknowledgement")
            return number
    raise AssertionError("it never came")


@pytest.mark.parametrize("kind", sorted(SERVERS))
async def test_a_lost_acknowledgement_makes_no_second_event(kind):
    """The broker delivers again what is on the bus; the sidecar acknowledges it, and says nothing."""
    with _place(kind) as place:
        await place.prepare()
        async with fault_proxy("127.0.0.1", place.port) as proxy:
            with sidecar(_text(kind, place, proxy.port)) as running, running.program() as program:
                number = await _lose_one(place, proxy, program)
                assert await place.open() in {1, -1}
                since = program.mark()
                proxy.mode = "pass"
                proxy.end_all(reset=True)
                await program.wait("health.remote", lambda e: e["payload"]["status"] == "connected", since=since)
                await _all_acknowledged(place, program)
                await place.put("last")
                await program.wait("job.come", lambda event: event["payload"]["message"] == "last")
                come = [event["payload"]["message"] for event in program.seen("job.come")]
                assert come.count(number) == 1
                assert len(set(come)) == len(come)
                health = (await program.ask("bridge.status"))["result"]["remote"]
                if place.__class__ is not MqttExactlyOnce:  # where it is known already before it is delivered
                    assert health["messages"] > len(come), "it was delivered a second time"
