"""The sidecar is stopped (SIGSTOP) for far longer than all its time limits, and goes on as if nothing had been."""

import asyncio
import signal
import time
import uuid
from collections.abc import Iterable

import pytest

from tests.support.bus.program import Event, Program
from tests.support.servers.mosquitto import mosquitto
from tests.support.servers.nats_server import nats_server
from tests.support.servers.redis_server import redis_server
from tests.support.servers.remote import remote
from tests.support.sidecar.sidecar import Sidecar, json_rpc, sidecar
from tests.support.wait import until

pytestmark = pytest.mark.alone

#: Seconds of the stop; the time limits below are far shorter.
_STOP = 3.0
_CHECKS = 'interval = "300ms"\n    timeout  = "300ms"'


async def suspended(running: Sidecar) -> None:
    """Stop the process for a while; its remotes go on."""
    running.process.send_signal(signal.SIGSTOP)
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
