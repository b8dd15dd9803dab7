"""Finds echoes: events that a program repeats because it repeats all that it hears, its own repetitions included.

Such a program makes a storm that `hop` does not stop, since Nemo's own record of an event has no headers.
"""

from collections import OrderedDict
from typing import Final

import msgspec

from bridge.core.model import Event
from bridge.core.ports import Clock

#: Other events, equal to one, that may have set something off in a second (bus contract, "Echo"). A program that sends
#: a command again until it is answered stays below.
MOST_EQUAL: Final = 16
#: Seconds.
_WINDOW: Final = 1.0
#: How many events are remembered at most.
_MOST: Final = 1 << 13


class _Count(msgspec.Struct):
    """How often an event came.

    Attributes:
        since: When this second began.
        others: How many came in it before the last one.
        goes_on: Whether too many came in the second before.
    """

    since: float
    others: int = 1
    goes_on: bool = False


class EchoFilter:
    """Counts events that are equal in `source`, `id`, `timestamp`, type and payload.

    Its memory is bounded. Beyond its bound, the event that has not come for longest is forgotten. So only where more
    than 8192 events are repeated at once, the counting of one may begin anew.

    Nearly all events come once. So the first one is known only by a number made of `id` and `timestamp`, which costs
    little. Events with the same number are compared as a whole from the second one on. It is taken for granted that
    the first was equal to the second, and came just before.

    Payloads are equal where their encoding is. A program that encodes events in a way of its own makes a different
    event once, and then equal ones.
    """

    def __init__(self, clock: Clock) -> None:
        """Create it; nothing has come yet."""
        self._clock = clock
        # The latest numbers, and those before them.
        self._numbers: set[int] = set()
        self._earlier: set[int] = set()
        self._counts: OrderedDict[int, _Count] = OrderedDict()

    def is_echo(self, event: Event) -> bool:
        """Count an event; return whether more than 16 others that are equal have come in this second or the one before.

        The second before counts, so that a storm that goes on sets off 17 operations, and not 17 in each second.
        """
        number = event.id ^ event.timestamp
        if number in self._numbers or number in self._earlier:
            return self._comes_too_often(event)
        if len(self._numbers) >= _MOST:
            self._earlier, self._numbers = self._numbers, set()
        self._numbers.add(number)
        return False

    def _comes_too_often(self, event: Event) -> bool:
        """Count an event that is not the first one.

        Python's hash of text and bytes depends on a secret of the process (SipHash, PEP 456), so nobody can make two
        events with one digest on purpose.
        """
        digest = hash((event.source, event.id, event.timestamp, event.event_type, bytes(event.raw)))
        now = self._clock.monotonic()
        count = self._counts.get(digest)
        if count is None:
            if len(self._counts) >= _MOST:
                self._counts.popitem(last=False)
            self._counts[digest] = _Count(now)
            return False
        self._counts.move_to_end(digest)
        passed = now - count.since
        if passed >= _WINDOW:
            count.goes_on = passed < 2 * _WINDOW and count.others > MOST_EQUAL
            count.since, count.others = now, 0
        else:
            count.others += 1
        return count.goes_on or count.others > MOST_EQUAL
