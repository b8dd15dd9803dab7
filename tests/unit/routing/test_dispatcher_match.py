"""`bridge.match` says what the bridge would do with an event, and does nothing."""

from typing import Any

import msgspec
import pytest

from bridge.config import Literal, Route
from bridge.core.errors import InvalidError
from bridge.core.model import Event
from bridge.core.responder import Responder
from bridge.routing.dispatcher import Dispatcher
from bridge.routing.router import Router
from tests.support.clock import FakeClock


class _Bus:
    def __init__(self) -> None:
        self.published: list[tuple[str, Any]] = []

    def publish(self, event_type: str, payload: Any, **_: Any) -> None:
        self.published.append((event_type, msgspec.to_builtins(payload)))

    publish_or_report = publish


class _Controls:
    def stops(self, event_type: str) -> bool:
        return event_type == "system.shutdown"


class _TotalAboveTen:
    """The condition of a route."""

    constant = False

    def evaluate(self, scope: Any) -> Any:
        event = scope["event"]
        assert (event.event_type, event.source) == ("order.created", "app")
        try:
            return event.payload["total"] > 10
        except TypeError as error:
            raise InvalidError(str(error)) from None


def _routes() -> list[Route]:
    common = {"integration": "api", "operation": "request", "method": Literal('"m"', "m")}
    return [
        Route(name="all", on=("order.**",), **common),
        Route(name="large", on=("order.created",), where=_TotalAboveTen(), **common),
    ]


def _event(event_type: str, payload: Any, source: str = "app") -> Event:
    raw = msgspec.Raw(msgspec.msgpack.encode(payload))
    return Event(id=1, event_type=event_type, raw=raw, timestamp=1, source=source, correlation_id="c")


def _asked(payload: Any, *before: Event) -> Any:
    """Return the answer of a bridge with two routes; nothing but it may be published."""
    bus = _Bus()
    dispatcher = Dispatcher(
        Router({"api": frozenset({"request"})}, _routes()),
        {},
        _Controls(),
        outbox=None,
        bus=bus,
        responder=Responder(bus, most=10_000, clock=FakeClock()),
        source="bridge",
        clock=FakeClock(),
    )
    for event in before:
        dispatcher.on_event(event)
    dispatcher.on_event(_event("bridge.match", payload))
    answers = [payload for event_type, payload in bus.published if event_type == "response.bridge.match"]
    others = {event_type for event_type, _ in bus.published} - {"response.bridge.match", "resilience.bridge.failed"}
    assert (len(answers), others) == (1, set())
    return answers[0]


def _route(name: str, where: bool | None) -> dict[str, Any]:
    return {"route": name, "integration": "api", "operation": "request", "where": where}


@pytest.mark.parametrize(
    ("payload", "where"), [({"total": 11}, True), ({"total": 9}, False), ({"total": "x"}, None), (None, None)]
)
def test_routes_with_their_condition(payload, where):
    """The condition is evaluated for the payload; where that fails it is unknown."""
    answer = _asked({"event_type": "order.created", "payload": payload})
    assert answer["result"]["routes"] == [_route("all", True), _route("large", where)]


def test_routes_without_a_payload():
    """Without a payload no condition can be evaluated."""
    assert _asked({"event_type": "order.created"})["result"] == {
        "command": False,
        "stops": False,
        "error": None,
        "routes": [_route("all", True), _route("large", None)],
    }


@pytest.mark.parametrize(
    ("event_type", "command", "kind"),
    [
        ("integration.api.request", True, None),
        ("integration.api.pause", True, None),
        ("bridge.status", True, None),
        ("integration.apy.request", False, "unknown_integration"),
        ("integration.api.publish", False, "not_supported"),
        ("bridge.dance", False, "unknown_operation"),
        ("lamp.on", False, None),
    ],
)
def test_commands(event_type, command, kind):
    """A command is executed, or refused with the error that it would be answered with."""
    result = _asked({"event_type": event_type})["result"]
    assert (result["command"], result["error"] and result["error"]["kind"]) == (command, kind)
    assert result["routes"] == []


def test_what_stops_the_bridge():
    """The event that stops it is known."""
    assert _asked({"event_type": "system.shutdown"})["result"]["stops"] is True


def test_another_bridges_integration():
    """It is neither executed nor refused here."""
    health = _event("health.theirs", {"status": "connected"}, "bridge/other")
    result = _asked({"event_type": "integration.theirs.request"}, health)["result"]
    assert (result["command"], result["error"]) == (False, None)


@pytest.mark.parametrize(
    "payload", [None, {}, {"event_type": ""}, {"event_type": "a..b"}, {"event_type": "x" * 256}, {"type": "a"}]
)
def test_what_is_no_event(payload):
    """A wrong question is `invalid`."""
    assert _asked(payload)["error"]["kind"] == "invalid"
