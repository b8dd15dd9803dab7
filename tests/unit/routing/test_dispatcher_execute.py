"""Commands that do not come from the bus are executed as if they had, and nobody on the bus is answered."""

from typing import Any

import msgspec
import pytest

from bridge.core.model import Event, Outcome
from bridge.core.responder import Responder
from bridge.routing.dispatcher import Dispatcher
from bridge.routing.router import Router
from tests.support.clock import FakeClock


class _Bus:
    """Nothing may be published."""

    def publish(self, event_type: str, *_: Any, **__: Any) -> None:
        raise AssertionError(event_type)

    publish_or_report = publish


class _Connection:
    def __init__(self) -> None:
        self.paused = False

    def pause(self) -> None:
        self.paused = True


def _executed(connection: _Connection, event_type: str, payload: Any = None) -> Outcome:
    bus = _Bus()
    dispatcher = Dispatcher(
        Router({"api": frozenset({"request"})}, []),
        {"api": connection},  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        outbox=None,  # type: ignore[arg-type]
        bus=bus,  # type: ignore[arg-type]
        responder=Responder(bus, most=10_000, clock=FakeClock()),  # type: ignore[arg-type]
        source="bridge",
        clock=FakeClock(),
    )
    outcomes: list[Outcome] = []
    raw = msgspec.Raw(msgspec.msgpack.encode(payload))
    event = Event(id=1, event_type=event_type, raw=raw, timestamp=1, source="console", correlation_id=None)
    dispatcher.execute(event, outcomes.append)
    (outcome,) = outcomes
    return outcome


def test_a_control():
    """It is done, and its outcome is given to who asked."""
    connection = _Connection()
    assert _executed(connection, "integration.api.pause", {}).ok
    assert connection.paused


@pytest.mark.parametrize(
    ("event_type", "payload", "kind"),
    [
        ("integration.apy.pause", {}, "unknown_integration"),
        ("integration.api.paws", {}, "unknown_operation"),
        ("integration.api.pause", {"now": True}, "invalid"),
        ("bridge.dance", {}, "unknown_operation"),
    ],
)
def test_what_cannot_be_done(event_type, payload, kind):
    """The error is given to who asked, and the bus hears nothing of it."""
    connection = _Connection()
    outcome = _executed(connection, event_type, payload)
    assert outcome.error is not None
    assert outcome.error.kind == kind
    assert not connection.paused
