"""What is emitted when an operation has ended, and what is remembered of it."""

from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from bridge.bus.codec import Codec
from bridge.core.errors import (
    DeadlineError,
    InvalidError,
    RejectedError,
    UnavailableError,
    UnknownIntegrationError,
)
from bridge.core.model import Operation, Outcome, Request
from bridge.core.payloads import DeadLetter, LetterEvent, ReceiptOutcome
from bridge.core.responder import Responder, outcome_of
from bridge.core.values import BUS, check_value
from tests.support.clock import FakeClock
from tests.support.guard.operations import operation

GOOD = Outcome(result={"id": 7}, attempts=1, duration_ms=2.0)
BAD = Outcome(error=RejectedError("no", code=4), attempts=2)


class Bus:
    """Carries payloads of so many bytes."""

    def __init__(self, room: int = 10_000) -> None:
        self.room = room
        self.events: list[tuple[str, Any, str | None]] = []
        self.headers: list[Any] = []
        self.unpublished: list[str] = []

    def encode(self, payload: Any) -> bytes:
        return Codec().encode_payload(payload)

    def publish(self, event_type: str, payload: Any, *, correlation_id: Any = None, headers: Any = None) -> None:
        encoded = msgspec.msgpack.encode(payload)
        if len(encoded) > self.room:
            raise InvalidError("too large")
        self.events.append((event_type, msgspec.msgpack.decode(encoded), correlation_id))
        self.headers.append(headers)

    def publish_or_report(self, event_type: str, payload: Any, **more: Any) -> None:
        try:
            self.publish(event_type, payload, **more)
        except InvalidError:
            self.unpublished.append(event_type)

    @property
    def types(self) -> list[str]:
        return [event_type for event_type, _, _ in self.events]


def asked(**fields: Any) -> Operation:
    """An operation that somebody waits for."""
    return operation(**{"correlation_id": "c", "headers": {"tenant": "n", "hop": "2"}, "hop": 2, **fields})


def test_success_is_a_response_and_the_routes_event() -> None:
    """In this order; the headers travel on with one hop more."""
    bus = Bus()
    Responder(bus, most=1000, clock=FakeClock()).finish(asked(route="r"), GOOD, ["c", "d"], emit=lambda: "order.stored")
    response = {"ok": True, "result": {"id": 7}, "attempts": 1, "duration_ms": 2.0, "route": "r"}
    assert bus.events == [
        ("response.integration.api.request", response, "c"),
        ("response.integration.api.request", response, "d"),
        ("order.stored", {"id": 7}, "c"),
    ]
    assert bus.headers == [{"tenant": "n", "hop": "3"}] * 3


def test_failure_is_reported_before_it_is_answered_and_emits_no_result() -> None:
    """`resilience.<id>.failed` comes also where nobody asked for an answer."""
    bus = Bus()
    responder = Responder(bus, most=1000, clock=FakeClock())
    responder.finish(asked(), BAD, ["c"], emit=lambda: "never")
    responder.finish(asked(correlation_id=None), BAD, [])
    assert bus.types == ["resilience.api.failed", "response.integration.api.request", "resilience.api.failed"]
    error = {"kind": "rejected", "message": "no", "retryable": False, "code": 4}
    assert bus.events[0][1] == {
        "integration": "api",
        "operation": "request",
        "cause": {"source": "app", "id": 1, "event_type": "integration.api.request"},
        "attempts": 2,
        "error": error,
    }
    assert bus.events[1][1] == {"ok": False, "error": error, "attempts": 2, "duration_ms": 0.0}


def test_a_route_whose_event_type_cannot_be_made_has_failed() -> None:
    """The response stays what it was: the remote has done its part."""
    bus = Bus()

    def emit() -> str:
        raise InvalidError("no event type")

    Responder(bus, most=1000, clock=FakeClock()).finish(asked(), GOOD, ["c"], emit=emit)
    assert bus.types == ["response.integration.api.request", "resilience.api.failed"]


@pytest.mark.parametrize(
    ("outcome", "final", "named"),
    [
        (GOOD, None, "delivered"),
        (BAD, None, "dead_lettered"),
        (Outcome(error=DeadlineError("late")), None, "expired"),
        (Outcome(error=DeadlineError("late")), ReceiptOutcome.DEAD_LETTERED, "dead_lettered"),
    ],
)
def test_the_receipt_names_the_outcome(outcome: Outcome, final: ReceiptOutcome | None, named: str) -> None:
    """By the error's kind, unless whoever asks for the answer has decided otherwise."""
    bus = Bus()
    responder = Responder(bus, most=1000, clock=FakeClock())
    made = asked(idempotency_key="k")
    responder.finish(made, outcome, ["c"], answer=responder.answer(made, outcome, receipt=True, final=final))
    assert bus.types[-1] == f"receipt.api.{named}"
    assert bus.events[-1][1]["idempotency_key"] == "k"


def test_a_repeated_key_gets_the_same_answer() -> None:
    """The response goes to who asks now, the receipt to who asked first, too."""
    bus = Bus()
    responder = Responder(bus, most=1000, clock=FakeClock())
    answer = responder.answer(asked(), GOOD, receipt=True)
    responder.repeat(asked(correlation_id="later"), answer)
    assert [(event_type, asker) for event_type, _, asker in bus.events] == [
        ("response.integration.api.request", "later"),
        ("receipt.api.delivered", "c"),
        ("receipt.api.delivered", "later"),
    ]


@pytest.mark.parametrize(
    "result",
    [float("nan"), {1: 2}, 1 << 70, object(), "x" * 2000],
    ids=["nan", "number as key", "beyond 64 bit", "object", "too long"],
)
@pytest.mark.parametrize("kept", [True, False])
def test_a_result_that_does_not_fit_is_a_protocol_error(result: Any, kept: bool) -> None:
    """Whether the answer is kept or emitted at once; it is never an exception."""
    bus = CheckedBus(1000)
    responder = Responder(bus, most=1000, clock=FakeClock())
    outcome = Outcome(result=result, attempts=1)
    made = asked()
    answer = responder.answer(made, outcome, receipt=False) if kept else None
    responder.finish(made, outcome, ["c"], answer=answer)
    ((_, payload, _),) = bus.events
    assert (payload["ok"], payload["error"]["kind"], payload["attempts"]) == (False, "protocol", 1)


class CheckedBus(Bus):
    """Checks payloads as the codec does."""

    def publish(self, event_type: str, payload: Any, **more: Any) -> None:
        check_value(payload, "payload", BUS, 32)
        super().publish(event_type, payload, **more)


def test_what_the_bus_cannot_carry_at_all_is_counted() -> None:
    """An event's own names may leave no room even for an error."""
    bus = Bus(room=1)
    Responder(bus, most=1000, clock=FakeClock()).finish(asked(), BAD, ["c"])
    assert bus.unpublished == ["resilience.api.failed", "response.integration.api.request"]


def _letter(made: Operation) -> DeadLetter:
    event = LetterEvent(1, "order", "secret payload", 1, "app", "c", None)
    error = RejectedError("no").to_wire()
    return DeadLetter(made.integration, made.name, made.cause, "7", event, error, False, 1, ())


async def test_failures_show_in_the_log_at_a_limited_rate() -> None:
    """The first three of each integration and kind at once, then one line with the count; no payload is logged."""
    clock = FakeClock()
    responder = Responder(Bus(), most=1000, clock=clock)
    made = asked(command=Request(method="m", params="secret payload"))
    with capture_logs() as logs:
        for _ in range(5):
            responder.finish(made, BAD, ["c"])
        responder.finish(made, Outcome(error=UnavailableError("503"), attempts=3), ["c"])
        responder.failed(asked(integration="other"), RejectedError("not this one"), 1)
        responder.finish(made, BAD, [], letter=_letter(made))
        assert [(line["event"], line["integration"], line["error"], line["count"]) for line in logs] == [
            *[("operation failed", "api", "rejected", 1)] * 3,
            ("operation failed", "api", "unavailable", 1),
            ("operation failed", "other", "rejected", 1),
            ("dead letter", "api", "rejected", 1),
        ]
        logs.clear()
        await clock.advance(31)
        responder.finish(made, BAD, [], letter=_letter(made))
        responder.finish(made, BAD, [], letter=_letter(made))
        responder.close()
    assert [(line["event"], line["count"]) for line in logs] == [
        ("operation failed", 2),
        ("dead letter", 1),
        ("dead letter", 1),
    ]
    assert {line["log_level"] for line in logs} == {"warning"}
    assert "secret payload" not in repr(logs)
    assert clock.timers == 0


def test_a_line_of_the_log_names_who_asked_and_the_trace() -> None:
    """With the ids that lead to the same operation in the application's log and in traces, and never its payload."""
    responder = Responder(Bus(), most=1000, clock=FakeClock())
    traced = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
    with capture_logs() as logs:
        responder.finish(asked(route="orders", headers=traced), BAD, [])
        responder.finish(asked(correlation_id=None, headers={"traceparent": "00-zz-1-01"}), BAD, [])
    first = {
        "event": "operation failed",
        "log_level": "warning",
        "integration": "api",
        "operation": "request",
        "route": "orders",
        "caused_by": "integration.api.request",
        "correlation_id": "c",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "attempts": 2,
        "error": "rejected",
        "message": "no",
        "count": 1,
    }
    assert logs[0] == first
    assert logs[1] == {k: v for k, v in first.items() if k not in {"route", "correlation_id", "trace_id"}}


def test_integrations_that_do_not_exist_share_one_limit() -> None:
    """A program that names thousands of them makes no more lines than one that names one."""
    clock = FakeClock()
    responder = Responder(Bus(), most=1000, clock=clock)
    with capture_logs() as logs:
        for number in range(2000):
            responder.failed(asked(integration=f"no{number}"), UnknownIntegrationError("there is none"), 0)
        responder.close()
    assert [line["count"] for line in logs] == [1, 1, 1, 1997]
    assert clock.timers == 0


@pytest.mark.parametrize("result", [{"id": 7}, None, [1, {"a": b"\x00"}], "text"])
def test_the_outcome_of_a_remembered_success(result: Any) -> None:
    """Result, bytes in it too, attempts and duration are those of the first answer."""
    responder = Responder(Bus(), most=1000, clock=FakeClock())
    outcome = Outcome(result=result, attempts=3, duration_ms=2.5)
    assert outcome_of(responder.answer(asked(), outcome, receipt=False)) == outcome


def test_the_outcome_of_a_remembered_failure() -> None:
    """Kind, message, code and data of the error, and the attempts; whatever the route, and with a receipt."""
    responder = Responder(Bus(), most=1000, clock=FakeClock())
    error = RejectedError("no", code=4, data=[1])
    found = outcome_of(responder.answer(asked(route="r"), Outcome(error=error, attempts=2), receipt=True))
    assert found.error is not None
    assert (type(found.error), found.error.to_wire()) == (RejectedError, error.to_wire())
    assert (found.result, found.attempts) == (None, 2)


def test_the_outcome_of_an_answer_that_did_not_fit() -> None:
    """It is the `protocol` error that was answered in place of the result."""
    responder = Responder(Bus(), most=50, clock=FakeClock())
    found = outcome_of(responder.answer(asked(), Outcome(result="x" * 100, attempts=1), receipt=False))
    assert found.error is not None
    assert (found.error.kind, found.result) == ("protocol", None)
