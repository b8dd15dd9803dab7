"""Logs operations that fail and events that become dead letters, at a limited rate."""

from typing import Final

from bridge.core.errors import BridgeError, ErrorObject
from bridge.core.log import structlog
from bridge.core.log_fields import error_fields, operation_fields
from bridge.core.model import Operation
from bridge.core.payloads import DeadLetter
from bridge.core.ports import Clock
from bridge.core.rate_limited import RateLimited

#: Lines that are logged in so many seconds for what fails in the same way. `LimitedLines` lets more pass in a minute.
_BURST: Final = 3
_INTERVAL: Final = 30.0
#: Ways to fail that are told apart at a time.
_MOST_KEYS: Final = 500

log = structlog.get_logger(__name__)

_Key = tuple[str, str, str]
_Item = tuple[Operation, BridgeError | ErrorObject, int]


class FailureLog:
    """Logs a warning for each failure: for each integration and kind of error three in 30 s, then one with the count.

    A line holds no payload: it names the operation, the event's type, the ids and the error. `count` tells how many
    failures it stands for; the ids and the error are those of the last one.
    """

    def __init__(self, clock: Clock) -> None:
        """Create it; `clock` measures the seconds."""
        self._lines: RateLimited[_Key, _Item] = RateLimited(
            clock, _write, interval=_INTERVAL, burst=_BURST, max_keys=_MOST_KEYS
        )

    def failed(self, operation: Operation, error: BridgeError, attempts: int) -> None:
        """Log that an operation has failed after so many attempts."""
        # A program on the bus may name any integration: those that do not exist share one limit.
        integration = "" if error.kind == "unknown_integration" else operation.integration
        self._lines.add(("operation failed", integration, error.kind), (operation, error, attempts))

    def dead_letter(self, operation: Operation, letter: DeadLetter) -> None:
        """Log that an event has become a dead letter."""
        item = (operation, letter.error, letter.attempts)
        self._lines.add(("dead letter", operation.integration, letter.error.kind), item)

    def close(self) -> None:
        """Log what is counted and not yet logged."""
        self._lines.flush()


def _write(key: _Key, count: int, last: _Item) -> None:
    operation, error, attempts = last
    log.warning(
        key[0],
        integration=operation.integration,
        **operation_fields(operation),
        attempts=attempts,
        **error_fields(error),
        count=count,
    )
