"""Lets all who look share one view, so that many of them cost no more than one."""

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from bridge.core.ports import Clock

#: A view is shared for so many times as long as it took to make.
_SHARED_FOR: Final = 100

_T = TypeVar("_T")


class Shared(Generic[_T]):
    """A view for all who look: consoles, `nemo-bridge top`, programs on the bus.

    So that all of them together take at most a hundredth of a processor, however often they ask, they share one for a
    hundred times as long as it took to make.
    """

    def __init__(self, make: Callable[[], _T], clock: Clock) -> None:
        """Create it.

        Args:
            make: Makes the view.
            clock: For all times.
        """
        self._make = make
        self._clock = clock
        self._made: _T | None = None
        self._until = 0.0

    def get(self) -> _T:
        """Return the view, made anew where it is too old."""
        now = self._clock.monotonic()
        if self._made is None or now >= self._until:
            self._made = self._make()
            self._until = now + _SHARED_FOR * (self._clock.monotonic() - now)
        return self._made
