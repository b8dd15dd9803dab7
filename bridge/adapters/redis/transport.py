"""Move bytes to and from one Redis server: TCP or TLS, the opening commands, replies parsed by hiredis.

redis-py's own connections are not used. Their public methods cost one task switch for each reply, and each write waits.
What is used of redis-py is its knowledge of the protocol's errors: which text of the server is which exception.
"""

import asyncio
import functools
import re
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import hiredis
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,  # noqa: A004 - it is the one of redis-py that the errors' table knows
    InvalidResponse,
    RedisError,
    ResponseError,
)

from bridge.adapters._common import tls
from bridge.adapters._common.errors import opening_error
from bridge.adapters.redis.target import Target
from bridge.core.errors import NotConnectedError
from bridge.core.lean import without

Command = tuple[str | bytes | int, ...]
Step = tuple[Command, Callable[[Any], str | None]]

#: What `next_reply` returns where no reply is complete.
NOTHING: Final = object()
#: Error replies to a command. redis-py derives two of them from its exception for a dead connection.
ERROR_REPLIES: Final = (ResponseError, BusyLoadingError, AuthenticationError)
#: What may begin an array, set, map, push or attribute with ten million elements or more: the first byte, and a search.
#: hiredis makes room for all of the elements at once, and needs seconds to free it.
_LARGE: Final = tuple((kind, re.compile(re.escape(kind) + rb"\d{8}")) for kind in (b"*", b"~", b"%", b">", b"|"))
#: The same in one search, which ends at the first one: a message's content may hold thousands of them.
_LARGE_AGAIN: Final = re.compile(rb"[*~%>|]\d{8}")
#: The same, of which not all bytes have come yet.
_BEGUN: Final = re.compile(rb"(?:\A|\n)([*~%>|]\d*)\Z")
_LONGEST_BEGUN: Final = 24
#: Bytes that come at once, from which on the event loop has a turn before more is read.
_MUCH: Final = 64 << 10
#: TCP keep-alive: seconds of silence before the first probe, seconds between two, and how many are sent.
#: macOS has another name for the first. A system that lacks one of them keeps its own value.
_KEEP_ALIVE: Final = (
    (("TCP_KEEPIDLE", "TCP_KEEPALIVE"), 30),
    (("TCP_KEEPINTVL",), 5),
    (("TCP_KEEPCNT",), 3),
)


#: Returns a command as it is sent. Raises UnicodeEncodeError for text that has no UTF-8.
pack: Final[Callable[[Command], bytes]] = hiredis.pack_command  # type: ignore[assignment]  # its stub means one item


@functools.cache
def _parser_of_errors() -> Callable[[str], RedisError]:
    """Return what redis-py makes of an error reply. It is imported with the first one, because it takes 2 MB."""
    with without("opentelemetry"):  # with which redis-py would measure itself
        from redis.asyncio.connection import DefaultParser  # noqa: PLC0415
    return cast("Callable[[str], RedisError]", DefaultParser.parse_error)


def error_reply(text: str) -> RedisError:
    """Return redis-py's exception for an error reply, `text` being what stands after its minus sign.

    It never raises: hiredis 3.5 corrupts its memory when it builds a reply after an exception was raised here.
    """
    try:
        error = _parser_of_errors()(text)
    except (ValueError, TypeError, LookupError):  # a redirection (ASK, MOVED) that names no node
        error = ResponseError(text)
    return error


def opening_steps(target: Target) -> Sequence[Step]:
    """Return what opens a session: RESP3 with the credentials, then the database where it is not 0.

    Each command comes with a check of its reply, which raises redis-py's ConnectionError. The first one returns what
    the server calls itself.
    """
    credentials: Command = () if target.credentials is None else ("AUTH", *target.credentials)
    hello: Step = (("HELLO", 3, *credentials), _check_hello)
    return (hello, (("SELECT", target.db), _check_select)) if target.db else (hello,)


def _check_hello(reply: Any) -> str | None:
    if not isinstance(reply, dict) or reply.get(b"proto") != 3:
        raise ConnectionError("Invalid RESP version")
    role = reply.get(b"role")
    return role.decode(errors="backslashreplace") if isinstance(role, bytes) else None


def _check_select(reply: Any) -> None:
    if reply != b"OK":
        raise ConnectionError("Invalid Database")


class Transport(asyncio.Protocol):
    """One open connection: writes that never wait, and replies in order. `open_transport` makes one.

    The methods of `asyncio.Protocol` are called by the event loop only.

    Attributes:
        role: What the server calls itself: `master` or `replica`; None where it does not say.
        failure: Why nothing will come any more: redis-py's ConnectionError, or an OSError; None while it is open.
    """

    role: str | None = None

    def __init__(self) -> None:
        """It is not connected yet."""
        self._reader = hiredis.Reader(protocolError=InvalidResponse, replyError=error_reply, notEnoughData=NOTHING)
        self._gets, self._feed = self._reader.gets, self._reader.feed
        self._socket: asyncio.Transport
        self._came = asyncio.Event()
        self._lost = asyncio.Event()
        self._on_data: Callable[[int], None] = lambda _: self._came.set()
        self._on_end: Callable[[], None] = self._came.set
        # What has come and may begin a reply with too many elements, at `_at`; hiredis has what was before that.
        self._doubtful = b""
        self._at = 0
        self._begun = b""
        self._paused = False
        self.failure: Exception | None = None

    def start(self, on_data: Callable[[int], None], on_end: Callable[[], None]) -> None:
        """Call `on_data` from now on with the number of bytes whenever some have come, and `on_end` at the end."""
        self._on_data, self._on_end = on_data, on_end
        if self.failure is not None:
            on_end()

    def next_reply(self) -> Any:
        """Return the next complete reply, its strings as bytes; NOTHING where there is none.

        An error reply is returned, not raised. Raises redis-py's InvalidResponse for what is not RESP3, and for a reply
        with too many elements.
        """
        try:
            reply = self._gets(False)
            while reply is NOTHING and self._doubtful:
                self._feed_doubtful()
                reply = self._gets(False)
        except TypeError as error:  # a map of RESP3 whose key is a list or a map
            raise InvalidResponse(str(error)) from None
        except MemoryError:  # hiredis makes room for all elements of an array as soon as it knows how many there are
            raise InvalidResponse("a reply that is too large for the memory") from None
        return reply

    async def reply(self) -> Any:
        """Wait for one reply before `start`, passing over push messages. Raises an error reply, and `failure`."""
        while True:
            reply = self.next_reply()
            if reply is NOTHING:
                if self.failure is not None:
                    raise self.failure
                self._came.clear()
                await self._came.wait()
            elif isinstance(reply, RedisError):
                raise reply
            elif type(reply) is not hiredis.PushNotification:
                return reply

    def _feed_doubtful(self) -> None:
        """Give hiredis what may have been too much, up to the next such place."""
        # All complete replies before this were taken. Inside of a string there are bytes that wait for its end.
        if not self._reader.has_data():
            raise InvalidResponse("a reply with too many elements")
        data, at = self._doubtful, self._at
        again = _LARGE_AGAIN.search(data, at + 1)
        if again is not None:
            self._at = again.start()
            self._feed(data[at : self._at])
        else:
            self._doubtful = b""
            self._feed_to_the_end(data[at:])

    def _feed_to_the_end(self, data: bytes) -> None:
        """Give hiredis what has come, except for an end that more bytes may turn into too many elements."""
        if not data.endswith(b"\n") and (begun := _BEGUN.search(data[-_LONGEST_BEGUN:])) is not None:
            self._begun = begun[1]
            data = data[: -len(begun[1])]
        self._feed(data)

    def write(self, data: bytes) -> None:
        """Hand bytes to the operating system or its queue; do nothing where the connection is at its end."""
        # uvloop's transport raises RuntimeError once it is closed; asyncio's own is silent.
        if not self._socket.is_closing():
            self._socket.write(data)

    def pause(self) -> None:
        """Read nothing until `resume`. Some bytes may still come."""
        self._paused = True
        if not self._socket.is_closing():
            self._socket.pause_reading()

    def resume(self) -> None:
        """Read again."""
        self._paused = False
        self._let_read()

    def _let_read(self) -> None:
        if not self._paused and not self._socket.is_closing():
            self._socket.resume_reading()

    def abort(self) -> None:
        """End the connection now and discard what is unsent: a frozen server would never take it."""
        self._socket.abort()

    async def close(self) -> None:
        """End the connection in an orderly way: send what is unsent, and say goodbye over TLS."""
        self._socket.close()
        await self._lost.wait()

    def keep_alive(self) -> None:
        """Have the operating system notice a server that is gone, by TCP keep-alive."""
        sock = self._socket.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for names, value in _KEEP_ALIVE:
            known = [getattr(socket, name) for name in names if hasattr(socket, name)]
            if known:
                sock.setsockopt(socket.IPPROTO_TCP, known[0], value)

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the socket."""
        self._socket = cast("asyncio.Transport", transport)  # uvloop's is none of asyncio's classes

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        size = len(data)
        if self._doubtful:  # what comes while reading is paused
            self._doubtful, self._at = self._doubtful[self._at :] + data, 0
        else:
            if self._begun:
                data, self._begun = self._begun + data, b""
            large = _find_large(data)
            if large is None:
                self._feed_to_the_end(data)
            else:
                self._feed(data[:large])
                self._doubtful, self._at = data, large
        self._on_data(size)
        if size >= _MUCH and not self._paused and not self._socket.is_closing():
            # libuv would read 32 times in a row, which is seconds in a flood, before anything else has a turn.
            self._socket.pause_reading()
            asyncio.get_running_loop().call_soon(self._let_read)

    def eof_received(self) -> bool:
        """The server has hung up."""
        self._end(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._lost.set()
        self._end(exc)

    def _end(self, error: Exception | None) -> None:
        if self.failure is None:
            self.failure = error or ConnectionError("Connection closed by server.")
            self._on_end()


def _find_large(data: bytes) -> int | None:
    """Return where the first thing may begin that has too many elements; None: nowhere."""
    first = None
    for kind, large in _LARGE:
        if kind in data and (match := large.search(data)) is not None:
            first = match.start() if first is None else min(first, match.start())
    return first


async def open_transport(target: Target) -> Transport:
    """Connect, prove the credentials and select the database.

    Raises:
        NotConnectedError: The server cannot be reached; with `permanent` where its certificate does not verify, or a
            file of ours cannot be used.
        AuthError: It refused the client certificate.
        RedisError: It refuses the session.
        OSError: The connection broke while the session was opened.
    """
    context = target.context()
    try:
        _, transport = await asyncio.get_running_loop().create_connection(
            Transport,
            target.server.host,
            target.server.port,
            ssl=context,
            server_hostname=target.server_name,
            ssl_handshake_timeout=None if context is None else tls.HANDSHAKE_TIMEOUT,
        )
    except OSError as error:
        raise opening_error(error, target.server) from None
    except (ValueError, OverflowError) as error:  # a host that is no name, or a port beyond 65535
        raise NotConnectedError(f"no connection to {target.name}: {error}") from None
    try:
        transport.keep_alive()
        steps = opening_steps(target)
        transport.write(b"".join(pack(command) for command, _ in steps))
        (_, check_hello), *others = steps
        transport.role = check_hello(await transport.reply())
        for _, check in others:
            check(await transport.reply())
    except BaseException:
        transport.abort()
        raise
    return transport
