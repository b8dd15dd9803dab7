"""The breaker, row by row of its table."""

import math
import random

import msgspec
import pytest

from bridge.core.errors import AttemptTimeoutError, UnavailableError
from bridge.core.model import CircuitState
from bridge.core.payloads import CircuitChange
from bridge.core.settings import CircuitBreakerSettings
from bridge.resilience.circuit import JITTER, MAX_BACKOFF, CircuitBreaker, Transition
from tests.support.clock import FakeClock
from tests.support.guard.operations import operation

LIMIT = 10.0
ERROR = UnavailableError("down")


class Circuit(CircuitBreaker):
    """A breaker with a clock and a record of its transitions."""

    def __init__(self, seed: int = 1, *, failures: int = 3, successes: int = 2, timeout: float = 30.0) -> None:
        self.clock = FakeClock()
        self.seen: list[Transition] = []
        settings = CircuitBreakerSettings(failure_threshold=failures, success_threshold=successes, timeout=timeout)
        super().__init__(settings, clock=self.clock, rng=random.Random(seed), listener=self.seen.append)

    @property
    def steps(self) -> list[tuple[str, str]]:
        """Return the transitions as (from, to)."""
        return [(str(step.previous), str(step.state)) for step in self.seen]

    def take(self, number: int = 1) -> int:
        """Return a permit, which the breaker must give."""
        permit = self.admit(operation(number), LIMIT)
        assert permit is not None
        return permit

    def fail(self, times: int = 1, number: int = 1) -> None:
        """Let attempts fail."""
        for _ in range(times):
            self.failure(self.take(number), operation(number), ERROR)

    def succeed(self, number: int = 1) -> None:
        """Let an attempt succeed."""
        self.success(self.take(number), operation(number))

    async def half_open(self) -> None:
        """Wait until it half-opens by its timer."""
        wait = self.retry_after_ms()
        assert wait is not None
        await self.clock.advance(wait / 1000)
        assert self.state is CircuitState.HALF_OPEN


def test_closed_admits_all_at_once() -> None:
    """A closed circuit admits every attempt."""
    circuit = Circuit()
    assert all(circuit.admit(operation(), LIMIT) is not None for _ in range(1000))
    assert circuit.allows()
    assert circuit.retry_after_ms() is None


def test_closed_opens_at_the_threshold_of_consecutive_failures() -> None:
    """Failures count only in a row; a success sets the count to zero."""
    circuit = Circuit()
    circuit.fail(2)
    circuit.succeed()
    circuit.fail(2)
    assert circuit.state is CircuitState.CLOSED
    circuit.fail(1, number=9)
    assert circuit.steps == [("closed", "open")]
    (step,) = circuit.seen
    assert (step.failures, step.error, step.operation) == (3, ERROR, operation(9))


def test_closed_ignores_released_attempts() -> None:
    """An ignored result neither counts nor resets."""
    circuit = Circuit()
    circuit.fail(2)
    circuit.release(circuit.take())
    circuit.fail(1)
    assert circuit.state is CircuitState.OPEN


def test_the_payload_is_the_contracts() -> None:
    """A transition's payload has all its keys, with the operation that caused it."""
    circuit = Circuit()
    circuit.fail(3)
    circuit.reset(operation())
    opened, closed = [step.payload() for step in circuit.seen]
    assert opened.retry_after_ms is not None
    assert 30_000 <= opened.retry_after_ms <= 33_000
    assert opened == CircuitChange(
        integration="api",
        operation="request",
        cause=operation().cause,
        from_=CircuitState.CLOSED,
        to=CircuitState.OPEN,
        failures=3,
        retry_after_ms=opened.retry_after_ms,
        error=ERROR.to_wire(),
    )
    assert msgspec.to_builtins(closed) == {
        "integration": "api",
        "operation": "request",
        "cause": {"source": "app", "id": 1, "event_type": "integration.api.request"},
        "from": "open",
        "to": "closed",
        "failures": 0,
        "retry_after_ms": None,
        "error": None,
    }


def test_open_admits_none() -> None:
    """An open circuit gives no permit, and tells the time until it half-opens."""
    circuit = Circuit()
    circuit.fail(3)
    assert circuit.admit(operation(), LIMIT) is None
    assert not circuit.allows()
    assert 30_000 <= (circuit.retry_after_ms() or 0) <= 33_000


def test_open_drops_results_of_the_closed_time() -> None:
    """Neither success nor failure nor release of an older generation changes anything."""
    circuit = Circuit()
    old = [circuit.take() for _ in range(3)]
    circuit.fail(3)
    circuit.success(old[0], operation())
    circuit.failure(old[1], operation(), ERROR)
    circuit.release(old[2])
    assert circuit.steps == [("closed", "open")]


async def test_the_told_wait_is_never_too_short() -> None:
    """A caller that waits exactly `retry_after_ms` is admitted, with any jitter."""
    for seed in range(50):
        circuit = Circuit(seed, timeout=0.0137)
        circuit.fail(3)
        wait = circuit.retry_after_ms()
        assert wait is not None
        await circuit.clock.advance(wait / 1000)
        assert circuit.admit(operation(), LIMIT) is not None


async def test_half_opens_by_its_timer_and_names_who_opened_it() -> None:
    """The circuit half-opens at its time, without a caller, and only once."""
    circuit = Circuit()
    circuit.fail(3, number=4)
    await circuit.clock.advance(29.9)
    assert circuit.state is CircuitState.OPEN
    await circuit.clock.advance(3.2)
    assert circuit.steps == [("closed", "open"), ("open", "half_open")]
    step = circuit.seen[1]
    assert (step.operation, step.error, step.retry_after_ms, step.failures) == (operation(4), ERROR, None, 3)


async def test_half_opens_lazily_where_a_caller_comes_before_the_timer() -> None:
    """A caller that comes before a late timer half-opens the circuit; the timer then does nothing."""
    circuit = Circuit()
    circuit.fail(3)
    circuit.clock._now += 40
    assert circuit.admit(operation(), LIMIT) is not None
    await circuit.clock.advance(1)
    assert circuit.steps == [("closed", "open"), ("open", "half_open")]


async def test_half_open_admits_one_probe_at_a_time() -> None:
    """A second caller is rejected while a probe runs, and gets the time until that must have ended."""
    circuit = Circuit()
    circuit.fail(3)
    await circuit.half_open()
    assert circuit.allows()
    probe = circuit.take()
    assert circuit.admit(operation(), LIMIT) is None
    assert not circuit.allows()
    assert circuit.retry_after_ms() == 10_000
    circuit.success(probe, operation())
    assert circuit.state is CircuitState.HALF_OPEN
    assert circuit.retry_after_ms() is None
    assert circuit.allows()


async def test_half_open_closes_after_enough_successes() -> None:
    """`success_threshold` good probes close the circuit, and the last one is the cause."""
    circuit = Circuit()
    circuit.fail(3)
    await circuit.half_open()
    circuit.succeed(5)
    circuit.succeed(6)
    assert circuit.steps == [("closed", "open"), ("open", "half_open"), ("half_open", "closed")]
    step = circuit.seen[-1]
    assert (step.operation, step.error, step.failures, step.retry_after_ms) == (operation(6), None, 0, None)
    circuit.fail(2)
    assert circuit.state is CircuitState.CLOSED


async def test_half_open_opens_again_at_one_failure() -> None:
    """One failing probe is enough, even after a successful one."""
    circuit = Circuit()
    circuit.fail(3)
    await circuit.half_open()
    circuit.succeed()
    circuit.fail(1, number=8)
    assert circuit.steps[-1] == ("half_open", "open")
    assert circuit.seen[-1].operation == operation(8)


async def test_successes_before_a_failed_probe_do_not_count_later() -> None:
    """Each half-open time needs all its successes."""
    circuit = Circuit()
    circuit.fail(3)
    await circuit.half_open()
    circuit.succeed()
    circuit.fail(1)
    await circuit.half_open()
    circuit.succeed()
    assert circuit.state is CircuitState.HALF_OPEN
    circuit.succeed()
    assert circuit.state is CircuitState.CLOSED


async def test_a_released_probe_makes_room() -> None:
    """A probe that was cancelled or throttled is ignored, and the next caller probes."""
    circuit = Circuit()
    circuit.fail(3)
    await circuit.half_open()
    circuit.release(circuit.take())
    circuit.succeed()
    circuit.release(circuit.take())
    circuit.succeed()
    assert circuit.state is CircuitState.CLOSED


async def test_a_probe_counts_once() -> None:
    """A probe that reports twice does not close the circuit alone."""
    circuit = Circuit()
    circuit.fail(3)
    await circuit.half_open()
    probe = circuit.take()
    circuit.success(probe, operation())
    circuit.success(probe, operation())
    assert circuit.state is CircuitState.HALF_OPEN


async def test_half_open_drops_results_of_the_closed_time() -> None:
    """A result of an attempt from before the circuit opened is ignored while a probe runs."""
    circuit = Circuit(successes=1)
    old = [circuit.take() for _ in range(2)]
    circuit.fail(3)
    await circuit.half_open()
    circuit.take()
    circuit.success(old[0], operation())
    circuit.failure(old[1], operation(), ERROR)
    assert circuit.state is CircuitState.HALF_OPEN
    assert not circuit.allows()


async def test_a_probe_past_its_time_is_a_failure() -> None:
    """The circuit opens although the probe never reports, and its late success is dropped."""
    circuit = Circuit(successes=1)
    circuit.fail(3)
    await circuit.half_open()
    probe = circuit.take(7)
    await circuit.clock.advance(LIMIT)
    step = circuit.seen[-1]
    assert (step.previous, step.state, step.operation) == (CircuitState.HALF_OPEN, CircuitState.OPEN, operation(7))
    assert isinstance(step.error, AttemptTimeoutError)
    circuit.success(probe, operation(7))
    assert circuit.state is CircuitState.OPEN


async def test_a_late_probe_is_noticed_by_the_next_caller() -> None:
    """A caller that comes before a late timer ends the probe whose time is up."""
    circuit = Circuit()
    circuit.fail(3)
    await circuit.half_open()
    circuit.take()
    circuit.clock._now += LIMIT
    assert circuit.admit(operation(), LIMIT) is None
    assert circuit.state is CircuitState.OPEN


async def test_open_time_doubles_up_to_ten_times() -> None:
    """`timeout` · 2^k with jitter upwards only, never over 10 times, and k = 0 after closing."""
    circuit = Circuit(timeout=10)
    circuit.fail(3)
    for k in range(7):
        wait = (circuit.retry_after_ms() or 0) / 1000
        least = 10 * min(2**k, MAX_BACKOFF / (1 + JITTER))
        assert least <= wait <= min(least * (1 + JITTER), 100) + 0.001
        await circuit.half_open()
        circuit.fail(1)
    await circuit.half_open()
    circuit.succeed()
    circuit.succeed()
    circuit.fail(3)
    assert (circuit.retry_after_ms() or math.inf) <= 11_000


def test_jitter_differs() -> None:
    """Breakers with different random sources half-open at different times."""
    waits = set()
    for seed in range(20):
        circuit = Circuit(seed)
        circuit.fail(3)
        waits.add(circuit.retry_after_ms())
    assert len(waits) > 15


async def test_forced_open_stays_until_reset() -> None:
    """While forced open there is no timer, no time to wait, and no result counts."""
    circuit = Circuit()
    old = circuit.take()
    circuit.force_open(operation(3))
    assert circuit.forced
    assert circuit.retry_after_ms() is None
    assert circuit.clock.timers == 0
    await circuit.clock.advance(100_000)
    circuit.success(old, operation())
    circuit.failure(old, operation(), ERROR)
    circuit.release(old)
    assert circuit.admit(operation(), LIMIT) is None
    assert circuit.steps == [("closed", "open")]
    assert (circuit.seen[0].operation, circuit.seen[0].retry_after_ms, circuit.seen[0].error) == (
        operation(3),
        None,
        None,
    )
    circuit.reset(operation(4))
    assert circuit.steps == [("closed", "open"), ("open", "closed")]
    assert not circuit.forced
    assert circuit.allows()


async def test_forcing_an_open_circuit_is_no_transition() -> None:
    """An open circuit that is forced open stays open, without its timer and without a second transition."""
    circuit = Circuit()
    circuit.fail(3)
    circuit.force_open(operation())
    circuit.force_open(operation())
    await circuit.clock.advance(1000)
    assert circuit.steps == [("closed", "open")]


async def test_forcing_a_half_open_circuit_drops_the_probe() -> None:
    """A circuit that is forced open ignores the result of a probe that was running."""
    circuit = Circuit(successes=1)
    circuit.fail(3)
    await circuit.half_open()
    probe = circuit.take()
    circuit.force_open(operation())
    circuit.success(probe, operation())
    await circuit.clock.advance(1000)
    assert circuit.steps[-1] == ("half_open", "open")
    assert circuit.forced


async def test_reset_starts_anew() -> None:
    """Counts and the length of the open time are as at the start; resetting a closed circuit is no transition."""
    circuit = Circuit()
    circuit.fail(3)
    await circuit.half_open()
    circuit.fail(1)
    circuit.reset(operation())
    circuit.fail(2)
    circuit.reset(operation())
    circuit.fail(2)
    assert circuit.state is CircuitState.CLOSED
    circuit.fail(1)
    assert (circuit.retry_after_ms() or math.inf) <= 33_000
    assert len(circuit.seen) == 5


@pytest.mark.parametrize("half_open", [False, True])
async def test_close_leaves_no_timer(half_open: bool) -> None:
    """Neither the open time nor a probe's limit outlives the breaker."""
    circuit = Circuit()
    circuit.fail(3)
    if half_open:
        await circuit.half_open()
        circuit.take()
    assert circuit.clock.timers == 1
    circuit.close()
    assert circuit.clock.timers == 0
