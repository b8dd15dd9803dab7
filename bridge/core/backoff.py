"""How long to wait before the next try."""

import random
from typing import Final, Literal

from bridge.core.errors import BridgeError
from bridge.core.ports import Clock

Growth = Literal["constant", "linear", "exponential"]

#: Steps after which the wait is at its limit, whatever that is: higher powers would leave a float's range.
_MOST_STEPS: Final = 60

#: Seconds of the first wait before something is opened again, and of the longest one.
FIRST_WAIT: Final = 0.1
LONGEST_WAIT: Final = 5.0
#: How much longer each wait is than the one before. What opens may consist of several connections.
_FACTOR: Final = 4.0
#: Seconds between two tries where only a person can help.
WAIT_FOR_A_PERSON: Final = 60.0
#: Seconds that a remote may ask to wait (`Retry-After`); a remote that asks for more is tried again all the same.
_LONGEST_ASKED: Final = 300.0
#: What was open for so many longest waits forgets its failures. With one, two programs that end each other's
#: connection (two MQTT clients with one client id) would each live for about as long as the other one waits.
_LIVED: Final = 2.0


def backoff(
    first: float,
    longest: float,
    attempt: int,
    *,
    growth: Growth = "exponential",
    factor: float = 2.0,
    jitter: tuple[float, float] = (0.5, 1.0),
    rng: random.Random | None,
) -> float:
    """Return the seconds to wait after the failed attempt number `attempt`.

    The limit `longest` comes before the jitter, so that those who have reached it do not all come at the same time.

    Args:
        first: Seconds after the first attempt, before jitter.
        longest: Seconds that the wait may grow to, before jitter.
        attempt: Which attempt failed; 1 is the first.
        growth: *constant*, *linear* (`first` more each time) or *exponential* (`factor` times as much each time).
        factor: See `growth`.
        jitter: The wait is multiplied by a random number between these two. (0, 1) is *full* jitter, which spreads
            many callers best (Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015).
        rng: Where the random number comes from; None for no jitter.
    """
    match growth:
        case "constant":
            wait = first
        case "linear":
            wait = first * attempt
        case "exponential":
            wait = first * factor ** min(attempt - 1, _MOST_STEPS)
    wait = min(wait, longest)
    return wait if rng is None else wait * rng.uniform(*jitter)


class Backoff:
    """Tells how long to wait before something is opened again: a connection, a stream, a subscription.

    It counts the failures, and the wait grows with them. That it could be opened does not forget them, since what
    opens and ends at once, again and again, would be opened without a pause. Only what was open for twice the longest
    wait does. With the waits by default, at most 8 tries begin within 10 seconds.

    Attributes:
        failures: How often in a row it could not be opened, or ended soon after.
    """

    def __init__(
        self, clock: Clock, rng: random.Random, *, first: float = FIRST_WAIT, longest: float = LONGEST_WAIT
    ) -> None:
        """Begin without a failure.

        Args:
            clock: Measures how long it is open.
            rng: For jitter.
            first: Seconds of the first wait, before jitter.
            longest: Seconds that the wait may grow to, before jitter.
        """
        self.failures = 0
        self._clock = clock
        self._rng = rng
        self._first = first
        self._longest = longest
        self._opened: float | None = None

    @property
    def lives_after(self) -> float:
        """How many seconds it must be open to forget its failures."""
        return _LIVED * self._longest

    @property
    def lasts(self) -> bool:
        """Whether it is open, and has been for long enough to forget its failures."""
        return self._opened is not None and self._clock.monotonic() - self._opened >= self.lives_after

    def opened(self) -> None:
        """Note that it is open from now on."""
        self._opened = self._clock.monotonic()

    def failed(self, error: BridgeError | None = None, *, for_a_person: bool = False) -> float:
        """Note that it could not be opened, or has ended; return the seconds to wait before the next try.

        Args:
            error: Why. Where it is `permanent` the wait is a minute; where the remote asked to wait
                (`retry_after_ms`), it is at least that, up to five minutes.
            for_a_person: Only a person can help, although the error is not `permanent`.
        """
        self.failures = 1 if self.lasts else self.failures + 1
        self._opened = None
        wait = backoff(self._first, self._longest, self.failures, factor=_FACTOR, rng=self._rng)
        if for_a_person or (error is not None and error.permanent):
            wait = WAIT_FOR_A_PERSON
        if error is not None and error.retry_after_ms is not None:
            wait = max(wait, min(error.retry_after_ms / 1000, _LONGEST_ASKED))
        return wait
