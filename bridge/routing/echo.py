"""Finds echoes: events that a program repeats because it repeats all that it hears, its own repetitions included.

Such a program makes a storm that `hop` does not stop, since Nemo's own record of an event has no headers.
"""

from array import array
from typing import Final

from bridge.core.model import Event
from bridge.core.ports import Clock

#: Other events, equal to one, that may have set something off in a second (bus contract, "Echo"). A program that sends
#: a command again until it is answered stays below.
MOST_EQUAL: Final = 16
#: Seconds.
_WINDOW: Final = 1.0
#: How many events are remembered at most, a power of two.
_PLACES: Final = 1 << 14


class EchoFilter:
    """Counts events that are equal in `source`, `id`, `timestamp`, type and payload.

    Its memory is fixed. Each event has a place in it, and a later event with the same place takes it. So where very
    many events come in a second, the counting of one may begin anew.

    Nearly all events come once. So the first one is known only by a number made of `id` and `timestamp`, which costs
    little. Events with the same number are compared as a whole from the second one on. It is taken for granted that
    the first was equal to the second, and came just before.

    Payloads are equal where their encoding is. A program that encodes events in a way of its own makes a different
    event once, and then equal ones.
    """

    def __init__(self, clock: Clock) -> None:
        """Create it; nothing has come yet."""
        self._clock = clock
        self._numbers: list[int | None] = [None] * _PLACES
        self._digests: list[int | None] = [None] * _PLACES
        self._since = array("d", bytes(8 * _PLACES))
        self._others = array("Q", bytes(8 * _PLACES))
        self._goes_on = bytearray(_PLACES)

    def is_echo(self, event: Event) -> bool:
        """Count an event; return whether more than 16 others that are equal have come in this second or the one before.

        The second before counts, so that a storm that goes on sets off 17 operations, and not 17 in each second.
        """
        number = event.id ^ event.timestamp
        place = number & (_PLACES - 1)
        if self._numbers[place] != number:
            self._numbers[place] = number
            return False
        return self._comes_too_often(event)

    def _comes_too_often(self, event: Event) -> bool:
        """Count an event that is not the first one.

        Python's hash of text and bytes depends on a secret of the process (SipHash, PEP 456), so nobody can make two
        events with one digest on purpose.
        """
        digest = hash((event.source, event.id, event.timestamp, event.event_type, bytes(event.raw)))
        place, now = digest & (_PLACES - 1), self._clock.monotonic()
        passed = now - self._since[place]
        if self._digests[place] != digest:
            self._digests[place], self._since[place], self._others[place], self._goes_on[place] = digest, now, 1, False
        elif passed >= _WINDOW:
            self._goes_on[place] = passed < 2 * _WINDOW and self._others[place] > MOST_EQUAL
            self._since[place], self._others[place] = now, 0
        else:
            self._others[place] += 1
        return bool(self._goes_on[place]) or self._others[place] > MOST_EQUAL
