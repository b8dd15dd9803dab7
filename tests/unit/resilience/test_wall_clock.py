"""Somebody sets the wall clock, a day forward or back: nothing of the guard follows it."""

import pytest

from bridge.core.errors import AttemptTimeoutError, UnavailableError
from tests.support.guard.harness import GuardHarness, script

DAY = 86_400.0


@pytest.mark.parametrize("by", [DAY, -DAY])
async def test_the_circuit_keeps_its_time(by: float) -> None:
    """An open circuit half-opens after its monotonic time, neither at once nor a day late."""
    guarded = GuardHarness(circuit_breaker={"failure_threshold": 1, "timeout": "30s"})
    await guarded.open_circuit()
    before = guarded.guard.breaker.retry_after_ms()
    guarded.clock.set_wall(by)
    assert guarded.guard.breaker.retry_after_ms() == before
    assert guarded.guard.breaker.state == "open"
    await guarded.clock.advance(33.1)
    assert guarded.guard.breaker.state == "half_open"


@pytest.mark.parametrize("by", [DAY, -DAY])
async def test_retries_limits_and_deadlines_keep_theirs(by: float) -> None:
    """A jump of the system's time changes neither backoff, nor time limit, nor deadline."""
    guarded = GuardHarness(timeout="2s", retry={"max_attempts": 2, "initial_delay": "1s"})
    task = await guarded.start(1, timeout=10.0)
    await guarded.clock.advance(1.5)
    guarded.clock.set_wall(by)
    await guarded.clock.advance(0.4)
    assert guarded.running  # at 1.9 s of 2
    await guarded.clock.advance(0.2)
    assert guarded.reports == ["retry"]  # the attempt's limit
    guarded.clock.set_wall(-by)
    await guarded.clock.advance(0.8)
    assert guarded.started == [1]  # the backoff's second is not over
    await guarded.clock.advance(0.2)
    assert guarded.started == [1, 1]
    await guarded.clock.advance(2.0)
    outcome = await task
    assert isinstance(outcome.error, AttemptTimeoutError)
    assert outcome.attempts == 2


async def test_the_history_shows_the_wall_clock() -> None:
    """Times in reports are the system's time at that moment."""
    guarded = GuardHarness(retry={"max_attempts": 2})
    guarded.clock.set_wall(DAY)
    outcome = await guarded.run(script(UnavailableError("503"), 1))
    assert outcome.history[0].at == pytest.approx(1_700_000_000_000 + DAY * 1000, abs=1000)
