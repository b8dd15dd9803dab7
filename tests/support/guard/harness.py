"""A guard on a fake clock; the test ends each attempt by hand."""

import asyncio
import random
from typing import Any

import msgspec

from bridge.core.cancel import BoundedTasks
from bridge.core.errors import BridgeError, ProtocolError
from bridge.core.model import Operation, Outcome
from bridge.core.payloads import Payload
from bridge.core.settings import ResilienceSettings
from bridge.resilience import Guard
from tests.support.clock import FakeClock
from tests.support.guard.calls import Attempt, AwaitedCall, Promised, outcome_of
from tests.support.guard.operations import operation


class GuardHarness:
    """A guard with a fake clock and a record of its reports.

    Attributes:
        events: What was reported, and each end with an error as "failed": (what, payload without its head, number of
            the operation).
        started: The number of each attempt's operation, in the order in which they began.
        running: The attempts that wait for the test to end them, by the operation's number.
        promised: How attempts are made.
    """

    promised: Promised = "no"

    def __init__(self, *, jitter: bool = False, seed: int = 1, **blocks: Any) -> None:
        retry = {"jitter": jitter, **blocks.pop("retry", {})}
        settings = ResilienceSettings.model_validate({"retry": retry, **blocks})
        self.clock = FakeClock()
        self.events: list[tuple[str, dict[str, Any], int | None]] = []
        self.started: list[int] = []
        self.running: dict[int, asyncio.Future[Any]] = {}
        self.calls: list[AwaitedCall] = []
        self.guard = Guard(
            settings,
            clock=self.clock,
            rng=random.Random(seed),
            report=self._report,
            tasks=BoundedTasks(clock=self.clock),
            on_bug=lambda bug: [call.fail(bug) for call in self.calls],
        )

    def _report(self, what: str, payload: Payload, about: Operation) -> None:
        told = msgspec.to_builtins(payload)
        head = {name: told.pop(name) for name in ("integration", "operation", "cause")}
        assert head == {
            "integration": about.integration,
            "operation": about.name,
            "cause": msgspec.to_builtins(about.cause),
        }
        self.events.append((what, told, about.cause.id))

    def _ended(self, about: Operation, outcome: Outcome) -> None:
        if outcome.error is not None:
            self.events.append(("failed", {"attempts": outcome.attempts, "error": wire(outcome.error)}, about.cause.id))

    @property
    def timers(self) -> int:
        """How many timers wait, but for the one of the usual time limit, which stays set when no attempt runs."""
        waiting = self.clock.timers
        usual = self.guard._running._timer.is_set
        return waiting - (usual and not self.guard.accounting.in_flight)

    @property
    def reports(self) -> list[str]:
        """The kinds of reports, in order, without payloads."""
        return [what for what, _, _ in self.events]

    def payloads(self, what: str) -> list[dict[str, Any]]:
        """Return the payloads of one kind of report."""
        return [payload for name, payload, _ in self.events if name == what]

    def operation(self, number: int = 1, timeout: float | None = None) -> Operation:
        """Return an operation with a deadline in `timeout` seconds."""
        return operation(number, deadline=None if timeout is None else self.clock.monotonic() + timeout)

    def call(self, made: Operation, attempt: Attempt, *, idempotent: bool = True) -> asyncio.Task[Outcome]:
        """Submit an operation in a task's first step; to cancel the task is to cancel the call."""
        self.calls.append(
            AwaitedCall(operation=made, make=attempt, idempotent=idempotent, promised=self.promised, on_end=self._ended)
        )
        return asyncio.create_task(outcome_of(self.guard, self.calls[-1]))

    async def run(
        self,
        attempt: Attempt,
        *,
        number: int = 1,
        timeout: float | None = None,
        idempotent: bool = True,
    ) -> Outcome:
        """Run one operation to its end, with as much time as it needs, and return its outcome."""
        task = self.call(self.operation(number, timeout), attempt, idempotent=idempotent)
        await self.clock.settle()
        for _ in range(10_000):
            if task.done():
                break
            await self.clock.advance(0.01)
        return await task

    async def start(
        self, number: int = 1, *, timeout: float | None = None, idempotent: bool = True
    ) -> asyncio.Task[Outcome]:
        """Begin an operation whose attempts the test ends with `end`."""
        task = self.call(self.operation(number, timeout), lambda: self._attempt(number), idempotent=idempotent)
        await self.clock.settle()
        return task

    async def _attempt(self, number: int) -> Any:
        self.started.append(number)
        future = self.running[number] = asyncio.get_running_loop().create_future()
        try:
            return await future
        finally:
            if self.running.get(number) is future:
                del self.running[number]

    async def end(self, number: int = 1, result: Any = None) -> None:
        """End the running attempt of an operation with a result or an error."""
        if isinstance(result, BaseException):
            self.running[number].set_exception(result)
        else:
            self.running[number].set_result(result)
        await self.clock.settle()

    async def open_circuit(self) -> None:
        """Let single attempts fail until the circuit is open, then forget what was reported."""

        async def fail() -> None:
            raise ERROR

        while self.guard.breaker.state == "closed":
            await self.run(fail, idempotent=False)
        self.events.clear()


ERROR = ProtocolError("nonsense")


def wire(error: BridgeError) -> dict[str, Any]:
    """Return an error as an event has it."""
    told: dict[str, Any] = msgspec.to_builtins(error.to_wire())
    return told


def script(*steps: Any) -> Attempt:
    """Return attempts that end at once, one after the other: with a result, or an error."""
    left = list(steps)

    async def attempt() -> Any:
        step = left.pop(0)
        if isinstance(step, BaseException):
            raise step
        return step

    return attempt
