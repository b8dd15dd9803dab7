"""Decides when a source is read at each wake-up, and when every few milliseconds."""

from typing import Final

#: Seconds between two readings of a source that is read in intervals. The event loop's timers count milliseconds.
INTERVAL: Final = 0.004
# Readings one soon after the other, each with few messages, until the next ones come in intervals.
_OFTEN: Final = 16
# Seconds between two readings that are one soon after the other.
_SOON: Final = 0.0015
# Messages that must have come in an interval, so that the next ones are awaited for another one. With fewer it may be
# that somebody sends the next message when the last one has had an effect.
_TOGETHER: Final = 3
# One reading that is not soon enough, or has too few, takes back so many.
_BACK: Final = 4
# From so many messages a reading on, there is little to be saved.
_MANY: Final = 64


class Wakeups:
    """The wake-ups for one source of messages.

    To wake a process up for one message costs several times what the message itself costs. Where messages come often
    and one by one, and nobody waits for what comes of them, they are read together, every `INTERVAL`: each waits for
    some milliseconds. A message that comes seldom, or whose sender waits for an answer, is read at once.
    """

    __slots__ = ("_awaited", "_in_intervals", "_often", "_read_at")

    def __init__(self) -> None:
        self._in_intervals = False
        self._often = 0
        self._read_at = 0.0
        self._awaited = False

    def awaited(self) -> None:
        """Note that somebody waits for what comes of a message that is being read."""
        self._awaited = True

    def read(self, count: int, now: float) -> bool:
        """Note a reading that has left nothing; return whether the next one is to be after `INTERVAL`.

        Args:
            count: How many messages it found.
            now: When it ended, in seconds.
        """
        if self._awaited:
            self._awaited = False
            self._often = 0
        elif count > _MANY:
            self._often = 0
        elif count >= _TOGETHER if self._in_intervals else now - self._read_at < _SOON:
            self._often = min(self._often + 1, _OFTEN)
        else:
            self._often = max(self._often - _BACK, 0)
        self._read_at = now
        self._in_intervals = self._often > 0 if self._in_intervals else self._often == _OFTEN
        return self._in_intervals
