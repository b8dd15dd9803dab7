"""What the guard measures of its operations, and that it stays bounded."""

import msgspec
import pytest

from bridge.core.errors import ConnectionLostError, ProtocolError, UnavailableError
from bridge.core.model import CircuitState, FailedAttempt, Outcome
from bridge.resilience.measurements import BUCKETS, REMEMBERED, Histogram, Measurements
from tests.support.guard.harness import GuardHarness, script
from tests.support.guard.operations import operation


def test_buckets_hold_their_upper_limit() -> None:
    """A duration is in the first bucket whose limit it does not exceed, as Prometheus' `le` has it."""
    histogram = Histogram()
    for seconds in (0.0, 0.001, 0.0011, 3600.0):
        histogram.add(seconds)
    counts = dict(zip((*BUCKETS, None), histogram.counts, strict=True))
    assert {limit: count for limit, count in counts.items() if count} == {0.0005: 1, 0.001: 1, 0.0025: 1, None: 1}
    assert histogram.total == pytest.approx(3600.0021)


async def test_what_is_counted() -> None:
    """Attempts, retries, durations and errors are those of the operations that the guard has run."""
    guarded = GuardHarness(retry={"initial_delay": "100ms"})
    await guarded.run(script(UnavailableError("503"), "ok"))
    await guarded.run(script(*[UnavailableError("503")] * 3))
    measured = guarded.guard.measured
    assert (measured.attempts, measured.retries) == (5, 3)
    assert measured.failures == {"unavailable": 1}
    (histogram,) = measured.durations.values()
    assert (sum(histogram.counts), histogram.total) == (2, pytest.approx(0.1 + 0.3))
    (failed,) = measured.failed
    assert [one.error.kind for one in failed.history] == ["unavailable"] * 3
    assert failed.duration_ms == pytest.approx(300)


async def test_operations_without_an_attempt() -> None:
    """What an open circuit refuses is counted by its kind, but has no duration and does not push real failures out."""
    guarded = GuardHarness(circuit_breaker={"failure_threshold": 1}, retry={"max_attempts": 1})
    await guarded.run(script(UnavailableError("503")))
    for _ in range(2 * REMEMBERED):
        await guarded.run(script("never begun"))
    measured = guarded.guard.measured
    assert measured.failures == {"unavailable": 1, "circuit_open": 2 * REMEMBERED}
    assert [one.error.kind for one in measured.failed] == ["unavailable"]
    assert [(one.state, one.error and one.error.kind) for one in measured.circuit] == [
        (CircuitState.OPEN, "unavailable")
    ]
    assert measured.transitions[CircuitState.OPEN] == 1


def test_it_is_bounded() -> None:
    """Many failures, each with a long text, data and many attempts, are cut; the last ones are kept."""
    measured = Measurements()
    error = ProtocolError("x" * 10_000, data={"much": "y" * 1000})
    for number in range(REMEMBERED + 5):
        attempt = FailedAttempt(at=0, duration_ms=1.0, error=ConnectionLostError("z" * 10_000).to_wire())
        outcome = Outcome(error=error, attempts=300, duration_ms=5.0, history=(attempt,) * 300)
        measured.ended(msgspec.structs.replace(operation(number), route=f"r{number}"), outcome, at=number)
    assert [one.at for one in measured.failed] == list(range(5, REMEMBERED + 5))
    last = measured.failed[-1]
    assert (last.attempts, len(last.history)) == (300, 20)
    assert len(msgspec.json.encode(last)) < 20_000
    assert last.error.data is msgspec.UNSET


def test_sums_of_a_route() -> None:
    """Each route has sums of its own; a command has none."""
    measured = Measurements()
    routed = msgspec.structs.replace(operation(1), route="orders")
    measured.succeeded(routed, 0.1)
    measured.succeeded(operation(2), 0.1)
    measured.ended(routed, Outcome(error=UnavailableError("503"), attempts=1), at=1)
    assert {name: (sums.succeeded, sums.failed) for name, sums in measured.routes.items()} == {"orders": (1, 1)}
