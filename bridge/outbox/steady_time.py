"""Unix time for deadlines and ages: it grows by what really passed, whatever happens to the system's time."""

from bridge.core.ports import Clock


class SteadyTime:
    """Unix time as it was when this was created, and the monotonic time that has passed since."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = clock.wall_ms() - clock.monotonic() * 1000

    def now_ms(self) -> int:
        """Return Unix time in milliseconds."""
        return round(self._offset + self._clock.monotonic() * 1000)
