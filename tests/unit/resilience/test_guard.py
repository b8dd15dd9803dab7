"""The guard: attempts, retries, time limits and the reports about them."""

import asyncio
import gc
import random
import weakref
from typing import Any

import msgspec
import pytest

from bridge.core.cancel import PATIENCE, BoundedTasks
from bridge.core.clock import RealClock
from bridge.core.errors import (
    AttemptTimeoutError,
    AuthError,
    BridgeError,
    ConnectionLostError,
    DeadlineError,
    NotConnectedError,
    OverloadedError,
    RejectedError,
    ThrottledError,
    UnavailableError,
)
from bridge.core.model import Outcome, Request
from bridge.core.settings import ResilienceSettings
from bridge.resilience import Guard, GuardedCall
from bridge.resilience.guarded_call import RunningAttempt
from tests.support.guard.calls import AwaitedCall, Promised, outcome_of
from tests.support.guard.harness import GuardHarness, script, wire
from tests.support.guard.operations import operation


async def never() -> Any:
    """An attempt that gets no answer."""
    await asyncio.get_running_loop().create_future()


def _unexpected(bug: BaseException) -> None:
    raise bug


def numbers(guarded: GuardHarness) -> dict[str, int]:
    """Return the counts that are not zero."""
    sums = guarded.guard.accounting
    return {name: count for name, count in msgspec.structs.asdict(sums.sums()).items() if count}


async def test_success() -> None:
    """A result comes back as it is, and nothing is reported."""
    guarded = GuardHarness()
    outcome = await guarded.run(script({"a": 1}))
    assert (outcome.ok, outcome.result, outcome.attempts, outcome.history) == (True, {"a": 1}, 1, ())
    assert guarded.events == []
    assert numbers(guarded) == {"accepted": 1, "succeeded": 1}
    assert guarded.timers == 0


async def test_retry_then_success() -> None:
    """Each failed attempt that is followed by another is reported with its number and delay."""
    guarded = GuardHarness(retry={"initial_delay": "100ms"})
    first, second = NotConnectedError("no"), UnavailableError("503")
    outcome = await guarded.run(script(first, second, "ok"))
    assert (outcome.result, outcome.attempts) == ("ok", 3)
    assert guarded.events == [
        ("retry", {"attempt": 1, "max_attempts": 3, "delay_ms": 100, "error": wire(first)}, 1),
        ("retry", {"attempt": 2, "max_attempts": 3, "delay_ms": 200, "error": wire(second)}, 1),
    ]
    assert [attempt.error.kind for attempt in outcome.history] == ["not_connected", "unavailable"]
    assert outcome.history[1].at - outcome.history[0].at == 100
    assert outcome.duration_ms == pytest.approx(300)
    assert numbers(guarded) == {"accepted": 1, "succeeded": 1}


async def test_attempts_run_out() -> None:
    """The last error ends the call, with exactly one `failed` after its retries."""
    guarded = GuardHarness()
    outcome = await guarded.run(script(*[UnavailableError("503")] * 3))
    assert outcome.error is not None
    assert (outcome.error.kind, outcome.attempts, len(outcome.history)) == ("unavailable", 3, 3)
    assert guarded.reports == ["retry", "retry", "failed"]
    assert guarded.events[-1] == ("failed", {"attempts": 3, "error": wire(outcome.error)}, 1)
    assert numbers(guarded) == {"accepted": 1, "failed": 1}


@pytest.mark.parametrize("error", [AuthError("401"), RejectedError("no", code=-32601, data=[1])])
async def test_what_cannot_help_is_not_retried(error: BridgeError) -> None:
    """A rejection is not retried, and the caller gets the remote's error as it is."""
    guarded = GuardHarness()
    outcome = await guarded.run(script(error))
    assert outcome.error is error
    assert guarded.events == [("failed", {"attempts": 1, "error": wire(error)}, 1)]


async def test_maybe_sent_is_retried_only_where_idempotent() -> None:
    """Where a retry is not safe the caller's error is not retryable; the adapter's own error stays unchanged."""
    shared = ConnectionLostError("gone", code=7)
    guarded = GuardHarness()
    once = await guarded.run(script(shared), idempotent=False)
    assert once.error is not None
    assert (once.attempts, once.error.kind, once.error.retryable, once.error.code) == (1, "connection_lost", False, 7)
    assert once.history[0].error.retryable is False
    assert guarded.payloads("failed")[0]["error"]["retryable"] is False
    twice = await guarded.run(script(shared, "ok"), idempotent=True)
    assert (twice.attempts, twice.ok) == (2, True)
    assert shared.retryable


async def test_an_adapters_full_pool_is_for_the_caller_to_retry() -> None:
    """The guard does not retry `overloaded`, and the breaker ignores it."""
    guarded = GuardHarness(circuit_breaker={"failure_threshold": 1})
    outcome = await guarded.run(script(OverloadedError("pool")))
    assert (outcome.attempts, guarded.guard.breaker.state) == (1, "closed")


async def test_attempt_time_limit() -> None:
    """An attempt that is too slow is `timeout`, and is retried where the call is idempotent."""
    guarded = GuardHarness(timeout="2s", retry={"max_attempts": 2, "initial_delay": 0})
    outcome = await guarded.run(never)
    assert isinstance(outcome.error, AttemptTimeoutError)
    assert (outcome.attempts, outcome.duration_ms) == (2, pytest.approx(4000))
    assert [attempt.duration_ms for attempt in outcome.history] == [pytest.approx(2000)] * 2
    assert numbers(guarded) == {"accepted": 1, "failed": 1}


async def test_an_adapter_hears_when_nobody_waits_any_more() -> None:
    """At the end of the time limit, where the call is cancelled, and also after a result; once each."""
    guarded = GuardHarness(timeout="2s", retry={"max_attempts": 1})
    calls = [AwaitedCall(operation=operation(), make=never, idempotent=True, promised="now") for _ in range(3)]
    slow, gone, good = calls
    heard: list[int] = []
    for number, call in enumerate(calls):
        guarded.guard.submit(call)
        call.promises[0].add_done_callback(lambda _, number=number: heard.append(number))
    guarded.guard.cancel(gone)
    assert heard == [1]
    good.promises[0].set_result("good")
    assert heard == [1, 2]
    await guarded.clock.advance(2.1)
    assert isinstance(slow.answer.result().error, AttemptTimeoutError)
    assert heard == [1, 2, 0]
    late: list[Any] = []
    slow.promises[0].add_done_callback(late.append)
    assert late == slow.promises


async def test_time_limit_of_a_call_that_may_not_be_repeated() -> None:
    """A `timeout` of a call that is not idempotent is not retryable for the caller."""
    outcome = await GuardHarness(timeout="2s").run(never, idempotent=False)
    assert outcome.error is not None
    assert (outcome.attempts, outcome.error.kind, outcome.error.retryable) == (1, "timeout", False)


async def test_deadline_during_an_attempt() -> None:
    """When the caller's time ends first the error is `deadline`, and the breaker counts a failure."""
    guarded = GuardHarness(timeout="2s", circuit_breaker={"failure_threshold": 1})
    outcome = await guarded.run(never, timeout=1.5)
    assert isinstance(outcome.error, DeadlineError)
    assert outcome.error.message == "the caller's time was up during attempt 1"
    assert (outcome.attempts, outcome.duration_ms) == (1, pytest.approx(1500))
    assert guarded.reports == ["circuit.opened", "failed"]
    assert numbers(guarded) == {"accepted": 1, "expired": 1}


async def test_deadline_during_a_later_attempt_names_the_last_error() -> None:
    """The message of `deadline` has the number of attempts and the last error's kind."""
    guarded = GuardHarness(retry={"initial_delay": "500ms"})
    steps = iter([UnavailableError("503")])

    async def attempt() -> Any:
        for error in steps:
            raise error
        await never()

    outcome = await guarded.run(attempt, timeout=1)
    assert outcome.error is not None
    assert outcome.error.message == "the caller's time was up during attempt 2; the last error was unavailable"
    assert [entry.error.kind for entry in outcome.history] == ["unavailable", "deadline"]


async def test_deadline_during_backoff() -> None:
    """A backoff that does not fit waits for the deadline and is no retry."""
    guarded = GuardHarness(retry={"initial_delay": "5s"})
    outcome = await guarded.run(script(UnavailableError("503")), timeout=1)
    assert outcome.error is not None
    assert outcome.error.message == "the caller's time was up after 1 attempt; the last error was unavailable"
    assert (outcome.attempts, outcome.duration_ms) == (1, pytest.approx(1000))
    assert guarded.reports == ["failed"]
    assert numbers(guarded) == {"accepted": 1, "expired": 1}


async def test_expired_on_arrival() -> None:
    """A call whose deadline has passed makes no attempt, and is reported as shed."""
    guarded = GuardHarness()
    outcome = await guarded.run(script(), timeout=0)
    assert isinstance(outcome.error, DeadlineError)
    assert outcome.attempts == 0
    assert guarded.events[0] == ("shed", {"reason": "deadline", "count": 1}, 1)
    assert guarded.reports == ["shed", "failed"]
    assert numbers(guarded) == {"accepted": 1, "expired": 1}


async def test_throttled_waits_as_long_as_the_remote_asks() -> None:
    """`Retry-After` replaces the backoff, without jitter, also beyond `max_delay` where the caller has the time."""
    guarded = GuardHarness(jitter=True, retry={"max_delay": "1s"})
    outcome = await guarded.run(script(ThrottledError("429", retry_after_ms=3000), "ok"), timeout=10)
    assert (outcome.ok, outcome.attempts, outcome.duration_ms) == (True, 2, pytest.approx(3000))
    assert guarded.payloads("retry")[0]["delay_ms"] == 3000


async def test_throttled_without_a_time_backs_off_as_usual() -> None:
    """Where the remote gives no `Retry-After`, the usual backoff is used."""
    outcome = await GuardHarness(retry={"initial_delay": "100ms"}).run(script(ThrottledError("429"), "ok"))
    assert (outcome.ok, outcome.duration_ms) == (True, pytest.approx(100))


@pytest.mark.parametrize(("timeout", "asked"), [(2.0, 2000), (2.0, 60_000), (None, 10_001)])
async def test_throttled_for_too_long_ends_at_once(timeout: float | None, asked: int) -> None:
    """A `Retry-After` beyond the deadline, or `max_delay` without one, goes to the caller."""
    guarded = GuardHarness()
    outcome = await guarded.run(script(ThrottledError("429", retry_after_ms=asked)), timeout=timeout)
    assert outcome.error is not None
    assert (outcome.error.kind, outcome.error.retry_after_ms, outcome.duration_ms) == ("throttled", asked, 0)
    assert guarded.reports == ["failed"]


async def test_retry_budget() -> None:
    """Without budget for a retry a call ends with its real error, and `retry_budget` is reported as shed."""
    guarded = GuardHarness(retry={"max_attempts": 2, "initial_delay": 0}, circuit_breaker={"failure_threshold": 100})
    outcomes = [await guarded.run(script(*[UnavailableError("503")] * 2)) for _ in range(5)]
    assert [outcome.attempts for outcome in outcomes] == [2, 2, 2, 1, 1]
    assert {outcome.error.kind for outcome in outcomes if outcome.error} == {"unavailable"}
    assert guarded.payloads("shed") == [{"reason": "retry_budget", "count": 1}]
    await guarded.clock.advance(1)
    assert guarded.payloads("shed")[1:] == [{"reason": "retry_budget", "count": 1}]
    assert len(guarded.payloads("failed")) == 5
    assert numbers(guarded) == {"accepted": 5, "failed": 5}


async def test_a_bug_passes_through() -> None:
    """A bug of an adapter is raised; its slot is released and the sums balance."""
    guarded = GuardHarness(limit={"max_in_flight": 1})
    with pytest.raises(ZeroDivisionError):
        await guarded.run(script(ZeroDivisionError()))
    assert numbers(guarded) == {"accepted": 1, "failed": 1}
    assert (await guarded.run(script("ok"))).ok


async def test_a_bare_timeout_error_is_a_bug() -> None:
    """An adapter's own `TimeoutError` is not taken for the attempt's time limit."""
    with pytest.raises(TimeoutError, match="mine"):
        await GuardHarness().run(script(TimeoutError("mine")))


async def test_a_bug_in_the_report_keeps_the_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in `report` is passed on, and the operation has ended all the same."""
    guarded = GuardHarness()

    def add(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(guarded.guard._shed, "add", add)
    guarded.guard.stop_accepting()
    with pytest.raises(ZeroDivisionError):
        await guarded.run(script("ok"))
    assert numbers(guarded) == {"accepted": 1, "shed": 1}


async def test_a_bug_in_the_end_of_a_call_is_passed_on() -> None:
    """A bug in `GuardedCall.end` goes to `on_bug`, not to the adapter, and the next call starts."""
    guarded = GuardHarness(limit={"max_in_flight": 1})
    bugs: list[BaseException] = []
    guarded.guard._on_bug = bugs.append

    class FailingCall(AwaitedCall):
        def end(self, outcome: Outcome | None) -> None:
            raise ZeroDivisionError

    attempt = script("ok")
    guarded.guard.submit(
        FailingCall(operation=guarded.operation(1), make=attempt, idempotent=True, promised=guarded.promised)
    )
    second = await guarded.start(2)
    await guarded.end(2, "ok")
    assert second.result().ok
    assert [type(bug) for bug in bugs] == [ZeroDivisionError]
    assert numbers(guarded) == {"accepted": 2, "succeeded": 2}


def test_no_payload_is_in_a_repr() -> None:
    """An event loop logs what it calls where that fails: an attempt, and with it the call and its operation."""
    call = GuardedCall(operation=operation(1, command=Request(method="m", params=["private"])))
    attempt = RunningAttempt(lambda *_: None, call, 0.0, 1.0, 0, 0)
    call.attempt = attempt
    assert "private" in repr(call.operation)
    assert "private" not in repr(call) + repr(attempt)


async def test_a_late_end_of_an_attempt_is_ignored() -> None:
    """A result of an attempt whose time is up does not end the next attempt of the same call."""
    guarded = GuardHarness(timeout="1s", retry={"initial_delay": 0})
    made = AwaitedCall(operation=guarded.operation(), make=never, idempotent=True, promised="now")
    guarded.guard.submit(made)
    await guarded.clock.advance(1)
    late, current = made.promises
    late.set_result("late")
    late.set_exception(UnavailableError("late"))
    assert (late.done(), current.done(), made.answer.done()) == (True, False, False)
    current.set_result("in time")
    assert made.answer.result().result == "in time"
    assert made.answer.result().attempts == 2
    assert numbers(guarded) == {"accepted": 1, "succeeded": 1}


async def test_one_timer_for_many_attempts() -> None:
    """However many attempts run, each ends exactly at its own time limit, and no timer is left."""
    guarded = GuardHarness(timeout="2s", retry={"max_attempts": 1}, circuit_breaker={"failure_threshold": 100})
    tasks = []
    for number in range(10):
        tasks.append(await guarded.start(number))
        await guarded.clock.advance(0.1)
    assert guarded.timers == 1
    await guarded.end(0, "ok")
    await guarded.end(5, "ok")
    for number, task in enumerate(tasks):
        if number not in {0, 5}:
            await guarded.clock.advance(0.9995 + number * 0.1 - (guarded.clock.monotonic() - 1001.0))
            assert not task.done(), number
            await guarded.clock.advance(0.001)
            assert task.result().duration_ms == pytest.approx(2000)
    assert guarded.timers == 0


@pytest.mark.parametrize("order", [("no", "now"), ("now", "no")])
async def test_what_needs_no_task_does_not_overtake_what_does(order: tuple[Promised, Promised]) -> None:
    """Attempts begin in the order of their calls, with a task or without."""
    guarded = GuardHarness()
    began: list[int] = []

    def call(number: int) -> AwaitedCall:
        async def attempt() -> None:
            began.append(number)

        return AwaitedCall(
            operation=guarded.operation(number), make=attempt, idempotent=True, promised=order[number % 2]
        )

    calls = [call(number) for number in range(6)]
    for one in calls:
        guarded.guard.submit(one)
    await guarded.clock.settle()
    assert began == list(range(6))
    assert all(one.answer.result().ok for one in calls)
    await guarded.guard.idle()


async def test_on_the_real_clock() -> None:
    """With the real clock, too, a time limit gives `timeout` and a deadline `deadline`."""
    settings = ResilienceSettings.model_validate({"timeout": "20ms", "retry": {"max_attempts": 1}})
    clock = RealClock()
    guard = Guard(
        settings,
        clock=clock,
        rng=random.Random(1),
        report=lambda *_: None,
        tasks=BoundedTasks(clock=clock),
        on_bug=_unexpected,
    )

    async def call(deadline: float | None) -> Outcome:
        made = operation(deadline=deadline)
        return await outcome_of(
            guard, AwaitedCall(operation=made, make=never, idempotent=True, promised=GuardHarness.promised)
        )

    slow = await call(None)
    late = await call(RealClock().monotonic() + 0.01)
    assert slow.error is not None
    assert late.error is not None
    assert (slow.error.kind, late.error.kind) == ("timeout", "deadline")
    guard.close()


async def test_time_that_is_up_before_the_first_step_of_a_task() -> None:
    """A busy event loop may run a timer before the new task: the call is expired, as with any other attempt."""
    guarded = GuardHarness()
    task = guarded.call(guarded.operation(timeout=1.0), script("late"))
    await asyncio.sleep(0)  # the call is submitted, and its task is made
    assert guarded.guard.accounting.in_flight == 1
    assert guarded.started == []
    guarded.clock.fire(2.0)
    outcome = await task
    assert isinstance(outcome.error, DeadlineError)
    assert guarded.guard.accounting.sums().expired == 1


async def test_a_cancelled_attempt_that_ends_just_when_it_would_be_cut() -> None:
    """Its end counts, once; the sums balance."""
    guarded = GuardHarness()
    release = asyncio.Event()

    async def stubborn() -> str:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return "done"

    task = guarded.call(guarded.operation(), stubborn)
    await guarded.clock.settle()
    guarded.guard.cancel(guarded.calls[-1])
    await guarded.clock.settle()
    await guarded.clock.advance(PATIENCE)
    release.set()
    await asyncio.sleep(0)
    guarded.clock.fire(PATIENCE)
    await guarded.clock.settle()
    await asyncio.gather(task, return_exceptions=True)
    sums = guarded.guard.accounting.sums()
    assert (sums.accepted, sums.in_flight) == (1, 0)


@pytest.mark.parametrize("idempotent", [True, False])
async def test_an_attempt_that_its_library_cancels_is_a_lost_connection(idempotent: bool) -> None:
    """A cancellation that nobody here asked for is `connection_lost`, maybe sent: only what may be is tried again."""
    guarded = GuardHarness()
    guarded.promised = "no"  # only a task can be cancelled
    steps = iter([asyncio.CancelledError()])

    async def attempt() -> str:
        for cancelled in steps:
            raise cancelled
        return "done"

    outcome = await guarded.run(attempt, idempotent=idempotent)
    assert [one.error.kind for one in outcome.history] == ["connection_lost"]
    assert (outcome.ok, outcome.attempts) == ((True, 2) if idempotent else (False, 1))
    sums = guarded.guard.accounting.sums()
    assert (sums.accepted, sums.in_flight, sums.queued) == (1, 0, 0)


def test_an_attempt_that_is_over_leaves_no_cycle() -> None:
    """Who is told of its end holds the attempt; both are free at once then, without the garbage collector."""

    class Adapter:
        def __init__(self, promise: RunningAttempt) -> None:
            self.promise = promise
            promise.add_done_callback(self.told)
            self.count = 0

        def told(self, _: object) -> None:
            self.count += 1

    gc.disable()
    try:
        for end in (
            lambda attempt: attempt.set_result(1),
            lambda attempt: attempt.set_exception(UnavailableError("down")),
            lambda attempt: attempt.close(),
        ):
            call = GuardedCall(operation=operation(1))
            attempt = RunningAttempt(lambda *_: None, call, 0.0, 1.0, 0, 0)
            adapter = Adapter(attempt)
            end(attempt)
            attempt.close()
            assert adapter.count == 1
            left = weakref.ref(adapter)
            del adapter, attempt
            assert left() is None
    finally:
        gc.enable()
