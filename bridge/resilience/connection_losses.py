"""Finds the operation that ends its connection, among all those that were in flight when a connection ended."""

import enum
from typing import Any, Final

from bridge.resilience.guarded_call import GuardedCall, RunningAttempt

#: Operations of which losses are remembered; the oldest one is forgotten first.
_MOST_KNOWN: Final = 1000
#: Connections that must have ended under an operation before it can have been its doing. A remote that is killed again
#: and again hits the same operation twice now and then, but hardly ever three times.
_GUILTY_FROM: Final = 3


class Loss(enum.Enum):
    """What the loss of an attempt's connection means."""

    #: A connection has ended, for whatever reason.
    NEW = "new"
    #: It tells nothing new about the remote: another operation has told of the end of the same connection, or the
    #: operation was suspect and alone.
    KNOWN = "known"
    #: The operation ends its connection whenever it is tried.
    OWN_DOING = "own_doing"


class _Losses:
    """The losses of one operation: how many, and what was known at the last one.

    Attributes:
        count: How many connections have ended under it.
        alone: Whether it was the only operation in flight at the last loss.
        answers: How many operations had been answered by then.
        answers_before: How many at the loss before that one.
        checks: How many health checks had succeeded by then.
    """

    __slots__ = ("alone", "answers", "answers_before", "checks", "count")

    def __init__(self) -> None:
        self.count = 0
        self.alone = False
        self.answers = self.answers_before = 0
        self.checks = 0

    @property
    def is_suspect(self) -> bool:
        """Whether the operation must be tried alone."""
        return self.alone or self.count > 1


class ConnectionLosses:
    """Counts the connections that end under operations, and decides when that is an operation's own doing.

    When a connection ends, nobody knows why, and all operations in flight are tried again as usual. One under which it
    has ended twice, or once while it was alone in flight, is *suspect*: it is tried alone from then on. When the
    connection ends again under a suspect that is alone, for the third time in all, and the remote works otherwise, it
    is its doing. That the remote works is shown by

    - another operation that was answered since the first of its last three losses, or
    - a health check that succeeded since the last one, where its last loss was alone, too, and no other operation was
      lost alone meanwhile. A remote that cuts everybody may still pass its checks: so after one such decision, an
      operation must be answered before the next one.

    Nothing is counted or looked up for an operation while no connection is lost.

    Attributes:
        known: The operations with losses; empty as long as no connection has ended.
        ends: How many connections have ended.
        checks: How many health checks have succeeded; the owner counts them.
    """

    __slots__ = ("_decided_by_check", "_last_alone", "checks", "ends", "known")

    def __init__(self) -> None:
        self.known: dict[Any, _Losses] = {}
        self.ends = 0
        self.checks = 0
        self._last_alone: Any = None
        self._decided_by_check = -1

    def add(self, attempt: RunningAttempt, *, in_flight: int, answers: int) -> Loss:
        """Note that the connection of an attempt has ended, and return what that means.

        Args:
            attempt: The attempt; its call may be repeated.
            in_flight: How many attempts were in flight, this one among them.
            answers: How many operations the remote has answered so far.
        """
        first = attempt.ends == self.ends
        if first:
            self.ends += 1
        key = _key(attempt.call)
        losses = self.known.get(key)
        if losses is None:
            if len(self.known) >= _MOST_KNOWN:
                del self.known[next(iter(self.known))]
            losses = self.known[key] = _Losses()
        alone = first and in_flight == 1
        # Without a session each attempt has a connection of its own, and each end is news.
        same = not first and attempt.call.needs_session
        known = same or (alone and losses.is_suspect)
        losses.count += 1
        guilty = alone and losses.count >= _GUILTY_FROM and self._works_otherwise(key, losses, answers)
        if alone:
            self._last_alone = key
        losses.answers_before, losses.answers = losses.answers, answers
        losses.alone, losses.checks = alone, self.checks
        if guilty:
            del self.known[key]
            return Loss.OWN_DOING
        return Loss.KNOWN if known else Loss.NEW

    def _works_otherwise(self, key: Any, losses: _Losses, answers: int) -> bool:
        if answers > losses.answers_before:
            return True
        if (
            self.checks > losses.checks
            and losses.alone
            and self._last_alone == key
            and answers > self._decided_by_check
        ):
            self._decided_by_check = answers
            return True
        return False

    def is_suspect(self, call: GuardedCall) -> bool:
        """Return whether a call must be tried alone."""
        losses = self.known.get(_key(call))
        return losses is not None and losses.is_suspect

    def forget(self, call: GuardedCall) -> None:
        """Forget the losses of a call that has ended."""
        self.known.pop(_key(call), None)


def _key(call: GuardedCall) -> Any:
    """Return what identifies an operation. One of the outbox comes again as another call."""
    operation = call.operation
    return (operation.cause.source, operation.idempotency_key, operation.route) if operation.durable else call
