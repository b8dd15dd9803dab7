"""Decides when a source of messages is read at each wake-up, and when every few milliseconds."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

#: Seconds between two readings of a source that is read in intervals. The event loop's timers count milliseconds.
INTERVAL: Final = 0.005
# Readings one soon after the other, each with few messages, until the next ones come in intervals.
_OFTEN: Final = 16
# Seconds between two readings that are one soon after the other.
_SOON: Final = 0.0015
# Messages that must have come in an interval, so that the next ones are awaited for another one. With fewer it may be
# that somebody sends the next message when the last one has had an effect.
_TOGETHER: Final = 3
# One reading that is not soon enough, or has too few, takes back so many.
_BACK: Final = 4
#: From so many messages a reading on, there is little to be saved.
MANY: Final = 64


class Frequency:
    """Tells whether messages come so often, and one by one, that they are to be read every `INTERVAL`.

    To wake a process up for one message costs several times what the message itself costs. Where messages come often
    and one by one, and nobody waits for what comes of them, they are read together: each waits for some milliseconds. A
    message that comes seldom, or whose sender waits for an answer, is read at once.

    Attributes:
        in_intervals: Whether the next reading is to be after an interval.
        awaited: Whether somebody waits for an answer, or for what comes of a message, in this reading; to be set.
    """

    __slots__ = ("_many", "_often", "_read_at", "awaited", "in_intervals")

    def __init__(self, many: int = MANY) -> None:
        """Create it for a source that is read at once.

        Args:
            many: After a reading of more messages than this, the next ones are read at once; few for a source that
                sends no more until these are acknowledged.
        """
        self.in_intervals = False
        self._many = many
        self._often = 0
        self._read_at = 0.0
        self.awaited = False

    def has_read(self, count: int, now: float) -> bool:
        """Note a reading that has left nothing; return whether the next one is to be after an interval.

        Args:
            count: How many messages it found.
            now: When it ended, in seconds.
        """
        if self.awaited or count > self._many:
            self.awaited = False
            self._often = 0
        elif count >= _TOGETHER if self.in_intervals else now - self._read_at < _SOON:
            self._often = min(self._often + 1, _OFTEN)
        else:
            self._often = max(self._often - _BACK, 0)
        self._read_at = now
        self.in_intervals = self._often > 0 if self.in_intervals else self._often == _OFTEN
        return self.in_intervals


class Wakeups:
    """Watches a source of messages, or has it read every `INTERVAL`, by the frequency of its messages."""

    __slots__ = ("_frequency", "_ignore", "_loop", "_many", "_read", "_timer", "_watch")

    def __init__(
        self,
        *,
        ignore: Callable[[], object],
        read: Callable[[], object],
        watch: Callable[[], object],
        many: int = MANY,
    ) -> None:
        """Create it for a source that is watched: whenever there is something to read, it is read.

        Args:
            ignore: Ends that.
            read: Called after each interval; it is to read, or to let it be read, and `has_read` to be called then.
            watch: Begins that again.
            many: See `Frequency`.
        """
        self._ignore = ignore
        self._read = read
        self._watch = watch
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._many = many
        self._frequency = Frequency(many)

    @property
    def in_intervals(self) -> bool:
        """Whether the source is read after each interval, and not watched."""
        return self._timer is not None

    def hurry(self) -> None:
        """Note that somebody waits for what comes of a message that is being read."""
        self._frequency.awaited = True

    def has_read(self, count: int) -> None:
        """Note a reading that has left nothing, and how many messages it found; wait for more.

        After `hurry` it may be called with 0 outside of a reading.
        """
        if self._timer is not None:
            self._timer.cancel()  # where it was read before its time
        if self._frequency.has_read(count, time.monotonic()):
            if self._timer is None:
                self._ignore()
            self._timer = self._loop.call_later(INTERVAL, self._read)
        elif self._timer is not None:
            self._timer = None
            self._watch()

    def close(self) -> bool:
        """Forget all; return whether the source is watched now."""
        timer, self._timer = self._timer, None
        self._frequency = Frequency(self._many)
        if timer is not None:
            timer.cancel()
        return timer is None
