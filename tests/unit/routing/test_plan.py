"""What a route makes of an event: its condition, its command, its ordering key."""

import pytest
from msgspec import Raw

from bridge.config import Expression, Literal, Route, Scope
from bridge.core.errors import InvalidError
from bridge.core.model import Enqueue, Event, Publish, Request
from bridge.routing.plan import RoutePlan


class FromEvent(Expression):
    """An expression that looks up a name, as a path does."""

    def evaluate(self, scope: Scope) -> object:
        """The value of that name."""
        return scope[self.text]


def plan(**fields: object) -> RoutePlan:
    """Return the plan of a route, by default of a `request`."""
    values = {"operation": "request", "method": Literal('"m"', "m"), **fields}
    return RoutePlan(Route(name="r", on=("**",), integration="api", **values))


def command(of: RoutePlan, scope: Scope) -> object:
    """Return the command of the operation that a plan makes for an event."""
    event = Event(id=1, event_type="a", raw=Raw(b"\xc0"), timestamp=1, source="app", correlation_id=None)
    return of.operation(event, scope, None).command


def test_where_must_be_true_or_false():
    """A `where` that gives anything else than true or false is an error."""
    assert plan().applies({})
    assert not plan(where=Literal("false", False)).applies({})
    with pytest.raises(InvalidError, match="where"):
        plan(where=Literal("1", 1)).applies({})


def test_a_route_makes_each_kind_of_command():
    """Routes make requests, publishes and enqueues from their expressions."""
    message = Literal('"x"', "x")
    assert command(plan(params=Literal("[1]", [1])), {}) == Request(method="m", params=[1])
    publish = plan(operation="publish", topic=Literal('"t"', "t"), message=message, qos=Literal("1", 1))
    assert command(publish, {}) == Publish(topic="t", message="x", qos=1)
    enqueue = plan(operation="enqueue", queue=Literal('"q"', "q"), message=message)
    assert command(enqueue, {}) == Enqueue(queue="q", message="x")


def test_what_depends_on_the_event_is_evaluated_for_each():
    """An expression that depends on the event is evaluated for each event."""
    names = {name: FromEvent(name) for name in ("topic", "message", "qos", "retain", "key")}
    one = plan(operation="publish", **names)
    first = {"topic": "a", "message": 1, "qos": 1, "retain": False, "key": 5}
    second = {"topic": "b", "message": 2, "qos": 2, "retain": True, "key": "5"}
    assert command(one, first) == Publish(topic="a", message=1, qos=1, retain=False)
    assert command(one, second) == Publish(topic="b", message=2, qos=2, retain=True)
    assert (one.key(first), one.key(second)) == ("int:5", "5")


@pytest.mark.parametrize("method", [5, "", None])
@pytest.mark.parametrize("kind", [lambda value: Literal("?", value), lambda _: FromEvent("it")])
def test_a_computed_name_must_be_text(method, kind):
    """A name that is not text is an error that names the key, for each event, also where it is constant."""
    wrong = plan(method=kind(method))
    for _ in range(2):
        with pytest.raises(InvalidError, match="method"):
            command(wrong, {"it": method})


@pytest.mark.parametrize("qos", [3, "1", True])
def test_a_computed_qos_must_be_one(qos):
    """A `qos` that is not 0, 1 or 2 is an error of that event."""
    wrong = plan(operation="publish", topic=Literal('"t"', "t"), message=Literal("1", 1), qos=Literal("?", qos))
    with pytest.raises(InvalidError, match="qos"):
        command(wrong, {})


def test_outcomes_are_needed_for_emit_or_receipts():
    """A route needs each outcome only where it has `emit` or `receipts`."""
    assert not plan().needs_outcome
    assert plan(emit=Literal('"done"', "done")).needs_outcome
    assert plan(receipts=True).needs_outcome
