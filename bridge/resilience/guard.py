"""The guard: everything that stands between an accepted operation and its adapter.

Nesting, outermost first: deadline > retry > breaker > in-flight limit > attempt time limit. A call asks the breaker
when it comes and again when its slot is there; the permit counts from then on, so a queue never holds a probe. A slot
is held during an attempt and not between two.

What the guard says, by `report(what, payload, operation)`; the payloads are the contract's, without the `integration`,
`operation` and `cause` that the caller adds:

- `retry` before each wait for another attempt;
- `failed` exactly once for each outcome that is not ok, also for each rejected one;
- `circuit.opened`, `circuit.half_opened`, `circuit.closed` exactly once for each transition, before the `failed` of
  the operation that caused it;
- `shed` for operations that ended without an attempt (reason = the error's kind) and for retries that the budget
  forbids (`retry_budget`), at most once a second for each reason.

When the circuit opens, calls that wait (for a slot or for their next attempt) end at once: with `circuit_open` where
they had no attempt, else with their last real error.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

from bridge.errors import AttemptTimeoutError, BridgeError, CircuitOpenError, OverloadedError
from bridge.model import Attempt, CircuitState, Operation, Outcome
from bridge.ports import Clock
from bridge.resilience.accounting import Accounting
from bridge.resilience.call import Call, narrowed, stopping
from bridge.resilience.circuit import CircuitBreaker, Transition
from bridge.resilience.classify import Verdict, classify
from bridge.resilience.limits import Limiter, Waiter, Wake, wake
from bridge.resilience.retry import RetryBudget, backoff, may_retry
from bridge.resilience.shed import Report, ShedReports
from bridge.settings import ResilienceSettings

_CIRCUIT_EVENTS: Final = {
    CircuitState.OPEN: "circuit.opened",
    CircuitState.HALF_OPEN: "circuit.half_opened",
    CircuitState.CLOSED: "circuit.closed",
}


class Guard:
    """Runs one integration's operations: retry, breaker, limits, time limits, and their accounting.

    Attributes:
        accounting: The sums, live.
        breaker: The circuit, to look at and to open or reset by hand.
    """

    def __init__(self, settings: ResilienceSettings, *, clock: Clock, rng: random.Random, report: Report) -> None:
        """Nothing runs and no timer is set before the first operation.

        Args:
            settings: The integration's `resilience` block.
            clock: For all waiting and measuring.
            rng: For jitter.
            report: Called synchronously, in the order of what happened; it must not call back into the guard.
        """
        self.accounting = Accounting()
        self._settings = settings
        self._timeout = settings.timeout
        self._clock = clock
        self._rng = rng
        self._report = report
        self.breaker = CircuitBreaker(settings.circuit_breaker, clock=clock, rng=rng, listener=self._on_transition)
        self._limiter = Limiter(settings.limit, clock=clock)
        self._budget = RetryBudget(settings.retry.budget)
        self._shed = ShedReports(report, clock=clock)
        self._backing_off: dict[Waiter, None] = {}
        self._watchers: list[asyncio.Future[None]] = []
        self._accepting = True
        self._stopping = False

    async def run(self, operation: Operation, attempt: Callable[[], Awaitable[Any]], *, idempotent: bool) -> Outcome:
        """Carry an operation out, with as many attempts as it may have.

        Args:
            operation: What for; its `deadline` is kept, also while it waits.
            attempt: Makes one attempt; raises `BridgeError` for what the outside did. Anything else that it raises is
                a bug and passes through.
            idempotent: Whether it may be repeated although the remote may have acted on it.

        Returns:
            How it ended; no `BridgeError` is raised.
        """
        rejected = self.reject_now(operation)
        if rejected is not None:
            return rejected
        call = Call(operation, idempotent, self._clock.monotonic())
        self.accounting.accepted += 1
        self.accounting.queued += 1
        try:
            error = await self._carry_out(call, attempt)
        except BaseException:
            # Cancelled, or a bug: nobody gets an outcome, but the sums still balance.
            self.accounting.queued -= 1
            self.accounting.failed += 1
            raise
        finally:
            if self._watchers:
                self._changed()
        return self._succeed(call) if error is None else self._end(call, error)

    def reject_now(self, operation: Operation) -> Outcome | None:
        """The outcome of an operation that need not even start, accounted for and reported; None for all others.

        That is: the circuit is open, the queue is full, the guard is stopping, or the caller's time is up already.
        """
        error: BridgeError
        if not self._accepting:
            error = stopping()
        elif operation.deadline is not None and operation.deadline <= self._clock.monotonic():
            error = Call(operation, False, 0.0).expired()
        elif not self.breaker.allows():
            error = self._circuit_open()
        elif self._limiter.full:
            error = OverloadedError("too many operations are waiting already")
        else:
            return None
        self.accounting.accepted += 1
        self.accounting.queued += 1
        return self._end(Call(operation, False, self._clock.monotonic()), error)

    @property
    def accepting(self) -> bool:
        """Whether what comes is not rejected with `stopping`."""
        return self._accepting

    def pause(self) -> None:
        """Start no attempt until `resume`; what comes waits in the queue, and deadlines still count."""
        self._limiter.pause()

    def resume(self) -> None:
        """Go on after `pause`, `stop_accepting` or `stop_queued`."""
        self._accepting = True
        self._stopping = False
        self._limiter.resume()

    def stop_accepting(self) -> None:
        """Reject what comes with `stopping`; what was accepted goes on to its end, with its retries."""
        self._accepting = False

    async def stop_queued(self) -> None:
        """End everything that waits with `stopping` and reject what comes; attempts that run go on, without retries.

        Returns when nothing waits any more.
        """
        self._accepting = False
        self._stopping = True
        self._end_waiting(Wake.STOPPED)
        await self._until(lambda: not self.accounting.queued)

    async def idle(self) -> None:
        """Return when no operation waits or runs."""
        await self._until(lambda: not self.accounting.open)

    def close(self) -> None:
        """Report what was shed and not yet reported, and take all timers back. Call it when idle."""
        self._shed.close()
        self.breaker.close()
        self._limiter.close()

    async def _carry_out(self, call: Call, attempt: Callable[[], Awaitable[Any]]) -> BridgeError | None:
        while True:
            error = None if self._limiter.try_start() else await self._wait_for_slot(call)
            error = error or self._admit(call)
            if error is not None:
                return error
            error = await self._attempt(call, attempt)
            if error is None:
                return None
            delay = self._retry_delay(call, error)
            if delay is None:
                return error
            error = await self._back_off(call, delay)
            if error is not None:
                return error

    # --- one attempt

    def _admit(self, call: Call) -> BridgeError | None:
        """Turn a slot into the right to make one attempt; or give the slot back and say why not."""
        now = self._clock.monotonic()
        deadline = call.operation.deadline
        call.limit = self._timeout if deadline is None else min(self._timeout, deadline - now)
        error: BridgeError | None = None
        if self._stopping:
            error = stopping()
        elif call.limit <= 0:
            error = call.expired()
        else:
            permit = self.breaker.admit(call.operation, call.limit)
            if permit is not None:
                call.permit = permit
                call.attempts += 1
                self._budget.attempt(now)
                return None
            error = call.last or self._circuit_open()
        self._limiter.release(unused=True)
        return error

    async def _attempt(self, call: Call, attempt: Callable[[], Awaitable[Any]]) -> BridgeError | None:
        began = self._clock.monotonic()
        error: BridgeError
        self.accounting.queued -= 1
        self.accounting.in_flight += 1
        try:
            # One time limit serves both: the shorter of the attempt's and what the caller has left.
            async with self._clock.timeout(call.limit):
                try:
                    call.result = await attempt()
                except TimeoutError as bug:
                    raise RuntimeError("an attempt raised a bare TimeoutError") from bug
        except BridgeError as raised:
            error = narrowed(raised) if raised.maybe_sent and raised.retryable and not call.idempotent else raised
            self._failed_attempt(call, error, began)
            return error
        except TimeoutError:
            error = self._timed_out(call)
            self._failed_attempt(call, error, began)
            return error
        except BaseException:
            self.breaker.release(call.permit)
            raise
        else:
            self.breaker.success(call.permit, call.operation)
            return None
        finally:
            self.accounting.in_flight -= 1
            self.accounting.queued += 1
            self._limiter.release()

    def _failed_attempt(self, call: Call, error: BridgeError, began: float) -> None:
        duration_ms = (self._clock.monotonic() - began) * 1000
        at = self._clock.wall_ms() - round(duration_ms)
        call.history += (Attempt(at=at, duration_ms=duration_ms, error=error.to_wire()),)
        call.last = error
        match classify(error):
            case Verdict.FAILURE:
                self.breaker.failure(call.permit, call.operation, error)
            case Verdict.SUCCESS:
                self.breaker.success(call.permit, call.operation)
            case Verdict.IGNORED:
                self.breaker.release(call.permit)

    def _timed_out(self, call: Call) -> BridgeError:
        if call.limit < self._timeout:
            return call.expired(during=True)
        error = AttemptTimeoutError(f"no answer within {self._timeout:g} s")
        return error if call.idempotent else narrowed(error)

    # --- between attempts

    def _retry_delay(self, call: Call, error: BridgeError) -> float | None:
        """Seconds until the next attempt, already reported; None where there is to be none.

        A delay that reaches the deadline is no retry: nothing is spent or reported, and the wait ends in `deadline`.
        """
        settings = self._settings.retry
        if (
            call.attempts >= settings.max_attempts
            or not may_retry(error, idempotent=call.idempotent)
            or self._stopping
            or not self.breaker.allows()
        ):
            return None
        now = self._clock.monotonic()
        deadline = call.operation.deadline
        fits = float("inf") if deadline is None else deadline - now
        if error.kind == "throttled" and error.retry_after_ms is not None:
            delay = error.retry_after_ms / 1000
            if delay >= fits or (deadline is None and delay > settings.max_delay):
                return None
        else:
            delay = backoff(settings, call.attempts, self._rng)
        if delay < fits:
            if not self._budget.spend(now):
                self._shed.count("retry_budget", call.operation)
                return None
            retry = {
                "attempt": call.attempts,
                "max_attempts": settings.max_attempts,
                "delay_ms": round(delay * 1000),
                "error": error.to_wire(),
            }
            self._report("retry", retry, call.operation)
        return delay

    async def _back_off(self, call: Call, delay: float) -> BridgeError | None:
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._backing_off[waiter] = None
        try:
            return self._woken(call, await self._wait(call, waiter, delay))
        finally:
            self._backing_off.pop(waiter, None)

    async def _wait_for_slot(self, call: Call) -> BridgeError | None:
        waiter = self._limiter.wait()
        reason = None
        try:
            reason = await self._wait(call, waiter, None)
        finally:
            if reason is Wake.START:
                self._limiter.started()
            else:
                self._limiter.forget(waiter)
        return self._woken(call, reason)

    async def _wait(self, call: Call, waiter: Waiter, seconds: float | None) -> Wake:
        reason = Wake.ELAPSED
        if call.operation.deadline is not None:
            left = call.operation.deadline - self._clock.monotonic()
            if seconds is None or left <= seconds:
                seconds, reason = left, Wake.EXPIRED
        if seconds is None:
            return await waiter
        take_back = self._clock.call_later(seconds, lambda: wake(waiter, reason))
        try:
            return await waiter
        finally:
            take_back()

    def _woken(self, call: Call, reason: Wake) -> BridgeError | None:
        match reason:
            case Wake.START | Wake.ELAPSED:
                return None
            case Wake.EXPIRED:
                return call.expired()
            case Wake.STOPPED:
                return stopping()
            case Wake.CIRCUIT:
                return call.last or self._circuit_open()

    # --- the end

    def _succeed(self, call: Call) -> Outcome:
        self.accounting.queued -= 1
        self.accounting.succeeded += 1
        return Outcome(
            result=call.result,
            attempts=call.attempts,
            duration_ms=(self._clock.monotonic() - call.started) * 1000,
            history=call.history,
        )

    def _end(self, call: Call, error: BridgeError) -> Outcome:
        self.accounting.queued -= 1
        if error.kind == "deadline":
            self.accounting.expired += 1
        elif call.attempts:
            self.accounting.failed += 1
        else:
            self.accounting.shed += 1
        if not call.operation.durable:  # of what lies in the outbox this is not the end yet
            if not call.attempts:
                self._shed.count(error.kind, call.operation)
            self._report("failed", {"attempts": call.attempts, "error": error.to_wire()}, call.operation)
        duration_ms = (self._clock.monotonic() - call.started) * 1000
        return Outcome(error=error, attempts=call.attempts, duration_ms=duration_ms, history=call.history)

    def _circuit_open(self) -> CircuitOpenError:
        how = "was opened by hand" if self.breaker.forced else "is open after repeated failures"
        return CircuitOpenError(f"the circuit {how}; nothing was sent", retry_after_ms=self.breaker.retry_after_ms())

    def _on_transition(self, transition: Transition) -> None:
        self._report(_CIRCUIT_EVENTS[transition.state], transition.payload(), transition.operation)
        if transition.state is CircuitState.OPEN:
            self._end_waiting(Wake.CIRCUIT)

    def _end_waiting(self, reason: Wake) -> None:
        self._limiter.end_all(reason)
        for waiter in self._backing_off:
            wake(waiter, reason)

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
