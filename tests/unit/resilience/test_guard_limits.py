"""The guard's queue: order, bounds, pausing, draining and cancellation in each phase."""

import asyncio
from typing import Any

import pytest

from bridge.core.errors import UnavailableError
from bridge.core.model import CircuitState, Outcome
from bridge.core.settings import ResilienceSettings
from bridge.resilience import Stage
from tests.support.guard.harness import GuardHarness, script

DOWN = UnavailableError("503")


async def cancel(task: asyncio.Task[Outcome]) -> None:
    """Cancel a task, and check that it ends as cancelled."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_sixty_four_in_flight_in_arrival_order() -> None:
    """200 calls: 64 run, the others start one by one as slots come free, first come first served."""
    guarded = GuardHarness()
    tasks = [await guarded.start(number) for number in range(200)]
    sums = guarded.guard.accounting
    assert (sums.in_flight, sums.queued) == (64, 136)
    for count in range(200):
        assert max(guarded.running) == min(63 + count, 199)
        await guarded.end(min(guarded.running), count)
    assert guarded.started == list(range(200))
    assert [task.result().result for task in tasks] == list(range(200))
    assert (sums.accepted, sums.count(Stage.SUCCEEDED), sums.open) == (200, 200, 0)


async def test_a_full_queue_rejects() -> None:
    """A call that can neither start nor wait is `overloaded`, without an attempt."""
    guarded = GuardHarness(limit={"max_in_flight": 1, "queue": 1})
    await guarded.start(1)
    await guarded.start(2)
    outcome = await guarded.run(script(), number=3)
    assert outcome.error is not None
    assert (outcome.error.kind, outcome.error.retryable, outcome.attempts) == ("overloaded", True, 0)
    assert guarded.reports == ["shed", "failed"]
    assert guarded.guard.accounting.count(Stage.SHED) == 1
    await guarded.end(1)
    await guarded.end(2)


async def test_no_slot_is_held_during_backoff() -> None:
    """A call that waits for its next attempt holds no slot, and then queues behind those that came before."""
    guarded = GuardHarness(limit={"max_in_flight": 1}, retry={"initial_delay": "1s"})
    first = await guarded.start(1)
    await guarded.end(1, DOWN)
    assert (guarded.guard.accounting.in_flight, guarded.guard.accounting.queued) == (0, 1)
    second, third = await guarded.start(2), await guarded.start(3)
    await guarded.clock.advance(1)
    await guarded.end(2)
    await guarded.end(3)
    await guarded.end(1, "ok")
    assert guarded.started == [1, 2, 3, 1]
    assert [task.result().ok for task in (first, second, third)] == [True] * 3


async def test_deadline_in_the_queue() -> None:
    """A call whose deadline passes in the queue makes no attempt, and does not delay those behind it."""
    guarded = GuardHarness(limit={"max_in_flight": 1})
    await guarded.start(1)
    late = await guarded.start(2, timeout=1)
    await guarded.start(3)
    await guarded.clock.advance(1)
    outcome = late.result()
    assert outcome.error is not None
    assert (outcome.error.kind, outcome.attempts) == ("deadline", 0)
    assert outcome.error.message == "the caller's time was up before the first attempt"
    assert guarded.events[0] == ("shed", {"reason": "deadline", "count": 1}, 2)
    await guarded.end(1)
    assert list(guarded.running) == [3]
    await guarded.end(3)
    assert guarded.guard.accounting.count(Stage.EXPIRED) == 1


async def test_rate() -> None:
    """Attempts start at the rate and in order."""
    guarded = GuardHarness(limit={"rate": "10/s"})
    for number in range(5):
        await guarded.start(number)
    assert guarded.started == [0]
    await guarded.clock.advance(0.25)
    assert guarded.started == [0, 1, 2]
    await guarded.clock.advance(0.2)
    assert guarded.started == [0, 1, 2, 3, 4]
    for number in range(5):
        await guarded.end(number)


async def test_paused_queues() -> None:
    """While paused nothing starts, deadlines count, and everything starts in order afterwards."""
    guarded = GuardHarness(retry={"initial_delay": "1s"})
    retried = await guarded.start(1)
    await guarded.end(1, DOWN)
    guarded.guard.pause()
    tasks = [await guarded.start(2), await guarded.start(3, timeout=2), await guarded.start(4)]
    await guarded.clock.advance(5)
    assert guarded.started == [1]
    assert tasks[1].done()
    guarded.guard.resume()
    await guarded.clock.settle()
    assert guarded.started == [1, 2, 4, 1]
    for number in (1, 2, 4):
        await guarded.end(number)
    assert retried.result().ok


async def test_stop_queued() -> None:
    """What waits for a slot, a token or a retry ends with `stopping`; what runs is answered, but not retried."""
    guarded = GuardHarness(limit={"max_in_flight": 2}, retry={"initial_delay": "10s"})
    backing_off = await guarded.start(1)
    await guarded.end(1, DOWN)
    good, bad = await guarded.start(2), await guarded.start(3)
    queued = await guarded.start(4)
    await guarded.guard.stop_queued()
    await guarded.clock.settle()
    for task, attempts in ((backing_off, 1), (queued, 0)):
        error = task.result().error
        assert error is not None
        assert (error.kind, task.result().attempts) == ("stopping", attempts)
    new = await guarded.run(script(), number=5)
    assert new.error is not None
    assert new.error.kind == "stopping"
    idle = asyncio.create_task(guarded.guard.idle())
    await guarded.end(2, "ok")
    assert good.result().ok
    assert not idle.done()
    await guarded.end(3, DOWN)
    assert bad.result().error is DOWN
    assert bad.result().attempts == 1
    assert idle.done()
    sums = guarded.guard.accounting
    assert (
        sums.accepted,
        sums.count(Stage.SUCCEEDED),
        sums.count(Stage.FAILED),
        sums.count(Stage.SHED),
        sums.open,
    ) == (5, 1, 2, 2, 0)
    guarded.guard.resume()
    assert (await guarded.run(script("ok"))).ok


async def test_stop_accepting() -> None:
    """New calls are `stopping`; what waits, runs or is between two attempts goes on to its end."""
    guarded = GuardHarness(limit={"max_in_flight": 1}, retry={"initial_delay": "1s"})
    retried, queued = await guarded.start(1), await guarded.start(2)
    guarded.guard.stop_accepting()
    new = await guarded.run(script(), number=3)
    assert new.error is not None
    assert (new.error.kind, new.attempts) == ("stopping", 0)
    await guarded.end(1, DOWN)
    await guarded.end(2, "ok")
    await guarded.clock.advance(1)
    await guarded.end(1, "ok")
    assert (queued.result().ok, retried.result().attempts) == (True, 2)
    await guarded.guard.idle()


async def test_stop_queued_finds_nothing_halfway() -> None:
    """A call that gets a slot begins in the same moment: it runs on, and its attempt counts for the rate."""
    guarded = GuardHarness(limit={"max_in_flight": 1, "rate": "1/s"})
    await guarded.start(1)
    waiting = await guarded.start(2)
    await guarded.clock.advance(1)
    guarded.running[1].set_result("ok")
    while not guarded.guard.accounting.count(Stage.SUCCEEDED):  # noqa: ASYNC110 - one step of the loop at a time
        await asyncio.sleep(0)
    await guarded.guard.stop_queued()
    await guarded.clock.settle()
    await guarded.end(2, "ok")
    assert waiting.result().ok
    await guarded.guard.idle()
    guarded.guard.resume()
    await guarded.start(3)
    assert guarded.started == [1, 2]
    await guarded.clock.advance(1)
    assert guarded.started == [1, 2, 3]
    await guarded.end(3)


async def test_idle_returns_at_once_where_nothing_is_open() -> None:
    """A guard without calls is idle and closes at once."""
    guarded = GuardHarness()
    await guarded.guard.idle()
    await guarded.guard.stop_queued()


async def test_cancel_during_an_attempt() -> None:
    """Cancelling a running call ends its attempt and frees its slot, without a report."""
    guarded = GuardHarness(limit={"max_in_flight": 1})
    first, second = await guarded.start(1), await guarded.start(2)
    await cancel(first)
    await guarded.clock.settle()
    assert guarded.started == [1, 2]
    await guarded.end(2, "ok")
    assert second.result().ok
    sums = guarded.guard.accounting
    assert (sums.accepted, sums.count(Stage.FAILED), sums.count(Stage.SUCCEEDED)) == (2, 1, 1)
    assert guarded.events == []
    assert guarded.timers == 0


async def test_cancel_in_the_queue() -> None:
    """Cancelling a waiting call removes it from the queue, and its timer."""
    guarded = GuardHarness(limit={"max_in_flight": 1, "queue": 1})
    await guarded.start(1)
    second = await guarded.start(2, timeout=5)
    await cancel(second)
    third = await guarded.start(3)
    await guarded.end(1)
    await guarded.end(3, "ok")
    assert third.result().ok
    assert guarded.timers == 0


async def test_cancel_with_a_slot_just_handed_over() -> None:
    """The slot of a call that is cancelled goes to the next one."""
    guarded = GuardHarness(limit={"max_in_flight": 1})
    await guarded.start(1)
    second, third = await guarded.start(2), await guarded.start(3)
    guarded.running[1].set_result("ok")
    while not guarded.guard.accounting.count(Stage.SUCCEEDED):  # noqa: ASYNC110 - one step of the loop at a time
        await asyncio.sleep(0)
    await cancel(second)
    await guarded.clock.settle()
    assert guarded.started == [1, 2, 3]
    await guarded.end(3, "ok")
    assert third.result().ok
    await guarded.guard.idle()
    assert await guarded.run(script("ok"))


async def test_cancel_all() -> None:
    """`cancel_all` ends all calls without an outcome, and no new call is accepted."""
    guarded = GuardHarness(limit={"max_in_flight": 2}, retry={"initial_delay": "10s"})
    backing_off = await guarded.start(1)
    await guarded.end(1, DOWN)
    tasks = [backing_off, await guarded.start(2), await guarded.start(3), await guarded.start(4, timeout=5)]
    guarded.guard.cancel_all()
    await guarded.clock.settle()
    assert all(task.cancelled() for task in tasks)
    sums = guarded.guard.accounting
    assert (sums.accepted, sums.count(Stage.FAILED), sums.open) == (4, 4, 0)
    assert guarded.reports == ["retry"]
    assert guarded.timers == 0
    error = (await guarded.run(script("ok"))).error
    assert error is not None
    assert error.kind == "stopping"


async def test_cancel_during_backoff() -> None:
    """A call that is cancelled between two attempts leaves no timer."""
    guarded = GuardHarness(retry={"initial_delay": "10s"})
    task = await guarded.start(1)
    await guarded.end(1, DOWN)
    assert guarded.timers == 1
    await cancel(task)
    assert guarded.timers == 0
    sums = guarded.guard.accounting
    assert (sums.count(Stage.FAILED), sums.open) == (1, 0)


async def test_close_leaves_no_timer() -> None:
    """`close` reports the last counts and cancels all timers."""
    guarded = GuardHarness(limit={"max_in_flight": 1, "queue": 0}, circuit_breaker={"failure_threshold": 1})
    await guarded.start(1)
    for number in (2, 3, 4):
        assert not (await guarded.run(script(), number=number)).ok
    await guarded.end(1, DOWN)
    guarded.guard.close()
    assert [payload["count"] for payload in guarded.payloads("shed")] == [1, 2]
    assert guarded.timers == 0


async def test_settings_that_change_while_operations_run() -> None:
    """What runs keeps time limit and slot, what waits goes on waiting, and the rest follows the new settings."""
    guarded = GuardHarness(timeout="10s", limit={"max_in_flight": 3}, retry={"max_attempts": 1})
    tasks = [await guarded.start(number) for number in range(1, 6)]
    later = await guarded.start(6, timeout=4.0)

    def change(**blocks: Any) -> None:
        guarded.guard.change(ResilienceSettings.model_validate(blocks))

    change(timeout="2s", limit={"max_in_flight": 1}, retry={"max_attempts": 2, "initial_delay": "1s", "jitter": False})
    await guarded.end(1)
    await guarded.end(2)
    assert guarded.started == [1, 2, 3], "one at a time from now on"
    await guarded.clock.advance(9.9)
    assert not tasks[2].done()
    assert later.result().error is not None
    assert later.result().error.kind == "deadline"
    await guarded.clock.advance(0.2)
    assert guarded.started == [1, 2, 3, 4], "the time limit of the third was 10 s, as when it began"
    await guarded.clock.advance(2.0)
    assert guarded.payloads("retry")[0]["error"]["message"] == "no answer within 10 s"
    assert guarded.payloads("retry")[1]["error"]["message"] == "no answer within 2 s"
    change(timeout="2s", limit={"max_in_flight": 64, "rate": "1000/s"})
    await guarded.clock.advance(0.1)
    assert {3, 5} <= set(guarded.started[4:])
    assert guarded.guard.accounting.count(Stage.SUCCEEDED) == 2


async def test_each_limit_of_time_says_whose_it_was() -> None:
    """After a change, an attempt that began before it ends with the old time limit, or at its caller's deadline."""
    guarded = GuardHarness(timeout="10s", retry={"max_attempts": 1})
    slow, hasty = await guarded.start(1), await guarded.start(2, timeout=3.0)
    guarded.guard.change(ResilienceSettings.model_validate({"timeout": "60s", "retry": {"max_attempts": 1}}))
    fresh = await guarded.start(3)
    await guarded.clock.advance(10.1)
    errors = [task.result().error for task in (hasty, slow)]
    assert [error.kind for error in errors if error is not None] == ["deadline", "timeout"]
    assert not fresh.done()
    await guarded.clock.advance(50.0)
    assert fresh.result().error is not None
    assert fresh.result().error.message == "no answer within 60 s"


async def test_a_circuit_stays_as_it_is_when_its_settings_change() -> None:
    """An open circuit stays open for the time that it said; the thresholds count from now on."""
    guarded = GuardHarness(retry={"max_attempts": 1}, circuit_breaker={"failure_threshold": 1, "timeout": "20s"})
    await guarded.run(script(DOWN))
    assert guarded.guard.breaker.state is CircuitState.OPEN
    guarded.guard.change(
        ResilienceSettings.model_validate({"circuit_breaker": {"success_threshold": 1, "failure_threshold": 9}})
    )
    assert guarded.guard.breaker.state is CircuitState.OPEN
    await guarded.clock.advance(30.0)
    assert guarded.guard.breaker.state is CircuitState.HALF_OPEN
    await guarded.run(script("ok"), number=2)
    assert guarded.guard.breaker.state is CircuitState.CLOSED
