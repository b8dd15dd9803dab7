"""One connection to Redis that many share: commands go out together, replies come back in order (RESP3).

redis-py opens the connection, proves the credentials and parses; its clients are not used, because they hold one
connection for each command that waits, and reconnect by themselves. Here all commands that are called in one turn of
the loop leave in one write, and one reader hands the replies out. Since Redis answers in order, a caller who gives up
leaves nothing behind but a reply that nobody takes. The reader always reads, so an ended connection is seen at once.
"""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

import hiredis
from redis.exceptions import AuthenticationError, BusyLoadingError, RedisError, ResponseError

from bridge.adapters._redis_errors import translate, translate_connect
from bridge.adapters._redis_target import Target
from bridge.errors import BridgeError, ConnectionLostError, InvalidError, NotConnectedError

#: Kinds of push messages that answer a command.
_CONFIRMATIONS: Final = frozenset({b"subscribe", b"psubscribe", b"unsubscribe", b"punsubscribe"})
#: Error replies that redis-py derives from its error for a dead connection.
_REPLIES: Final = (ResponseError, BusyLoadingError, AuthenticationError)
#: Seconds that an orderly end may take.
_FAREWELL: Final = 0.5

Take = Callable[[list[Any]], Awaitable[None]]


async def drop(_: list[Any]) -> None:
    """For a link that subscribes to nothing."""


class Link:
    """One connection. `open`, then `run` as a task, then `call` as often as one likes; `run` returns when it ends.

    Args:
        target: Where to.
        on_end: Told once, by `run`, when the connection has ended by itself.
        take: Awaited with each push message (`message`, `pmessage`) before the next reply is read.
    """

    def __init__(self, target: Target, on_end: Callable[[BridgeError], None], take: Take = drop) -> None:
        self._server = target.name
        self._connection = target.connection()
        self._on_end = on_end
        self._take = take
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._unsent: list[bytes] = []
        self._usable = False
        self._loop = asyncio.get_running_loop()
        self.waiting_since: float | None = None
        """When (loop time, seconds) the oldest unanswered command became the oldest."""

    async def open(self) -> None:
        """Connect and prove the credentials.

        Raises:
            NotConnectedError: The server cannot be reached; with `needs_person` for a certificate that does not verify.
            AuthError: It refused the credentials.
        """
        try:
            await self._connection.connect()  # type: ignore[no-untyped-call]
        except (RedisError, OSError) as error:
            self._connection.abort()
            raise translate_connect(error, self._server) from None
        except BaseException:
            self._connection.abort()
            raise
        self._connection.settle()
        self._usable = True

    def call(self, *command: str | bytes | int) -> asyncio.Future[Any]:
        """Send a command; the future has its reply, or a BridgeError.

        Raises:
            NotConnectedError: The connection has ended; nothing is sent.
            InvalidError: Text that has no UTF-8.
        """
        if not self._usable:
            raise NotConnectedError("the connection has ended")
        try:
            packed = hiredis.pack_command(command)  # type: ignore[arg-type]  # its stub means any length
        except UnicodeEncodeError:
            raise InvalidError("text with half of a surrogate pair has no UTF-8") from None
        reply: asyncio.Future[Any] = self._loop.create_future()
        if not self._waiting:
            self.waiting_since = self._loop.time()
        self._waiting.append(reply)
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(packed)
        return reply

    def tell(self, *command: str | bytes | int) -> None:
        """Send a command whose outcome nobody waits for; does nothing where the connection has ended."""
        if self._usable:
            self.call(*command).add_done_callback(_forget)

    def _flush(self) -> None:
        if self._unsent:
            self._connection.write(b"".join(self._unsent))
            self._unsent.clear()

    async def run(self) -> None:
        """Hand out replies until the connection ends."""
        try:
            while True:
                await self._next()
        except (RedisError, OSError) as error:
            message = translate(error).message
            if self._usable:
                self.end(message)
                self._on_end(ConnectionLostError(message))

    async def _next(self) -> None:
        reply: Any
        try:
            reply = await self._connection.read_response(
                disable_decoding=True, timeout=math.inf, disconnect_on_error=False, push_request=True
            )
        except _REPLIES as error:
            self._answer(None, translate(error))
            return
        if type(reply) is hiredis.PushNotification and reply[0] not in _CONFIRMATIONS:
            await self._take(reply)
            return
        self._answer(reply, None)

    def _answer(self, reply: Any, error: BridgeError | None) -> None:
        if not self._waiting:  # an error that the server says before it ends the connection
            return
        future = self._waiting.popleft()
        self.waiting_since = self._loop.time() if self._waiting else None
        if future.done():
            return
        if error is None:
            future.set_result(reply)
        else:
            future.set_exception(error)

    def end(self, why: str) -> None:
        """End it now; what waits fails with ConnectionLostError."""
        if self._usable:
            self._usable = False
            self._connection.abort()
            self._fail(why)

    def _fail(self, message: str) -> None:
        self._unsent.clear()
        self.waiting_since = None
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(ConnectionLostError(message))
                future.add_done_callback(_forget)

    async def close(self) -> None:
        """End it, in an orderly way where the server takes part; what waits fails with ConnectionLostError."""
        if self._usable:
            self._usable = False
            self._flush()
            self._fail("the session was closed")
        try:
            async with asyncio.timeout(_FAREWELL):
                await self._connection.disconnect()
        except (TimeoutError, RedisError, OSError):
            pass
        finally:
            self._connection.abort()


def _forget(reply: asyncio.Future[Any]) -> None:
    """Look at the outcome, so that asyncio does not complain that nobody did."""
    if not reply.cancelled():
        reply.exception()
