"""Connections that end under operations: who is tried alone, what the breaker counts, and whose doing it was."""

import asyncio
from typing import Any

import pytest

from bridge.core.errors import ConnectionLostError, NotConnectedError, UnavailableError
from bridge.core.model import Outcome
from bridge.resilience import GuardedCall
from tests.support.guard.harness import GuardHarness, script

_OFTEN = {"retry": {"max_attempts": 10, "initial_delay": 0, "budget": 1}, "circuit_breaker": {"failure_threshold": 100}}


def _lost() -> ConnectionLostError:
    return ConnectionLostError("gone")


async def _cut(guarded: GuardHarness) -> None:
    """End the connection of all attempts that run."""
    for number in tuple(guarded.running):
        guarded.running[number].set_exception(_lost())
    await guarded.clock.settle()


def _error(task: asyncio.Task[Outcome]) -> Any:
    error = task.result().error
    assert error is not None
    return error


async def test_the_one_that_ends_its_connection_is_rejected() -> None:
    """Lost with others twice, then alone, while another was answered in between: that was its doing."""
    guarded = GuardHarness(**_OFTEN)
    poison, other = await guarded.start(1), await guarded.start(2)
    for _ in range(2):
        await _cut(guarded)
        await guarded.clock.advance(0.01)
    assert sorted(guarded.running) == [1], "suspects are tried one at a time"
    await guarded.end(1, _lost())
    await guarded.clock.advance(0.01)
    assert sorted(guarded.running) == [2]
    await guarded.end(2, "ok")
    await guarded.clock.advance(0.01)
    await guarded.end(1, _lost())
    assert other.result().ok
    error = _error(poison)
    assert (error.kind, error.retryable, error.maybe_sent) == ("rejected", False, True)
    assert "gone" in error.message
    assert [one.error.kind for one in poison.result().history] == ["connection_lost"] * 4
    assert not guarded.guard._losses.known


async def test_a_health_check_shows_that_the_remote_works() -> None:
    """An operation that nothing else accompanies is judged by the checks between its losses."""
    guarded = GuardHarness(**_OFTEN)
    poison = await guarded.start(1)
    for _ in range(2):
        await guarded.end(1, _lost())
        await guarded.clock.advance(0.01)
    assert not poison.done(), "nothing has shown that the remote works"
    await guarded.end(1, _lost())
    guarded.guard.note_check()
    await guarded.clock.advance(0.01)
    await guarded.end(1, _lost())
    assert _error(poison).kind == "rejected"


async def test_two_that_are_lost_in_turn_are_an_outage() -> None:
    """A remote that passes its checks and ends every operation's connection rejects nobody."""
    guarded = GuardHarness(**_OFTEN)
    tasks = [await guarded.start(number) for number in (1, 2)]
    for _ in range(30):
        await _cut(guarded)
        guarded.guard.note_check()
        await guarded.clock.advance(0.01)
    assert {_error(task).kind for task in tasks} == {"connection_lost"}


async def test_one_verdict_by_checks_alone_until_something_is_answered() -> None:
    """In an outage with one operation at a time, at most the first is rejected."""
    guarded = GuardHarness(**_OFTEN)
    kinds = []
    for number in (1, 2, 3):
        task = await guarded.start(number)
        while not task.done():
            await guarded.end(number, _lost())
            guarded.guard.note_check()
            await guarded.clock.advance(0.01)
        kinds.append(_error(task).kind)
    assert kinds == ["rejected", "connection_lost", "connection_lost"]


async def test_what_may_not_be_repeated_is_tried_once() -> None:
    """It ends with `connection_lost`, not retryable, as before; nothing of it is remembered."""
    guarded = GuardHarness(**_OFTEN)
    task = await guarded.start(1, idempotent=False)
    await guarded.end(1, _lost())
    assert (_error(task).kind, _error(task).retryable) == ("connection_lost", False)
    assert not guarded.guard._losses.known


async def test_a_connection_that_ends_is_one_failure_for_the_breaker() -> None:
    """However many attempts were in flight; five connections in a row open the circuit."""
    guarded = GuardHarness(retry={"max_attempts": 1}, circuit_breaker={"failure_threshold": 5})
    for turn in range(5):
        assert guarded.guard.breaker.state == "closed", turn
        for number in range(20):
            await guarded.start(100 * turn + number)
        await _cut(guarded)
    assert guarded.guard.breaker.state == "open"


async def test_without_a_session_each_connection_that_ends_is_one_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attempt has its own connection there, so that others that end meanwhile are failures of their own."""
    monkeypatch.setattr(GuardedCall, "needs_session", False)
    guarded = GuardHarness(retry={"max_attempts": 1}, circuit_breaker={"failure_threshold": 5})
    for number in range(5):
        await guarded.start(number)
    for number in range(5):
        assert guarded.guard.breaker.state == "closed", number
        await guarded.end(number, _lost())
    assert guarded.guard.breaker.state == "open"


@pytest.mark.parametrize("error", [NotConnectedError("refused"), UnavailableError("503")])
async def test_other_failures_count_one_by_one(error: Any) -> None:
    """Errors that no other attempt has told of are counted as before."""
    guarded = GuardHarness(retry={"max_attempts": 1}, circuit_breaker={"failure_threshold": 2})
    await guarded.run(script(error), number=1)
    await guarded.run(script(error), number=2)
    assert guarded.guard.breaker.state == "open"


async def test_suspects_have_their_turn_beside_a_flow_of_others() -> None:
    """The others go first for a second; then nothing starts until the suspect was tried alone."""
    guarded = GuardHarness(limit={"max_in_flight": 2}, **_OFTEN)
    suspect = await guarded.start(1)
    await guarded.end(1, _lost())
    number = 100
    for at in (number, number + 1):
        await guarded.start(at)
    for _ in range(30):  # always one more that waits than there are slots
        number += 1
        await guarded.start(number + 1)
        await guarded.clock.advance(0.1)
        if 1 in guarded.running:
            break
        await guarded.end(min(one for one in guarded.running), "ok")
    assert sorted(guarded.running) == [1]
    assert guarded.clock.monotonic() < 1003
    await guarded.end(1, "ok")
    assert suspect.result().ok
    assert len(guarded.running) == 2, "the others go on"


async def test_a_slow_suspect_does_not_hold_the_others_up() -> None:
    """After a second beside nobody it has company."""
    guarded = GuardHarness(**_OFTEN)
    await guarded.start(1)
    await guarded.end(1, _lost())
    await guarded.clock.advance(0.01)
    assert sorted(guarded.running) == [1]
    await guarded.start(2)
    assert sorted(guarded.running) == [1]
    await guarded.clock.advance(1.1)
    assert sorted(guarded.running) == [1, 2]


async def test_suspects_end_with_the_guard_and_by_their_deadline() -> None:
    """Where a suspect waits to be tried alone, it can expire, be cancelled, and be answered with `stopping`."""
    guarded = GuardHarness(**_OFTEN)
    busy = await guarded.start(9)
    tasks = [await guarded.start(number, timeout=0.5 if number == 1 else None) for number in (1, 2, 3)]
    for number in (1, 2, 3):
        for _ in range(2):
            await guarded.end(number, _lost())
            await guarded.clock.advance(0.01)
    assert sorted(guarded.running) == [9]
    await guarded.clock.advance(0.5)
    assert _error(tasks[0]).kind == "deadline"
    tasks[1].cancel()
    await guarded.clock.settle()
    assert tasks[1].cancelled()
    stopping = asyncio.create_task(guarded.guard.stop_queued())
    await guarded.clock.settle()
    assert _error(tasks[2]).kind == "stopping"
    await stopping
    await guarded.end(9, "ok")
    assert busy.result().ok
    guarded.guard.close()
    assert guarded.clock.timers == 0
