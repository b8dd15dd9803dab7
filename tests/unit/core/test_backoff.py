"""Show how the wait before the next attempt grows."""

import random

import pytest

from bridge.core.backoff import Growth, backoff


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
