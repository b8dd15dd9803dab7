"""All patterns and all commands through a whole bridge, with every event held against `schemas/`.

The remote is an object in memory that has all operations; the bus is a real one.
"""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq

from bridge.client import BusClient, Listener
from bridge.config import load
from bridge.contract import MESSAGE_TYPES, message_type_for
from bridge.core.clock import RealClock
from bridge.core.cluster import StreamSpec
from bridge.core.model import Event
from bridge.fabric.names import Names
from bridge.gateway import IntegrationGateway
from bridge.outbox.commit_mark import CommitMark, Mark
from bridge.registry import AdapterRegistry
from bridge.simulation.cluster import MemoryCluster
from tests.integration.observe.test_console import console
from tests.support.adapters.memory_adapter import CARRIER, SPEC, MemoryAdapter, MemoryCarrier, MemoryRemote
from tests.support.bus.schemas import validate_event
from tests.support.servers.remote import free_port
from tests.support.wait import until

CONFIGURATION = """
bridge {{
  data_dir = "{0}/data"
  status   = "127.0.0.1:{1}"
  console {{
    actions = true
    token   = "correct-horse-battery"
  }}
}}
bus {{
  publish   = "ipc://{0}/p"
  subscribe = "ipc://{0}/s"
}}
integration "shop" {{
  type = "memory"
  endpoint {{
    address = "shop"
  }}
}}
integration "ruin" {{
  type = "memory"
  endpoint {{
    address = "ruin"
  }}
  resilience {{
    retry {{
      max_attempts  = 2
      initial_delay = "1ms"
    }}
    circuit_breaker {{
      failure_threshold = 2
      success_threshold = 1
      timeout           = "50ms"
    }}
  }}
}}
subscription "work" {{
  integration    = "shop"
  topic          = "work"
  emit           = "work.come"
  ack            = "consumer"
  max_deliveries = 2
}}
route "echo" {{
  on          = "order.*"
  integration = "shop"
  operation   = "request"
  method      = "echo"
  params      = event.payload
  emit        = "done.order"
}}
route "keep" {{
  on          = "keep.*"
  integration = "shop"
  operation   = "request"
  method      = event.payload.method
  params      = event.payload.params
  delivery    = "at_least_once"
  receipts    = true
}}
integration "carrier" {{
  type = "memory-carrier"
  endpoint {{
    address = "carrier"
  }}
}}
fabric "plant" {{
  integration = "carrier"
  node        = "here"
  import      = ["stock.*"]
  delivery    = "at_least_once"
}}
integration "clock" {{
  type = "timer"
  config {{
    every = "50ms"
  }}
}}
subscription "count" {{
  integration = "clock"
  topic       = "default"
  emit        = "stock.due"
  singleton   = "plant"
}}
"""
INTEGRATIONS = {"shop", "ruin", "carrier", "clock"}


def envelope(event: Event) -> dict[str, Any]:
    """An event as the map that it was on the bus."""
    names = ("id", "event_type", "payload", "timestamp", "source", "correlation_id", "headers")
    return {name: getattr(event, name) for name in names}


@pytest.fixture
def remotes(monkeypatch: pytest.MonkeyPatch) -> dict[str, MemoryRemote]:
    """What the integrations talk to; the ruin is not there at first."""
    made = {"shop": MemoryRemote(), "ruin": MemoryRemote(alive=False), "carrier": MemoryRemote()}
    monkeypatch.setattr(MemoryAdapter, "remotes", made)
    return made


def is_up(event: Event) -> bool:
    """Whether the ruin is connected, with its circuit open or not."""
    return event.event_type == "health.ruin" and event.payload["status"] in {"connected", "degraded"}


async def trouble(client: BusClient, ruin: MemoryRemote, events: Sequence[Event]) -> None:
    """A retry, a circuit that opens, half-opens and closes, and events that are lost on the bus."""
    call = "integration.ruin.request", {"method": "echo", "params": 1}
    assert (await client.ask(*call, timeout=10)).payload["attempts"] == 2
    ruin.alive = True
    await until(lambda: any(is_up(event) for event in events), "the connection")
    await until(lambda: any(event.event_type.endswith("half_opened") for event in events), "the half-open circuit")
    assert (await client.ask(*call, timeout=10)).payload["ok"]
    with zmq.Context() as context, context.socket(zmq.PUB) as sender:
        sender.linger = 0
        sender.connect(client._bus.publish_endpoint)
        for seq in range(1, 1000, 2):
            if any(event.event_type == "resilience.bus.gap" for event in events):
                break
            lossy = {
                "id": seq,
                "event_type": "tick",
                "payload": 0,
                "timestamp": 0,
                "source": "x",
                "correlation_id": None,
            }
            sender.send_multipart([b"tick", msgpack.packb(lossy | {"headers": {"seq": str(seq)}})])
            await asyncio.sleep(0.02)


async def held(client: BusClient, events: Sequence[Event]) -> None:
    """A message that the application gives back as often as it may."""
    await client.ask("integration.shop.publish", {"topic": "work", "message": 1})
    for attempts in (1, 2):

        def come(attempts: int = attempts) -> list[Event]:
            return [one for one in events if one.event_type == "work.come" and one.payload["attempts"] == attempts]

        await until(come, "the message")
        answer = await client.ask("integration.shop.nack", {"message_id": come()[0].payload["message_id"]})
        assert answer.payload["ok"]


async def kept(client: BusClient, events: Sequence[Event]) -> None:
    """Each outcome of what the outbox takes, and what a person does with dead letters."""
    fails = {"method": "fail", "params": {"code": 7, "message": "no", "data": None}}
    assert (await client.ask("keep.good", {"method": "echo", "params": [1]}, timeout=10)).payload["ok"]
    assert not (await client.ask("keep.bad", fails, timeout=10)).payload["ok"]
    soon = {"idempotency_key": "late", "deadline_ms": str(time.time_ns() // 1_000_000 + 100)}
    client.emit("keep.late", {"method": "sleep", "params": {"ms": 5000}}, headers=soon)

    def said(event_type: str) -> int:
        return sum(event.event_type == event_type for event in events)

    await until(lambda: said("receipt.shop.expired") == 1, "the receipt of what came too late")
    letters = (await client.ask("bridge.dead_letters", {}, timeout=10)).payload["result"]["letters"]
    ids = [letter["letter_id"] for letter in letters]
    assert len(ids) == 1
    assert (await client.ask("bridge.replay", {"ids": ids}, timeout=10)).payload["ok"]
    await until(lambda: said("resilience.shop.dead_letter") == 2, "the letter that is dead again")
    assert (await client.ask("bridge.discard", {}, timeout=10)).payload["ok"]


async def commands(client: BusClient) -> None:
    """Every command at least once, good and bad ones."""

    async def ask(event_type: str, payload: Any = None) -> Any:
        answer = (await client.ask(event_type, payload, timeout=10)).payload
        return answer.get("result") if answer["ok"] else answer["error"]["kind"]

    async def shop(operation: str, **payload: Any) -> Any:
        return await ask(f"integration.shop.{operation}", payload)

    taken = await shop("subscribe", topic="news", emit="data.news")
    await shop("subscribe", topic="news")
    assert await shop("publish", topic="news", message=b"\x00\x01") == {}
    assert await ask("bridge.ping", [b"\x00\x01"]) == [b"\x00\x01"]
    assert await shop("unsubscribe", **taken) == {}
    assert await shop("unsubscribe", topic="news") == {}
    queued = await shop("enqueue", queue="work", message={"n": 1})
    first = await shop("dequeue", queue="work")
    assert first == queued | {"message": {"n": 1}, "attempts": 1, "headers": {}}
    assert await shop("nack", message_id=first["message_id"]) == {}
    assert (await shop("dequeue", queue="work"))["attempts"] == 2
    assert await shop("ack", message_id=first["message_id"]) == {}
    assert await shop("dequeue", queue="work") is None
    assert await shop("request", method="echo", params=[1.5, None]) == [1.5, None]
    assert await shop("request", method="fail", params={"code": 7, "message": "no", "data": [1]}) == "rejected"
    assert await shop("request", method="sleep", timeout_ms=20) == "deadline"
    assert await shop("request", method="warn", params="it forgets") is None
    assert await shop("nonsense") == "unknown_operation"
    assert await shop("request") == "invalid"
    assert await ask("integration.garden.request", {"method": "echo"}) == "unknown_integration"
    assert await ask("integration.shop") == "unknown_operation"
    assert await ask("bridge.nonsense") == "unknown_operation"
    assert await ask("order.made", {"id": 1}) == {"id": 1}
    assert await shop("pause") == {}
    assert await shop("resume") == {}
    assert await shop("circuit.force_open") == {"state": "open"}
    assert await shop("request", method="echo") == "circuit_open"
    assert await shop("circuit.reset") == {"state": "closed"}
    assert await shop("drain") == {}
    assert await shop("request", method="echo") == "stopping"
    assert await ask("bridge.ping", [1]) == [1]
    assert set(await ask("bridge.status")) == {"bridge", *INTEGRATIONS}
    assert set(await ask("bridge.subscriptions")) == INTEGRATIONS
    seen = await ask("bridge.overview")
    assert {row["integration"] for row in seen["integrations"]} == INTEGRATIONS
    assert (await ask("bridge.inspect", {"integration": "shop"}))["row"]["integration"] == "shop"
    assert await ask("bridge.inspect", {"integration": "shpo"}) == "unknown_integration"
    assert [one["route"] for one in (await ask("bridge.match", {"event_type": "order.made"}))["routes"]] == ["echo"]
    assert "files" in await ask("bridge.configuration")
    assert (await ask("bridge.reload"))["needs_restart"] == []
    assert set((await ask("bridge.fleet"))["fabrics"]["plant"]["nodes"]) == {"here"}
    assert await ask("bridge.forget_node", {"node": "there"}) == "invalid"


async def fabric(broker: MemoryCluster) -> None:
    """What a node finds: it was away for longer than the stream keeps events, and somebody writes garbage."""
    session, names = broker.session("there"), Names("plant", "here")
    await session.stream(StreamSpec(name=names.stream, subjects=(names.events,), max_age=60, max_bytes=500))
    await session.consumer(names.stream, names.consumer, names.events)
    for number in range(10):
        broker.publish("nemo.plant.event.there.stock.low", b"no event" * 10, message_id=str(number))


async def test_every_event_keeps_the_contract(
    tmp_path: Path, remotes: dict[str, MemoryRemote], monkeypatch: pytest.MonkeyPatch
):
    """Whatever a bridge with every pattern says fits its schema, and every schema has its event."""
    broker = MemoryCluster(RealClock())
    monkeypatch.setattr(MemoryCarrier, "broker", broker, raising=False)
    await fabric(broker)
    port = free_port()
    (tmp_path / "bridge.hcl").write_text(CONFIGURATION.format(tmp_path, port))
    (tmp_path / "data").mkdir(mode=0o700)
    mark = CommitMark(tmp_path / "data" / "outbox.db.mark")
    mark.write(Mark(b"of another store", commits=3, entries=2))
    mark.close()

    def read() -> Any:
        adapters = {one.protocol: one for one in (SPEC, CARRIER, AdapterRegistry()["timer"])}
        return load([tmp_path / "bridge.hcl"], adapters=adapters, variables={}, environ={})

    gateway = IntegrationGateway(read(), load=read)
    client = BusClient(f"ipc://{tmp_path}/p", f"ipc://{tmp_path}/s", prefixes=("",))
    events: list[Event] = []

    async def collect(queue: Listener) -> None:
        while not events or events[-1].event_type != "health.bridge" or events[-1].payload["status"] != "stopped":
            events.append(await queue.get())

    async with asyncio.TaskGroup() as group:
        running = group.create_task(gateway.run())
        await until(lambda: (tmp_path / "s").exists() or running.done(), "the bus")
        with client.listen() as queue:
            async with client:
                collecting = group.create_task(collect(queue))
                await until(lambda: remotes["shop"].sessions, "the session")
                gateway.bus.reject_loop("order.round")
                await held(client, events)
                await kept(client, events)
                await commands(client)
                async with console(f"http://127.0.0.1:{port}/") as viewer:
                    assert not (await viewer.act(token="wrong", do="pause", integration="shop"))["ok"]
                await trouble(client, remotes["ruin"], events)
                gateway.stop("the test is over")
                await asyncio.wait_for(collecting, 10)
    for event in events:
        validate_event(envelope(event), commands=False)
    seen = {kind.name for event in events if (kind := message_type_for(event.event_type)) is not None}
    assert {kind.name for kind in MESSAGE_TYPES} - seen == set()
