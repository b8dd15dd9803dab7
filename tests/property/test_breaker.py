"""The breaker against a model of its table, in any order of calls, results and time."""

import asyncio
import math
import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from bridge.core.errors import UnavailableError
from bridge.core.model import CircuitState
from bridge.core.settings import CircuitBreakerSettings
from bridge.resilience.circuit import CircuitBreaker, Transition
from tests.support.clock import FakeClock
from tests.support.guard.operations import operation

#: Binary fractions of a second, so that sums are exact.
TICK = 1 / 64
TIMEOUT = 1.0
PROBE_LIMIT = 0.5
TICKS = st.sampled_from([1, 8, 31, 32, 33, 64, 128, 640])
#: The number of a person's command.
PERSON = 0


class BreakerMachine(RuleBasedStateMachine):
    """Callers, results, timers and commands, in any order; the breaker must do what the model does."""

    permits: Bundle[tuple[int, int]] = Bundle("permits")

    @initialize(failures=st.integers(1, 4), successes=st.integers(1, 3), seed=st.integers(0, 99))
    def start(self, failures: int, successes: int, seed: int) -> None:
        """Begin with a closed breaker and its model."""
        self.loop = asyncio.new_event_loop()
        self.clock = FakeClock()
        self.seen: list[Transition] = []
        self.failure_threshold, self.success_threshold = failures, successes
        limits = CircuitBreakerSettings(failure_threshold=failures, success_threshold=successes, timeout=TIMEOUT)
        self.breaker = CircuitBreaker(limits, clock=self.clock, rng=random.Random(seed), listener=self.seen.append)
        self.state = CircuitState.CLOSED
        self.forced = False
        self.failed = self.succeeded = self.k = 0
        self.until = math.inf
        self.valid: set[int] = set()  # numbers of permits whose result still counts
        self.number = 0
        self.expected: list[tuple[str, int]] = []
        self.opened_by = 0

    def teardown(self) -> None:
        """No timer outlives the breaker."""
        if hasattr(self, "loop"):
            self.breaker.close()
            assert self.clock.timers == 0
            self.loop.close()

    # --- the model

    def enter(self, state: CircuitState, cause: int) -> None:
        """Note a transition in the model: every permit given so far is stale."""
        self.state = state
        self.succeeded = 0
        self.valid.clear()
        self.until = math.inf
        self.expected.append((str(state), cause))

    def opened(self, cause: int) -> None:
        """Check that it opened by itself, for a time within the limits."""
        self.enter(CircuitState.OPEN, cause)
        self.opened_by = cause
        self.until = self.breaker._timer.due
        wait = self.until - self.clock.monotonic()
        assert TIMEOUT * min(2**self.k, 9) <= wait <= TIMEOUT * min(2**self.k * 1.1, 10) + 1e-9
        told = self.breaker.retry_after_ms()
        assert told is not None
        assert told / 1000 >= wait

    def failure_counts(self, cause: int) -> None:
        """Count a failure in the model."""
        self.failed += 1
        if self.state is CircuitState.HALF_OPEN:
            self.k += 1
            self.opened(cause)
        elif self.failed >= self.failure_threshold:
            self.opened(cause)

    def time_passed(self) -> None:
        """Let the model do what timers have done; in order, since a late probe opens it, and it may half-open again."""
        if self.clock.monotonic() < self.until:
            return
        if self.state is CircuitState.OPEN:
            self.enter(CircuitState.HALF_OPEN, self.opened_by)
        else:
            (probe,) = self.valid
            self.failure_counts(probe)

    # --- what happens

    @rule(target=permits)
    def admit(self) -> tuple[int, int]:
        """Ask for a permit."""
        self.number += 1
        allowed = self.breaker.allows()
        permit = self.breaker.admit(operation(self.number), PROBE_LIMIT)
        self.time_passed()
        probing = self.state is CircuitState.HALF_OPEN and bool(self.valid)
        expected = self.state is not CircuitState.OPEN and not probing
        assert (permit is not None) is allowed is expected
        if permit is None:
            return (-1, self.number)
        self.valid.add(self.number)
        if self.state is CircuitState.HALF_OPEN:
            self.until = self.clock.monotonic() + PROBE_LIMIT
        return (permit, self.number)

    @rule(permit=consumes(permits))
    def succeed(self, permit: tuple[int, int]) -> None:
        """Let an attempt succeed."""
        self.breaker.success(permit[0], operation(permit[1]))
        if permit[1] not in self.valid:
            return
        self.valid.discard(permit[1])
        self.failed = 0
        if self.state is CircuitState.HALF_OPEN:
            self.until = math.inf
            self.succeeded += 1
            if self.succeeded >= self.success_threshold:
                self.k = 0
                self.enter(CircuitState.CLOSED, permit[1])

    @rule(permit=consumes(permits))
    def fail(self, permit: tuple[int, int]) -> None:
        """Let an attempt fail."""
        self.breaker.failure(permit[0], operation(permit[1]), UnavailableError("down"))
        if permit[1] in self.valid:
            self.valid.discard(permit[1])
            self.failure_counts(permit[1])

    @rule(permit=consumes(permits))
    def release(self, permit: tuple[int, int]) -> None:
        """Let an attempt be cancelled or ignored."""
        self.breaker.release(permit[0])
        if permit[1] in self.valid:
            self.valid.discard(permit[1])
            if self.state is CircuitState.HALF_OPEN:
                self.until = math.inf

    @rule(ticks=TICKS)
    def wait(self, ticks: int) -> None:
        """Let time pass; timers fire on time."""
        for _ in range(ticks):
            self.loop.run_until_complete(self.clock.advance(TICK))
            self.time_passed()

    @rule(ticks=TICKS)
    def stall(self, ticks: int) -> None:
        """Suspend the process for a while: the next caller comes before any timer."""
        self.clock._now += ticks * TICK
        self.breaker.allows()
        self.time_passed()

    @rule()
    def force_open(self) -> None:
        """Open the circuit by hand."""
        self.breaker.force_open(operation(PERSON))
        self.forced = True
        self.until = math.inf
        if self.state is not CircuitState.OPEN:
            self.enter(CircuitState.OPEN, PERSON)

    @rule()
    def reset(self) -> None:
        """Close the circuit by hand."""
        self.breaker.reset(operation(PERSON))
        self.forced = False
        self.failed = 0
        if self.state is not CircuitState.CLOSED:
            self.k = 0
            self.enter(CircuitState.CLOSED, PERSON)

    @invariant()
    def equal_to_the_model(self) -> None:
        """Check the state, and that each transition was reported once, in order, with its cause."""
        if not hasattr(self, "loop"):
            return
        assert (self.breaker.state, self.breaker.forced) == (self.state, self.forced)
        told = [(str(step.state), step.operation.cause.id) for step in self.seen]
        assert told == self.expected
        states = [CircuitState.CLOSED, *(step.state for step in self.seen)]
        assert [step.previous for step in self.seen] == states[:-1]
        assert all(step.previous is not step.state for step in self.seen)


TestBreaker = BreakerMachine.TestCase
TestBreaker.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
