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
from redis.exceptions import InvalidResponse, RedisError

from bridge.adapters.redis.errors import OUTDATED, translate, translate_connect
from bridge.adapters.redis.replies import WRONG_SHAPE, wrong_shape
from bridge.adapters.redis.target import Target
from bridge.adapters.redis.transport import ERROR_REPLIES, NOTHING, Transport, open_transport, pack
from bridge.core.errors import BridgeError, ConnectionLostError, InvalidError, NotConnectedError
from bridge.core.ports import Clock, Promise

#: Kinds of push messages that answer a command.
_CONFIRMATIONS: Final = frozenset({b"subscribe", b"psubscribe", b"unsubscribe", b"punsubscribe"})
#: The largest reply, in bytes: Redis' own limit of one string (`proto-max-bulk-len`).
_MOST_REPLY: Final = 536_870_912
#: Seconds that an orderly end may take.
_CLOSE_TIMEOUT: Final = 0.5

OnPush = Callable[[list[Any]], Awaitable[None] | None]
"""Takes a push message. While what it returns has not ended, nothing more is read; None: read on at once."""

Convert = Callable[[Any], Any]
"""Takes a reply apart. What it raises of `WRONG_SHAPE` means that the reply is none of Redis'."""

OnEnd = Callable[["Connection", BridgeError], None]
"""Called once with a connection that has ended by itself, and why."""


def ignore_push(_: list[Any]) -> None:
    """Do nothing with a push message: for a connection that subscribes to nothing."""


def ignore_end(_: "Connection", __: BridgeError) -> None:
    """Do nothing at the end of a connection: for one whose every command somebody waits for."""


class Connection:
    """One connection to a server. Await `open`, start `run` as a task, then send commands; `run` returns at its end.

    Args:
        target: The server, and how to log in.
        clock: Measures how long a reply is due.
        on_end: Called when the connection has ended by itself.
        on_push: Called with each push message that answers no command (`message`, `pmessage`).
        on_outdated: Called with each error that says that the server is not the right one any more.

    Attributes:
        waiting_since: When (on the clock, seconds) the oldest unanswered command became the oldest; None without one.
        last_heard: When bytes last came, on the clock; at first, when the connection was opened.
        opened: When the connection was opened, on the clock.
        was_idle: Whether no command waited for an answer when the connection ended.
        role: What the server calls itself: `master` or `replica`; None where it does not say.
    """

    def __init__(
        self,
        target: Target,
        clock: Clock,
        on_end: OnEnd = ignore_end,
        on_push: OnPush = ignore_push,
        on_outdated: Callable[[BridgeError], None] = lambda _: None,
    ) -> None:
        self._target = target
        self._clock = clock
        self._transport: Transport | None = None
        self._on_end = on_end
        self._on_push = on_push
        self._on_outdated = on_outdated
        # Who waits for the next replies, in order, each with what converts the reply, and the command's name.
        self._waiting: deque[tuple[Promise, Convert | None, str | bytes | int]] = deque()
        self._unsent: list[bytes] = []
        self._usable = False
        self._answered = False
        self._size = 0  # bytes that have come since the last complete reply
        self._room: Awaitable[None] | None = None
        self._bug: Exception | None = None
        self._awake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.waiting_since: float | None = None
        self.last_heard = self.opened = clock.monotonic()
        self.role: str | None = None
        self.was_idle = False

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
        self.last_heard = self.opened = self._clock.monotonic()
        self.role = self._transport.role

    @property
    def usable(self) -> bool:
        """Whether commands can be sent: it is open and has not ended."""
        return self._usable

    def is_overdue(self, seconds: float) -> bool:
        """Return whether a command has had no answer for so long, and nothing else has come meanwhile."""
        since = self.waiting_since
        return since is not None and self._clock.monotonic() - max(since, self.last_heard) > seconds

    def call(self, *command: str | bytes | int) -> asyncio.Future[Any]:
        """Send a command and return the future of its reply, which may be a BridgeError. Raises as `send` does."""
        reply: asyncio.Future[Any] = self._loop.create_future()
        self.send(reply, *command)
        return reply

    def send(self, promise: Promise, *command: str | bytes | int, convert: Convert | None = None) -> None:
        """Send a command; its reply, or a BridgeError, settles the promise.

        Args:
            promise: It is settled with ProtocolError where `convert` fails on the reply.
            command: What is sent.
            convert: Makes the result of the reply; None: the reply is the result.

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
        self._waiting.append((promise, convert, command[0]))
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
        """Give each reply to the caller who waits for it, until the connection ends. Raises a bug in `on_push`."""
        transport = self._transport
        assert transport is not None  # noqa: S101 - it is open
        transport.start(self._take, self._awake.set)
        self._take(0)  # what came together with the answers to the opening commands
        while True:
            if self._room is not None:
                await self._room
                self._room = None
                transport.resume()
                self._take(0)
            elif self._bug is not None:
                raise self._bug
            elif transport.failure is not None:
                self.lose(translate(transport.failure).message)
                return
            else:
                self._awake.clear()
                await self._awake.wait()

    def _take(self, size: int) -> None:
        """Handle the replies that are here, after `size` more bytes have come. Never raises: the event loop calls it.

        While a push message waits for room, the replies behind it wait, too.
        """
        if size:
            self._size += size
            self.last_heard = self._clock.monotonic()
        if self._room is not None or self._bug is not None:
            return
        assert self._transport is not None  # noqa: S101 - it is open
        try:
            self._hand_out(self._transport)
        except (RedisError, OSError) as failure:
            self.lose(translate(failure).message)
        except Exception as bug:  # noqa: BLE001 - `run` raises it
            self._bug = bug
            self._awake.set()

    def _hand_out(self, transport: Transport) -> None:
        if self._size > _MOST_REPLY:
            raise InvalidResponse(f"a reply of more than {_MOST_REPLY} bytes")
        next_reply, waiting = transport.next_reply, self._waiting
        while (reply := next_reply()) is not NOTHING:
            self._size = 0
            if type(reply) is hiredis.PushNotification and not _is_confirmation(reply):
                self._room = self._on_push(reply)
                if self._room is not None:
                    transport.pause()
                    self._awake.set()
                    return
            elif isinstance(reply, RedisError):
                self._refuse(reply)
            elif not waiting:  # it would answer the next command, and each later reply the wrong one
                raise InvalidResponse("a reply to no command")
            else:
                self._answered = True
                promise, convert, command = waiting.popleft()
                if promise.done():
                    continue
                if convert is not None:
                    try:
                        reply = convert(reply)
                    except WRONG_SHAPE:
                        promise.set_exception(wrong_shape(str(command)))
                        continue
                promise.set_result(reply)
        if self._answered:
            self._answered = False
            # An answered command proves that the server is alive, whenever the next one was sent.
            self.waiting_since = self.last_heard if waiting else None

    def _refuse(self, reply: RedisError) -> None:
        """Fail the command that an error reply answers. Raises an error that is none of a command's."""
        if not isinstance(reply, ERROR_REPLIES):
            raise reply
        error = translate(reply)
        if error.code in OUTDATED:
            self._on_outdated(error)
        if self._waiting:  # else it is what the server sends before it ends the connection
            self._answered = True
            promise = self._waiting.popleft()[0]
            if not promise.done():
                promise.set_exception(error)

    def lose(self, why: str) -> None:
        """End the connection as one that has ended by itself: commands that wait fail, and `on_end` is called."""
        if self._usable:
            self.was_idle = not self._waiting
            self.end(why)
            self._on_end(self, ConnectionLostError(why))

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
            promise = self._waiting.popleft()[0]
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

    def send(self, promise: Promise, *command: str | bytes | int, convert: Convert | None = None) -> None:
        """See `Connection.send`."""
        if not self._in_transaction:
            asking: asyncio.Future[Any] = self._loop.create_future()
            asking.add_done_callback(ignore_outcome)
            super().send(asking, "ASKING")
        super().send(promise, *command, convert=convert)
        self._in_transaction = command[0] == "MULTI" or (self._in_transaction and command[0] != "EXEC")


def _is_confirmation(push: list[Any]) -> bool:
    """Return whether a push message answers a command; an empty one and one of an unknown kind do not."""
    return bool(push) and push[0].__class__ is bytes and push[0] in _CONFIRMATIONS


def ignore_outcome(reply: asyncio.Future[Any]) -> None:
    """Retrieve the outcome of a reply, so that asyncio does not report an exception that nobody looked at."""
    if not reply.cancelled():
        reply.exception()
