"""JSON-RPC 2.0 on a connection that both sides write to: what was asked, in what frame, and who waits for it."""

import asyncio
import copy
from collections import deque
from dataclasses import dataclass
from itertools import count
from typing import Any

import structlog

from bridge.adapters.jsonrpc.wire import MAX_BATCH, Answer, encode_batch, encode_call, result_of, settle
from bridge.core.errors import BridgeError, ConnectionLostError, NotConnectedError

log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Call:
    """One call; its future brings the result, or the error. A notification has no id and is done when it is sent."""

    text: bytes
    id: int | str | None
    future: asyncio.Future[Any]
    frame: int | None = None

    def settle(self, outcome: Any) -> None:
        """Give the caller the result, or the error, unless it has left."""
        settle(self.future, outcome)


class Calls:
    """The calls of one session, from the caller to the frame and from the answer back to the caller.

    Attributes:
        strays: Answers that nobody waited for: late ones, and such to ids that were never given out.
    """

    def __init__(self, *, batch: bool) -> None:
        """With `batch`, what waits at the same moment shares a frame."""
        self._in_a_frame = MAX_BATCH if batch else 1
        self._ids = count(1)
        self._frames = count(1)
        self._unsent: deque[Call] = deque()
        self._waiting: dict[int | str, Call] = {}
        self._wanted = asyncio.Event()
        self.strays = 0

    async def call(self, method: str, params: Any, *, notify: bool = False, key: str | None = None) -> Any:
        """Call a method and wait for its result; a notification only until it is sent.

        An idempotency key is the request's id, so that a server that remembers ids knows a repetition.

        Raises:
            BridgeError: As the answer has it, or `lose`.
        """
        call_id = None if notify else key if key and key not in self._waiting else next(self._ids)
        call = Call(encode_call(method, params, call_id), call_id, asyncio.get_running_loop().create_future())
        self._unsent.append(call)
        if call_id is not None:
            self._waiting[call_id] = call
        self._wanted.set()
        try:
            return await call.future
        finally:
            if call_id is not None:
                del self._waiting[call_id]
            if call.frame is None and call in self._unsent:
                self._unsent.remove(call)

    async def next_frame(self) -> tuple[bytes, list[Call]]:
        """Wait for what is to be sent next; the text, and the calls in it."""
        while not self._unsent:
            self._wanted.clear()
            await self._wanted.wait()
        calls = [self._unsent.popleft() for _ in range(min(self._in_a_frame, len(self._unsent)))]
        number = next(self._frames)
        for call in calls:
            call.frame = number
        return encode_batch([call.text for call in calls]), calls

    def answered(self, answer: Answer) -> None:
        """Give an answer to whom it belongs."""
        call = self._waiting.get(answer.id) if type(answer.id) in {int, str} else None
        if call is not None and call.frame is not None and not call.future.done():
            call.settle(_outcome(answer, call))
        elif answer.id is not None or not self._concerns_one_frame(lambda call: _outcome(answer, call)):
            self._stray("an answer that nobody waits for")

    def unreadable(self, error: BridgeError) -> None:
        """A message came that is none; it is an answer where only one frame can be meant."""
        if not self._concerns_one_frame(lambda _: copy.copy(error)):
            self._stray(error.message)

    def _concerns_one_frame(self, outcome: Any) -> bool:
        """Settle everything that waits, if it was sent in one frame: the server could not name what it was about."""
        waiting = [call for call in self._waiting.values() if call.frame is not None and not call.future.done()]
        if len({call.frame for call in waiting}) != 1:
            return False
        for call in waiting:
            call.settle(outcome(call))
        return True

    def _stray(self, what: str) -> None:
        self.strays += 1
        if self.strays & (self.strays - 1) == 0:  # the first, second, fourth, eighth …
            log.warning("JSON-RPC message ignored", why=what, ignored=self.strays)

    def lose(self, message: str) -> None:
        """The connection has ended: fail what was sent, and what was surely not."""
        for call in [*self._waiting.values(), *self._unsent]:
            kind = NotConnectedError if call.frame is None else ConnectionLostError
            call.settle(kind(message))


def _outcome(answer: Answer, call: Call) -> Any:
    assert call.id is not None  # noqa: S101 - only what has an id waits for an answer
    try:
        return result_of(answer, call.id)
    except BridgeError as error:
        return error
