"""Match responses to calls on one connection: which calls wait, and in which frame each was sent."""

import asyncio
import copy
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any

import msgspec

from bridge.adapters.jsonrpc.wire import (
    MAX_BATCH,
    ResponseObject,
    encode_batch,
    encode_call,
    id_of,
    result_of,
    set_outcome,
)
from bridge.core.errors import BridgeError, ConnectionLostError, NotConnectedError, ProtocolError


class PendingCall(msgspec.Struct, eq=False):
    """One call.

    Attributes:
        text: The request object, encoded.
        id: Its id; None for a notification, which is complete when it was sent.
        future: Gets the result or the error.
        frame: The number of the frame in which it was sent; None before that.
    """

    text: bytes
    id: int | str | None
    future: asyncio.Future[Any]
    frame: int | None = None

    def set_outcome(self, outcome: Any) -> None:
        """Give the caller the result, or the BridgeError, unless it no longer waits."""
        set_outcome(self.future, outcome)


class PendingCalls:
    """The calls of one session: puts them into frames, and gives each response to the call that waits for it."""

    def __init__(self, on_dropped: Callable[[BridgeError], None], *, batch: bool) -> None:
        """Begin without calls.

        Args:
            on_dropped: Told of responses that no call waits for: late or repeated ones, and those with an unknown id.
            batch: Whether calls that wait at the same moment are sent in one frame.
        """
        self._on_dropped = on_dropped
        self._in_a_frame = MAX_BATCH if batch else 1
        self._ids = count(1)
        self._frames = count(1)
        self._unsent: deque[PendingCall] = deque()
        self._waiting: dict[int | str, PendingCall] = {}
        self._wanted = asyncio.Event()

    async def call(self, method: str, params: Any, *, notify: bool = False, key: str | None = None) -> Any:
        """Call a method and wait for its result; a notification only until it is sent.

        Args:
            method: The name of the method.
            params: By name (dict), by position (list), or UNSET for none.
            notify: Whether to send a notification, which has no response.
            key: The idempotency key. It is the request's id, so that a server that remembers ids knows a repetition.

        Raises:
            InvalidError: `params` cannot be sent as JSON.
            BridgeError: The error of the response, or of `fail_all`.
        """
        call_id = None if notify else key if key and key not in self._waiting else next(self._ids)
        call = PendingCall(encode_call(method, params, call_id), call_id, asyncio.get_running_loop().create_future())
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

    async def next_frame(self) -> tuple[bytes, list[PendingCall]]:
        """Wait for calls to send; return the text of the next frame, and the calls in it."""
        while not self._unsent:
            self._wanted.clear()
            await self._wanted.wait()
        calls = [self._unsent.popleft() for _ in range(min(self._in_a_frame, len(self._unsent)))]
        number = next(self._frames)
        for call in calls:
            call.frame = number
        return encode_batch([call.text for call in calls]), calls

    def handle_response(self, response: ResponseObject) -> None:
        """Give a response to the call with its id."""
        call_id = id_of(response)
        call = None if call_id is None else self._waiting.get(call_id)
        if call is not None and call.frame is not None and not call.future.done():
            call.set_outcome(_outcome(response, call))
        elif response.id is not None or not self._set_outcome_of_only_frame(lambda call: _outcome(response, call)):
            self._on_dropped(ProtocolError("no call waits for this response"))

    def handle_unreadable(self, error: BridgeError) -> None:
        """Fail the calls of the only frame that waits, with the error of a message that cannot be read.

        Where several frames wait it is not known which one the message answers; it is then dropped.
        """
        if not self._set_outcome_of_only_frame(lambda _: copy.copy(error)):
            self._on_dropped(error)

    def _set_outcome_of_only_frame(self, outcome: Any) -> bool:
        """Give all waiting calls their outcome if they were sent in one frame; return whether they were."""
        waiting = [call for call in self._waiting.values() if call.frame is not None and not call.future.done()]
        if len({call.frame for call in waiting}) != 1:
            return False
        for call in waiting:
            call.set_outcome(outcome(call))
        return True

    def fail_all(self, message: str) -> None:
        """Fail all calls when the connection has ended: ConnectionLostError where sent, else NotConnectedError."""
        for call in [*self._waiting.values(), *self._unsent]:
            kind = NotConnectedError if call.frame is None else ConnectionLostError
            call.set_outcome(kind(message))


def _outcome(response: ResponseObject, call: PendingCall) -> Any:
    assert call.id is not None  # noqa: S101 - only a call with an id waits for a response
    try:
        return result_of(response, call.id)
    except BridgeError as error:
        return error
