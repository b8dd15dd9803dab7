"""Tells when messages have left for those who listen, so that what they are made of can be acknowledged.

What ZeroMQ has taken is still in the memory of this process, and a `kill -9` loses it. The broker forwards a message to
all subscribers at once, and we are one of them. So a message that has come back is in the pipes to all the others. A
moment later it is out of this process, except for a subscriber that does not read.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from bridge.core.ports import Clock
from bridge.core.timer import Timer

#: Seconds from a message's return to its confirmation: ZeroMQ's thread writes it to the other subscribers meanwhile.
#: The longer one lets confirmations come together; the shorter one holds while many wait, because a remote that sends
#: no more than a few unacknowledged messages would wait with them.
_MOMENT: Final = 0.01
_SHORT_MOMENT: Final = 0.002
_MANY: Final = 16
#: Seconds after which a message that has not come back is confirmed: nobody forwards its type to us.
_NEVER: Final = 2.0
#: Types that are known not to come back; when more turn up, the memory starts anew.
_MOST_SILENT: Final = 4096


class _Sent(NamedTuple):
    frame: bytes
    body: bytes
    at: float


class Confirmations:
    """Follows messages from when they are sent until they have left for those who listen."""

    def __init__(self, clock: Clock, *, can_return: Callable[[], bool]) -> None:
        """Follow nothing yet.

        Args:
            clock: For the moments that are waited.
            can_return: Returns whether all that was sent is with a broker that is connected.
        """
        self._clock = clock
        self._can_return = can_return
        # Sent and not returned, in order: a broker keeps it. `_bodies` is for the search.
        self._sent: deque[_Sent] = deque()
        self._bodies: set[bytes] = set()
        self._silent: set[bytes] = set()
        # How many were ever sent, and how many of them have returned, or never will.
        self._number = 0
        self._returned = 0
        # Who waits for the return of the message with a number, and who waits a moment longer, since when.
        self._waiting: deque[tuple[int, Callable[[], None]]] = deque()
        self._leaving: deque[tuple[float, Callable[[], None]]] = deque()
        self._took = 0.0
        self._hurries = False
        self._leave = Timer(clock)
        self._never = Timer(clock)

    def sent(self, frame: bytes, body: bytes) -> None:
        """Follow a message that was given to the broker."""
        if frame in self._silent or body in self._bodies:
            return
        self._number += 1
        self._sent.append(_Sent(frame, body, self._clock.monotonic()))
        self._bodies.add(body)
        if not self._never.is_set:
            self._never.set(_NEVER, self._give_up)

    @property
    def expects(self) -> bool:
        """Whether `came` is to be told of what comes."""
        return bool(self._sent or self._silent)

    def came(self, frame: bytes, body: bytes) -> None:
        """Note a message that the broker has sent to us, whoever sent it first."""
        if body in self._bodies:
            now = self._clock.monotonic()
            while True:
                one = self._sent.popleft()
                self._bodies.discard(one.body)
                self._returned += 1
                if one.body == body:
                    break
                self._silence(one.frame)  # the broker keeps the order, so it comes no more
            self._took = now - one.at
            self._let_leave()
        elif frame in self._silent:
            self._silent.discard(frame)

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
        now = self._clock.monotonic()
        self._sent = deque(_Sent(one.frame, one.body, now) for one in self._sent)
        return [(one.frame, one.body) for one in self._sent]

    def close(self) -> None:
        """Confirm nothing more."""
        self._leave.cancel()
        self._never.cancel()
        self._waiting.clear()
        self._leaving.clear()
        self._sent.clear()
        self._bodies.clear()

    def _let_leave(self) -> None:
        waiting, returned = self._waiting, self._returned
        while waiting and waiting[0][0] <= returned:
            self._leaves(waiting.popleft()[1])

    def _leaves(self, then: Callable[[], None]) -> None:
        self._leaving.append((self._clock.monotonic(), then))
        if not self._leave.is_set:
            self._leave.set(_MOMENT, self._confirm)
        elif not self._hurries and len(self._leaving) >= _MANY:
            self._hurries = True
            self._leave.set(self._moment, self._confirm)

    @property
    def _moment(self) -> float:
        """Seconds that are enough. On a busy machine threads have their turn later, as the last return tells."""
        return min(_MOMENT, max(_SHORT_MOMENT, self._took))

    def _confirm(self) -> None:
        self._hurries = False
        leaving = self._leaving
        # All of a moment leave together; those that came last have waited for the shorter one at least.
        until = self._clock.monotonic() - self._moment
        while leaving and leaving[0][0] <= until:
            leaving.popleft()[1]()
        if leaving:
            self._hurries = len(leaving) >= _MANY
            self._leave.set(self._moment if self._hurries else _MOMENT, self._confirm)

    def _give_up(self) -> None:
        """Confirm what has not come back for long, and expect its types no more until they come."""
        old = self._clock.monotonic() - _NEVER
        if self._can_return():
            while self._sent and self._sent[0].at <= old:
                one = self._sent.popleft()
                self._bodies.discard(one.body)
                self._returned += 1
                self._silence(one.frame)
            self._let_leave()
        if self._sent:
            self._never.set(max(0.001, self._sent[0].at - old) if self._can_return() else _NEVER, self._give_up)

    def _silence(self, frame: bytes) -> None:
        if len(self._silent) >= _MOST_SILENT:
            self._silent.clear()
        self._silent.add(frame)
