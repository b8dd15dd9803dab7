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
        self.unanswerable: list[str] = []

    def publish(self, *_: Any, **__: Any) -> None:
        raise AssertionError("nothing may be published")

    def hurry(self) -> None:
        pass

    def reject_loop(self, event_type: str) -> None:
        self.loops.append(event_type)

    def reject_unanswerable(self, event_type: str) -> None:
        self.unanswerable.append(event_type)


class _Connection:
    id = "api"

    def __init__(self) -> None:
        self.submitted: list[Operation] = []

    def submit(self, operation: Operation, _done: Any) -> None:
        self.submitted.append(operation)


def _given(event: Event, *routes: Route) -> tuple[list[str | None], _Bus]:
    """Return the routes that one event starts, and what the bus was told."""
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
    dispatcher.on_event(event)
    return [one.route for one in connection.submitted], bus


def _event(event_type: str = "a.b", source: str = "app", correlation_id: str | None = None, **headers: str) -> Event:
    raw = msgspec.Raw(msgspec.msgpack.encode(None))
    return Event(
        id=1,
        event_type=event_type,
        raw=raw,
        timestamp=1,
        source=source,
        correlation_id=correlation_id,
        headers=headers,
    )


def _started(source: str, hop: int, *routes: Route) -> tuple[list[str | None], list[str]]:
    """Return the routes that one event starts, and the loops that were counted."""
    started, bus = _given(_event(source=source, hop=str(hop)), *routes)
    return started, bus.loops


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


@pytest.mark.parametrize(
    ("source", "starts"), [("bridge", False), ("bridge/other", False), ("app", True), (None, True)]
)
def test_what_a_bridge_repeats_sets_nothing_off(source: str, starts: bool):
    """A last value that a bridge says again starts no route; the header means nothing in an application's event."""
    started, _ = _given(_event(source=source, repeated="true"), _route("one"))
    assert bool(started) is starts


def test_an_event_whose_response_would_not_fit():
    """An event that wants a response whose type is over 255 bytes is refused, and starts nothing; 246 bytes fit."""
    fits, too_long = "a." + "b" * 244, "a." + "é" * 123
    assert (len(fits), len(too_long.encode())) == (246, 248)
    started, bus = _given(_event(too_long, correlation_id="c"), _route("one"))
    assert (started, bus.unanswerable) == ([], [too_long])
    started, bus = _given(_event(too_long), _route("one"))
    assert (started, bus.unanswerable) == (["one"], []), "nobody wants a response"
    started, bus = _given(_event(too_long, correlation_id="c"), _route("other", on="b.*"))
    assert (started, bus.unanswerable) == ([], []), "nothing would have answered"
    started, bus = _given(_event(fits, correlation_id="c"), _route("one"))
    assert (started, bus.unanswerable) == (["one"], [])
    command = "integration.api." + "x" * 240
    assert _given(_event(command, correlation_id="c"))[1].unanswerable == [command]
