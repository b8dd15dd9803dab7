"""Share one connection to Redis among many callers: commands go out together, replies come back in order (RESP3).

The clients of redis-py are not used, because they hold one connection for each command that waits, and reconnect by
themselves. Here all commands that are sent in one turn of the loop leave in one write, and one reader gives each reply
to its caller. Since Redis answers in order, a caller who gives up leaves nothing behind but a reply that nobody takes.
The reader always reads, so an ended connection is noticed at once.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

import hiredis
from redis.exceptions import RedisError

from bridge.adapters.redis.errors import translate, translate_connect
from bridge.adapters.redis.replies import WRONG_SHAPE, wrong_shape
from bridge.adapters.redis.target import Target
from bridge.adapters.redis.transport import ERROR_REPLIES, NOTHING, Transport, open_transport, pack
from bridge.core.errors import BridgeError, ConnectionLostError, InvalidError, NotConnectedError
from bridge.core.ports import Clock, Promise

#: Kinds of push messages that answer a command.
_CONFIRMATIONS: Final = frozenset({b"subscribe", b"psubscribe", b"unsubscribe", b"punsubscribe"})
#: Seconds that an orderly end may take.
_CLOSE_TIMEOUT: Final = 0.5

OnPush = Callable[[list[Any]], Awaitable[None]]


async def ignore_push(_: list[Any]) -> None:
    """Do nothing with a push message: for a connection that subscribes to nothing."""


class Converted:
    """A promise of the converted reply to `command`; its error is ProtocolError where `convert` fails on the reply."""

    __slots__ = ("_command", "_convert", "_promise")

    def __init__(self, promise: Promise, command: str, convert: Callable[[Any], Any]) -> None:
        self._promise = promise
        self._command = command
        self._convert = convert

    def done(self) -> bool:
        """See `Promise.done`."""
        return self._promise.done()

    def set_result(self, result: Any) -> None:
        """Convert the reply, and settle the promise with the outcome."""
        try:
            converted = self._convert(result)
        except WRONG_SHAPE:
            self._promise.set_exception(wrong_shape(self._command))
        else:
            self._promise.set_result(converted)

    def set_exception(self, error: BridgeError) -> None:
        """See `Promise.set_exception`."""
        self._promise.set_exception(error)


class Connection:
    """One connection to a server. Await `open`, start `run` as a task, then send commands; `run` returns at its end.

    Args:
        target: The server, and how to log in.
        clock: Measures how long a reply is due.
        on_end: Called once, by `run`, when the connection has ended by itself.
        on_push: Awaited with each push message (`message`, `pmessage`) before the next reply is read.
    """

    def __init__(
        self, target: Target, clock: Clock, on_end: Callable[[BridgeError], None], on_push: OnPush = ignore_push
    ) -> None:
        self._target = target
        self._clock = clock
        self._transport: Transport | None = None
        self._on_end = on_end
        self._on_push = on_push
        self._waiting: deque[Promise] = deque()
        self._unsent: list[bytes] = []
        self._usable = False
        self._answered = False
        self._loop = asyncio.get_running_loop()
        self.waiting_since: float | None = None
        """When (on the clock, seconds) the oldest unanswered command became the oldest."""

    async def open(self) -> None:
        """Connect and log in.

        Raises:
            NotConnectedError: The server cannot be reached; with `permanent` for a certificate that does not verify.
            AuthError: It refused the credentials.
        """
        try:
            self._transport = await open_transport(self._target)
        except (RedisError, OSError) as error:
            raise translate_connect(error, self._target.server) from None
        self._usable = True

    def call(self, *command: str | bytes | int) -> asyncio.Future[Any]:
        """Send a command and return the future of its reply, which may be a BridgeError. Raises as `send` does."""
        reply: asyncio.Future[Any] = self._loop.create_future()
        self.send(reply, *command)
        return reply

    def send(self, promise: Promise, *command: str | bytes | int) -> None:
        """Send a command; its reply, or a BridgeError, settles the promise.

        Raises:
            NotConnectedError: The connection has ended; nothing is sent.
            InvalidError: Text that has no UTF-8.
        """
        if not self._usable:
            raise NotConnectedError("the connection has ended")
        try:
            packed = pack(command)
        except UnicodeEncodeError:
            raise InvalidError("text with half of a surrogate pair has no UTF-8") from None
        if not self._waiting:
            self.waiting_since = self._clock.monotonic()
        self._waiting.append(promise)
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(packed)

    def send_and_forget(self, *command: str | bytes | int) -> None:
        """Send a command whose outcome nobody waits for. Do nothing where the connection has ended."""
        if self._usable:
            self.call(*command).add_done_callback(ignore_outcome)

    def _flush(self) -> None:
        if self._unsent and self._transport is not None:
            self._transport.write(b"".join(self._unsent))
            self._unsent.clear()

    async def run(self) -> None:
        """Give each reply to the caller who waits for it, until the connection ends."""
        transport = self._transport
        assert transport is not None  # noqa: S101 - it is open
        next_reply = transport.next_reply
        try:
            while True:
                reply = next_reply()
                if reply is NOTHING:
                    if self._answered:
                        # An answered command proves that the server is alive, whenever the next one was sent.
                        self._answered = False
                        self.waiting_since = self._clock.monotonic() if self._waiting else None
                    await transport.receive()
                elif type(reply) is hiredis.PushNotification and not _is_confirmation(reply):
                    await self._on_push(reply)
                elif not isinstance(reply, RedisError):
                    self._answer(reply, None)
                elif isinstance(reply, ERROR_REPLIES):
                    self._answer(None, translate(reply))
                else:
                    raise reply
        except (RedisError, OSError) as error:
            message = translate(error).message
            if self._usable:
                self.end(message)
                self._on_end(ConnectionLostError(message))

    def _answer(self, reply: Any, error: BridgeError | None) -> None:
        if not self._waiting:  # an error that the server sends before it ends the connection
            return
        promise = self._waiting.popleft()
        self._answered = True
        if promise.done():
            return
        if error is None:
            promise.set_result(reply)
        else:
            promise.set_exception(error)

    def end(self, why: str) -> None:
        """End the connection now. Commands that wait fail with ConnectionLostError, whose message is `why`."""
        if self._usable:
            self._usable = False
            self._abort()
            self._fail(why)

    def _fail(self, message: str) -> None:
        self._unsent.clear()
        self.waiting_since = None
        while self._waiting:
            promise = self._waiting.popleft()
            if not promise.done():
                promise.set_exception(ConnectionLostError(message))
                if isinstance(promise, asyncio.Future):
                    promise.add_done_callback(ignore_outcome)

    async def close(self) -> None:
        """End the connection in an orderly way within half a second. Commands that wait fail: ConnectionLostError."""
        if self._usable:
            self._usable = False
            self._flush()
            self._fail("the session was closed")
        if self._transport is not None:
            try:
                async with self._clock.timeout(_CLOSE_TIMEOUT):
                    await self._transport.close()
            except TimeoutError:
                pass
            finally:
                self._abort()

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class AskingConnection(Connection):
    """A connection that sends ASKING before each command, in the same write.

    A node that imports a slot of a cluster serves the slot's keys only after ASKING, which holds for one command or one
    transaction (Redis Cluster specification, "ASK redirection").
    """

    _in_transaction = False

    def send(self, promise: Promise, *command: str | bytes | int) -> None:
        """See `Connection.send`."""
        if not self._in_transaction:
            asking: asyncio.Future[Any] = self._loop.create_future()
            asking.add_done_callback(ignore_outcome)
            super().send(asking, "ASKING")
        super().send(promise, *command)
        self._in_transaction = command[0] == "MULTI" or (self._in_transaction and command[0] != "EXEC")


def _is_confirmation(push: list[Any]) -> bool:
    """Return whether a push message answers a command; an empty one and one of an unknown kind do not."""
    return bool(push) and push[0].__class__ is bytes and push[0] in _CONFIRMATIONS


def ignore_outcome(reply: asyncio.Future[Any]) -> None:
    """Retrieve the outcome of a reply, so that asyncio does not report an exception that nobody looked at."""
    if not reply.cancelled():
        reply.exception()
