"""How long to wait before the next try."""

import random
from typing import Final, Literal

Growth = Literal["constant", "linear", "exponential"]

#: Doublings after which the wait is at its limit, whatever that is: 2 to the power of more would leave a float's range.
_MOST_DOUBLINGS: Final = 60


def backoff(
    first: float,
    longest: float,
    attempt: int,
    *,
    growth: Growth = "exponential",
    jitter: tuple[float, float] = (0.5, 1.0),
    rng: random.Random | None,
) -> float:
    """Return the seconds to wait after the failed attempt number `attempt`.

    The limit `longest` comes before the jitter, so that those who have reached it do not all come at the same time.

    Args:
        first: Seconds after the first attempt, before jitter.
        longest: Seconds that the wait may grow to, before jitter.
        attempt: Which attempt failed; 1 is the first.
        growth: *constant*, *linear* (`first` more each time) or *exponential* (twice as much each time).
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
            wait = first * 2.0 ** min(attempt - 1, _MOST_DOUBLINGS)
    wait = min(wait, longest)
    return wait if rng is None else wait * rng.uniform(*jitter)
