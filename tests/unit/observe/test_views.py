"""`bridge.overview` and `bridge.inspect`: what they show of a whole gateway on virtual time."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bridge.config import Configuration
from bridge.simulation import Answer, Simulation
from tests.support.simulation.configured import BROKER, SHOP, configured

Look = Callable[..., Any]
#: A second JSON-RPC integration, with a route that is not durable and a short way to an open circuit.
DEPOT = """
integration "depot" {
  type = "json-rpc"
  endpoint {
    url = "http://127.0.0.1:1/rpc"
  }
  auth {
    type  = "bearer"
    token = "a-secret-token"
  }
  resilience {
    retry {
      max_attempts = 1
    }
    circuit_breaker {
      failure_threshold = 3
    }
  }
}
route "stock" {
  on          = "stock.*"
  integration = "depot"
  operation   = "request"
  method      = "stock.set"
}
"""


@pytest.fixture
def house(tmp_path: Path) -> Configuration:
    """Two JSON-RPC integrations with a route each, and an MQTT integration with a subscription."""
    return configured(tmp_path, SHOP + DEPOT + BROKER)


def _ask(world: Simulation, event_type: str, payload: Any = None) -> Any:
    """Ask the bridge now, and return the response's payload."""
    before = len(world.record.events(f"response.{event_type}"))
    world.emit(event_type, payload, correlation_id="seen")
    world.run(world.now_ms / 1000 + 0.5, settle=False)
    answers = world.record.events(f"response.{event_type}")[before:]
    assert len(answers) == 1
    return answers[0].event.payload


def _overview(world: Simulation) -> Any:
    """Return the overview as it is now; the sums in it are those of health."""
    result = _ask(world, "bridge.overview")["result"]
    assert result["bridge"]["integrations"] == {row["integration"]: row["status"] for row in result["integrations"]}
    return result


def _row(overview: Any, name: str) -> Any:
    return next(row for row in overview["integrations"] if row["integration"] == name)


def _problems(overview: Any) -> list[tuple[str, str, list[str]]]:
    return [(one["kind"], one["text"], one["integrations"]) for one in overview["problems"]]


def _emit_each_second(world: Simulation, event_type: str, seconds: Sequence[int]) -> None:
    for second in seconds:
        world.at(second, lambda: world.emit(event_type, {}))


def test_rates_and_series_follow_what_happens(house: Configuration) -> None:
    """Two events a second for a minute show as two operations a second, in the row, for all, and for the route."""
    with Simulation(house, answers={"depot": [Answer(result=1, after=0.003)]}) as world:
        _emit_each_second(world, "stock.up", range(60))
        _emit_each_second(world, "stock.down", range(60))
        world.start()
        world.run(60.1, settle=False)
        seen = _overview(world)
        row = _row(seen, "depot")
        assert row["rates"] | {"messages": 0.0} == seen["rates"]
        assert row["rates"]["succeeded"] == pytest.approx(2, rel=0.1)
        assert row["rates"]["failed"] == 0
        assert 2.5 <= row["rates"]["p50_ms"] <= row["rates"]["p95_ms"] <= 5
        assert sum(row["series"]["succeeded"]) == 120 == sum(seen["series"]["succeeded"])
        assert row["series"]["succeeded"][-5:] == [0, 30, 30, 30, 30]
        assert "series" not in _row(seen, "shop")
        route = next(one for one in seen["routes"] if one["route"] == "stock")
        assert (route["succeeded"], route["failed"], route["on"]) == (120, 0, ["stock.*"])
        assert route["rate"] == pytest.approx(2, rel=0.1)
        assert seen["problems"] == []
