"""Of several bridges on one bus, each leaves the others' integrations to them."""

from typing import Any

import msgspec
import pytest

from bridge.core.model import Event
from bridge.core.responder import Responder
from bridge.routing.dispatcher import Dispatcher
from bridge.routing.router import Router
from tests.support.clock import FakeClock


class _Bus:
    def __init__(self) -> None:
        self.published: list[tuple[str, Any]] = []

    def publish(self, event_type: str, payload: Any, **_: Any) -> None:
        self.published.append((event_type, payload))

    publish_or_report = publish


def _event(event_type: str, payload: Any, source: str) -> Event:
    raw = msgspec.Raw(msgspec.msgpack.encode(payload))
    return Event(id=1, event_type=event_type, raw=raw, timestamp=1, source=source, correlation_id="c")


async def _answered(*before: Event, later: float = 0.0) -> bool:
    """Return whether a command to `theirs` is answered, as unknown, so many seconds after these events."""
    bus, clock = _Bus(), FakeClock()
    dispatcher = Dispatcher(
        Router({}, ()),
        {},
        None,
        outbox=None,
        bus=bus,
        responder=Responder(bus, most=1000, clock=FakeClock()),
        source="bridge",
        clock=clock,
    )
    for event in before:
        dispatcher.on_event(event)
    await clock.advance(later)
    dispatcher.on_event(_event("integration.theirs.request", {"method": "m"}, "app"))
    return any(event_type == "response.integration.theirs.request" for event_type, _ in bus.published)


def _health(status: str, source: str = "bridge/other") -> Event:
    return _event("health.theirs", {"status": status}, source)


async def test_another_bridges_integration_is_left_to_it():
    """A command to an integration whose health another bridge has published is not answered."""
    assert not await _answered(_health("connecting"))
    assert not await _answered(_health("stopped"), _health("failed"))


async def test_a_bridge_without_a_heartbeat_counts_as_ended():
    """After a minute without a heartbeat of another bridge, commands to its integration are answered as unknown."""
    assert not await _answered(_health("connected"), later=59.0)
    assert await _answered(_health("connected"), later=61.0)


async def test_a_fabric_and_its_nodes_are_no_integrations():
    """What another bridge says of them does not take the room of its integrations."""
    others = [_event(f"health.node.n{number}", {"status": "connected"}, "bridge/other") for number in range(10_000)]
    assert not await _answered(_event("health.fabric.theirs", {"status": "connected"}, "bridge/other"), _health("x"))
    assert not await _answered(*others, _health("connected"))
    assert await _answered(_event("health.fabric.theirs", {"status": "connected"}, "bridge/other"))


@pytest.mark.parametrize(
    "before",
    [(), (_health("connected"), _health("stopped")), (_health("connected", "app"),), (_health("connected", "bridge"),)],
    ids=["no health", "stopped", "health from an application", "our own health"],
)
async def test_what_nobody_has_is_unknown(before):
    """A command to an integration that no other running bridge has is answered as unknown."""
    assert await _answered(*before)
