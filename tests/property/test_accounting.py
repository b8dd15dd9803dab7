"""The guard's counts balance in every turn of the event loop, whatever happens in whichever order."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.core.cancel import BoundedTasks
from bridge.core.errors import (
    AttemptTimeoutError,
    AuthError,
    BridgeError,
    ConnectionLostError,
    NotConnectedError,
    ThrottledError,
    UnavailableError,
)
from bridge.core.model import Operation, Outcome
from bridge.core.payloads import CircuitChange, Retry, Shed
from bridge.core.settings import ResilienceSettings
from bridge.resilience import Guard, Stage
from tests.support.clock import FakeClock
from tests.support.guard.calls import AwaitedCall, Promised, outcome_of
from tests.support.guard.operations import operation

HANG = "hang"
STEPS = st.one_of(
    st.just("ok"),
    st.just(HANG),
    st.integers(1, 400),  # ms until it answers
    st.sampled_from(
        [
            NotConnectedError("x"),
            UnavailableError("x"),
            ConnectionLostError("x"),
            AttemptTimeoutError("x"),
            AuthError("x"),
            ThrottledError("x", retry_after_ms=100),
            ThrottledError("x", retry_after_ms=50_000),
        ]
    ),
)
CALLS = st.tuples(
    st.just("call"),
    st.lists(STEPS, min_size=4, max_size=4),
    st.none() | st.sampled_from([0.0, 0.05, 0.3, 2.0]),
    st.booleans(),
)
ACTIONS = st.one_of(
    CALLS,
    CALLS,
    CALLS,
    st.tuples(st.just("advance"), st.sampled_from([0.0, 0.05, 0.2, 1.0, 6.0])),
    st.tuples(st.just("cancel"), st.integers(0, 50)),
    st.tuples(st.sampled_from(["pause", "resume", "resume", "stop", "force_open", "reset", "reset"])),
)
SETTINGS = st.fixed_dictionaries(
    {
        "timeout": st.sampled_from([0.1, 0.5, 3.0]),
        "retry": st.fixed_dictionaries(
            {"max_attempts": st.integers(1, 4), "initial_delay": st.sampled_from([0, 0.1]), "budget": st.just(0.5)}
        ),
        "circuit_breaker": st.fixed_dictionaries(
            {"failure_threshold": st.integers(1, 6), "success_threshold": st.integers(1, 2), "timeout": st.just(0.5)}
        ),
        "limit": st.fixed_dictionaries(
            {
                "max_in_flight": st.integers(1, 3),
                "queue": st.integers(0, 5),
                "rate": st.sampled_from([None, None, 8.0]),
            }
        ),
    }
)


class GuardWorld:
    """A guard, its clock, its callers and the remote; everything is checked as it goes."""

    def __init__(self, blocks: dict[str, Any], promised: Callable[[int], Promised]) -> None:
        """Create it; `promised` returns how the attempts of a call with a given number are made."""
        self.promised = promised
        self.calls: list[AwaitedCall] = []
        self.bugs: list[BaseException] = []
        self.events: list[Any] = []
        self.settings = ResilienceSettings.model_validate(blocks)
        self.clock = FakeClock()
        self.guard = Guard(
            self.settings,
            clock=self.clock,
            rng=random.Random(1),
            report=self.report,
            tasks=BoundedTasks(clock=self.clock),
            on_bug=self.bugs.append,
        )
        self.tasks: list[asyncio.Task[Outcome]] = []
        self.failed: Counter[int] = Counter()
        self.shed = 0
        self.circuit = ["closed"]
        self.running = 0
        self.attempts: Counter[int] = Counter()

    def report(self, what: str, payload: Retry | Shed | CircuitChange, about: Operation) -> None:
        """Record a report, to be checked in the end."""
        self.events.append((self.clock.monotonic(), what, payload, about.cause.id))
        if isinstance(payload, Shed):
            self.shed += payload.count if payload.reason != "retry_budget" else 0
        elif isinstance(payload, CircuitChange):
            assert payload.from_ == self.circuit[-1] != payload.to
            self.circuit.append(payload.to)

    def ended(self, about: Operation, outcome: Outcome) -> None:
        """Record an outcome with an error."""
        if outcome.error is not None:
            self.events.append((self.clock.monotonic(), outcome.error.to_wire(), outcome.attempts, about.cause.id))
            self.failed[about.cause.id] += 1

    def check(self) -> None:
        """Check what must hold in every turn of the loop."""
        sums = self.guard.accounting
        told = msgspec.structs.asdict(sums.sums())
        assert told.pop("accepted") == sum(told.values())
        assert all(count >= 0 for count in told.values())
        assert sums.in_flight <= self.settings.limit.max_in_flight
        # A task's last step may come after its time limit; nobody waits for what was begun without one.
        assert sums.in_flight >= self.running - self.given_up()
        assert sums.in_flight >= sum(not promise.done() for call in self.calls for promise in call.promises)

    def given_up(self) -> int:
        """Return how many attempts without a task may still run although nobody waits for them."""
        return sum(promise.done() for call in self.calls for promise in call.promises)

    async def watched(self, until: asyncio.Task[Any]) -> None:
        """Run a task to its end, and check in every turn of the loop."""
        while not until.done():
            self.check()
            await asyncio.sleep(0)
        await until

    async def call(self, steps: list[Any], timeout: float | None, idempotent: bool) -> None:
        """Submit a call."""
        number = len(self.tasks)
        left = list(steps)

        async def attempt() -> Any:
            self.attempts[number] += 1
            self.running += 1
            try:
                step = left.pop(0)
                if step == HANG:
                    await asyncio.get_running_loop().create_future()
                if isinstance(step, int):
                    await self.clock.sleep(step / 1000)
                if isinstance(step, BridgeError):
                    raise step
                return step
            finally:
                self.running -= 1

        deadline = None if timeout is None else self.clock.monotonic() + timeout
        made = operation(number, deadline=deadline)
        self.calls.append(
            AwaitedCall(
                operation=made, make=attempt, idempotent=idempotent, promised=self.promised(number), on_end=self.ended
            )
        )
        self.tasks.append(asyncio.create_task(outcome_of(self.guard, self.calls[-1])))

    async def act(self, action: tuple[Any, ...]) -> None:
        """Perform one action of the script."""
        match action:
            case ("call", steps, timeout, idempotent):
                await self.call(steps, timeout, idempotent)
            case ("advance", seconds):
                await self.clock.advance(seconds)
            case ("cancel", number) if number < len(self.tasks):
                self.tasks[number].cancel()
            case ("pause",):
                self.guard.pause()
            case ("resume",):
                self.guard.resume()
            case ("stop",):
                await self.watched(asyncio.create_task(self.guard.stop_queued()))
                assert self.guard.accounting.queued == 0
            case ("force_open",):
                self.guard.breaker.force_open(operation())
            case ("reset",):
                self.guard.breaker.reset(operation())
        self.check()

    async def finish(self) -> None:
        """Check that every call has ended, and that all counts agree with the outcomes."""
        self.guard.resume()
        await self.clock.advance(300)
        self.guard.close()
        assert all(task.done() for task in self.tasks)
        assert self.clock.timers == 0
        outcomes = {number: task.result() for number, task in enumerate(self.tasks) if not task.cancelled()}
        cancelled = sum(task.cancelled() for task in self.tasks)
        sums = self.guard.accounting
        assert self.bugs == []
        assert sums.open == 0
        assert self.running <= self.given_up()
        kinds = Counter(
            "succeeded"
            if outcome.error is None
            else "expired"
            if outcome.error.kind == "deadline"
            else "failed"
            if outcome.attempts
            else "shed"
            for outcome in outcomes.values()
        )
        assert (sums.count(Stage.SUCCEEDED), sums.count(Stage.EXPIRED), sums.count(Stage.SHED)) == (
            kinds["succeeded"],
            kinds["expired"],
            kinds["shed"],
        )
        # A call that is cancelled before its task first runs was never accepted.
        assert kinds["failed"] <= sums.count(Stage.FAILED) <= kinds["failed"] + cancelled
        assert self.failed == Counter(number for number, outcome in outcomes.items() if not outcome.ok)
        assert self.shed == sum(outcome.attempts == 0 for outcome in outcomes.values())
        for number, outcome in outcomes.items():
            assert outcome.attempts == self.attempts[number] <= self.settings.retry.max_attempts
            assert len(outcome.history) == outcome.attempts - (1 if outcome.ok else 0)


@settings(max_examples=200, deadline=None)
@given(blocks=SETTINGS, actions=st.lists(ACTIONS, min_size=15, max_size=60))
def test_everything_is_accounted_for(blocks: dict[str, Any], actions: list[tuple[Any, ...]]) -> None:
    """Any mix of calls, time, cancellation and commands leaves nothing open, lost, or reported twice."""
    asyncio.run(play(blocks, actions, lambda number: "now" if number % 2 else "no"))


@settings(max_examples=200, deadline=None)
@given(blocks=SETTINGS, actions=st.lists(ACTIONS, min_size=15, max_size=60))
def test_both_ways_of_an_attempt_are_the_same(blocks: dict[str, Any], actions: list[tuple[Any, ...]]) -> None:
    """The same script, all by tasks and all without: the same outcomes, reports, times and sums.

    A task that is cancelled needs a turn of the loop to end; nothing else happens in just that turn here.
    """
    one = asyncio.run(play(blocks, actions, lambda _: "no", settle=True))
    other = asyncio.run(play(blocks, actions, lambda _: "soon", settle=True))
    assert one.guard.accounting.sums() == other.guard.accounting.sums()
    assert one.circuit == other.circuit
    assert one.events == other.events
    assert [ended(task) for task in one.tasks] == [ended(task) for task in other.tasks]


def ended(task: asyncio.Task[Outcome]) -> Any:
    """Return how a call ended."""
    if task.cancelled():
        return None
    outcome = task.result()
    error = None if outcome.error is None else outcome.error.to_wire()
    return outcome.result, error, outcome.attempts, round(outcome.duration_ms, 3), outcome.history


async def play(
    blocks: dict[str, Any],
    actions: list[tuple[Any, ...]],
    promised: Callable[[int], Promised],
    *,
    settle: bool = False,
) -> GuardWorld:
    """Run a script, and check after each action; `settle`: before the next action all tasks must wait."""
    world = GuardWorld(blocks, promised)
    world.clock.each_round = world.check
    for action in actions:
        await world.act(action)
        if settle:
            await world.clock.settle()
    await world.finish()
    return world
