"""What is retried, how far apart, and within which budget."""

import random

import pytest

from bridge.core import errors
from bridge.core.settings import RetrySettings
from bridge.resilience.retry import BUDGET_FLOOR, RetryBudget, may_retry, retry_delay


@pytest.mark.parametrize(
    ("strategy", "delays"),
    [
        ("constant", [0.1, 0.1, 0.1, 0.1, 0.1]),
        ("linear", [0.1, 0.2, 0.3, 0.4, 0.5]),
        ("exponential", [0.1, 0.2, 0.4, 0.5, 0.5]),
    ],
)
def test_strategies(strategy: str, delays: list[float]) -> None:
    """Each strategy's delays grow as its name promises, up to the cap."""
    settings = RetrySettings(backoff=strategy, initial_delay=0.1, max_delay=0.5, jitter=False)
    rng = random.Random(0)
    assert [retry_delay(settings, attempt, rng) for attempt in range(1, 6)] == pytest.approx(delays)


def test_full_jitter_spreads_from_zero_to_the_delay() -> None:
    """Jitter spreads retries evenly over the whole delay, not a little around its end."""
    settings = RetrySettings(backoff="constant", initial_delay=1, jitter=True)
    rng = random.Random(7)
    drawn = [retry_delay(settings, 1, rng) for _ in range(2000)]
    assert min(drawn) < 0.02
    assert max(drawn) > 0.98
    assert sum(drawn) / len(drawn) == pytest.approx(0.5, abs=0.03)


def test_a_hundred_attempts_do_not_overflow() -> None:
    """The delay stays at the cap with the largest exponent that the settings allow."""
    assert retry_delay(RetrySettings(max_attempts=100, jitter=False), 100, random.Random(0)) == 10.0


@pytest.mark.parametrize(
    ("error", "once", "idempotent"),
    [
        (errors.InvalidError("x"), False, False),
        (errors.NotSupportedError("x"), False, False),
        (errors.NotConnectedError("x"), True, True),
        (errors.ConnectionLostError("x"), False, True),
        (errors.ConnectionLostError("x", maybe_sent=False), True, True),
        (errors.AttemptTimeoutError("x"), False, True),
        (errors.DeadlineError("x"), False, False),
        (errors.CircuitOpenError("x"), False, False),
        (errors.OverloadedError("x"), False, False),
        (errors.ThrottledError("x"), True, True),
        (errors.AuthError("x"), False, False),
        (errors.RejectedError("x"), False, False),
        (errors.UnavailableError("x"), False, True),
        (errors.UnavailableError("x", maybe_sent=False), True, True),
        (errors.ProtocolError("x"), False, False),
        (errors.StoppingError("x"), False, False),
    ],
    ids=lambda value: value.kind if isinstance(value, errors.BridgeError) else None,
)
def test_the_contract_table(error: errors.BridgeError, once: bool, idempotent: bool) -> None:
    """The guard retries what the contract calls retryable, but leaves "later" to the caller."""
    assert may_retry(error, idempotent=False) is once
    assert may_retry(error, idempotent=True) is idempotent


def test_budget_floor() -> None:
    """Three retries are always allowed, whatever the share."""
    budget = RetryBudget(0.0)
    assert [budget.spend(50.0) for _ in range(5)] == [True] * BUDGET_FLOOR + [False] * 2


def test_budget_share_of_traffic() -> None:
    """A share of 0.2 allows 20 retries for 100 attempts."""
    budget = RetryBudget(0.2)
    for number in range(100):
        budget.attempt(100.0 + number / 100)
    assert sum(budget.spend(101.0) for _ in range(50)) == 20


def test_budget_share_is_not_lost_to_rounding() -> None:
    """A share of 0.29 allows 29 retries for 100 attempts, although the float product is a little less."""
    budget = RetryBudget(0.29)
    for _ in range(100):
        budget.attempt(100.0)
    assert sum(budget.spend(100.0) for _ in range(50)) == 29


def test_budget_slides() -> None:
    """Attempts and retries count for ten seconds, and no longer."""
    budget = RetryBudget(0.2)
    for _ in range(100):
        budget.attempt(100.0)
    assert sum(budget.spend(105.0) for _ in range(50)) == 20
    assert not budget.spend(109.8)
    # At 111 the attempts are forgotten but the 20 retries are not: nothing, not even the floor.
    assert not budget.spend(111.0)
    # At 115.1 the retries are forgotten too: the floor again.
    assert sum(budget.spend(115.1) for _ in range(5)) == BUDGET_FLOOR


def test_budget_counts_each_bucket_once() -> None:
    """Under steady traffic the budget's sums stay the same."""
    budget = RetryBudget(1.0)
    for number in range(1000):
        budget.attempt(number * 0.1 + 0.05)
    assert sum(budget.spend(99.96) for _ in range(200)) == 100
