"""What the log says of an integration's outages, on a fake clock."""

from typing import Any, Self

from structlog.testing import capture_logs

from bridge.connection.state_log import StateLog
from bridge.core.errors import AuthError, NotConnectedError, UnavailableError
from bridge.core.log_fields import AGAIN
from bridge.core.model import CircuitState, ConnectionStatus
from bridge.core.payloads import CircuitChange
from bridge.resilience import Accounting, Stage
from tests.support.clock import FakeClock
from tests.support.guard.operations import operation

REFUSED = NotConnectedError("refused")
UP, DOWN, FAILED = ConnectionStatus.CONNECTED, ConnectionStatus.DISCONNECTED, ConnectionStatus.FAILED


class Told:
    """A state log, with the sums that the test sets and the lines that it has written."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.accounting = Accounting()
        self.log = StateLog("api", clock=self.clock, accounting=self.accounting)
        self.lines: list[Any] = []
        self._capture = capture_logs()

    def __enter__(self) -> Self:
        self.lines = self._capture.__enter__()
        return self

    def __exit__(self, *of: object) -> None:
        self._capture.__exit__(None, None, None)

    def count(self, **sums: int) -> None:
        """Let as many operations be at these stages."""
        for name, number in sums.items():
            stage = Stage[name.upper()]
            for _ in range(number - self.accounting.count(stage)):
                self.accounting.accept(Stage.QUEUED)
                if stage is not Stage.QUEUED:
                    self.accounting.move(Stage.QUEUED, stage)

    def circuit(self, to: CircuitState, failures: int = 0) -> None:
        error = UnavailableError("503").to_wire() if to is CircuitState.OPEN else None
        asked = operation(correlation_id="c")
        change = CircuitChange("api", "request", asked.cause, CircuitState.CLOSED, to, failures, None, error)
        self.log.circuit(change, asked)

    def take(self) -> list[dict[str, Any]]:
        """Return the lines since the last call; all of them name the integration."""
        taken = [dict(line) for line in self.lines]
        self.lines.clear()
        assert {line.pop("integration") for line in taken} <= {"api"}
        return taken

    def events(self) -> list[str]:
        return [line["event"] for line in self.take()]


async def test_an_outage_from_its_beginning_to_its_end() -> None:
    """Down, each five minutes still down, up again with how long, how many failed, how many wait."""
    with Told() as told:
        told.log.connection(ConnectionStatus.CONNECTING, None)
        told.log.connection(UP, None)
        told.log.connection(UP, None)
        told.count(failed=7)
        told.log.connection(DOWN, REFUSED)
        told.log.connection(DOWN, NotConnectedError("refused"))
        assert told.take() == [
            {"event": "integration up", "log_level": "info"},
            {
                "event": "integration down",
                "log_level": "warning",
                "status": "disconnected",
                "error": "not_connected",
                "message": "refused",
            },
        ]
        await told.clock.advance(AGAIN - 1)
        assert told.take() == []
        told.count(failed=9, shed=1, queued=30)
        await told.clock.advance(1)
        (again,) = told.take()
        assert again.pop("since").endswith("Z")
        assert again == {
            "event": "integration still down",
            "log_level": "warning",
            "status": "disconnected",
            "down_s": 300.0,
            "failed": 3,
            "waiting": 30,
            "error": "not_connected",
            "message": "refused",
        }
        await told.clock.advance(2 * AGAIN)
        assert told.events() == ["integration still down"] * 2
        told.log.connection(UP, None)
        assert told.take() == [
            {"event": "integration up", "log_level": "info", "down_s": 900.0, "failed": 3, "waiting": 30}
        ]
        assert told.clock.timers == 0


async def test_another_reason_is_said_at_once() -> None:
    """Where the outage goes on for another reason, that is one line with what has failed so far."""
    with Told() as told:
        told.log.connection(DOWN, REFUSED)
        await told.clock.advance(5)
        told.log.connection(FAILED, AuthError("who are you?", permanent=True))
        first, second = told.take()
        assert (first["event"], second["event"]) == ("integration down", "integration still down")
        assert (second["status"], second["error"], second["down_s"]) == ("failed", "auth", 5.0)
        told.log.close()
        assert told.clock.timers == 0


async def test_a_circuit_opens_again_and_again_until_it_closes() -> None:
    """Who caused it and why; while it is open, one line in five minutes; how long it was, when it closes."""
    with Told() as told:
        told.log.connection(UP, None)
        told.take()
        told.circuit(CircuitState.OPEN, 5)
        assert told.take() == [
            {
                "event": "circuit opened",
                "log_level": "warning",
                "operation": "request",
                "caused_by": "integration.api.request",
                "correlation_id": "c",
                "failures": 5,
                "error": "unavailable",
                "message": "503",
            }
        ]
        await told.clock.advance(10)
        told.circuit(CircuitState.HALF_OPEN)
        told.circuit(CircuitState.OPEN, 6)
        assert told.events() == ["circuit half-open", "circuit opened again"]
        told.count(shed=12)
        await told.clock.advance(AGAIN)
        (still,) = told.take()
        assert (still["event"], still["open_s"], still["failed"], still["error"]) == (
            "circuit still open", 300.0, 12, "unavailable",
        )  # fmt: skip
        told.circuit(CircuitState.CLOSED)
        assert told.take() == [
            {"event": "circuit closed", "log_level": "info", "open_s": 310.0, "failed": 12, "waiting": 0}
        ]
        assert told.clock.timers == 0


async def test_an_integration_that_is_down_is_not_told_twice() -> None:
    """While it is down its open circuit, and its subscriptions, are not told of beside it; afterwards they are."""
    with Told() as told:
        told.log.connection(DOWN, REFUSED)
        told.circuit(CircuitState.OPEN, 5)
        told.log.subscribed(well=False)
        told.take()
        await told.clock.advance(AGAIN)
        assert told.events() == ["integration still down"]
        told.log.connection(UP, None)
        await told.clock.advance(AGAIN)
        assert told.events() == ["integration up", "circuit still open"]
        told.circuit(CircuitState.CLOSED)
        await told.clock.advance(AGAIN)
        assert told.events() == ["circuit closed", "still not subscribed"]
        told.log.subscribed(well=True)
        await told.clock.advance(AGAIN)
        assert told.events() == []
        assert told.clock.timers == 0


def test_what_a_person_does_and_slow_checks() -> None:
    """Paused, stopped and resumed are one line each, and so are checks that are slow, and in time again."""
    with Told() as told:
        for status in (UP, ConnectionStatus.PAUSED, ConnectionStatus.PAUSED, DOWN, ConnectionStatus.STOPPED):
            told.log.state(status)
        assert told.events() == ["integration paused", "integration resumed", "integration stopped"]
        told.log.checks(slow=False, seconds=0.1)
        told.log.checks(slow=True, seconds=3.0)
        told.log.checks(slow=True, seconds=3.0)
        told.log.checks(slow=False, seconds=0.1)
        assert [(line["event"], line["latency_ms"]) for line in told.take()] == [
            ("health checks slow", 3000.0),
            ("health checks in time", 100.0),
        ]
