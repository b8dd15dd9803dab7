"""The sidecar is stopped (SIGSTOP) for far longer than all its time limits, and goes on as if nothing had been."""

import asyncio
import signal
import time
import uuid
from collections.abc import Iterable

import pytest
from nats.js.api import AckPolicy, ConsumerConfig

from tests.support.bus.program import Event, Program
from tests.support.servers.mosquitto import mosquitto
from tests.support.servers.nats_server import nats_client, nats_server
from tests.support.servers.programs import freeze
from tests.support.servers.redis_server import redis_server
from tests.support.servers.remote import remote
from tests.support.sidecar.sidecar import Sidecar, json_rpc, sidecar
from tests.support.wait import until

pytestmark = pytest.mark.idle_machine

#: Seconds of the stop; the time limits below are far shorter.
_STOP = 3.0
_CHECKS = 'interval = "300ms"\n    timeout  = "300ms"'


async def suspended(running: Sidecar) -> None:
    """Stop the process for a while; its remotes go on."""
    freeze(running.process)
    try:
        await asyncio.sleep(_STOP)  # the pause itself is what is tested
    finally:
        running.process.send_signal(signal.SIGCONT)


def troubles(events: Iterable[Event], name: str = "") -> list[tuple[str, object]]:
    """What the guard had to say: retries, failures, circuits, shedding; of one integration, or of all."""
    head = f"resilience.{name}"
    return [(one["event_type"], one["payload"]) for one in events if one["event_type"].startswith(head)]


def statuses(program: Program, name: str, since: int) -> list[str]:
    """The changes of an integration's status, heartbeats left out."""
    said = [(one["payload"]["status"], one["payload"]["since"]) for one in program.seen(f"health.{name}", since)]
    return [status for status, _ in dict.fromkeys(said)]


async def test_calls_in_flight_and_waiting() -> None:
    """The remote answers meanwhile: each call is answered well, at its first attempt; nothing opens or flaps.

    Some calls are in flight, some wait for a slot; all have a total time that is far shorter than the stop. Another
    integration's circuit is open, and stays so for its time: the stop is no part of it.
    """
    with remote() as service:
        text = json_rpc(
            "api", service.url, attempts=3, threshold=2, limit="max_in_flight = 8", health=_CHECKS
        ) + json_rpc("sick", service.url, threshold=1, open_for="2s", health='interval = "30s"')
        with sidecar(text, heartbeat="300ms") as running, running.program() as bus:
            await bus.wait("health.api", lambda one: one["payload"]["status"] == "connected")
            assert not (await bus.request("sick", "http:500"))["ok"]
            since = bus.mark()
            calls = [str(uuid.uuid4()) for _ in range(24)]
            for call in calls:
                request = {"method": "wait", "params": [call], "timeout_ms": 1500}
                bus.emit("integration.api.request", request, call)
            await until(lambda: service.calls["wait"] == 8)
            stopping = asyncio.create_task(suspended(running))
            await asyncio.sleep(0.1)
            service.hold.set()
            await stopping
            refused = await bus.request("sick", "echo", [1])
            assert refused["error"]["kind"] == "circuit_open"
            answers = [await bus.response(call, since=since) for call in calls]
            assert {(one["payload"]["ok"], one["payload"]["attempts"]) for one in answers} == {(True, 1)}
            assert service.calls["wait"] == 24
            # A beat later it is still as it was, and a new call goes the usual way.
            beat = bus.mark()
            await bus.wait("health.api", since=beat)
            assert (await bus.request("api", "echo", [1]))["ok"]
            assert troubles(bus.log[since:], "api") == []
            assert set(statuses(bus, "api", since)) <= {"connected"}
            await bus.wait("resilience.sick.circuit.half_opened", since=since)
            assert (await bus.request("sick", "echo", [1]))["ok"]


async def test_brokers() -> None:
    """A broker that has given the connection up meanwhile costs one reconnection and nothing more."""
    with mosquitto() as mqtt, redis_server() as redis, nats_server() as nats:
        text = f"""
integration "events" {{
  type = "mqtt"
  endpoint {{
    url = "{mqtt.url}"
  }}
  config {{
    keep_alive = "1s"
  }}
  health {{
    {_CHECKS}
  }}
}}

integration "store" {{
  type = "redis"
  endpoint {{
    address = "127.0.0.1"
    port    = {redis.port}
  }}
  health {{
    {_CHECKS}
  }}
}}

integration "backbone" {{
  type = "nats"
  endpoint {{
    address = "127.0.0.1"
    port    = {nats.port}
  }}
  health {{
    {_CHECKS}
  }}
}}

subscription "jobs" {{
  integration = "store"
  queue       = "jobs"
  emit        = "job.came"
}}
"""
        names = ("events", "store", "backbone")
        with sidecar(text, heartbeat="300ms") as running, running.program() as bus:
            for name in names:
                await bus.wait(f"health.{name}", lambda one: one["payload"]["status"] == "connected")
            since = bus.mark()
            await suspended(running)
            # Several checks later:
            end = time.monotonic() + 1.0
            while time.monotonic() < end:
                await bus.wait("health.backbone", since=bus.mark())
            for name in names:
                await bus.wait(f"health.{name}", lambda one: one["payload"]["status"] == "connected", since=bus.mark())
            for name, operation, place in (
                ("events", "publish", {"topic": "t"}),
                ("backbone", "publish", {"topic": "t"}),
                ("store", "enqueue", {"queue": "jobs"}),
            ):
                answer = await bus.ask(f"integration.{name}.{operation}", {**place, "message": name})
                assert answer["ok"], (name, answer)
            await bus.wait("job.came", since=since)
            assert troubles(bus.log[since:]) == []
            for name in names:
                assert statuses(bus, name, since).count("disconnected") <= 1, bus.seen(f"health.{name}", since)


#: Seconds that an application may take, here: less than the stop.
_VISIBILITY = 2.0
_QUEUES = """
integration "{name}" {{
  type = "{name}"
  endpoint {{
    {endpoint}
  }}
  config {{
    {config}
  }}
}}
subscription "{name}" {{
  integration = "{name}"
  {place}
  emit        = "come.{name}"
  ack         = "consumer"
  visibility  = "{visibility}s"
}}
"""


def queue(name: str, endpoint: str, config: str, place: str) -> str:
    """An integration with a subscription whose messages the application acknowledges."""
    return _QUEUES.format(name=name, endpoint=endpoint, config=config, place=place, visibility=_VISIBILITY)


async def test_held_messages() -> None:
    """What the application has still has its time after the stop: no queue delivers it again, and each takes its `ack`.

    The servers' own limits end meanwhile: Redis has seen no sign of the entry for longer than `claim_after`, and
    JetStream none of the message for longer than `ack_wait`, and delivers it again, to the one who has it.
    """
    with mosquitto() as mqtt, redis_server() as redis, nats_server() as nats:
        text = (
            queue("mqtt", f'url = "{mqtt.url}"', 'client_id = "suspended"\n    clean_start = false', 'topic = "jobs"')
            + queue("redis", f'address = "127.0.0.1"\n    port = {redis.port}', 'claim_after = "1s"', 'queue = "jobs"')
            + queue("nats", f'address = "127.0.0.1"\n    port = {nats.port}', "", 'queue = "JOBS/nemo"')
        )
        async with nats_client(nats.port) as client:
            await client.jetstream().add_stream(name="JOBS", subjects=["jobs"])
            settings = ConsumerConfig(durable_name="nemo", ack_policy=AckPolicy.EXPLICIT, ack_wait=1.0)
            await client.jetstream().add_consumer("JOBS", settings)
        names = ("mqtt", "redis", "nats")
        puts = {"mqtt": ("publish", {"topic": "jobs", "qos": 1})} | dict.fromkeys(
            ("redis", "nats"), ("enqueue", {"queue": "jobs"})
        )

        async def put(bus: Program, message: int) -> dict[str, str]:
            """Send a message to each, and wait for it; their ids."""
            ids = {}
            for name in names:
                operation, place = puts[name]
                answer = await bus.ask(f"integration.{name}.{operation}", {**place, "message": message})
                assert answer["ok"], (name, answer)
            for name in names:
                event = await bus.wait(f"come.{name}", lambda one: one["payload"]["message"] == message)
                ids[name] = event["payload"]["message_id"]
            return ids

        with sidecar(text, heartbeat="300ms") as running, running.program() as bus:
            for name in names:
                await bus.wait(f"health.{name}", lambda one: one["payload"]["status"] == "connected")
            ids = await put(bus, 1)
            await suspended(running)
            # Whatever was given back comes before what is new.
            await put(bus, 2)
            for name in names:
                come = [(one["payload"]["message"], one["payload"]["attempts"]) for one in bus.seen(f"come.{name}", 0)]
                assert come == [(1, 1), (2, 1)], (name, come)
                answer = await bus.ask(f"integration.{name}.ack", {"message_id": ids[name]})
                assert answer["ok"], (name, answer)
            assert troubles(bus.log) == []
