"""Event types lead to commands and routes; events become operations."""

import msgspec
import pytest

from bridge.config import Literal, Route
from bridge.core.errors import InvalidError
from bridge.core.model import Event, Request
from bridge.routing.operations import operation_of
from bridge.routing.router import Router, deadline_of, parse_command


def event(event_type: str = "order.created", payload: object = None, **fields: object) -> Event:
    """An event as the bus would hand it on."""
    values = {"id": 7, "timestamp": 1, "source": "app", "correlation_id": "c", **fields}
    return Event(event_type=event_type, raw=msgspec.Raw(msgspec.msgpack.encode(payload)), **values)


def route(name: str = "r", on: tuple[str, ...] = ("order.*",), **fields: object) -> Route:
    """A route of constants."""
    values = {"integration": "api", "operation": "request", "method": Literal('"m"', "m"), **fields}
    return Route(name=name, on=on, **values)


def router(*routes: Route) -> Router:
    """A router that knows one integration, with one operation."""
    return Router({"api": frozenset({"request"})}, routes)


def test_a_command_names_its_integration_and_operation():
    """The second segment is the integration; the rest, also with dots, is the operation."""
    addressee = router().decide("integration.api.circuit.reset").addressee
    assert (addressee.integration, addressee.operation, addressee.problem) == ("api", "circuit.reset", None)


@pytest.mark.parametrize(
    ("event_type", "kind"),
    [
        ("integration.nobody.request", "unknown_integration"),
        ("integration.api.dance", "unknown_operation"),
        ("integration.api", "unknown_operation"),
        ("integration.api.publish", "not_supported"),
    ],
)
def test_a_command_that_leads_nowhere_says_why(event_type, kind):
    """An unknown integration, an unknown operation and one that the protocol lacks give different errors."""
    assert router().decide(event_type).addressee.problem.kind == kind


@pytest.mark.parametrize(
    ("event_type", "message"),
    [
        ("integration.apy.request", "there is no integration 'apy'; did you mean 'api'?"),
        ("integration.nobody.request", "there is no integration 'nobody'"),
        ("integration.api.requst", "there is no operation 'requst'; did you mean 'request'?"),
        ("integration.api.circuit.rest", "there is no operation 'circuit.rest'; did you mean 'circuit.reset'?"),
        ("integration.api.publish", "integration 'api' has no operation 'publish', only: request"),
        ("bridge.relaod", "the bridge has no operation 'relaod'; did you mean 'reload'?"),
    ],
)
def test_a_near_name_is_suggested(event_type, message):
    """Every program gets it in `error.message`."""
    assert router().decide(event_type).addressee.problem.message == message


def test_a_flood_of_wrong_names_gets_no_suggestions():
    """Searching for near names takes time, so it ends where too many types turn up."""
    routed = router()
    for number in range(1024):
        routed.decide(f"integration.x{number}.request")
    assert "did you mean" not in routed.decide("integration.apy.request").addressee.problem.message


def test_a_command_to_the_bridge():
    """`bridge.<operation>` has no integration."""
    addressee = router().decide("bridge.ping").addressee
    assert (addressee.integration, addressee.operation) == (None, "ping")


@pytest.mark.parametrize("event_type", ["bridge", "integration"])
def test_the_bare_words_are_plain_events(event_type):
    """`integration` and `bridge` without a dot are plain events."""
    everything = route(on=("**",))
    assert [plan.route for plan in router(everything).decide(event_type).routes] == [everything]


def test_all_matching_routes_in_the_order_of_the_configuration():
    """Routes match by exact type and by pattern, in the order of the configuration; a command starts none."""
    first, second, other = route("a"), route("b", on=("x", "order.created")), route("c", on=("cart.**",))
    every = route("d", on=("**",))
    decide = router(first, second, other, every).decide
    assert [plan.route for plan in decide("order.created").routes] == [first, second, every]
    assert [plan.route for plan in decide("cart").routes] == [other, every]
    assert decide("integration.api.request").routes == ()


def test_a_flood_of_types_does_not_fill_the_memory():
    """Decisions are kept for a bounded number of types, and stay right."""
    one = route()
    routed = router(one)
    for number in range(10_000):
        assert [plan.route for plan in routed.decide(f"order.x{number}").routes] == [one]
    assert len(routed._decisions) <= 4096


def test_a_command_is_decoded_into_its_struct():
    """A payload is decoded into the command's struct, and missing `params` differ from null."""
    assert parse_command("request", event(payload={"method": "m"})).params is msgspec.UNSET
    assert parse_command("request", event(payload={"method": "m", "params": None})).params is None


@pytest.mark.parametrize(
    ("payload", "where"),
    [
        ({}, "method"),
        ({"method": 5}, r"\$\.method"),
        ({"method": ""}, r"\$\.method"),
        ({"method": "m", "timeout_ms": 0}, r"\$\.timeout_ms"),
        ({"method": "m", "timout_ms": 5}, "timout_ms"),
        ("m", "object"),
    ],
)
def test_a_command_that_does_not_fit_says_where(payload, where):
    """The error of a payload that does not fit names the key."""
    with pytest.raises(InvalidError, match=where):
        parse_command("request", event(payload=payload))


def test_the_earlier_of_two_deadlines_counts():
    """Of `timeout_ms`, which is relative, and `deadline_ms`, which is Unix time, the earlier counts."""
    headers = {"deadline_ms": "1500"}
    assert deadline_of(event(headers=headers), 2000, now=10.0, wall_ms=1000) == 10.5
    assert deadline_of(event(headers=headers), 100, now=10.0, wall_ms=1000) == 10.1
    assert deadline_of(event(), None, now=10.0, wall_ms=1000) is None


@pytest.mark.parametrize("value", ["soon", "-5", "1.5", "²", "9" * 21, "9" * 6000])
def test_a_deadline_that_is_no_number_is_invalid(value):
    """A `deadline_ms` that is not a number is an error, and not no deadline."""
    with pytest.raises(InvalidError, match="deadline_ms"):
        deadline_of(event(headers={"deadline_ms": value}), None, now=0.0, wall_ms=0)


@pytest.mark.parametrize(("value", "hop"), [("3", 3), ("x", 0), ("-1", 0), ("", 0), ("9" * 5000, 1000)])
def test_hops_are_digits(value, hop):
    """A `hop` that is not digits counts as 0; a long number is beyond the limit."""
    assert event(headers={"hop": value}).hop == hop
    assert event().hop == 0


def test_an_operation_carries_its_cause():
    """An operation has key, correlation id and hop of its event."""
    cause = event(headers={"idempotency_key": "k", "hop": "2"})
    operation = operation_of(cause, "request", "api", Request(method="m"), route=route())
    assert (operation.cause.source, operation.cause.id, operation.cause.event_type) == ("app", 7, "order.created")
    assert (operation.correlation_id, operation.idempotency_key, operation.hop, operation.route) == ("c", "k", 2, "r")
