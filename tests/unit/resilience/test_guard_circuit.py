"""The breaker inside the guard: what is rejected, what ends, and in which order it is reported."""

import asyncio
import itertools

import pytest

from bridge.core.errors import AuthError, CircuitOpenError, InvalidError, ThrottledError, UnavailableError
from bridge.resilience import Stage
from tests.support.guard.harness import ERROR, GuardHarness, script, wire

DOWN = UnavailableError("503")


async def test_an_open_circuit_rejects_without_an_attempt() -> None:
    """A call that the open circuit rejects makes no attempt, and its error has the time until the next probe."""
    guarded = GuardHarness(circuit_breaker={"failure_threshold": 2, "timeout": "30s"})
    await guarded.open_circuit()
    outcome = await guarded.run(script())
    assert isinstance(outcome.error, CircuitOpenError)
    assert 29_900 <= (outcome.error.retry_after_ms or 0) <= 33_000
    assert (outcome.attempts, outcome.history, outcome.error.retryable) == (0, (), True)
    assert guarded.events == [
        ("shed", {"reason": "circuit_open", "count": 1}, 1),
        ("failed", {"attempts": 0, "error": wire(outcome.error)}, 1),
    ]
    assert guarded.guard.accounting.count(Stage.SHED) == 1


async def test_each_rejection_fails_once_while_shed_is_counted() -> None:
    """A thousand rejections are a thousand failures, but only two `shed` reports."""
    guarded = GuardHarness(circuit_breaker={"failure_threshold": 1})
    await guarded.open_circuit()
    for number in range(1000):
        rejected = await guarded.run(script(), number=number)
        assert rejected.error is not None
        assert rejected.error.kind == "circuit_open"
    await guarded.clock.advance(1)
    assert [payload["count"] for payload in guarded.payloads("shed")] == [1, 999]
    assert len(guarded.payloads("failed")) == 1000


async def test_opening_between_two_attempts_ends_a_call_with_its_last_error() -> None:
    """A call whose failure opens the circuit ends with it: no retry is reported after that."""
    guarded = GuardHarness(circuit_breaker={"failure_threshold": 2}, retry={"max_attempts": 5})
    outcome = await guarded.run(script(DOWN, DOWN))
    assert outcome.error is DOWN
    assert outcome.attempts == 2
    assert guarded.reports == ["retry", "circuit.opened", "failed"]


async def test_opening_ends_what_waits() -> None:
    """Queued calls end with `circuit_open`, calls in backoff with their last error; running ones go on."""
    guarded = GuardHarness(
        circuit_breaker={"failure_threshold": 2}, limit={"max_in_flight": 2}, retry={"initial_delay": "10s"}
    )
    backing_off = await guarded.start(1)
    await guarded.end(1, DOWN)
    assert guarded.reports == ["retry"]
    running, failing = await guarded.start(2), await guarded.start(3)
    queued = [await guarded.start(number) for number in (4, 5)]
    await guarded.end(3, DOWN)
    assert backing_off.result().error is DOWN
    assert failing.result().error is DOWN
    assert [task.result().error.kind for task in queued if task.result().error] == ["circuit_open"] * 2
    assert [task.result().attempts for task in queued] == [0, 0]
    assert guarded.reports[:2] == ["retry", "circuit.opened"]
    assert guarded.events[1][2] == 3
    assert sorted(number or 0 for what, _, number in guarded.events if what == "failed") == [1, 3, 4, 5]
    assert not running.done()
    await guarded.end(2, "late")
    assert running.result().result == "late"
    assert guarded.guard.breaker.state == "open"


async def test_a_full_story_in_order() -> None:
    """Each transition of an outage is reported once, in order, with the operation that caused it."""
    guarded = GuardHarness(circuit_breaker={"failure_threshold": 2, "timeout": "1s"}, retry={"max_attempts": 1})
    await guarded.run(script(DOWN), number=1)
    await guarded.run(script(DOWN), number=2)
    await guarded.clock.advance(1.1)
    await guarded.run(script(DOWN), number=3)
    await guarded.clock.advance(2.2)
    await guarded.run(script("ok"), number=4)
    await guarded.run(script("ok"), number=5)
    story = [(what, number) for what, _, number in guarded.events]
    assert story == [
        ("failed", 1),
        ("circuit.opened", 2),
        ("failed", 2),
        ("circuit.half_opened", 2),
        ("circuit.opened", 3),
        ("failed", 3),
        ("circuit.half_opened", 3),
        ("circuit.closed", 5),
    ]
    chain = [payload for what, payload, _ in guarded.events if what.startswith("circuit.")]
    assert all(before["to"] == after["from"] for before, after in itertools.pairwise(chain))


async def test_one_probe_at_a_time() -> None:
    """While a probe runs others are rejected at once."""
    guarded = GuardHarness(circuit_breaker={"failure_threshold": 1, "success_threshold": 1, "timeout": "1s"})
    await guarded.open_circuit()
    await guarded.clock.advance(1.1)
    probe = await guarded.start(1)
    other = await guarded.start(2)
    assert other.result().attempts == 0
    await guarded.end(1, "ok")
    assert probe.result().ok
    assert guarded.guard.breaker.state == "closed"


async def test_a_probe_waits_in_no_queue() -> None:
    """A call that waits for a slot holds no permit; when it gets the slot it is the probe, or is rejected."""
    guarded = GuardHarness(circuit_breaker={"failure_threshold": 1, "timeout": "1s"}, limit={"max_in_flight": 2})
    slow = [await guarded.start(number) for number in (1, 2)]
    guarded.guard.breaker.force_open(guarded.operation())
    guarded.guard.breaker.reset(guarded.operation())
    await guarded.end(2, ERROR)  # of an older generation: dropped
    assert guarded.guard.breaker.state == "closed"
    failing = await guarded.start(3)
    await guarded.end(3, ERROR)
    assert failing.done()
    blocker = await guarded.start(4)
    assert blocker.result().error is not None
    await guarded.clock.advance(1.1)
    assert guarded.guard.breaker.state == "half_open"
    guarded.guard.pause()
    waiting = [await guarded.start(number) for number in (5, 6)]
    assert not any(task.done() for task in waiting)
    guarded.guard.resume()
    await guarded.clock.settle()
    assert list(guarded.running) == [1, 5]
    await guarded.end(1, "late")
    assert waiting[1].result().error is not None
    assert waiting[1].result().attempts == 0
    await guarded.end(5, "ok")
    assert [slow[0].result().ok, waiting[0].result().ok] == [True, True]


async def test_a_probe_that_gets_no_answer() -> None:
    """A probe without an answer opens the circuit again at its time limit, once."""
    guarded = GuardHarness(timeout="2s", circuit_breaker={"failure_threshold": 1, "timeout": "1s"})
    await guarded.open_circuit()
    await guarded.clock.advance(1.1)
    probe = await guarded.start(1)
    await guarded.clock.advance(2)
    assert probe.result().error is not None
    assert guarded.reports == ["circuit.half_opened", "circuit.opened", "failed"]
    assert guarded.payloads("circuit.opened")[0]["error"]["kind"] == "timeout"


@pytest.mark.parametrize("error", [ThrottledError("429", retry_after_ms=99_000), InvalidError("bin")])
async def test_an_ignored_probe_makes_room(error: Exception) -> None:
    """A throttled probe neither closes nor opens the circuit; the next call probes."""
    guarded = GuardHarness(circuit_breaker={"failure_threshold": 1, "success_threshold": 1, "timeout": "1s"})
    await guarded.open_circuit()
    await guarded.clock.advance(1.1)
    await guarded.run(script(error))
    assert guarded.guard.breaker.state == "half_open"
    await guarded.run(script("ok"))
    assert guarded.guard.breaker.state == "closed"


async def test_a_retry_that_finds_another_probe_ends_with_its_last_error() -> None:
    """Of two throttled calls that retry at the same time one probes; the other ends with the remote's error."""
    guarded = GuardHarness(circuit_breaker={"failure_threshold": 1, "timeout": "1s"})
    await guarded.open_circuit()
    await guarded.clock.advance(1.1)
    tasks = []
    for number in (1, 2):
        tasks.append(await guarded.start(number))
        await guarded.end(number, ThrottledError("429", retry_after_ms=100))
    await guarded.clock.advance(0.1)
    assert list(guarded.running) == [1]
    error = tasks[1].result().error
    assert error is not None
    assert (error.kind, tasks[1].result().attempts) == ("throttled", 1)
    await guarded.end(1, "ok")
    assert tasks[0].result().ok


async def test_a_remote_that_refuses_is_alive() -> None:
    """Refused credentials close a half-open circuit."""
    guarded = GuardHarness(circuit_breaker={"failure_threshold": 1, "success_threshold": 1, "timeout": "1s"})
    await guarded.open_circuit()
    await guarded.clock.advance(1.1)
    await guarded.run(script(AuthError("401")))
    assert guarded.guard.breaker.state == "closed"


async def test_a_cancelled_probe_makes_room() -> None:
    """A cancelled probe is ignored, and frees its permit and its slot."""
    guarded = GuardHarness(
        circuit_breaker={"failure_threshold": 1, "success_threshold": 1, "timeout": "1s"}, limit={"max_in_flight": 1}
    )
    await guarded.open_circuit()
    await guarded.clock.advance(1.1)
    probe = await guarded.start(1)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    assert guarded.guard.breaker.state == "half_open"
    assert (await guarded.run(script("ok"))).ok
    assert guarded.guard.breaker.state == "closed"


async def test_forced_open_by_hand() -> None:
    """While the circuit is forced open, errors have no time to wait and give the reason."""
    guarded = GuardHarness()
    guarded.guard.breaker.force_open(guarded.operation(3))
    outcome = await guarded.run(script())
    assert outcome.error is not None
    assert wire(outcome.error) == {
        "kind": "circuit_open",
        "message": "the circuit was opened by hand; nothing was sent",
        "retryable": True,
    }
    guarded.guard.breaker.reset(guarded.operation(4))
    assert guarded.guard.breaker.state == "closed"
    assert [(what, number) for what, _, number in guarded.events if what.startswith("circuit.")] == [
        ("circuit.opened", 3),
        ("circuit.closed", 4),
    ]
