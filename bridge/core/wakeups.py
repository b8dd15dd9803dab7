"""Decides when a source of messages is read at each wake-up, and when every few milliseconds."""

import asyncio
import time
from collections.abc import Callable
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

    __slots__ = ("_awaited", "_ignore", "_loop", "_often", "_read", "_read_at", "_timer", "_watch")

    def __init__(
        self, *, ignore: Callable[[], object], read: Callable[[], object], watch: Callable[[], object]
    ) -> None:
        """Create it for a source that is watched: whenever there is something to read, it is read.

        Args:
            ignore: Ends that.
            read: Called after each interval; it is to read, or to let it be read, and `has_read` to be called then.
            watch: Begins that again.
        """
        self._ignore = ignore
        self._read = read
        self._watch = watch
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._often = 0
        self._read_at = 0.0
        self._awaited = False

    def hurry(self) -> None:
        """Read as soon as there is something: somebody waits for an answer, or for what comes of a message."""
        self._awaited = True

    def has_read(self, count: int) -> None:
        """Note a reading that has left nothing, and how many messages it found; wait for more.

        Outside of a reading, as after `hurry`, it may be called with 0.
        """
        now = time.monotonic()
        if self._awaited or count > _MANY:
            self._awaited = False
            self._often = 0
        elif now - self._read_at < _SOON if self._timer is None else count >= _TOGETHER:
            self._often = min(self._often + 1, _OFTEN)
        else:
            self._often = max(self._often - _BACK, 0)
        self._read_at = now
        if self._timer is not None:
            self._timer.cancel()
            if self._often:
                self._timer = self._loop.call_later(INTERVAL, self._read)
            else:
                self._timer = None
                self._watch()
        elif self._often == _OFTEN:
            self._ignore()
            self._timer = self._loop.call_later(INTERVAL, self._read)

    def close(self) -> bool:
        """Forget all; return whether the source is watched now."""
        timer, self._timer = self._timer, None
        self._often = 0
        if timer is not None:
            timer.cancel()
        return timer is None
