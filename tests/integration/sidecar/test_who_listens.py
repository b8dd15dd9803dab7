"""Messages that are acknowledged wait for a listener on the bus; last values are said to late subscribers."""

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.js.api import ConsumerConfig

from tests.support.adapters.mqtt import connected
from tests.support.bus.bus_host import bus_host
from tests.support.bus.program import Program
from tests.support.servers.mosquitto import mosquitto
from tests.support.servers.nats_server import nats_server
from tests.support.servers.redis_server import redis_server
from tests.support.servers.remote import remote
from tests.support.sidecar.restarts import restarts
from tests.support.sidecar.sidecar import Sidecar, bus_block, json_rpc, short_directory, sidecar
from tests.support.sidecar.tap import tapping
from tests.support.wait import until

Numbers = range


def _store(kind: str, port: int, config: str, subscription: str) -> str:
    return f"""
integration "store" {{
  type = "{kind}"
  endpoint {{
    address = "127.0.0.1"
    port    = {port}
  }}
  config {{
    {config}
  }}
}}

subscription "jobs" {{
  integration = "store"
  emit        = "job.come"
  {subscription}
}}
"""


@contextlib.contextmanager
def _redis_stream() -> Iterator[tuple[str, Callable]]:
    with redis_server() as server, server.client() as client:

        async def put(numbers: Numbers) -> None:
            for number in numbers:
                client.xadd("jobs", {"data": str(number)})

        yield _store("redis", server.port, "", 'queue = "jobs"'), put


@contextlib.contextmanager
def _jetstream() -> Iterator[tuple[str, Callable]]:
    with nats_server() as server:

        async def put(numbers: Numbers) -> None:
            client = await nats.connect(f"nats://127.0.0.1:{server.port}")
            stream = client.jetstream()
            if not numbers:
                await stream.add_stream(name="JOBS", subjects=["jobs"])
                # What the killed sidecar has in hand comes again after a second.
                wanted = ConsumerConfig(durable_name="nemo", ack_wait=1, ack_policy="explicit")
                await stream.add_consumer("JOBS", wanted)
            for number in numbers:
                await stream.publish("jobs", str(number).encode())
            await client.close()

        yield _store("nats", server.port, "", 'queue = "JOBS/nemo"'), put


@contextlib.contextmanager
def _mqtt() -> Iterator[tuple[str, Callable]]:
    with mosquitto() as broker:

        async def put(numbers: Numbers) -> None:
            async with connected(broker.url) as outside:
                for number in numbers:
                    await outside.publish("jobs", number, qos=1)

        kept = 'client_id   = "sidecar"\n    clean_start = false'
        yield _store("mqtt", broker.port, kept, 'topic = "jobs"'), put


_WAYS = {"redis": _redis_stream, "nats": _jetstream, "mqtt": _mqtt}


@pytest.mark.parametrize("way", _WAYS.values(), ids=_WAYS)
async def test_nothing_is_lost_around_a_killed_sidecar(way: Callable, tmp_path: Path) -> None:
    """The sidecar that hosts the bus is killed while messages come; a subscriber that comes back late sees all 30.

    Two observers are there all the time. The messages do not wait less for that, and the observers see them all, too.
    """
    with contextlib.ExitStack() as stack:
        text, put = stack.enter_context(way())
        start = stack.enter_context(restarts(text))
        await put(range(0))
        bridge = start()
        place = ("--publish", bridge.publish, "--subscribe", bridge.subscribe)
        with bridge.program("health.") as watching:
            await watching.wait("health.store", lambda event: event["payload"]["status"] == "connected")
        taps = [stack.enter_context(tapping(tmp_path / name, "job.**", "health.store", *place)) for name in "ab"]
        await until(lambda: all(tap.seen("health.store") for tap in taps))
        await put(range(15))
        bridge = start()  # kills the first one with -9
        await put(range(15, 30))
        with bridge.program("health.") as watching:
            told = await watching.wait("health.store", lambda event: event["payload"]["warnings"])
            (warning,) = told["payload"]["warnings"]
            assert re.fullmatch("messages of '.+' wait, because nobody on the bus listens to 'job.come'", warning)
        await until(lambda: all(tap.seen("health.store")[-1]["timestamp"] >= told["timestamp"] for tap in taps))
        assert not any(tap.seen("job.come") for tap in taps)
        with bridge.program("job.") as late:
            # nats-server 2.9 delivers what the killed one had in hand once too often, as if for the first time.
            await until(lambda: _numbers(late.seen("job.come")) == set(range(30)))
        await until(lambda: all(_numbers(tap.seen("job.come")) == set(range(30)) for tap in taps))
        with bridge.program("health.") as watching:
            await watching.wait("health.store", lambda event: not event["payload"]["warnings"])


def _numbers(events: list[dict[str, Any]]) -> set[int]:
    return {event["payload"]["message"] for event in events}


async def test_a_route_is_a_listener() -> None:
    """Messages whose event sets off a route do not wait for a subscriber."""
    with remote() as service, _redis_stream() as (text, put):
        route = """
route "work" {
  on          = ["job.*"]
  integration = "api"
  operation   = "request"
  method      = "work"
  params      = [event.payload.message]
}
"""
        with sidecar(json_rpc("api", service.url) + text + route) as bridge, bridge.program("health.") as watching:
            await watching.wait("health.store", lambda event: event["payload"]["status"] == "connected")
            await put(range(3))
            await until(lambda: service.calls["work"] == 3)


_STATE = """
integration "settings" {
  type = "static"

  config {
    values = {
      colour = "blue"
      size   = 3
    }
  }
}

subscription "settings" {
  integration = "settings"
  topic       = "*"
  emit        = "setting.${message.topic}"
}

integration "clock" {
  type = "timer"

  config {
    every       = "1h"
    immediately = true
  }
}

subscription "first_tick" {
  integration = "clock"
  topic       = "*"
  emit        = "clock.tick"
}

route "price" {
  on          = ["price.asked"]
  integration = "api"
  operation   = "request"
  method      = "price"
  params      = [event.payload]
  emit        = "price.now"
  last_value  = true
}
"""
_TAKEN = """
route "no_repeats" {
  on          = ["setting.*"]
  integration = "api"
  operation   = "request"
  method      = "setting"
}
"""


async def test_late_subscribers_get_what_is_so() -> None:
    """Static values, a route's result and retained messages are said to each late subscriber, and a first tick to one.

    What is said again sets off no route.
    """
    with remote() as service, mosquitto() as broker:
        async with connected(broker.url) as outside:
            await outside.publish("state/door", "open", qos=1, retain=True)
        events = _store("mqtt", broker.port, "", 'topic = "state/#"').replace("job.come", "state")
        with sidecar(json_rpc("api", service.url) + _STATE + _TAKEN + events) as bridge:
            with bridge.program("clock.") as first:
                assert (await first.wait("clock.tick"))["payload"]["message"]["missed"] == 0
            with bridge.program("response.", "state") as asking:
                await asking.ask("price.asked", 7)
                await asking.wait("state")
            for _ in range(2):
                with bridge.program("setting.", "price.", "state", "clock.") as late:
                    for event_type, content in [("setting.colour", "blue"), ("setting.size", 3), ("state", "open")]:
                        event = await late.wait(event_type)
                        assert event["payload"]["message"] == content
                        assert event["headers"]["repeated"] == "true"
                    await late.wait("price.now")
                    assert not late.seen("clock.tick")
            assert service.calls["setting"] == 2


@contextlib.contextmanager
def _waiting(bridge_hosts: bool, text: str) -> Iterator[Program]:
    """Yield a program that has subscribed on a bus before the sidecar, which hosts that bus or joins it, is started."""
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(short_directory())
        endpoints = f"ipc://{place}/p", f"ipc://{place}/s"
        program = Program(*endpoints, ("setting.", "clock.", "state", "health.bridge"))
        if bridge_hosts:
            stack.callback(program.__exit__)
            program.sub.connect(endpoints[1])
            block = bus_block(place)
        else:
            stack.enter_context(bus_host(*endpoints))
            stack.enter_context(program)
            block = bus_block(place, 'mode = "connect"')
        running = Sidecar(place, 'bridge {\n  heartbeat = "200ms"\n}\n' + block + text)
        stack.callback(running.kill)
        yield program
        assert "Traceback" not in running.text


@pytest.mark.parametrize("bridge_hosts", [False, True], ids=["joins", "hosts"])
async def test_a_program_that_waits_before_the_sidecar_starts(bridge_hosts: bool) -> None:
    """It gets every static value, the first tick and the retained message, each once."""
    with remote() as service, mosquitto() as broker:
        async with connected(broker.url) as outside:
            await outside.publish("state/door", "open", qos=1, retain=True)
        events = _store("mqtt", broker.port, "", 'topic = "state/#"').replace("job.come", "state")
        with _waiting(bridge_hosts, json_rpc("api", service.url) + _STATE + events) as program:
            wanted = {"setting.colour": "blue", "setting.size": 3, "state": "open"}
            for event_type, content in wanted.items():
                assert (await program.wait(event_type))["payload"]["message"] == content
            await program.wait("clock.tick")
            # Two heartbeats later nothing has come again.
            since = program.mark()
            for _ in range(2):
                await program.wait("health.bridge", since=since)
                since = program.mark()
            for event_type in (*wanted, "clock.tick"):
                (only,) = program.seen(event_type)
                assert "repeated" not in only["headers"]
