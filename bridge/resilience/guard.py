"""The guard: runs each accepted operation on its adapter, with retries, circuit breaker and limits.

Nesting, outermost first: deadline > retry > breaker > in-flight limit > attempt time limit. A call asks the breaker
when it is submitted, and again when it gets a slot. It takes its permit only then, so that no call in the queue holds
the permit of a probe. A slot is held during an attempt and not between two.

What the guard reports, by `report(what, payload, operation)`, with the payloads of `resilience.<id>.*`:

- `retry` before each wait for another attempt;
- `circuit.opened`, `circuit.half_opened`, `circuit.closed` exactly once for each transition, before the end of the
  operation that caused it;
- `shed` for operations that ended without an attempt (reason = the error's kind) and for retries that the budget
  forbids (`retry_budget`), at most once a second for each reason.

The outcome of an operation goes to its call (`GuardedCall.end`), exactly once, and nowhere else.

When the circuit opens, calls that wait (for a slot or for their next attempt) end at once: with `circuit_open` where
they had no attempt, else with their last real error.

A connection that ends is one failure for the breaker, however many attempts were in flight on it. A call under which
connections end again and again is tried alone, and ends with `rejected` if that is its own doing (`ConnectionLosses`).
"""

import asyncio
import random
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from bridge.core.cancel import BoundedTasks
from bridge.core.errors import BridgeError, CircuitOpenError, OverloadedError
from bridge.core.model import CircuitState, Executed, FailedAttempt, Outcome
from bridge.core.ports import Clock
from bridge.core.settings import ResilienceSettings
from bridge.resilience.accounting import Accounting, Stage
from bridge.resilience.attempts import Attempts
from bridge.resilience.circuit import CircuitBreaker, Transition
from bridge.resilience.classify import CountsAs, classify
from bridge.resilience.connection_losses import ConnectionLosses, Loss
from bridge.resilience.guarded_call import (
    GuardedCall,
    RunningAttempt,
    cancelled_error,
    not_retryable,
    own_doing,
    stopping_error,
)
from bridge.resilience.limits import Limiter
from bridge.resilience.measurements import Measurements
from bridge.resilience.report import Report, shed_reports
from bridge.resilience.retry import Retries

# Each call passes these stages; before Python 3.12 looking a member up costs as much as moving an operation.
_PENDING: Final = Stage.PENDING
_QUEUED: Final = Stage.QUEUED
_IN_FLIGHT: Final = Stage.IN_FLIGHT
_SUCCEEDED: Final = Stage.SUCCEEDED

_CIRCUIT_EVENTS: Final = {
    CircuitState.OPEN: "circuit.opened",
    CircuitState.HALF_OPEN: "circuit.half_opened",
    CircuitState.CLOSED: "circuit.closed",
}


class Guard:
    """Runs one integration's operations: retry, breaker, limits, time limits, and their accounting.

    A call needs no task while it waits, and none for an attempt that its adapter can begin without one
    (`GuardedCall.begin`); any other attempt is a task, from its start to its end.

    Attributes:
        accounting: The sums, live.
        measured: How long operations take, how they fail, and what the circuit did, live.
        breaker: The circuit, to look at and to open or reset by hand.
    """

    def __init__(
        self,
        settings: ResilienceSettings,
        *,
        clock: Clock,
        rng: random.Random,
        report: Report,
        tasks: BoundedTasks,
        on_bug: Callable[[BaseException], None],
        redact: Callable[[BridgeError], None] = lambda _: None,
    ) -> None:
        """Create it; nothing runs and no timer is set before the first operation.

        Args:
            settings: The integration's `resilience` block.
            clock: For all waiting and measuring.
            rng: For jitter.
            report: Called synchronously, in the order of what happened; it must not call back into the guard.
            tasks: Run the attempts that need a task.
            on_bug: Called with a bug in `report` or in a call where there is no task that could raise it.
            redact: Removes secrets from an attempt's error, before anybody else sees it.
        """
        self.accounting = Accounting()
        self.measured = Measurements()
        self._timeout = settings.timeout
        self._clock = clock
        self._report = report
        self._on_bug = on_bug
        self._redact = redact
        self.breaker = CircuitBreaker(settings.circuit_breaker, clock=clock, rng=rng, listener=self._on_transition)
        self._limiter: Limiter[GuardedCall] = Limiter(settings.limit, clock=clock, on_turn=self._pump)
        self._running = Attempts(settings.timeout, clock=clock, tasks=tasks, give_up=self._give_up, on_bug=on_bug)
        self._shed = shed_reports(report, clock)
        self._retries = Retries(settings.retry, clock=clock, rng=rng, report=report, shed=self._shed)
        self._losses = ConnectionLosses()
        self._refused = 0  # attempts whose error only a remote that works can give
        self._backing_off: dict[GuardedCall, None] = {}
        self._rejected: dict[GuardedCall, Callable[[GuardedCall], BridgeError]] = {}
        self._watchers: list[asyncio.Future[None]] = []
        self._accepting = True
        self._stopping = False
        self._pumping = False

    def change(self, settings: ResilienceSettings) -> None:
        """Use other settings from now on. Nothing ends by that, neither what runs nor what waits."""
        self._timeout = settings.timeout
        self.breaker.change(settings.circuit_breaker)
        self._limiter.change(settings.limit)
        self._running.change(settings.timeout)
        self._retries.change(settings.retry)
        self._pump()

    def submit(self, call: GuardedCall) -> None:
        """Run an operation, with as many attempts as it may have; its outcome goes to `GuardedCall.end`.

        First attempts begin in the order in which calls are submitted. A call ends at once where the circuit is open
        (`circuit_open`), the queue is full (`overloaded`), the guard is stopping (`stopping`), or its deadline has
        passed (`deadline`).
        """
        now = call.started = self._clock.monotonic()
        deadline = call.operation.deadline
        if call.operation.durable:
            self.accounting.move(_PENDING, _QUEUED)
        else:
            self.accounting.accept(_QUEUED)
        if not self._accepting:
            self._end(call, stopping_error())
        elif deadline is not None and deadline <= now:
            self._end(call, call.expired())
        elif self._losses.known and self.breaker.allows() and self._losses.is_suspect(call):
            self._wait_alone(call)
        elif self._limiter.try_start():
            self._start(call, now)
        elif not self.breaker.allows():
            self._end(call, self._circuit_open(call))
        elif self._limiter.full:
            self._end(call, OverloadedError("too many operations are waiting already"))
        else:
            self._wait(call)

    @property
    def accepting(self) -> bool:
        """Whether new calls are accepted; otherwise each ends with `stopping`."""
        return self._accepting

    def note_check(self) -> None:
        """Note that the remote has passed a health check: connections that end are not the fault of all calls."""
        self._losses.checks += 1

    def pause(self) -> None:
        """Start no attempt until `resume`. New calls wait in the queue, and deadlines still count."""
        self._limiter.pause()

    def resume(self) -> None:
        """Undo `pause`, `stop_accepting` and `stop_queued`: accept new calls, and start those that wait."""
        self.accept()
        self.resume_starting()

    def accept(self) -> None:
        """Undo `stop_accepting` and `stop_queued` alone: accept new calls."""
        self._accepting = True
        self._stopping = False

    def resume_starting(self) -> None:
        """Undo `pause` alone: start those that wait."""
        self._limiter.resume()
        self._pump()

    async def attempts_ended(self) -> None:
        """Wait until each attempt has ended that runs now; others may begin meanwhile."""
        running = set(self._running)
        await self._until(lambda: running.isdisjoint(self._running))

    def stop_accepting(self) -> None:
        """Reject new calls with `stopping`. Calls that were accepted go on to their end, with their retries."""
        self._accepting = False

    async def stop_queued(self) -> None:
        """Reject new calls and all that wait with `stopping`. Attempts that run go on, without retries.

        Returns when no call waits any more.
        """
        self._accepting = False
        self._stopping = True
        self._reject_waiting(lambda _: stopping_error())
        await self._until(lambda: not self.accounting.queued)

    async def idle(self) -> None:
        """Wait until no operation waits or runs."""
        await self._until(lambda: not self.accounting.open)

    def cancel(self, call: GuardedCall) -> None:
        """Cancel one call: it ends without an outcome, at once, or when the task of its attempt has ended."""
        if call.attempt is not None:
            self._running.cancel(call.attempt)
        elif self._limiter.forget(call) or call in self._backing_off or call in self._rejected:
            self._backing_off.pop(call, None)
            self._rejected.pop(call, None)
            call.cancel_timer()
            self._drop(call, tell=True)

    def cancel_all(self) -> None:
        """Cancel all calls, and reject new ones with `stopping`."""
        self._accepting = False
        self._stopping = True
        for call in (*self._limiter, *self._backing_off, *self._rejected):
            self.cancel(call)
        for attempt in self._running:
            self._running.cancel(attempt)

    def close(self) -> None:
        """Report what was shed and not yet reported, and cancel all timers. Call it when idle."""
        self._shed.flush()
        self._running.close()
        self.breaker.close()
        self._limiter.close()

    # --- one attempt

    def _start(self, call: GuardedCall, now: float) -> None:
        """Begin an attempt in the slot that the call has; or give the slot back and end the call."""
        operation, limit = call.operation, self._timeout
        if operation.deadline is not None:
            limit = min(limit, operation.deadline - now)
        away = call.away() if operation.durable else None
        permit = self.breaker.admit(operation, limit) if limit > 0 and away is None else None
        if permit is None:
            self._limiter.release(unused=True)
            self._end(call, call.expired() if limit <= 0 else away or self._circuit_open(call))
            return
        call.attempts += 1
        self.measured.attempts += 1
        if call.attempts > 1:
            self.measured.retries += 1
        self._retries.count(now)
        self.accounting.move(_QUEUED, _IN_FLIGHT)
        span = None if call.span is None else call.span.attempt(call.attempts)
        call.attempt = RunningAttempt(self._settle, call, now, limit, permit, self._losses.ends, span)
        self._running.start(call.attempt)

    def _give_up(self, attempt: RunningAttempt, cancelled: bool) -> None:
        """End an attempt, and its call, that was cancelled or that a bug ended: without an outcome, but counted."""
        self._running.remove(attempt)
        self.breaker.release(attempt.permit)
        self._limiter.release()
        self.accounting.move(_IN_FLIGHT, _QUEUED)
        attempt.call.attempt = None
        if attempt.span is not None:
            attempt.span.end(cancelled_error())
        self._drop(attempt.call, tell=cancelled)
        self._pump()

    def _settle(self, attempt: RunningAttempt, result: Any, error: BridgeError | None) -> None:
        """End an attempt with a result or an error; its promise calls this once."""
        call = attempt.call
        call.attempt = None
        now = self._clock.monotonic()
        self._running.remove(attempt)
        others = True
        try:
            if error is None:
                self.accounting.move(_IN_FLIGHT, _SUCCEEDED)
                self.breaker.success(attempt.permit, call.operation)
                others = self._limiter.release()
                if attempt.span is not None:
                    attempt.span.end()
                attempts = call.attempts
                if type(result) is Executed:
                    result, attempts = result.result, result.attempts
                seconds = now - call.started
                self.measured.succeeded(call.operation, seconds)
                if self._watchers:
                    self._changed()
                if self._losses.known:
                    self._losses.forget(call)
                if call.span is not None:
                    call.span.end()
                outcome = Outcome(result=result, attempts=attempts, duration_ms=seconds * 1000, history=call.history)
                call.end(outcome)
            else:
                loss = self._loss(attempt, error)
                self.accounting.move(_IN_FLIGHT, _QUEUED)
                if error.maybe_sent and error.retryable and not call.idempotent:
                    error = not_retryable(error)
                self._failed_attempt(attempt, error, now, loss)
                self._limiter.release()
                self._go_on(call, own_doing(error) if loss is Loss.OWN_DOING else error)
                if self._watchers:
                    self._changed()
        except BaseException as bug:  # noqa: BLE001 - whoever is told raises it
            self._on_bug(bug)
        if others:
            self._pump(now)

    def _loss(self, attempt: RunningAttempt, error: BridgeError) -> Loss | None:
        """Return what the end of an attempt's connection means; None where the error is another one."""
        if error.kind != "connection_lost" or not error.maybe_sent:
            return None
        answers = self.accounting.count(_SUCCEEDED) + self._refused
        return self._losses.add(attempt, in_flight=self.accounting.in_flight, answers=answers)

    def _tells_nothing_new(self, call: GuardedCall, error: BridgeError, loss: Loss | None) -> bool:
        """Return whether the breaker has counted the failure already, or it is about the call and not the remote."""
        if loss is Loss.OWN_DOING:
            return True
        if self.breaker.state is not CircuitState.CLOSED:  # each failure tells that the remote does not work yet
            return False
        # Calls of the outbox that were waiting for a slot find no connection, where a session has ended under others.
        waited = error.kind == "not_connected" and call.operation.durable and call.needs_session
        return waited or loss is Loss.KNOWN

    def _failed_attempt(self, attempt: RunningAttempt, error: BridgeError, now: float, loss: Loss | None) -> None:
        self._redact(error)
        if attempt.span is not None:
            attempt.span.end(error)
        call = attempt.call
        duration_ms = (now - attempt.began) * 1000
        at = self._clock.wall_ms() - round(duration_ms)
        call.history += (FailedAttempt(at=at, duration_ms=duration_ms, error=error.to_wire()),)
        call.last = error
        match CountsAs.IGNORED if self._tells_nothing_new(call, error, loss) else classify(error):
            case CountsAs.FAILURE:
                self.breaker.failure(attempt.permit, call.operation, error)
            case CountsAs.SUCCESS:
                self._refused += 1
                self.breaker.success(attempt.permit, call.operation)
            case CountsAs.IGNORED:
                self.breaker.release(attempt.permit)

    # --- between attempts

    def _go_on(self, call: GuardedCall, error: BridgeError) -> None:
        """Wait for another attempt after a failed one, or end the call.

        Where the delay reaches the deadline there is no retry: the wait ends in `deadline`.
        """
        delay = None if self._stopping or not self.breaker.allows() else self._retries.delay(call, error)
        if delay is None:
            self._end(call, error)
            return
        then = self._again
        if call.operation.deadline is not None:
            left = call.operation.deadline - self._clock.monotonic()
            if left <= delay:
                delay, then = left, self._expire
        self._backing_off[call] = None
        call.set_timer(self._clock, delay, partial(then, call))

    def _again(self, call: GuardedCall) -> None:
        del self._backing_off[call]
        if self._losses.known and self._losses.is_suspect(call):
            self._wait_alone(call)
        elif self._limiter.try_start():
            self._start(call, self._clock.monotonic())
        else:
            self._wait(call)

    def _wait(self, call: GuardedCall) -> None:
        """Queue for a slot, as long as the caller has time."""
        self._limiter.wait(call)
        if call.operation.deadline is not None:
            self._limit_waiting(call, call.operation.deadline)

    def _wait_alone(self, call: GuardedCall) -> None:
        """Queue for a time in which nothing else runs, as long as the caller has time."""
        self._limiter.wait_alone(call)
        if call.operation.deadline is not None:
            self._limit_waiting(call, call.operation.deadline)
        self._pump()

    def _limit_waiting(self, call: GuardedCall, deadline: float) -> None:
        call.set_timer(self._clock, deadline - self._clock.monotonic(), partial(self._expire, call))

    def _expire(self, call: GuardedCall) -> None:
        self._backing_off.pop(call, None)
        self._limiter.forget(call)
        self._end(call, call.expired())

    def _pump(self, now: float | None = None) -> None:
        """Start calls that wait, as far as there are slots. Does nothing where it is called from within itself.

        Args:
            now: The time of the first start, where it was just looked up.
        """
        if self._pumping:
            return
        self._pumping = True
        try:
            while (call := self._limiter.next()) is not None:
                call.cancel_timer()
                self._start(call, self._clock.monotonic() if now is None else now)
                now = None
        finally:
            self._pumping = False

    # --- the end

    def _end(self, call: GuardedCall, error: BridgeError) -> None:
        self.accounting.move(Stage.QUEUED, _stage_after(call, error))
        if self._watchers:
            self._changed()
        if self._losses.known and not (call.operation.durable and error.retryable):
            self._losses.forget(call)
        try:
            # An event of the outbox was not shed: it goes back there.
            if not call.attempts and not call.operation.durable:
                self._shed.add(error.kind, call.operation)
            duration_ms = (self._clock.monotonic() - call.started) * 1000
            attempts = call.attempts if error.attempts is None else error.attempts
            outcome = Outcome(error=error, attempts=attempts, duration_ms=duration_ms, history=call.history)
            self.measured.ended(call.operation, outcome, self._clock.wall_ms())
            if call.span is not None:
                call.span.end(error)
            call.end(outcome)
        except BaseException as bug:  # noqa: BLE001 - whoever is told raises it
            self._on_bug(bug)

    def _drop(self, call: GuardedCall, *, tell: bool) -> None:
        """End a call without an outcome; `tell`: call its `end` with None."""
        self.accounting.move(Stage.QUEUED, Stage.PENDING if call.operation.durable else Stage.FAILED)
        if self._watchers:
            self._changed()
        if self._losses.known and not call.operation.durable:
            self._losses.forget(call)
        if call.span is not None:
            call.span.end(cancelled_error())
        if tell:
            try:
                call.end(None)
            except BaseException as bug:  # noqa: BLE001 - whoever is told raises it
                self._on_bug(bug)

    def _circuit_open(self, call: GuardedCall) -> BridgeError:
        """Return the error of a call that the open circuit ends: its last real error where it has one."""
        if call.last is not None:
            return call.last
        how = "was opened by hand" if self.breaker.forced else "is open after repeated failures"
        return CircuitOpenError(f"the circuit {how}; nothing was sent", retry_after_ms=self.breaker.retry_after_ms())

    def _on_transition(self, transition: Transition) -> None:
        payload = transition.payload()
        self.measured.circuit_changed(transition.state, payload.error, self._clock.wall_ms())
        self._report(_CIRCUIT_EVENTS[transition.state], payload, transition.operation)
        if transition.state is CircuitState.OPEN:
            self._reject_waiting(self._circuit_open)

    def _reject_waiting(self, why: Callable[[GuardedCall], BridgeError]) -> None:
        """End all calls that wait; a moment later, since the call that caused this must report its own end first."""
        if not self._rejected:
            asyncio.get_running_loop().call_soon(self._end_rejected)
        for call in (*self._limiter.clear(), *self._backing_off):
            call.cancel_timer()
            self._rejected[call] = why
        self._backing_off.clear()

    def _end_rejected(self) -> None:
        rejected, self._rejected = self._rejected, {}
        for call, why in rejected.items():
            self._end(call, why(call))

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            watcher: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._watchers.append(watcher)
            await watcher

    def _changed(self) -> None:
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            if not watcher.done():
                watcher.set_result(None)


def _stage_after(call: GuardedCall, error: BridgeError) -> Stage:
    """Return the stage of a call that ends with an error; a call of the outbox goes back to it."""
    if call.operation.durable:
        return Stage.PENDING
    if error.kind == "deadline":
        return Stage.EXPIRED
    return Stage.FAILED if call.attempts else Stage.SHED
