"""Counts the operations of one integration: where each accepted one is now, or how it ended."""

import enum
from typing import Final

from bridge.core import payloads

#: Stages from this number on are ends.
_FIRST_END: Final = 3


class Stage(enum.IntEnum):
    """Where an accepted operation is, or how it ended. What has ended stays ended.

    ============= ============================================================ ===============================
    stage         meaning                                                      set by
    ============= ============================================================ ===============================
    PENDING       in the outbox, and not with the guard now                    outbox; guard that gives it back
    QUEUED        waits for a slot, a token of the rate limit, or another try  guard
    IN_FLIGHT     an attempt is running                                        guard
    SUCCEEDED     ended with a result                                          guard
    FAILED        ended with an error after an attempt, or was cancelled       guard
    DEAD_LETTERED became a dead letter                                         outbox
    EXPIRED       ended because the caller's time was up                       guard, outbox
    SHED          ended without an attempt                                     guard
    ============= ============================================================ ===============================
    """

    PENDING = 0
    QUEUED = 1
    IN_FLIGHT = 2
    SUCCEEDED = _FIRST_END
    FAILED = 4
    DEAD_LETTERED = 5
    EXPIRED = 6
    SHED = 7


class Accounting:
    """Counts the operations of one integration by their stage.

    The sums balance by construction: `accept` adds to `accepted` and to one stage, `move` takes from one stage what it
    adds to another. An event of the outbox is accepted once; the guard takes it over from `PENDING`, and gives it back
    there when its attempts failed, however often that happens.

    Attributes:
        accepted: All operations so far.
    """

    __slots__ = ("_counts", "accepted")

    def __init__(self) -> None:
        self.accepted = 0
        self._counts = [0] * len(Stage)

    def accept(self, stage: Stage, count: int = 1) -> None:
        """Count new operations, which are at `stage` now: one that is not an end."""
        assert stage < _FIRST_END  # noqa: S101 - an operation is accepted before it ends
        self.accepted += count
        self._counts[stage] += count

    def move(self, before: Stage, after: Stage) -> None:
        """Count one operation at `after` that was at `before`."""
        counts = self._counts
        assert counts[before] > 0, "nothing is there to be moved"  # noqa: S101
        assert before < _FIRST_END, "what has ended stays ended"  # noqa: S101
        counts[before] -= 1
        counts[after] += 1

    def count(self, stage: Stage) -> int:
        """Return how many operations are at a stage."""
        return self._counts[stage]

    def ended(self) -> tuple[int, int]:
        """Return how many operations ended with a result, and how many otherwise."""
        counts = self._counts
        return counts[Stage.SUCCEEDED], sum(counts[Stage.FAILED :])

    @property
    def in_flight(self) -> int:
        """How many operations have an attempt that is running."""
        return self._counts[Stage.IN_FLIGHT]

    @property
    def queued(self) -> int:
        """How many operations wait in the guard."""
        return self._counts[Stage.QUEUED]

    @property
    def open(self) -> int:
        """How many operations the guard has: waiting or in flight."""
        return self._counts[Stage.QUEUED] + self._counts[Stage.IN_FLIGHT]

    def sums(self) -> payloads.Accounting:
        """Return the sums as `health.<id>` has them; what waits in the outbox is `queued`, too."""
        counts = self._counts
        return payloads.Accounting(
            accepted=self.accepted,
            succeeded=counts[Stage.SUCCEEDED],
            failed=counts[Stage.FAILED],
            dead_lettered=counts[Stage.DEAD_LETTERED],
            expired=counts[Stage.EXPIRED],
            shed=counts[Stage.SHED],
            in_flight=counts[Stage.IN_FLIGHT],
            queued=counts[Stage.QUEUED] + counts[Stage.PENDING],
        )
