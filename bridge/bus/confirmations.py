"""Tells when messages have left for those who listen, so that what they are made of can be acknowledged.

What ZeroMQ has taken is still in the memory of this process, and a `kill -9` loses it. The broker forwards a message to
all subscribers at once, and we are one of them. So a message that has come back is in the pipes to all the others. A
moment later, and when ZeroMQ's thread has had its turn, it is out of this process, except for a subscriber that does
not read.
"""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from bridge.core.ports import Clock
from bridge.core.timer import Timer

#: Seconds from a message's return to when its writing is asked for: the broker gives it to the other subscribers
#: meanwhile. The longer one lets confirmations come together; the shorter one holds while many wait, because a remote
#: that sends no more than a few unacknowledged messages would wait with them. The time alone would not do: on a busy
#: machine ZeroMQ's thread had not had its turn within two milliseconds.
_MOMENT: Final = 0.01
_SHORT_MOMENT: Final = 0.002
_MANY: Final = 16
#: Seconds after which a message that has not come back is confirmed: nobody forwards its type to us.
_NEVER: Final = 2.0
#: The time is noted of one message in so many, and of the first one.
_EACH: Final = 32
#: Types that are known not to come back; when more turn up, the memory starts anew.
_MOST_SILENT: Final = 4096


class Confirmations:
    """Follows messages from when they are sent until they have left for those who listen."""

    def __init__(
        self,
        clock: Clock,
        *,
        can_return: Callable[[], bool],
        when_written: Callable[[Callable[[], None]], None],
        hurry: Callable[[], None] = lambda: None,
    ) -> None:
        """Follow nothing yet.

        Args:
            clock: For the moments that are waited.
            can_return: Returns whether all that was sent is with a broker that is connected.
            when_written: Calls a function once what the broker has forwarded until now is out of this process.
            hurry: Called where so many have not returned that a remote may send no more before they are acknowledged.
        """
        self._clock = clock
        self._can_return = can_return
        self._when_written = when_written
        self._hurry = hurry
        # Sent and not returned, in order: a broker keeps it. The set is for the search, which is needed only where
        # others publish, too: it has all but the last `_unindexed` ones.
        self._sent: deque[tuple[bytes, bytes]] = deque()
        self._bodies: set[bytes] = set()
        self._unindexed = 0
        self._silent: set[bytes] = set()
        # How many were ever sent, and how many of them have returned, or never will.
        self._number = 0
        self._returned = 0
        # Some numbers, in order, each with a time: up to that number all were sent by then. While any has not returned
        # there is one.
        self._times: deque[tuple[int, float]] = deque()
        self._next_time = 0
        # Who waits for the return of the message with a number, and who waits a moment longer, since when. The last
        # number of those that were called.
        self._waiting: deque[tuple[int, Callable[[], None]]] = deque()
        self._leaving: deque[tuple[float, int, Callable[[], None]]] = deque()
        self._left = 0
        self._took = 0.0
        self._hurries = False
        self._leave = Timer(clock)
        self._never = Timer(clock)

    def sent(self, frame: bytes, body: bytes) -> None:
        """Follow a message that was given to the broker."""
        if self._silent and frame in self._silent:
            return
        self._number = number = self._number + 1
        if number >= self._next_time or not self._sent:
            self._times.append((number, self._clock.monotonic()))
            self._next_time = number + _EACH
            if not self._never.is_set:
                self._never.set(_NEVER, self._give_up)
        self._sent.append((frame, body))
        self._unindexed += 1
        if len(self._sent) == _MANY:
            self._hurry()

    def came(self, frame: bytes, body: bytes) -> None:
        """Note a message that the broker has sent to us, whoever sent it first."""
        sent = self._sent
        if sent and (sent[0][1] == body or self._is_sent(body)):
            while True:
                one = sent.popleft()
                self._returned += 1
                if self._bodies:
                    self._bodies.discard(one[1])
                if one[1] == body:
                    break
                self._silence(one[0])  # the broker keeps the order, so it comes no more
            self._unindexed = min(self._unindexed, len(sent))
            can_leave = bool(self._waiting) and self._waiting[0][0] <= self._returned
            if can_leave or self._times[0][0] <= self._returned:
                now = self._clock.monotonic()
                self._forget_times(now)
                if can_leave:
                    self._let_leave(now)
        elif self._silent and frame in self._silent:
            self._silent.discard(frame)

    def _is_sent(self, body: bytes) -> bool:
        """Return whether a message is among those that were sent."""
        while self._unindexed:
            self._bodies.add(self._sent[-self._unindexed][1])
            self._unindexed -= 1
        return body in self._bodies

    def _forget_times(self, now: float) -> None:
        """Forget the times of messages that have returned, and note how long the last of them took."""
        times = self._times
        while times and times[0][0] <= self._returned:
            self._took = now - times.popleft()[1]
        if self._sent and not times:
            times.append((self._number, now))

    def when_confirmed(self, then: Callable[[], None]) -> None:
        """Call `then` once all that was sent until now has left for those who listen; not before this returns.

        While there is no connection to a broker, that may be never.
        """
        if self._returned == self._number:
            self._leaves(then)
        else:
            self._waiting.append((self._number, then))

    def lost(self) -> list[tuple[bytes, bytes]]:
        """Return the frames of what has not come back, since the broker is gone; it is to be sent again."""
        self._times.clear()
        if self._sent:
            self._times.append((self._number, self._clock.monotonic()))
        return [*self._sent]

    def close(self) -> None:
        """Confirm nothing more."""
        self._leave.cancel()
        self._never.cancel()
        self._waiting.clear()
        self._leaving.clear()
        self._sent.clear()
        self._bodies.clear()
        self._times.clear()
        self._unindexed = 0

    def _let_leave(self, now: float) -> None:
        waiting, returned = self._waiting, self._returned
        while waiting and waiting[0][0] <= returned:
            self._leaving.append((now, *waiting.popleft()))
        self._set_timer()

    def _leaves(self, then: Callable[[], None]) -> None:
        self._leaving.append((self._clock.monotonic(), self._number, then))
        self._set_timer()

    def _set_timer(self) -> None:
        if not self._leave.is_set:
            if self._leaving:
                self._leave.set(_MOMENT, self._confirm)
        elif not self._hurries and self._are_many:
            self._hurries = True
            self._leave.set(self._moment, self._confirm)

    @property
    def _are_many(self) -> bool:
        """Whether so many messages leave that a remote may send no more before they are acknowledged."""
        return self._leaving[-1][1] - self._left >= _MANY

    @property
    def _moment(self) -> float:
        """Seconds that are enough. On a busy machine threads have their turn later, as the last return tells."""
        return min(_MOMENT, max(_SHORT_MOMENT, self._took))

    def _confirm(self) -> None:
        self._hurries = False
        leaving = self._leaving
        # All of a moment leave together; those that came last have waited for the shorter one at least.
        until, confirmed = self._clock.monotonic() - self._moment, []
        while leaving and leaving[0][0] <= until:
            _, self._left, then = leaving.popleft()
            confirmed.append(then)
        if confirmed:
            self._when_written(partial(_call, confirmed))
        if leaving:
            self._hurries = self._are_many
            self._leave.set(self._moment if self._hurries else _MOMENT, self._confirm)

    def _give_up(self) -> None:
        """Confirm what has not come back for long, and expect its types no more until they come."""
        now, times = self._clock.monotonic(), self._times
        if self._can_return():
            while times and times[0][1] <= now - _NEVER:
                number = times.popleft()[0]
                while self._returned < number:
                    frame, body = self._sent.popleft()
                    self._bodies.discard(body)
                    self._returned += 1
                    self._silence(frame)
            self._unindexed = min(self._unindexed, len(self._sent))
            if self._sent and not times:  # those after the last time that is known
                times.append((self._number, now))
            self._let_leave(now)
        if self._sent:
            self._never.set(max(0.001, times[0][1] + _NEVER - now) if self._can_return() else _NEVER, self._give_up)

    def _silence(self, frame: bytes) -> None:
        if len(self._silent) >= _MOST_SILENT:
            self._silent.clear()
        self._silent.add(frame)


def _call(functions: Sequence[Callable[[], None]]) -> None:
    for function in functions:
        function()
