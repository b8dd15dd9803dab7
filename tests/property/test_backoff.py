"""Backoff and retry budget hold their bounds for all settings."""

import random

from hypothesis import given
from hypothesis import strategies as st

from bridge.core.settings import RetrySettings
from bridge.resilience.retry import BUDGET_FLOOR, BUDGET_WINDOW, RetryBudget, retry_delay

SETTINGS = st.builds(
    RetrySettings,
    max_attempts=st.just(100),
    backoff=st.sampled_from(["constant", "linear", "exponential"]),
    initial_delay=st.floats(0, 1e6),
    max_delay=st.floats(0.001, 1e6),
    jitter=st.booleans(),
)


@given(settings=SETTINGS, attempt=st.integers(1, 100), seed=st.integers())
def test_within_zero_and_the_cap(settings: RetrySettings, attempt: int, seed: int) -> None:
    """No delay is negative or over `max_delay`, jitter or not."""
    assert 0 <= retry_delay(settings, attempt, random.Random(seed)) <= settings.max_delay


@given(settings=SETTINGS, attempt=st.integers(1, 99), seed=st.integers())
def test_never_shrinks_without_jitter(settings: RetrySettings, attempt: int, seed: int) -> None:
    """A later attempt never waits for less; with jitter it is the bound that never shrinks."""
    plain = settings.model_copy(update={"jitter": False})
    rng = random.Random(seed)
    assert retry_delay(plain, attempt, rng) <= retry_delay(plain, attempt + 1, rng)
    assert retry_delay(settings, attempt, rng) <= retry_delay(plain, attempt, rng)


@given(
    share=st.floats(0, 1),
    steps=st.lists(st.tuples(st.integers(0, 3000), st.booleans()), max_size=300),
)
def test_budget_against_a_plain_count(share: float, steps: list[tuple[int, bool]]) -> None:
    """Against a list of all times: never more than the share (or 3) of what one window could hold.

    Time is counted in buckets, so the window is up to one bucket (100 ms) shorter than 10 s; both bounds are checked.
    """
    budget = RetryBudget(share)
    attempts: list[float] = []
    retries: list[float] = []
    now = 1000.0
    for pause_ms, is_retry in steps:
        now += pause_ms / 1000
        budget.attempt(now)
        attempts.append(now)
        if not is_retry:
            continue
        allowed = budget.spend(now)
        longest, shortest = [sum(now - at < window for at in attempts) for window in _WINDOWS]
        most, least = [sum(now - at < window for at in retries) for window in _WINDOWS]
        if allowed:
            assert least + 1 <= max(BUDGET_FLOOR, share * longest) + 1e-6
            retries.append(now)
        else:
            assert most + 1 > max(BUDGET_FLOOR, share * shortest) - 1e-6


#: A little over the whole window, and a little under what the buckets surely hold, in seconds.
_WINDOWS = (BUDGET_WINDOW + 0.001, BUDGET_WINDOW - 0.101)
