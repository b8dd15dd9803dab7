"""Calls through a guard that a test awaits, by both ways in which an attempt can be made."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Literal

from bridge.core.errors import BridgeError
from bridge.core.model import Operation, Outcome
from bridge.core.ports import Promise
from bridge.resilience import Call, Guard

Attempt = Callable[[], Awaitable[Any]]
Promised = Literal["no", "now", "soon"]
"""How attempts are made: in tasks of the guard's; without, from the first step on; or that a turn of the loop later."""


class Asked(Call):
    """A call that somebody awaits.

    Attributes:
        answer: How it ended: cancelled where it was, and with its bug where it had one.
        promises: Of the attempts that were begun without a task.
    """

    __slots__ = ("_attempt", "_heard", "_promised", "answer", "promises")

    def __init__(
        self,
        made: Operation,
        attempt: Attempt,
        *,
        idempotent: bool,
        promised: Promised,
        heard: Callable[[Operation, Outcome], None] = lambda _, __: None,
    ) -> None:
        """`heard` is told of the outcome, in the same moment as the call."""
        super().__init__(made, idempotent=idempotent)
        self.answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.promises: list[Promise] = []
        self._attempt = attempt
        self._promised = promised
        self._heard = heard

    def begin(self, promise: Promise) -> Coroutine[Any, Any, Any] | None:
        """Begin an attempt; the first step may fail or be a bug."""
        if self._promised == "no":
            return self._run()
        self.promises.append(promise)
        if self._promised == "now":
            self._step(self._attempt().__await__(), promise)
        else:
            asyncio.get_running_loop().call_soon(self._enter, promise)
        return None

    def _enter(self, promise: Promise) -> None:
        if not promise.done():
            self._go_on(self._attempt().__await__(), promise)

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
            return await self._attempt()
        except BridgeError:
            raise
        except Exception as bug:
            self.fail(bug)
            raise

    def end(self, outcome: Outcome | None) -> None:
        """See `Call.end`."""
        if outcome is not None:
            self._heard(self.operation, outcome)
        if self.answer.done():
            return
        if outcome is None:
            self.answer.cancel()
        else:
            self.answer.set_result(outcome)

    def fail(self, bug: BaseException) -> None:
        """A bug was found."""
        if not self.answer.done():
            self.answer.set_exception(bug)


async def carried(guard: Guard, call: Asked) -> Outcome:
    """The outcome of a call; to cancel this is to cancel the call."""
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
