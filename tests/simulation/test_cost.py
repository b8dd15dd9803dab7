"""What one more message costs: calls of Python functions of the bridge, which no busy machine can change."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import bridge
from bridge.simulation import Simulation
from tests.support.simulation.configured import BROKER, configured

_BRIDGE = str(Path(bridge.__file__).parent)
_SIMULATION = str(Path(_BRIDGE, "simulation"))
_ROUTE = """
route "reading" {
  on          = ["sensor.reading"]
  integration = "events"
  operation   = "publish"
  topic       = "readings"
  message     = event.payload
}
"""
_SERVICE = """
integration "service" {
  type = "json-rpc"
  endpoint {
    url = "http://127.0.0.1:1/rpc"
  }
}
"""


def _publish(world: Simulation, number: int) -> None:
    world.emit("sensor.reading", {"number": number})


def _request(world: Simulation, number: int) -> None:
    world.emit("integration.service.request", {"method": "m", "params": [number]}, correlation_id=str(number))


def _deliver(world: Simulation, number: int) -> None:
    world.deliver("metrics", "metrics/a", {"number": number})


def _calls(folder: Path, text: str, send: Callable[[Simulation, int], object], count: int) -> int:
    """Return how many functions of the bridge are called in a minute with so many messages."""
    calls = 0

    def note(frame: FrameType, event: str, _: Any) -> None:
        nonlocal calls
        file = frame.f_code.co_filename
        calls += event == "call" and file.startswith(_BRIDGE) and not file.startswith(_SIMULATION)

    with Simulation(configured(folder, text)) as world:
        for number in range(count):
            world.at(10 + number / 10, lambda number=number: send(world, number))
        world.start()
        sys.setprofile(note)
        try:
            world.run(60, settle=False)
        finally:
            sys.setprofile(None)
    return calls


@pytest.mark.parametrize(
    ("text", "send", "most"),
    [(BROKER + _ROUTE, _publish, 52), (_SERVICE, _request, 70), (BROKER, _deliver, 52)],
    ids=["event to publish", "call and response", "message to event"],
)
def test_one_more_message(tmp_path: Path, text: str, send: Callable[[Simulation, int], object], most: int) -> None:
    """A message costs few calls, without those of its protocol. Whoever adds some has a reason, and says so here."""
    cost = (_calls(tmp_path, text, send, 300) - _calls(tmp_path, text, send, 200)) / 100
    assert most - 8 < cost <= most, f"{cost} calls"
