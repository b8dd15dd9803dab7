"""Answers that the bus cannot carry are errors of their call, and never more than that."""

from typing import Any

import msgspec
import pytest

from bridge.core.errors import InvalidError
from bridge.core.model import Event, Outcome
from bridge.core.responder import Responder
from bridge.routing.dispatcher import Dispatcher
from bridge.routing.router import Router
from tests.support.clock import FakeClock


class _Bus:
    """A bus that takes only events whose type, payload and correlation id together have at most `room` bytes."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.published: list[tuple[str, Any, str | None]] = []
        self.unpublished: list[str] = []

    def encode(self, payload: Any) -> bytes:
        return msgspec.msgpack.encode(payload)

    def publish(self, event_type: str, payload: Any, *, correlation_id: str | None = None, **_: Any) -> None:
        size = len(event_type) + len(msgspec.msgpack.encode(payload)) + len(correlation_id or "")
        if size > self.room:
            raise InvalidError("too large")
        self.published.append((event_type, msgspec.msgpack.decode(msgspec.msgpack.encode(payload)), correlation_id))

    def publish_or_report(self, event_type: str, payload: Any, **more: Any) -> None:
        try:
            self.publish(event_type, payload, **more)
        except InvalidError:
            self.unpublished.append(event_type)


class _Connection:
    id = "api"

    def submit(self, operation: Any, done: Any) -> None:
        done(operation, Outcome(result="x" * 1000, attempts=1))


def _dispatcher(room: int) -> tuple[Dispatcher, _Bus]:
    bus = _Bus(room)
    router = Router({"api": frozenset({"request"})}, ())
    return Dispatcher(
        router,
        {"api": _Connection()},
        None,
        outbox=None,
        bus=bus,
        responder=Responder(bus, most=room - 100, clock=FakeClock()),
        source="bridge",
        clock=FakeClock(),
    ), bus


def _event(correlation_id: str | None, key: str | None = None, event_type: str = "integration.api.request") -> Event:
    raw = msgspec.Raw(msgspec.msgpack.encode({"method": "m"}))
    headers = None if key is None else {"idempotency_key": key}
    return Event(
        id=1,
        event_type=event_type,
        raw=raw,
        timestamp=1,
        source="app",
        correlation_id=correlation_id,
        headers=headers,
    )


@pytest.mark.parametrize("key", [None, "k"])
def test_a_result_too_large_is_a_protocol_error(key):
    """Who asked gets a `protocol` error, also a second time by the same key."""
    dispatcher, bus = _dispatcher(900)
    for asker in ("one", "two"):
        dispatcher.on_event(_event(asker, key))
    assert [(payload["error"]["kind"], asker) for _, payload, asker in bus.published] == [
        ("protocol", "one"),
        ("protocol", "two"),
    ]


def test_a_repeated_key_whose_first_answer_was_not_published():
    """An answer that nobody waited for is remembered as an error that fits, and published when the key is repeated."""
    dispatcher, bus = _dispatcher(900)
    dispatcher.on_event(_event(None, "k"))
    dispatcher.on_event(_event("late", "k"))
    assert [(payload["error"]["kind"], asker) for _, payload, asker in bus.published] == [("protocol", "late")]


@pytest.mark.parametrize("event_type", ["integration.api.request", "integration.no.request", "bridge.dance"])
def test_not_even_an_error_fits(event_type):
    """A response that cannot be published at all is reported, and the next event is handled as usual."""
    dispatcher, bus = _dispatcher(900)
    dispatcher.on_event(_event("c" * 2000, event_type=event_type))
    assert f"response.{event_type}" in bus.unpublished
    dispatcher.on_event(_event("good"))
    assert bus.published[-1][2] == "good"
