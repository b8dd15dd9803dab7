"""The guard: everything that stands between an accepted operation and its adapter.

Nesting, outermost first: deadline > retry > breaker > in-flight limit > attempt time limit. A call asks the breaker
when it comes and again when its slot is there; the permit counts from then on, so a queue never holds a probe. A slot
is held during an attempt and not between two.

What the guard reports, by `report(what, payload, operation)`, with the payloads of `resilience.<id>.*`:

- `retry` before each wait for another attempt;
- `circuit.opened`, `circuit.half_opened`, `circuit.closed` exactly once for each transition, before the end of the
  operation that caused it;
- `shed` for operations that ended without an attempt (reason = the error's kind) and for retries that the budget
  forbids (`retry_budget`), at most once a second for each reason.

The end of an operation is told to its call (`Call.end`), exactly once, and nobody else.

When the circuit opens, calls that wait (for a slot or for their next attempt) end at once: with `circuit_open` where
they had no attempt, else with their last real error.
"""

import asyncio
import random
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from bridge.core.cancel import BoundedTasks
from bridge.core.errors import BridgeError, CircuitOpenError, OverloadedError
from bridge.core.model import CircuitState, FailedAttempt, Outcome
from bridge.core.ports import Clock
from bridge.core.settings import ResilienceSettings
from bridge.resilience.accounting import Accounting, Stage
from bridge.resilience.attempts import Attempts
from bridge.resilience.call import Call, OpenAttempt, narrowed, stopping
from bridge.resilience.circuit import CircuitBreaker, Transition
from bridge.resilience.classify import CountsAs, classify
from bridge.resilience.limits import Limiter
from bridge.resilience.report import Report, shed_reports
from bridge.resilience.retry import Retries

# Each call passes these stages; before Python 3.12 looking a member up costs as much as moving an operation.
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

    A call is carried by callbacks: it needs no task while it waits, and none for an attempt that its adapter can begin
    without one (`Call.begin`); any other attempt is a task, from its start to its end.

    Attributes:
        accounting: The sums, live.
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
        """Nothing runs and no timer is set before the first operation.

        Args:
            settings: The integration's `resilience` block.
            clock: For all waiting and measuring.
            rng: For jitter.
            report: Called synchronously, in the order of what happened; it must not call back into the guard.
            tasks: Run the attempts that need a task.
            on_bug: Told of a bug in `report` or in a call where there is no task that could raise it.
            redact: Takes secrets out of an attempt's error, before anybody else sees it.
        """
        self.accounting = Accounting()
        self._timeout = settings.timeout
        self._clock = clock
        self._report = report
        self._on_bug = on_bug
        self._redact = redact
        self.breaker = CircuitBreaker(settings.circuit_breaker, clock=clock, rng=rng, listener=self._on_transition)
        self._limiter: Limiter[Call] = Limiter(settings.limit, clock=clock, on_token=self._pump)
        self._running = Attempts(settings.timeout, clock=clock, tasks=tasks, give_up=self._give_up, on_bug=on_bug)
        self._shed = shed_reports(report, clock)
        self._retries = Retries(settings.retry, clock=clock, rng=rng, report=report, shed=self._shed)
        self._backing_off: dict[Call, None] = {}
        self._sent_away: dict[Call, Callable[[Call], BridgeError]] = {}
        self._watchers: list[asyncio.Future[None]] = []
        self._accepting = True
        self._stopping = False
        self._pumping = False

    def submit(self, call: Call) -> None:
        """Carry an operation out, with as many attempts as it may have. Attempts begin in the order of this.

        It ends at once where the circuit is open, the queue is full, the guard is stopping, or the caller's time is up.
        """
        now = call.started = self._clock.monotonic()
        if call.operation.durable:
            self.accounting.move(Stage.PENDING, Stage.QUEUED)
        else:
            self.accounting.accept(_QUEUED)
        error = self._refusal(call, now)
        if error is not None:
            self._end(call, error)
        elif self._limiter.try_start():
            self._start(call, now)
        elif self._limiter.full:
            self._end(call, OverloadedError("too many operations are waiting already"))
        else:
            self._wait(call)

    def _refusal(self, call: Call, now: float) -> BridgeError | None:
        deadline = call.operation.deadline
        if not self._accepting:
            return stopping()
        if deadline is not None and deadline <= now:
            return call.expired()
        return None if self.breaker.allows() else self._circuit_open(call)

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
        self._pump()

    def stop_accepting(self) -> None:
        """Reject what comes with `stopping`; what was accepted goes on to its end, with its retries."""
        self._accepting = False

    async def stop_queued(self) -> None:
        """End everything that waits with `stopping` and reject what comes; attempts that run go on, without retries.

        Returns when nothing waits any more.
        """
        self._accepting = False
        self._stopping = True
        self._send_away(lambda _: stopping())
        await self._until(lambda: not self.accounting.queued)

    async def idle(self) -> None:
        """Return when no operation waits or runs."""
        await self._until(lambda: not self.accounting.open)

    def cancel(self, call: Call) -> None:
        """Give one call up: it ends without an outcome, at once, or when the task of its attempt has ended."""
        if call.attempt is not None:
            self._running.cancel(call.attempt)
        elif self._limiter.forget(call) or call in self._backing_off or call in self._sent_away:
            self._backing_off.pop(call, None)
            self._sent_away.pop(call, None)
            call.cancel_timer()
            self._drop(call, tell=True)

    def cancel_all(self) -> None:
        """Give everything up and take nothing more."""
        self._accepting = False
        self._stopping = True
        for call in (*self._limiter, *self._backing_off, *self._sent_away):
            self.cancel(call)
        for attempt in self._running:
            self._running.cancel(attempt)

    def close(self) -> None:
        """Report what was shed and not yet reported, and take all timers back. Call it when idle."""
        self._shed.flush()
        self.breaker.close()
        self._limiter.close()

    # --- one attempt

    def _start(self, call: Call, now: float) -> None:
        """Turn a slot into an attempt; or give the slot back and end the call."""
        limit = self._timeout
        if call.operation.deadline is not None:
            limit = min(limit, call.operation.deadline - now)
        permit = self.breaker.admit(call.operation, limit) if limit > 0 else None
        if permit is None:
            self._limiter.release(unused=True)
            self._end(call, call.expired() if limit <= 0 else self._circuit_open(call))
            return
        call.attempts += 1
        self._retries.count(now)
        self.accounting.move(_QUEUED, _IN_FLIGHT)
        call.attempt = OpenAttempt(self._settle, call, now, limit, permit)
        self._running.start(call.attempt)

    def _give_up(self, attempt: OpenAttempt, cancelled: bool) -> None:
        """An attempt was cancelled, or ended by a bug: nobody gets an outcome, but the sums still balance."""
        self._running.remove(attempt)
        self.breaker.release(attempt.permit)
        self._limiter.release()
        self.accounting.move(_IN_FLIGHT, _QUEUED)
        attempt.call.attempt = None
        self._drop(attempt.call, tell=cancelled)
        self._pump()

    def _settle(self, attempt: OpenAttempt, result: Any, error: BridgeError | None) -> None:
        """An attempt has ended; its promise calls this once."""
        call = attempt.call
        call.attempt = None
        now = self._clock.monotonic()
        self._running.remove(attempt)
        try:
            if error is None:
                self.accounting.move(_IN_FLIGHT, _SUCCEEDED)
                self.breaker.success(attempt.permit, call.operation)
                self._limiter.release()
                self._succeed(call, result, now)
            else:
                self.accounting.move(_IN_FLIGHT, _QUEUED)
                if error.maybe_sent and error.retryable and not call.idempotent:
                    error = narrowed(error)
                self._failed_attempt(attempt, error, now)
                self._limiter.release()
                self._go_on(call, error)
        except BaseException as bug:  # noqa: BLE001 - whoever is told raises it
            self._on_bug(bug)
        self._pump(now)

    def _failed_attempt(self, attempt: OpenAttempt, error: BridgeError, now: float) -> None:
        self._redact(error)
        call = attempt.call
        duration_ms = (now - attempt.began) * 1000
        at = self._clock.wall_ms() - round(duration_ms)
        call.history += (FailedAttempt(at=at, duration_ms=duration_ms, error=error.to_wire()),)
        call.last = error
        match classify(error):
            case CountsAs.FAILURE:
                self.breaker.failure(attempt.permit, call.operation, error)
            case CountsAs.SUCCESS:
                self.breaker.success(attempt.permit, call.operation)
            case CountsAs.IGNORED:
                self.breaker.release(attempt.permit)

    # --- between attempts

    def _go_on(self, call: Call, error: BridgeError) -> None:
        """After a failed attempt: wait for another one, or end.

        A delay that reaches the deadline is no retry: the wait ends in `deadline`.
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

    def _again(self, call: Call) -> None:
        del self._backing_off[call]
        if self._limiter.try_start():
            self._start(call, self._clock.monotonic())
        else:
            self._wait(call)

    def _wait(self, call: Call) -> None:
        """Queue for a slot, as long as the caller has time."""
        self._limiter.wait(call)
        if call.operation.deadline is not None:
            left = call.operation.deadline - self._clock.monotonic()
            call.set_timer(self._clock, left, partial(self._expire, call))

    def _expire(self, call: Call) -> None:
        self._backing_off.pop(call, None)
        self._limiter.forget(call)
        self._end(call, call.expired())

    def _pump(self, now: float | None = None) -> None:
        """Start what waits, as far as there are slots; what ends meanwhile must not start this again inside.

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

    def _succeed(self, call: Call, result: Any, now: float) -> None:
        outcome = Outcome(
            result=result,
            attempts=call.attempts,
            duration_ms=(now - call.started) * 1000,
            history=call.history,
        )
        if self._watchers:
            self._changed()
        call.end(outcome)  # a bug in it is caught by whoever settles

    def _end(self, call: Call, error: BridgeError) -> None:
        self.accounting.move(Stage.QUEUED, _stage_after(call, error))
        if self._watchers:
            self._changed()
        try:
            # An event of the outbox was not shed: it goes back there.
            if not call.attempts and not call.operation.durable:
                self._shed.add(error.kind, call.operation)
            duration_ms = (self._clock.monotonic() - call.started) * 1000
            call.end(Outcome(error=error, attempts=call.attempts, duration_ms=duration_ms, history=call.history))
        except BaseException as bug:  # noqa: BLE001 - whoever is told raises it
            self._on_bug(bug)

    def _drop(self, call: Call, *, tell: bool) -> None:
        """End without an outcome; `tell` the call that it was cancelled."""
        self.accounting.move(Stage.QUEUED, Stage.PENDING if call.operation.durable else Stage.FAILED)
        if self._watchers:
            self._changed()
        if tell:
            try:
                call.end(None)
            except BaseException as bug:  # noqa: BLE001 - whoever is told raises it
                self._on_bug(bug)

    def _circuit_open(self, call: Call) -> BridgeError:
        """The last real error of a call that has one."""
        if call.last is not None:
            return call.last
        how = "was opened by hand" if self.breaker.forced else "is open after repeated failures"
        return CircuitOpenError(f"the circuit {how}; nothing was sent", retry_after_ms=self.breaker.retry_after_ms())

    def _on_transition(self, transition: Transition) -> None:
        self._report(_CIRCUIT_EVENTS[transition.state], transition.payload(), transition.operation)
        if transition.state is CircuitState.OPEN:
            self._send_away(self._circuit_open)

    def _send_away(self, why: Callable[[Call], BridgeError]) -> None:
        """End everything that waits; not now, since whoever set it off has its own end to tell first."""
        if not self._sent_away:
            asyncio.get_running_loop().call_soon(self._end_sent_away)
        for call in (*self._limiter.clear(), *self._backing_off):
            call.cancel_timer()
            self._sent_away[call] = why
        self._backing_off.clear()

    def _end_sent_away(self) -> None:
        sent_away, self._sent_away = self._sent_away, {}
        for call, why in sent_away.items():
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


def _stage_after(call: Call, error: BridgeError) -> Stage:
    """The stage of a call that the guard gives up; the outbox decides itself what becomes of its own."""
    if call.operation.durable:
        return Stage.PENDING
    if error.kind == "deadline":
        return Stage.EXPIRED
    return Stage.FAILED if call.attempts else Stage.SHED
