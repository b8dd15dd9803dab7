"""Show how the wait before the next attempt grows."""

import random

import pytest

from bridge.core.backoff import Backoff, Growth, backoff
from bridge.core.errors import AuthError, BridgeError, RejectedError, ThrottledError, UnavailableError
from tests.support.clock import FakeClock


@pytest.mark.parametrize(
    ("growth", "waits"),
    [
        ("constant", [0.5, 0.5, 0.5, 0.5, 0.5]),
        ("linear", [0.5, 1.0, 1.5, 2.0, 2.0]),
        ("exponential", [0.5, 1.0, 2.0, 2.0, 2.0]),
    ],
)
def test_growth(growth: Growth, waits: list[float]) -> None:
    """The wait grows up to the limit; without a random source it is exact."""
    assert [backoff(0.5, 2.0, attempt, growth=growth, rng=None) for attempt in range(1, 6)] == pytest.approx(waits)


def test_jitter() -> None:
    """With a random source the wait is spread evenly between its ends, also around the limit."""
    rng = random.Random(1)
    drawn = [backoff(1.0, 4.0, 9, jitter=(0.5, 1.0), rng=rng) for _ in range(2000)]
    assert 2.0 <= min(drawn) < 2.05
    assert 3.95 < max(drawn) <= 4.0
    assert sum(drawn) / len(drawn) == pytest.approx(3.0, abs=0.05)


def test_however_many() -> None:
    """An attempt whose power of two is too large for a float waits for the limit."""
    assert backoff(0.1, 5.0, 100_000, rng=None) == 5.0


@pytest.mark.parametrize("lives", [None, 0.0, 0.5, 3.0, 9.0])
@pytest.mark.parametrize("seed", range(20))
def test_what_does_not_last_is_tried_eight_times_in_ten_seconds(lives: float | None, seed: int) -> None:
    """What cannot be opened, or ends soon after, is opened eight times in any ten seconds at most."""
    clock = FakeClock()
    wait = Backoff(clock, random.Random(seed))
    begun: list[float] = []
    while clock.monotonic() < 1100.0:
        begun.append(clock.monotonic())
        if lives is not None:
            wait.opened()
            clock.fire(lives)
        clock.fire(wait.failed())
    assert max(sum(since <= time < since + 10.0 for time in begun) for since in begun) <= 8


def test_what_has_lived_forgets_its_failures() -> None:
    """Twice the longest wait is long enough to begin with the first wait again; less than that is not."""
    clock = FakeClock()
    wait = Backoff(clock, random.Random(1), first=1.0, longest=8.0)
    for _ in range(5):
        last = wait.failed()
    assert (wait.failures, wait.lives_after) == (5, 16.0)
    assert last >= 4.0
    for lived, failures in ((15.9, 6), (16.1, 1)):
        wait.opened()
        clock.fire(lived)
        wait.failed()
        assert wait.failures == failures


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (AuthError("no", permanent=True), 60.0),
        (ThrottledError("slowly", retry_after_ms=20_000), 20.0),
        (UnavailableError("in a year", retry_after_ms=31_536_000_000), 300.0),
        (AuthError("no", permanent=True, retry_after_ms=1_000), 60.0),
    ],
)
def test_what_the_error_asks_for(error: BridgeError, seconds: float) -> None:
    """A person needs a minute, and a remote is given the time that it asks for, up to five minutes."""
    assert Backoff(FakeClock(), random.Random(1)).failed(error) == seconds


def test_what_only_a_person_can_mend() -> None:
    """Who tries may know that an error needs a person although it does not say so."""
    wait = Backoff(FakeClock(), random.Random(1))
    assert wait.failed(RejectedError("forbidden"), for_a_person=True) == 60.0
    assert wait.failed(RejectedError("forbidden")) <= 0.4
