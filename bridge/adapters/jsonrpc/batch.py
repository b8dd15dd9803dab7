"""Joins calls that wait at the same moment into one JSON-RPC array.

There is no task of its own: the first call that finds nobody gathering becomes the leader, lets the loop turn once,
fetches a connection, sends everything that waits by then, and hands the lead to whoever is left. From there on
callbacks distribute the answer, so a call that is cancelled, be it the leader's, disturbs no other.
"""

import asyncio
import copy
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from bridge.adapters._common.http.client import HttpClient
from bridge.adapters._common.http.connection import HttpConnection
from bridge.adapters._common.http.errors import translate
from bridge.adapters._common.http.message import Response
from bridge.adapters.jsonrpc.wire import (
    MAX_BATCH,
    CallId,
    check_taken,
    encode_batch,
    read_answer,
    read_answers,
    settle,
)
from bridge.core.errors import BridgeError

_LEAD: Final = object()


@dataclass(slots=True, eq=False)
class _Exchange:
    """A batch on its way; `live` counts the callers who still want their answer."""

    connection: HttpConnection
    response: asyncio.Future[Response]
    live: int


@dataclass(slots=True, eq=False)
class _Waiting:
    """One call; its future brings `_LEAD`, the result, or the error. `call_id` is None for a notification."""

    text: bytes
    call_id: CallId | None
    future: asyncio.Future[Any]
    exchange: _Exchange | None = None

    def settle(self, outcome: Any) -> None:
        settle(self.future, outcome)


@dataclass(slots=True, eq=False)
class _Queue:
    """Calls with the same HTTP headers; only they can share a request."""

    waiting: deque[_Waiting] = field(default_factory=deque)
    leader: _Waiting | None = None


class Batcher:
    """Sends calls over `client`, several in one request where they wait at the same moment."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client
        self._queues: dict[bytes, _Queue] = {}

    async def call(self, text: bytes, call_id: CallId | None, headers: bytes) -> Any:
        """The result of one call, already encoded; None for a notification, once it is taken.

        Raises:
            BridgeError: As for a call of its own.
        """
        queue = self._queues.setdefault(headers, _Queue())
        loop = asyncio.get_running_loop()
        waiting = _Waiting(text, call_id, loop.create_future())
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
            self._leave(queue, waiting)
            if not queue.waiting:
                self._queues.pop(headers, None)

    async def _send(self, queue: _Queue, headers: bytes) -> None:
        """Send what waits, the leader's own call first in the row."""
        await asyncio.sleep(0)
        try:
            connection = await self._client.connection()
        except BridgeError as error:
            # The others were to go by the same connection; each gets an error of its own.
            for waiting in queue.waiting:
                if waiting is not queue.leader:
                    waiting.settle(copy.copy(error))
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
    def _hand_over(queue: _Queue) -> None:
        if queue.waiting:
            queue.leader = queue.waiting[0]
            queue.leader.settle(_LEAD)

    def _leave(self, queue: _Queue, waiting: _Waiting) -> None:
        exchange = waiting.exchange
        if exchange is not None:
            exchange.live -= 1
            # After the response the connection may be another exchange's already.
            if exchange.live == 0 and not exchange.response.done():
                exchange.connection.abort()
        elif waiting in queue.waiting:
            queue.waiting.remove(waiting)
        if queue.leader is waiting:
            queue.leader = None
            self._hand_over(queue)


def _distribute(batch: list[_Waiting], done: asyncio.Future[Response]) -> None:
    failure = done.exception()
    try:
        if isinstance(failure, Exception):
            raise translate(failure)
        response = done.result()
        call_ids = [waiting.call_id for waiting in batch if waiting.call_id is not None]
        if len(batch) == 1 and call_ids:
            outcomes = {call_ids[0]: read_answer(response, call_ids[0])}
        elif call_ids:
            outcomes = read_answers(response, call_ids)
        else:
            outcomes = {}
            check_taken(response)
    except BridgeError as error:
        for waiting in batch:
            waiting.settle(copy.copy(error))
        return
    for waiting in batch:
        waiting.settle(None if waiting.call_id is None else outcomes[waiting.call_id])
