"""Several bridges on one bus leave each other's integrations alone."""

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
        self.said: list[tuple[str, Any]] = []

    def publish(self, event_type: str, payload: Any, **_: Any) -> None:
        self.said.append((event_type, payload))

    publish_or_report = publish


def _event(event_type: str, payload: Any, source: str) -> Event:
    raw = msgspec.Raw(msgspec.msgpack.encode(payload))
    return Event(id=1, event_type=event_type, raw=raw, timestamp=1, source=source, correlation_id="c")


async def _answered(*before: Event, later: float = 0.0) -> bool:
    """Whether a command to `theirs` is answered, as unknown, so many seconds after these events."""
    bus, clock = _Bus(), FakeClock()
    dispatcher = Dispatcher(
        Router({}, ()),
        {},
        None,
        outbox=None,
        bus=bus,
        responder=Responder(bus, most=1000),
        source="bridge",
        clock=clock,
    )
    for event in before:
        dispatcher.on_event(event)
    await clock.advance(later)
    dispatcher.on_event(_event("integration.theirs.request", {"method": "m"}, "app"))
    return any(event_type == "response.integration.theirs.request" for event_type, _ in bus.said)


def _health(status: str, source: str = "bridge/other") -> Event:
    return _event("health.theirs", {"status": status}, source)


async def test_another_bridges_integration_is_left_to_it():
    """Its health has shown that it is there."""
    assert not await _answered(_health("connecting"))
    assert not await _answered(_health("stopped"), _health("failed"))


async def test_a_bridge_that_died_without_a_word_is_missed():
    """After a minute without a heartbeat nobody is waited for."""
    assert not await _answered(_health("connected"), later=59.0)
    assert await _answered(_health("connected"), later=61.0)


@pytest.mark.parametrize(
    "before",
    [(), (_health("connected"), _health("stopped")), (_health("connected", "app"),), (_health("connected", "bridge"),)],
    ids=["never heard of", "stopped", "said by an application", "said by ourselves"],
)
async def test_what_nobody_has_is_unknown(before):
    """Somebody has to say so."""
    assert await _answered(*before)
