"""Measures the operations of one integration: how long they take, how they fail, and what its circuit did."""

from bisect import bisect_left
from collections import deque
from typing import Final

from bridge.core.errors import ErrorKind, ErrorObject
from bridge.core.model import CircuitState, FailedAttempt, Operation, Outcome
from bridge.core.payloads import CircuitMoment, FailedOperation

#: Upper limits of the histogram's buckets in seconds; the last bucket has all that took longer.
BUCKETS: Final = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
)
#: How many failed operations, and how many changes of the circuit, are remembered.
REMEMBERED: Final = 50
#: How many of an operation's failed attempts are remembered: the first ones and the last ones.
_MOST_ATTEMPTS: Final = 20
#: Characters of an error's message that are remembered.
_MOST_TEXT: Final = 500
#: How many routes are told apart; those beyond are counted together, under an empty name.
_MOST_ROUTES: Final = 1000


class Histogram:
    """Counts durations in buckets.

    Attributes:
        counts: How many are in each bucket of `BUCKETS`, and at last how many took longer.
        total: The sum of all durations in seconds.
    """

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds


class RouteSums:
    """Counts of a route's operations since the start.

    Attributes:
        succeeded: Those that ended with a result.
        failed: Those that ended with an error; one of the outbox may do so more than once.
    """

    __slots__ = ("failed", "succeeded")

    def __init__(self) -> None:
        self.succeeded = 0
        self.failed = 0


class Measurements:
    """What is known of an integration's operations beside their sums (`Accounting`). The guard writes it.

    Everything is bounded: names of operations are a closed list, so are kinds of errors, and routes are those of the
    configuration. Nothing here has an operation's arguments or result.

    Attributes:
        durations: Of operations that had an attempt, from acceptance to the end, by the operation's name. One of the
            outbox counts each time that the guard has it.
        attempts: How many attempts were begun.
        retries: How many of these were not the first one of their operation.
        failures: How often an operation ended with an error, by the error's kind; one of the outbox may do so often.
        transitions: How often the circuit came to each state.
        routes: Operations of each route, by how they ended.
        failed: The last operations that failed after an attempt, oldest first.
        circuit: The last changes of the circuit, oldest first.
    """

    __slots__ = ("attempts", "circuit", "durations", "failed", "failures", "retries", "routes", "transitions")

    def __init__(self) -> None:
        self.durations: dict[str, Histogram] = {}
        self.attempts = 0
        self.retries = 0
        self.failures: dict[ErrorKind, int] = {}
        self.transitions = dict.fromkeys(CircuitState, 0)
        self.routes: dict[str, RouteSums] = {}
        self.failed: deque[FailedOperation] = deque(maxlen=REMEMBERED)
        self.circuit: deque[CircuitMoment] = deque(maxlen=REMEMBERED)

    def succeeded(self, operation: Operation, seconds: float) -> None:
        """Count an operation that ended with a result, `seconds` after it was accepted."""
        durations = self.durations.get(operation.name)
        (durations or self._durations_of(operation.name)).add(seconds)
        if operation.route is not None:
            sums = self.routes.get(operation.route)
            (sums or self._sums_of(operation.route)).succeeded += 1

    def ended(self, operation: Operation, outcome: Outcome, at: int) -> None:
        """Count an operation that ended with an error, and remember it where it had an attempt.

        Args:
            operation: The operation.
            outcome: How it ended.
            at: When, Unix time in milliseconds.
        """
        error = outcome.error
        if error is None:
            return
        self.failures[error.kind] = self.failures.get(error.kind, 0) + 1
        if operation.route is not None:
            self._sums_of(operation.route).failed += 1
        if outcome.attempts:
            self._durations_of(operation.name).add(outcome.duration_ms / 1000)
            self.failed.append(_remembered(operation, outcome, error.to_wire(), at))

    def circuit_changed(self, state: CircuitState, error: ErrorObject | None, at: int) -> None:
        """Remember that the circuit came to a state, at Unix time in milliseconds, because of an error or by hand."""
        self.transitions[state] += 1
        self.circuit.append(
            CircuitMoment(at=at, state=state, error=None if error is None else error.shortened(_MOST_TEXT))
        )

    def _durations_of(self, name: str) -> Histogram:
        found = self.durations.get(name)
        if found is None:
            found = self.durations[name] = Histogram()
        return found

    def _sums_of(self, name: str) -> RouteSums:
        found = self.routes.get(name)
        if found is None:
            if len(self.routes) >= _MOST_ROUTES:
                name = ""
            found = self.routes.setdefault(name, RouteSums())
        return found


def _remembered(operation: Operation, outcome: Outcome, error: ErrorObject, at: int) -> FailedOperation:
    history = outcome.history
    if len(history) > _MOST_ATTEMPTS:
        half = _MOST_ATTEMPTS // 2
        history = (*history[:half], *history[-half:])
    return FailedOperation(
        at=at,
        operation=operation.name,
        route=operation.route,
        cause=operation.cause,
        correlation_id=operation.correlation_id,
        traceparent=None if operation.headers is None else operation.headers.get("traceparent"),
        durable=operation.durable,
        attempts=outcome.attempts,
        duration_ms=round(outcome.duration_ms, 3),
        error=error.shortened(_MOST_TEXT),
        history=[
            FailedAttempt(at=one.at, duration_ms=round(one.duration_ms, 3), error=one.error.shortened(_MOST_TEXT))
            for one in history
        ],
    )
