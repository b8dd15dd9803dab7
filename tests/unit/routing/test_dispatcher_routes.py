"""Which events start routes."""

from typing import Any

import msgspec
import pytest

from bridge.config import Literal, Route
from bridge.core.model import MAX_HOP, Event, Operation
from bridge.core.responder import Responder
from bridge.routing.dispatcher import Dispatcher
from bridge.routing.router import Router
from tests.support.clock import FakeClock


class _Bus:
    def __init__(self) -> None:
        self.loops: list[str] = []

    def publish(self, *_: Any, **__: Any) -> None:
        raise AssertionError("nothing may be published")

    def reject_loop(self, event_type: str) -> None:
        self.loops.append(event_type)


class _Connection:
    id = "api"

    def __init__(self) -> None:
        self.submitted: list[Operation] = []

    def submit(self, operation: Operation, _done: Any) -> None:
        self.submitted.append(operation)


def _started(source: str, hop: int, *routes: Route) -> tuple[list[str | None], list[str]]:
    """Return the routes that one event starts, and the loops that were counted."""
    bus, connection = _Bus(), _Connection()
    router = Router({"api": frozenset({"request"})}, routes)
    dispatcher = Dispatcher(
        router,
        {"api": connection},
        None,
        outbox=None,
        bus=bus,
        responder=Responder(bus, most=1000, clock=FakeClock()),
        source="bridge",
        clock=FakeClock(),
    )
    raw = msgspec.Raw(msgspec.msgpack.encode(None))
    headers = {"hop": str(hop)}
    event = Event(id=1, event_type="a.b", raw=raw, timestamp=1, source=source, correlation_id=None, headers=headers)
    dispatcher.on_event(event)
    return [one.route for one in connection.submitted], bus.loops


def _route(name: str, on: str = "a.*") -> Route:
    method = Literal('"m"', "m")
    return Route(name=name, on=(on,), integration="api", operation="request", method=method)


def test_every_route_that_matches_acts():
    """An event starts all routes that match, in the order of the configuration."""
    assert _started("app", 1, _route("one"), _route("two")) == (["one", "two"], [])


@pytest.mark.parametrize("source", ["app", "bridge", "bridge/other"])
def test_whoever_said_it(source: str):
    """An event starts a route, whether an application, the bridge itself or another bridge emitted it."""
    assert _started(source, 1, _route("one"), _route("no", on="b.*")) == (["one"], [])


def test_an_event_that_went_round_too_often_is_counted_once():
    """An event beyond the limit of hops is counted once, however many routes match, and not where none matches."""
    assert _started("app", MAX_HOP, _route("one"), _route("two")) == ([], ["a.b"])
    assert _started("bridge", MAX_HOP, _route("one", on="b.*")) == ([], [])
    assert _started("app", MAX_HOP - 1, _route("one")) == (["one"], [])
