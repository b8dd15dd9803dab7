"""The circuit breaker; its time and its random numbers come from outside.

========= ================== ============================ ================= ============ =========================
state     admits             success                      failure           ignored      timer
========= ================== ============================ ================= ============ =========================
closed    all                count = 0                    threshold: open   nothing      none
open      none               stale: dropped               stale: dropped    dropped      half-open
half-open one probe a time   threshold: closed, k = 0     open, k + 1       probe free   probe's limit is a failure
forced    none               dropped                      dropped           dropped      none: by hand only
========= ================== ============================ ================= ============ =========================

An admitted attempt holds a permit, which is the number of the generation that it belongs to. Each transition and each
probe starts a new generation, and a result of an older one is dropped: an attempt from before the circuit opened proves
nothing about the remote now.

The circuit stays open for `timeout` · 2^k, at most ten times `timeout`, where k counts the probes that failed in a row.
Jitter only makes it longer (up to a tenth), and is drawn before `retry_after_ms` is reported: a caller that waits that
long is never too early.
"""

import math
import random
from collections.abc import Callable
from typing import Final

import msgspec

from bridge.core.backoff import backoff
from bridge.core.errors import AttemptTimeoutError, BridgeError
from bridge.core.model import CircuitState, Operation
from bridge.core.payloads import CircuitChange
from bridge.core.ports import Clock
from bridge.core.settings import CircuitBreakerSettings
from bridge.core.timer import Timer

#: The longest that the circuit stays open, as a multiple of `timeout`.
MAX_BACKOFF: Final = 10.0
#: The most that jitter adds, as a share of the time.
JITTER: Final = 0.1


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """A change of state; the listener gets it once, when it has happened.

    Attributes:
        previous: The state before.
        state: The state now.
        failures: Consecutive failures so far.
        retry_after_ms: Milliseconds until it half-opens; None unless it opened by itself.
        error: The failure that opened it, also when it half-opens; None when it closes or is forced.
        operation: What caused it; for half-open, the operation that had opened it.
    """

    previous: CircuitState
    state: CircuitState
    failures: int
    retry_after_ms: int | None
    error: BridgeError | None
    operation: Operation

    def payload(self) -> CircuitChange:
        """Return the payload of `resilience.<id>.circuit.*`."""
        return CircuitChange(
            integration=self.operation.integration,
            operation=self.operation.name,
            cause=self.operation.cause,
            from_=self.previous,
            to=self.state,
            failures=self.failures,
            retry_after_ms=self.retry_after_ms,
            error=None if self.error is None else self.error.to_wire(),
        )


class CircuitBreaker:
    """Stops calling a remote that does not work, and finds out when it does again."""

    def __init__(
        self,
        settings: CircuitBreakerSettings,
        *,
        clock: Clock,
        rng: random.Random,
        listener: Callable[[Transition], None],
    ) -> None:
        """Create a closed circuit.

        Args:
            settings: Thresholds, and the first time that it stays open.
            clock: For how long the circuit stays open.
            rng: For jitter.
            listener: Called synchronously at each transition, in their order; it must not call back into the breaker.
        """
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._listener = listener
        self._state = CircuitState.CLOSED
        self._forced = False
        self._generation = 0
        self._failures = 0
        self._successes = 0
        self._reopened = 0
        self._probing = False
        self._timer = Timer(clock)  # open: when it half-opens; half-open: when the probe's time is up
        self._opened_by: Operation | None = None
        self._error: BridgeError | None = None

    def change(self, settings: CircuitBreakerSettings) -> None:
        """Use other settings from now on; the state, and the time for which it stays open, are as they were."""
        self._settings = settings

    @property
    def state(self) -> CircuitState:
        """The state: closed, open or half-open. A circuit that was opened by hand is open."""
        return self._state

    @property
    def forced(self) -> bool:
        """Whether it was opened by hand and stays so until `reset`."""
        return self._forced

    def allows(self) -> bool:
        """Return whether `admit` would give a permit now."""
        if self._state is CircuitState.CLOSED:
            return True
        self._timer.catch_up()
        return self._state is CircuitState.HALF_OPEN and not self._probing

    def admit(self, operation: Operation, limit: float) -> int | None:
        """Return a permit for one attempt; None where the circuit does not allow one.

        Each permit is given back exactly once, by `success`, `failure` or `release`.

        Args:
            operation: The operation that the attempt is for.
            limit: Seconds that the attempt may take; a probe that takes longer has failed.
        """
        if self._state is CircuitState.CLOSED:
            return self._generation
        if not self.allows():
            return None
        self._probing = True
        self._generation += 1
        self._timer.set(limit, lambda: self._probe_expired(operation))
        return self._generation

    def success(self, permit: int, operation: Operation) -> None:
        """Count that the remote answered, and give the permit back; enough of these close a half-open circuit."""
        if permit != self._generation:
            return
        self._failures = 0
        if self._state is CircuitState.HALF_OPEN:
            self._free_probe()
            self._successes += 1
            if self._successes >= self._settings.success_threshold:
                self._close(operation)

    def failure(self, permit: int, operation: Operation, error: BridgeError) -> None:
        """Count that the remote gave no sensible answer, and give the permit back; enough of these open the circuit."""
        if permit != self._generation:
            return
        self._failures += 1
        if self._state is CircuitState.HALF_OPEN:
            self._reopened += 1
            self._open(operation, error)
        elif self._failures >= self._settings.failure_threshold:
            self._open(operation, error)

    def release(self, permit: int) -> None:
        """Give a permit back without counting: the attempt was cancelled, throttled, or never sent."""
        if permit == self._generation and self._state is CircuitState.HALF_OPEN:
            self._free_probe()

    def retry_after_ms(self) -> int | None:
        """Return the milliseconds, rounded up, until it half-opens or the probe must have ended.

        None where the circuit is closed or was opened by hand.
        """
        if not self._timer.is_set:
            return None
        return max(0, math.ceil((self._timer.due - self._clock.monotonic()) * 1000))

    def force_open(self, operation: Operation) -> None:
        """Open the circuit until `reset`. One that is open already makes no transition."""
        self._forced = True
        self._timer.cancel()
        if self._state is not CircuitState.OPEN:
            self._enter(CircuitState.OPEN, operation, None)

    def reset(self, operation: Operation) -> None:
        """Close the circuit, whatever its state; all counts start again at 0."""
        self._forced = False
        self._failures = 0
        if self._state is not CircuitState.CLOSED:
            self._close(operation)

    def close(self) -> None:
        """Cancel the timer; the breaker is not used after that."""
        self._timer.cancel()

    def _open(self, operation: Operation, error: BridgeError) -> None:
        first = self._settings.timeout
        longest = first * MAX_BACKOFF / (1 + JITTER)
        wait = backoff(first, longest, self._reopened + 1, jitter=(1.0, 1 + JITTER), rng=self._rng)
        self._opened_by, self._error = operation, error
        self._timer.set(wait, self._half_open)
        self._enter(CircuitState.OPEN, operation, error)

    def _half_open(self) -> None:
        assert self._opened_by is not None  # noqa: S101 - the timer is set where it opens
        self._enter(CircuitState.HALF_OPEN, self._opened_by, self._error)

    def _close(self, operation: Operation) -> None:
        self._timer.cancel()
        self._reopened = 0
        self._opened_by = self._error = None
        self._enter(CircuitState.CLOSED, operation, None)

    def _enter(self, state: CircuitState, operation: Operation, error: BridgeError | None) -> None:
        previous, self._state = self._state, state
        self._generation += 1
        self._successes = 0
        self._probing = False
        self._listener(
            Transition(
                previous=previous,
                state=state,
                failures=self._failures,
                retry_after_ms=self.retry_after_ms(),
                error=error,
                operation=operation,
            )
        )

    def _probe_expired(self, operation: Operation) -> None:
        self.failure(self._generation, operation, AttemptTimeoutError("the probe got no answer in its time"))

    def _free_probe(self) -> None:
        self._timer.cancel()
        self._probing = False
        self._generation += 1
