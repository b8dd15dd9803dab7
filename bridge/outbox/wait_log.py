"""Logs when events of an integration begin to wait in the outbox, and when none waits any more."""

from collections.abc import Callable
from typing import Final

from bridge.core.errors import BridgeError
from bridge.core.log import structlog
from bridge.core.log_fields import AGAIN, error_fields
from bridge.core.ports import Clock
from bridge.core.timer import Timer

#: Seconds for which events wait, or none does, before that is logged: what is soon over is no news.
SOON: Final = 5.0

log = structlog.get_logger(__name__)


class WaitLog:
    """Logs the waiting of one integration's events. It looks each five seconds, and only while events wait."""

    def __init__(
        self,
        integration: str,
        *,
        clock: Clock,
        pending: Callable[[], int],
        flows: Callable[[], bool],
        told_elsewhere: Callable[[], bool],
    ) -> None:
        """Create it; nothing waits.

        Args:
            integration: The integration's label.
            clock: For all times.
            pending: Returns how many entries have not ended.
            flows: Returns whether none of them waits for anything but its turn.
            told_elsewhere: Returns whether the log says already each five minutes that the integration is not well.
        """
        self._clock = clock
        self._pending = pending
        self._flows = flows
        self._told_elsewhere = told_elsewhere
        self._log = log.bind(integration=integration)
        self._timer = Timer(clock)
        self._since: float | None = None
        self._flowed = False
        self._next: float | None = None
        self._error: BridgeError | None = None
        self._closed = False

    def waits(self, error: BridgeError | None = None) -> None:
        """Note that events wait: one could not be delivered because of `error`, or none can be delivered now."""
        self._flowed = False
        self._error = error or self._error
        if self._since is None and not self._closed:
            self._since = self._clock.monotonic()
            self._timer.set(SOON, self._look)

    def close(self) -> None:
        """Log nothing more."""
        self._closed = True
        self._timer.cancel()

    def _look(self) -> None:
        now = self._clock.monotonic()
        assert self._since is not None  # noqa: S101 - the timer is set only while something waits
        flows, pending = self._flows(), self._pending()
        if flows and (not pending or self._flowed):
            if self._next is not None:
                self._log.info("outbox caught up", waited_s=round(now - self._since, 1), pending=pending)
            self._since = self._next = self._error = None
            return
        self._flowed = flows
        if not flows and self._next is None:
            self._log.warning("outbox filling", pending=pending, **error_fields(self._error))
            self._next = now + AGAIN
        elif self._next is not None and now >= self._next:
            self._next = now + AGAIN
            if not self._told_elsewhere():
                self._log.warning("outbox still filling", pending=pending, **error_fields(self._error))
        self._timer.set(SOON, self._look)
