"""Logs operations that fail and events that become dead letters, at a limited rate."""

from typing import Final

import structlog

from bridge.core.errors import BridgeError
from bridge.core.model import Operation
from bridge.core.payloads import DeadLetter
from bridge.core.ports import Clock
from bridge.core.rate_limited import RateLimited

#: Seconds in which one line is logged for what fails in the same way.
_INTERVAL: Final = 30.0
#: Ways to fail that are told apart at a time. A program on the bus may name any integration.
_MOST_KEYS: Final = 500
#: Characters of an error's text that are logged.
_MOST_TEXT: Final = 300

log = structlog.get_logger(__name__)

_Key = tuple[str, str, str]


class FailureLog:
    """Logs a warning for the first failure of each integration and kind of error, and then one line in 30 s at most.

    A line holds no payload: it names the operation, the event's type and the error, and `count` tells how many failures
    it stands for. The error is that of the last one.
    """

    def __init__(self, clock: Clock) -> None:
        """Create it; `clock` measures the seconds."""
        self._lines: RateLimited[_Key, tuple[Operation, str]] = RateLimited(
            clock, _write, interval=_INTERVAL, max_keys=_MOST_KEYS
        )

    def failed(self, operation: Operation, error: BridgeError) -> None:
        """Log that an operation has failed."""
        self._lines.add(("failed", operation.integration, error.kind), (operation, error.message))

    def dead_letter(self, operation: Operation, letter: DeadLetter) -> None:
        """Log that an event has become a dead letter."""
        self._lines.add(("dead letter", operation.integration, letter.error.kind), (operation, letter.error.message))

    def close(self) -> None:
        """Log what is counted and not yet logged."""
        self._lines.flush()


def _write(key: _Key, count: int, last: tuple[Operation, str]) -> None:
    what, integration, kind = key
    operation, message = last
    log.warning(
        what,
        integration=integration,
        operation=operation.name,
        caused_by=operation.cause.event_type,
        error=kind,
        message=message[:_MOST_TEXT],
        count=count,
    )
