"""Routes: plain application events that set off operations, seen by an independent program."""

from collections.abc import Iterator

import pytest

from tests.support.bus.bus import until
from tests.support.bus.program import Program
from tests.support.servers.remote import Remote, remote
from tests.support.sidecar.sidecar import json_rpc, sidecar

_ROUTES = """
route "orders" {
  on          = ["order.*", "cart.checked_out"]
  where       = event.payload.total > 100
  integration = "api"
  operation   = "request"
  method      = "orders.create"
  params      = {
    id    = event.payload.id
    cents = event.payload.total * 100
    who   = "by ${event.source}"
  }
  emit        = "data.${event.payload.id}.created"
}

route "audit" {
  on          = ["order.created"]
  integration = "api"
  operation   = "request"
  method      = "audit"
  params      = [event.type, event.payload]
}

route "fails" {
  on          = ["broken.**"]
  integration = "api"
  operation   = "request"
  method      = "error"
  emit        = "never.emitted"
}

route "ring" {
  on          = ["ring.turn"]
  where       = event.payload != "stop"
  integration = "api"
  operation   = "request"
  method      = "ring"
  params      = [1]
  emit        = "ring.turn"
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
  emit        = "clock.first"
}

route "on_tick" {
  on          = ["clock.*"]
  integration = "api"
  operation   = "request"
  method      = "orders.create"
  params      = {
    id = "tick"
  }
  emit        = "tick.done"
}

route "after_tick" {
  on          = ["tick.done"]
  integration = "api"
  operation   = "request"
  method      = "after_tick"
  params      = [event.payload.id]
}

route "bad_emit" {
  on          = ["bad.emit"]
  integration = "api"
  operation   = "request"
  method      = "echo"
  params      = [1]
  emit        = "not ${event.payload}"
}
"""


@pytest.fixture(scope="module")
def service() -> Iterator[Remote]:
    """The service."""
    with remote() as running:
        yield running


@pytest.fixture(scope="module")
def bus(service: Remote) -> Iterator[Program]:
    """A program on the bus of a sidecar."""
    with sidecar(json_rpc("api", service.url) + _ROUTES) as running, running.program() as program:
        yield program


async def test_an_event_triggers_a_call(bus: Program, service: Remote) -> None:
    """Params are computed from the event; the answer says its route, and `emit` carries the bare result."""
    since = bus.mark()
    bus.emit("cart.checked_out", {"id": "o1", "total": 250}, "c1")
    answer = await bus.response("c1", since=since)
    want = {"id": "o1", "cents": 25000, "who": f"by {bus.source}"}
    assert answer["event_type"] == "response.cart.checked_out"
    assert answer["payload"] | {"duration_ms": 0} == {
        "ok": True,
        "result": want,
        "attempts": 1,
        "duration_ms": 0,
        "route": "orders",
    }
    emitted = await bus.wait("data.o1.created", since=since)
    assert (emitted["payload"], emitted["correlation_id"]) == (want, "c1")
    assert emitted["headers"]["hop"] == "1"


async def test_where_holds_back(bus: Program, service: Remote) -> None:
    """An event for which `where` is false does nothing."""
    before, since = service.calls["orders.create"], bus.mark()
    bus.emit("cart.checked_out", {"id": "o2", "total": 100}, "c2")
    await bus.ask("bridge.ping")
    assert service.calls["orders.create"] == before
    assert not [one for one in bus.log[since:] if one["correlation_id"] == "c2"]


async def test_two_routes_act_each_for_itself(bus: Program) -> None:
    """Two routes match one event: two responses with one correlation id, told apart by `route`."""
    since = bus.mark()
    bus.emit("order.created", {"id": "o3", "total": 101}, "c3")
    for route in ("orders", "audit"):
        answer = await bus.wait(
            "response.order.created", lambda e, route=route: e["payload"]["route"] == route, since=since
        )
        assert answer["correlation_id"] == "c3"
    assert len(bus.seen("response.order.created", since)) == 2


async def test_without_correlation_id_a_route_still_emits(bus: Program) -> None:
    """Fire and forget: no response, but the result is emitted."""
    since = bus.mark()
    bus.emit("order.placed", {"id": "o4", "total": 500})
    assert (await bus.wait("data.o4.created", since=since))["correlation_id"] is None
    assert not bus.seen(prefix="response.", since=since)


@pytest.mark.parametrize("payload", [{"id": "x"}, {"id": "x", "total": "many"}, None, [1]])
async def test_an_expression_that_fails_is_invalid(bus: Program, payload: object) -> None:
    """An event that an expression cannot take is that event's `invalid` error, with the route's name."""
    since = bus.mark()
    bus.emit("order.bad", payload, "c5")
    answer = (await bus.response("c5", since=since))["payload"]
    assert (answer["ok"], answer["error"]["kind"], answer["route"]) == (False, "invalid", "orders")
    failed = await bus.wait("resilience.api.failed", since=since)
    assert failed["payload"]["cause"]["event_type"] == "order.bad"


async def test_a_failed_route_emits_nothing(bus: Program) -> None:
    """`emit` is for success only; the response has the error and the route."""
    since = bus.mark()
    bus.emit("broken.a.b", {}, "c6")
    answer = (await bus.response("c6", since=since))["payload"]
    assert (answer["error"]["kind"], answer["route"]) == ("rejected", "fails")
    await bus.ask("bridge.ping")
    assert not bus.seen("never.emitted", since)


async def test_a_computed_type_that_cannot_be(bus: Program) -> None:
    """An `emit` that makes no event type does not take the answer away, and shows as `failed`."""
    since = bus.mark()
    bus.emit("bad.emit", "a type", "c7")
    answer = (await bus.response("c7", since=since))["payload"]
    assert (answer["ok"], answer["route"]) == (True, "bad_emit")
    failed = await bus.wait("resilience.api.failed", since=since)
    assert (failed["payload"]["error"]["kind"], failed["correlation_id"]) == ("invalid", "c7")


async def test_an_event_of_a_subscription_and_one_of_a_route_set_off_routes(bus: Program, service: Remote) -> None:
    """A tick becomes an event that sets off a route, whose `emit` sets off the next one."""
    await until(lambda: service.calls["after_tick"] == 1)


async def test_a_circle_of_routes_ends(bus: Program, service: Remote) -> None:
    """A circle that `where` may end is stopped past 8 hops otherwise, and an event tells."""
    since = bus.mark()
    bus.emit("ring.turn", None, "c9")
    rejected = await bus.wait("resilience.bus.rejected", lambda e: e["payload"]["reason"] == "hop", since=since)
    assert rejected["payload"]["count"] == 1
    hops = [int(event["headers"]["hop"]) for event in bus.seen("ring.turn", since)]
    assert hops == list(range(1, 9))
    assert service.calls["ring"] == 8


@pytest.mark.parametrize("event_type", ["integration.api.request", "order.created"])
async def test_an_event_past_eight_hops_is_stopped(bus: Program, service: Remote, event_type: str) -> None:
    """Nothing is called for an event that has travelled too far, command or not."""
    before, since = service.calls.total(), bus.mark()
    stats = (await bus.ask("bridge.status", {}))["result"]["bridge"]["bus"]["rejected"]
    for hop in ("8", "9", "99999999"):
        bus.emit(event_type, {"method": "far", "id": "far", "total": 900}, "far", {"hop": hop})
    after = (await bus.ask("bridge.status", {}))["result"]["bridge"]["bus"]["rejected"]
    assert (service.calls.total(), after - stats) == (before, 3)
    assert not [one for one in bus.log[since:] if one["correlation_id"] == "far"]


async def test_hop_rises_and_unknown_headers_travel_on(bus: Program) -> None:
    """What an event causes carries one hop more, and the headers that the bridge does not know."""
    since = bus.mark()
    bus.emit("order.placed", {"id": "o9", "total": 900}, "c10", {"hop": "4", "tenant": "blue", "deadline_ms": "9" * 13})
    for event in (await bus.response("c10", since=since), await bus.wait("data.o9.created", since=since)):
        assert (event["headers"]["hop"], event["headers"]["tenant"]) == ("5", "blue")
        assert "deadline_ms" not in event["headers"]
