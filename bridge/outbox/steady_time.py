"""Unix time for deadlines and ages that does not jump when the system's time is changed."""

from bridge.core.ports import Clock


class SteadyTime:
    """Returns the Unix time at which it was created plus the monotonic time that has passed since."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = clock.wall_ms() - clock.monotonic() * 1000

    def now_ms(self) -> int:
        """Return Unix time in milliseconds."""
        return round(self._offset + self._clock.monotonic() * 1000)
