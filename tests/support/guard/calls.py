"""Calls that a test submits to a guard and awaits, with both ways to make an attempt."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Literal

import msgspec

from bridge.core.errors import BridgeError
from bridge.core.model import Operation, Outcome
from bridge.core.ports import Promise
from bridge.resilience import Guard, GuardedCall

Attempt = Callable[[], Awaitable[Any]]
Promised = Literal["no", "now", "soon"]
"""How attempts are made: "no", in a task of the guard; "now", without a task; "soon", without one, a moment later."""


class AwaitedCall(GuardedCall, kw_only=True):
    """A guarded call whose outcome can be awaited.

    Attributes:
        make: Makes an attempt.
        idempotent: See `GuardedCall.idempotent`.
        promised: How attempts are made.
        on_end: Called with the outcome, in the same moment as `end`.
        answer: Its outcome: cancelled where the call was, and a bug's exception where it had one.
        promises: The promises of the attempts that were begun without a task.
    """

    make: Attempt
    idempotent: bool
    promised: Promised
    on_end: Callable[[Operation, Outcome], None] = lambda _, __: None
    answer: asyncio.Future[Outcome] = msgspec.field(default_factory=lambda: asyncio.get_running_loop().create_future())
    promises: list[Promise] = msgspec.field(default_factory=list)

    def begin(self, promise: Promise) -> Coroutine[Any, Any, Any] | None:
        """Begin an attempt in the way that was asked for."""
        if self.promised == "no":
            return self._run()
        self.promises.append(promise)
        if self.promised == "now":
            self._step(self.make().__await__(), promise)
        else:
            asyncio.get_running_loop().call_soon(self._enter, promise)
        return None

    def _enter(self, promise: Promise) -> None:
        if not promise.done():
            self._go_on(self.make().__await__(), promise)

    def _step(self, steps: Generator[Any, None, Any], promise: Promise, *, now: bool = False) -> None:
        loop = asyncio.get_running_loop()
        try:
            waits_for = steps.send(None)
        except StopIteration as end:
            if now:
                promise.set_result(end.value)
            else:
                loop.call_soon(promise.set_result, end.value)
        else:
            if waits_for is None:  # asyncio.sleep(0)
                loop.call_soon(self._go_on, steps, promise)
            else:
                waits_for.add_done_callback(lambda _: self._go_on(steps, promise))

    def _go_on(self, steps: Generator[Any, None, Any], promise: Promise) -> None:
        try:
            self._step(steps, promise, now=True)
        except BridgeError as error:
            promise.set_exception(error)

    async def _run(self) -> Any:
        """Make one attempt; a bug ends the answer, too."""
        try:
            return await self.make()
        except BridgeError:
            raise
        except Exception as bug:
            self.fail(bug)
            raise

    def end(self, outcome: Outcome | None) -> None:
        """See `GuardedCall.end`."""
        if outcome is not None:
            self.on_end(self.operation, outcome)
        if self.answer.done():
            return
        if outcome is None:
            self.answer.cancel()
        else:
            self.answer.set_result(outcome)

    def fail(self, bug: BaseException) -> None:
        """End the answer with a bug's exception."""
        if not self.answer.done():
            self.answer.set_exception(bug)


async def outcome_of(guard: Guard, call: AwaitedCall) -> Outcome:
    """Submit a call and return its outcome; cancelling this cancels the call."""
    guard.submit(call)
    try:
        return await asyncio.shield(call.answer)
    except asyncio.CancelledError:
        if call.answer.done() and not call.answer.cancelled():  # it had ended in the same moment
            return call.answer.result()
        guard.cancel(call)
        while call.attempt is not None:  # noqa: ASYNC110 - until its task has ended
            await asyncio.sleep(0)
        raise
