"""Show when an expectation is met, and what is said where it is not."""

import msgspec
import pytest
from msgspec import UNSET

from bridge.config.case_models import ExpectedCall, ExpectedEvent
from bridge.core.model import Event
from bridge.core.redaction import Redactor
from bridge.simulation import Attempt, Record, Said
from bridge.simulation.expectations import Difference, differences, is_pending, judge, title

PLAIN = Redactor()


def said(at_ms: int, event_type: str, payload=None, correlation_id: str | None = None) -> Said:
    """An event on the bus."""
    raw = msgspec.Raw(msgspec.msgpack.encode(payload))
    return Said(
        at_ms,
        Event(id=1, event_type=event_type, raw=raw, timestamp=0, source="bridge", correlation_id=correlation_id),
    )


def made(at_ms: int, name: str, content=None, operation: str = "request") -> Attempt:
    """A call at the stand-in of `shop`."""
    return Attempt(at_ms, "shop", operation, name, content, {}, None, 1, outcome="ok")


RECORD = Record(
    [
        said(0, "order.created", {"id": 1}),
        made(0, "orders.create", {"id": 1, "cents": 300}),
        said(500, "order.confirmed", {"number": 7, "lines": [{"sku": "a", "count": 2}]}, "c-1"),
        made(1000, "orders.create", {"id": 2}),
        said(1500, "order.confirmed", {"number": 8}, "c-2"),
        made(2000, "prices", {"v": 1}, "publish"),
    ]
)


@pytest.mark.parametrize(
    ("expected", "came", "found"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, []),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, []),
        (1, 1.0, []),
        (1, True, [("p", 1, True)]),
        (None, {}, [("p", None, {})]),
        (b"x", b"x", []),
        ([1, 2], [1, 2], []),
        ([1], [1, 2], [("p[1]", UNSET, 2)]),
        ([1, 2], [1], [("p[1]", 2, UNSET)]),
        ([{"a": 1}], [{"a": 1, "b": 2}], []),
        ({"a": 1, "b": {"c": [1]}}, {"b": {"c": [2]}}, [("p.a", 1, UNSET), ("p.b.c[0]", 1, 2)]),
        ({"a": 1}, [1], [("p", {"a": 1}, [1])]),
        ("1", 1, [("p", "1", 1)]),
    ],
)
def test_differences(expected, came, found):
    """Maps must contain what is named, lists be equal in length, numbers be equal, and true is not 1."""
    assert list(differences("p", expected, came)) == [Difference(*one) for one in found]


@pytest.mark.parametrize(
    "expectation",
    [
        ExpectedEvent("order.confirmed"),
        ExpectedEvent("order.confirmed", times=2),
        ExpectedEvent("order.*", times=3),
        ExpectedEvent("order.confirmed", by=1.0, times=1),
        ExpectedEvent("order.confirmed", by=0.5),
        ExpectedEvent("order.confirmed", by=0.4, times=0),
        ExpectedEvent("order.confirmed", payload={"lines": [{"sku": "a"}]}, times=1),
        ExpectedEvent("order.confirmed", correlation_id="c-2", payload={"number": 8}),
        ExpectedEvent("order.created", correlation_id=None),
        ExpectedEvent("order.cancelled", times=0),
        ExpectedCall("shop"),
        ExpectedCall("shop", times=3),
        ExpectedCall("shop", "request", "orders.create", times=2),
        ExpectedCall("shop", "request", content={"cents": 300}, times=1),
        ExpectedCall("shop", "publish", "prices", content={"v": 1}),
        ExpectedCall("events", times=0),
    ],
)
def test_met(expectation):
    """Each of these is met by the record above."""
    assert judge(expectation, RECORD, "bridge", PLAIN) is None


@pytest.mark.parametrize(
    ("expectation", "lines", "at_ms"),
    [
        (
            ExpectedEvent("order.confirmed", payload={"number": 9, "lines": []}),
            [
                "at 0.500 s one came that is different (the nearest of 2):",
                "  - payload.number: 9",
                "  + payload.number: 7",
                "  - payload.lines[0]: nothing",
                '  + payload.lines[0]: {"sku": "a", "count": 2}',
            ],
            500,
        ),
        (
            ExpectedEvent("order.created", correlation_id="c-1"),
            [
                "at 0.000 s one came that is different:",
                '  - correlation_id: "c-1"',
                "  + correlation_id: null",
            ],
            0,
        ),
        (ExpectedEvent("order.confirmed", by=0.2), ["came too late: at 0.500 s, 1.500 s"], 500),
        (
            ExpectedEvent("order.confirmed", by=1.0, times=2),
            ["came only once: at 0.500 s", "came too late: at 1.500 s"],
            1500,
        ),
        (ExpectedEvent("order.confirmed", times=0), ["came twice: at 0.500 s, 1.500 s"], 500),
        (ExpectedEvent("order.confirmed", times=1), ["came twice: at 0.500 s, 1.500 s"], 1500),
        (ExpectedEvent("order.confirmed", times=3), ["came only twice: at 0.500 s, 1.500 s"], None),
        (ExpectedEvent("order.confirmd"), ["no such event came; did you mean `order.confirmed`?"], None),
        (ExpectedEvent("stock.low"), ["no such event came"], None),
        (
            ExpectedCall("shop", "request", "orders.create", content={"id": 3}),
            ["at 0.000 s one came that is different (the nearest of 2):", "  - params.id: 3", "  + params.id: 1"],
            0,
        ),
        (
            ExpectedCall("shop", "request", "orders.update"),
            ["no such call was made; there were request orders.create, publish prices"],
            None,
        ),
        (ExpectedCall("events"), ["no call was made"], None),
    ],
)
def test_not_met(expectation, lines, at_ms):
    """What came in its place is said, and where in the timeline to look."""
    failure = judge(expectation, RECORD, "bridge", PLAIN)
    assert failure is not None
    assert list(failure.lines) == lines
    assert failure.at_ms == at_ms


def test_whether_waiting_may_help():
    """More may come of what has no `by`, until there is enough of it."""
    assert is_pending(ExpectedEvent("order.confirmed", times=3), RECORD)
    assert is_pending(ExpectedEvent("stock.low"), RECORD)
    assert not is_pending(ExpectedEvent("order.confirmed", times=1), RECORD)
    assert not is_pending(ExpectedEvent("order.confirmed"), RECORD)
    assert not is_pending(ExpectedEvent("stock.low", by=9.0), RECORD)
    assert not is_pending(ExpectedEvent("stock.low", times=0), RECORD)


def test_titles():
    """An expectation is one line, without secrets."""
    assert title(ExpectedEvent("a.b", 2.0, 0, {"x": 1}, "c"), PLAIN) == (
        'event a.b, payload {"x": 1}, correlation_id "c", never, by 2.000 s'
    )
    assert title(ExpectedCall("shop", "request", "m", content=["hunter22"]), Redactor(["hunter22"])) == (
        'call shop request m, params ["***"], at least once'
    )
    assert title(ExpectedCall("shop", "publish", "t", times=2), PLAIN) == "call shop publish t, exactly twice"
