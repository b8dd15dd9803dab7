"""Logs the outages of one integration: when it goes down and comes back, and each five minutes how it is meanwhile."""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from bridge.core.errors import BridgeError
from bridge.core.log import structlog
from bridge.core.log_fields import AGAIN, error_fields, operation_fields
from bridge.core.model import CircuitState, ConnectionStatus, Operation
from bridge.core.payloads import CircuitChange
from bridge.core.ports import Clock
from bridge.core.timer import Timer
from bridge.resilience import Accounting

_DOWN: Final = frozenset({ConnectionStatus.DISCONNECTED, ConnectionStatus.FAILED})
_BY_HAND: Final = {ConnectionStatus.PAUSED: "integration paused", ConnectionStatus.STOPPED: "integration stopped"}

log = structlog.get_logger(__name__)


class _Outage(msgspec.Struct, frozen=True):
    """Something that is not as it should be.

    Attributes:
        since: When it began, on the clock's `monotonic`.
        at: The same in Unix milliseconds.
        failed: How many operations had failed before.
    """

    since: float
    at: int
    failed: int


class StateLog:
    """Logs what happens to an integration's connection and circuit, one line for each change.

    While the integration is down, or else while its circuit is not closed, or else while a subscription is not live,
    one line in five minutes says so, with what has failed since the beginning and what waits. Whoever reads only the
    end of a log sees it, too.
    """

    def __init__(self, integration: str, *, clock: Clock, accounting: Accounting) -> None:
        """Create it; nothing is known of the integration yet.

        Args:
            integration: Its label.
            clock: For all times.
            accounting: The counts of its operations.
        """
        self._clock = clock
        self._accounting = accounting
        self._log = log.bind(integration=integration)
        self._status: ConnectionStatus | None = None
        self._error: BridgeError | None = None
        self._by_hand: ConnectionStatus | None = None
        self._is_slow = False
        self._down: _Outage | None = None
        self._circuit: _Outage | None = None
        self._opened_by: dict[str, str] = {}
        self._unsubscribed: _Outage | None = None
        self._timer = Timer(clock)

    def close(self) -> None:
        """Log nothing more about outages that go on."""
        self._timer.cancel()

    # --- its connection

    def connection(self, status: ConnectionStatus, error: BridgeError | None) -> None:
        """Log how the connection is, if that is new; `error` says why it is not connected."""
        before, why = self._status, self._error
        if status is before and _reason(error) == _reason(why):
            return
        self._status, self._error = status, error
        if status is ConnectionStatus.CONNECTED:
            if before is not status:
                down, self._down = self._down, None
                self._log.info("integration up", **self._ended("down_s", down))
        elif status in _DOWN:
            if self._down is not None:
                self._still_down(self._down)
            else:
                self._down = self._begin()
                self._log.warning("integration down", status=status.value, **error_fields(error))
        self._watch()

    def state(self, status: ConnectionStatus) -> None:
        """Log what a person, or the end of the bridge, did; `status` is what `health.<id>` shows."""
        by_hand = status if status in _BY_HAND else None
        if by_hand is self._by_hand:
            return
        self._by_hand = by_hand
        if by_hand is None:
            self._log.info("integration resumed", status=status.value)
        else:
            self._log.info(_BY_HAND[by_hand])

    def checks(self, *, slow: bool, seconds: float | None) -> None:
        """Log that health checks are slow, or not any more; `seconds` is what the last one took."""
        if slow is self._is_slow:
            return
        self._is_slow = slow
        latency = {} if seconds is None else {"latency_ms": round(seconds * 1000, 3)}
        if slow:
            self._log.warning("health checks slow", **latency)
        else:
            self._log.info("health checks in time", **latency)

    def subscribed(self, *, well: bool) -> None:
        """Note whether all subscriptions are live; they are logged one by one elsewhere."""
        if well:
            if self._unsubscribed is not None:
                self._unsubscribed = None
                self._watch()
        elif self._unsubscribed is None:
            self._unsubscribed = self._begin()
            self._watch()

    # --- its circuit

    def circuit(self, change: CircuitChange, operation: Operation) -> None:
        """Log a change of the circuit; `operation` caused it."""
        if change.to is CircuitState.CLOSED:
            opened, self._circuit = self._circuit, None
            self._log.info("circuit closed", **self._ended("open_s", opened))
        elif change.to is CircuitState.HALF_OPEN:
            self._log.info("circuit half-open")
        else:
            again = self._circuit is not None
            self._opened_by = error_fields(change.error)
            self._circuit = self._circuit or self._begin()
            wait = {} if change.retry_after_ms is None else {"retry_after_ms": change.retry_after_ms}
            self._log.warning(
                "circuit opened again" if again else "circuit opened",
                **operation_fields(operation),
                failures=change.failures,
                **wait,
                **self._opened_by,
            )
        self._watch()

    # --- what goes on

    def _begin(self) -> _Outage:
        return _Outage(self._clock.monotonic(), self._clock.wall_ms(), self._failed)

    def _watch(self) -> None:
        if self._down is None and self._circuit is None and self._unsubscribed is None:
            self._timer.cancel()
        elif not self._timer.is_set:
            self._timer.set(AGAIN, self._tell)

    def _tell(self) -> None:
        if self._down is not None:
            self._still_down(self._down)
        elif self._circuit is not None:
            self._log.warning("circuit still open", **self._so_far("open_s", self._circuit), **self._opened_by)
        elif self._unsubscribed is not None:
            self._log.warning("still not subscribed", **self._so_far("down_s", self._unsubscribed))
        self._watch()

    def _still_down(self, down: _Outage) -> None:
        status = "" if self._status is None else self._status.value
        self._log.warning(
            "integration still down", status=status, **self._so_far("down_s", down), **error_fields(self._error)
        )

    def _so_far(self, name: str, outage: _Outage) -> dict[str, Any]:
        since = datetime.fromtimestamp(outage.at / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return {"since": since, **self._ended(name, outage)}

    def _ended(self, name: str, outage: _Outage | None) -> dict[str, Any]:
        if outage is None:
            return {}
        return {
            name: round(self._clock.monotonic() - outage.since, 1),
            "failed": self._failed - outage.failed,
            "waiting": self._accounting.sums().queued,
        }

    @property
    def _failed(self) -> int:
        """How many operations did not end with a result."""
        return self._accounting.ended()[1]


def _reason(error: BridgeError | None) -> tuple[str, str] | None:
    return None if error is None else (error.kind, error.message)
