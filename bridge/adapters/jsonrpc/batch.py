"""Join calls that wait at the same moment into one JSON-RPC array.

No task does this. The first call that finds no leader becomes the leader: it lets the event loop run once, gets a
connection, sends all calls that wait by then, and makes the first of those that are left the next leader. Callbacks
then distribute the response, so that a cancelled call, even the leader's, does not affect the others.
"""

import asyncio
import copy
from collections import deque
from functools import partial
from typing import Any, Final

import msgspec

from bridge.adapters._common.http.client import HttpClient
from bridge.adapters._common.http.connection import HttpConnection
from bridge.adapters._common.http.errors import translate
from bridge.adapters._common.http.message import Response
from bridge.adapters.jsonrpc.wire import (
    MAX_BATCH,
    CallId,
    check_accepted,
    encode_batch,
    read_batch_response,
    read_response,
    set_outcome,
)
from bridge.core.errors import BridgeError

_LEAD: Final = object()


class _Exchange(msgspec.Struct, eq=False):
    """A batch that was sent; `waiting` counts the calls that still wait for the response."""

    connection: HttpConnection
    response: asyncio.Future[Response]
    waiting: int


class _BatchedCall(msgspec.Struct, eq=False):
    """One call; its future gets `_LEAD`, the result, or the error. `call_id` is None for a notification."""

    text: bytes
    call_id: CallId | None
    future: asyncio.Future[Any]
    exchange: _Exchange | None = None

    def set_outcome(self, outcome: Any) -> None:
        set_outcome(self.future, outcome)


class _BatchQueue(msgspec.Struct, eq=False):
    """The calls with the same HTTP headers; only these can share a request."""

    waiting: deque[_BatchedCall] = msgspec.field(default_factory=deque)
    leader: _BatchedCall | None = None


class Batcher:
    """Sends calls, several in one request where they wait at the same moment."""

    def __init__(self, client: HttpClient) -> None:
        """Begin without calls; `client` sends them."""
        self._client = client
        self._queues: dict[bytes, _BatchQueue] = {}

    async def call(self, text: bytes, call_id: CallId | None, headers: bytes) -> Any:
        """Send one call and return its result; None for a notification, when the server has accepted it.

        Args:
            text: The request object, encoded.
            call_id: Its id; None for a notification.
            headers: Its HTTP headers; calls with other headers are sent in another request.

        Raises:
            BridgeError: As for a call that is sent alone.
        """
        queue = self._queues.setdefault(headers, _BatchQueue())
        loop = asyncio.get_running_loop()
        waiting = _BatchedCall(text, call_id, loop.create_future())
        queue.waiting.append(waiting)
        try:
            if queue.leader is None:
                queue.leader = waiting
            else:
                answer = await waiting.future
                if answer is not _LEAD:
                    return answer
                waiting.future = loop.create_future()
            await self._send(queue, headers)
            return await waiting.future
        finally:
            self._remove(queue, waiting)
            if not queue.waiting:
                self._queues.pop(headers, None)

    async def _send(self, queue: _BatchQueue, headers: bytes) -> None:
        """Send the calls that wait; the leader's own is the first."""
        await asyncio.sleep(0)
        try:
            connection = await self._client.connection()
        except BridgeError as error:
            # The others were to be sent on the same connection. Each gets an exception of its own to raise.
            for waiting in queue.waiting:
                if waiting is not queue.leader:
                    waiting.set_outcome(copy.copy(error))
            queue.waiting.clear()
            raise
        batch = [queue.waiting.popleft() for _ in range(min(MAX_BATCH, len(queue.waiting)))]
        queue.leader = None
        self._hand_over(queue)
        body = encode_batch([waiting.text for waiting in batch])
        exchange = _Exchange(connection, self._client.start_post(connection, body, headers), len(batch))
        for waiting in batch:
            waiting.exchange = exchange
        exchange.response.add_done_callback(partial(_distribute, batch))

    @staticmethod
    def _hand_over(queue: _BatchQueue) -> None:
        if queue.waiting:
            queue.leader = queue.waiting[0]
            queue.leader.set_outcome(_LEAD)

    def _remove(self, queue: _BatchQueue, waiting: _BatchedCall) -> None:
        exchange = waiting.exchange
        if exchange is not None:
            exchange.waiting -= 1
            # After the response another exchange may already use the connection.
            if exchange.waiting == 0 and not exchange.response.done():
                exchange.connection.abort()
        elif waiting in queue.waiting:
            queue.waiting.remove(waiting)
        if queue.leader is waiting:
            queue.leader = None
            self._hand_over(queue)


def _distribute(batch: list[_BatchedCall], done: asyncio.Future[Response]) -> None:
    failure = done.exception()
    try:
        if isinstance(failure, Exception):
            raise translate(failure)
        response = done.result()
        call_ids = [waiting.call_id for waiting in batch if waiting.call_id is not None]
        if len(batch) == 1 and call_ids:
            outcomes = {call_ids[0]: read_response(response, call_ids[0])}
        elif call_ids:
            outcomes = read_batch_response(response, call_ids)
        else:
            outcomes = {}
            check_accepted(response)
    except BridgeError as error:
        for waiting in batch:
            waiting.set_outcome(copy.copy(error))
        return
    for waiting in batch:
        waiting.set_outcome(None if waiting.call_id is None else outcomes[waiting.call_id])
