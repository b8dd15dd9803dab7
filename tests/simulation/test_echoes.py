"""Events that a program repeats too often: they set nothing off, and each is counted once."""

import asyncio
from pathlib import Path

import pytest

from bridge.core.model import Event
from bridge.simulation import Simulation
from bridge.simulation.cluster import MemoryCluster
from bridge.simulation.loop import VirtualClock, VirtualLoop
from bridge.simulation.record import Said
from tests.support.simulation.configured import configured
from tests.support.simulation.fleet import CARRIER

_TIMES = 20
#: How often one event may set something off in a second.
_LIMIT = 17
_SHOP = """
integration "shop" {
  type = "json-rpc"
  endpoint {
    url = "http://127.0.0.1:1/rpc"
  }
}
"""
_ROUTES = """
route "store" {
  on          = ["order.created"]
  integration = "shop"
  operation   = "request"
  method      = "store"
}
route "tell" {
  on          = ["order.created"]
  integration = "shop"
  operation   = "request"
  method      = "tell"
}
"""


def _fabric(name: str, node: str) -> str:
    return f"""
fabric "{name}" {{
  integration = "cluster"
  node        = "{node}"
  export      = ["order.**"]
}}
"""


def _repeat(world: Simulation, event_type: str, payload: object, source: str | None = "app") -> None:
    for _ in range(_TIMES):
        world.emit(event_type, payload, source=source, event_id=1, timestamp=1)


def _told(events: list[Said]) -> list[tuple[str, int]]:
    """Return the types of what was rejected as an echo, and how many."""
    reports: list[Event] = [said.event for said in events]
    return [(one.payload["event_type"], one.payload["count"]) for one in reports if one.payload["reason"] == "echo"]


@pytest.mark.parametrize("source", ["app", "bridge", None])
def test_an_event_of_two_routes(tmp_path: Path, source: str | None) -> None:
    """It sets each route off 17 times, whoever emitted it; the others are told."""
    with Simulation(configured(tmp_path, _SHOP + _ROUTES)) as world:
        world.at(5, lambda: _repeat(world, "order.created", {}, source))
        world.start()
        record = world.run(30)
        assert len(record.attempts("shop")) == 2 * _LIMIT
        told = _told(record.events("resilience.bus.rejected"))
        assert {event_type for event_type, _ in told} == {"order.created"}
        assert sum(count for _, count in told) == _TIMES - _LIMIT


def test_a_command(tmp_path: Path) -> None:
    """A command is an event, too."""
    with Simulation(configured(tmp_path, _SHOP)) as world:
        world.at(5, lambda: _repeat(world, "integration.shop.request", {"method": "m"}))
        world.start()
        record = world.run(30)
        assert len(record.attempts("shop")) == _LIMIT
        assert sum(count for _, count in _told(record.events("resilience.bus.rejected"))) == _TIMES - _LIMIT


def test_an_event_that_nobody_takes(tmp_path: Path) -> None:
    """What would set nothing off is not told."""
    with Simulation(configured(tmp_path, _SHOP + _ROUTES)) as world:
        world.at(5, lambda: _repeat(world, "invoice.created", {}))
        world.start()
        assert _told(world.run(30).events("resilience.bus.rejected")) == []


def test_an_event_of_a_route_and_two_fabrics(tmp_path: Path) -> None:
    """All three stop at the same event, and each that is too much is told once, not three times."""
    loop = VirtualLoop()
    broker = MemoryCluster(VirtualClock(loop))
    heard: list[str] = []
    text = CARRIER + _fabric("plant", "a") + _fabric("office", "b") + _SHOP + _ROUTES
    with Simulation(configured(tmp_path, text), loop=loop, broker=broker) as world:

        async def listen() -> None:
            session = broker.session("other")
            for fabric in ("plant", "office"):
                await session.subscribe(
                    f"nemo.{fabric}.live.>", lambda message: heard.append(message.subject), lambda _: None
                )

        tasks: list[asyncio.Task[None]] = []
        world.at(1, lambda: tasks.append(loop.create_task(listen())))
        world.at(5, lambda: _repeat(world, "order.created", {}))
        world.start()
        record = world.run(30, settle=False)
        assert sorted(heard) == ["nemo.office.live.b.order.created"] * _LIMIT + (
            ["nemo.plant.live.a.order.created"] * _LIMIT
        )
        assert len(record.attempts("shop")) == 2 * _LIMIT
        assert sum(count for _, count in _told(record.events("resilience.bus.rejected"))) == _TIMES - _LIMIT
