"""The socket of one NATS connection: opened, turned to TLS, read through the parser, written to in batches.

NATS begins in plaintext, and the server's first line, INFO, tells whether TLS follows. Nothing is written before the
line CONNECT, which carries the credentials, and CONNECT goes out only if TLS is on or was not asked for.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Final, cast

from bridge.adapters._common.errors import opening_error
from bridge.adapters.nats.protocol import PONG, Info, MalformedError, Operation, Parser, ServerError, Signal
from bridge.core.endpoint import ResolvedEndpoint
from bridge.core.errors import NotConnectedError
from bridge.core.ports import Clock
from bridge.core.wakeups import MANY, Wakeups

#: Seconds for one step of opening (TCP, greeting, TLS), so that a dead server leaves time for the next address.
STEP: Final = 5
_ENDED: Final = "the server ended the connection while it was being opened"
_NO_GREETING: Final = (
    "the server ended the connection without a greeting; it may want TLS before that, which the bridge does not do: "
    "write `handshake_first: auto` there"
)
#: Whoever stands between could add to the greeting what is then taken for the server's own.
_PLAINTEXT: Final = "more than a greeting before TLS"


class Transport(asyncio.Protocol):
    """One socket, to be opened once. The methods of `asyncio.Protocol` are called by the event loop only.

    Attributes:
        last_heard: When bytes last came, on the clock; None before the first ones.
        pending: What the next `flush` writes. Whoever appends to it calls `flush` before the event loop's next turn.
    """

    def __init__(
        self,
        on_operation: Callable[[Operation], None],
        on_end: Callable[[Exception | None], None],
        clock: Clock,
    ) -> None:
        """Nothing is opened yet.

        Args:
            on_operation: Gets what the server sends, except for its greeting; does not raise.
            on_end: Is told once that nothing will come any more, and why, if a reason is known: an OSError, or a
                MalformedError.
            clock: Limits the steps of opening.
        """
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._on_operation = on_operation
        self._on_end = on_end
        self._parser = Parser()
        self._socket: asyncio.Transport | None = None
        self._info: Info | None = None
        self._greeted = asyncio.Event()
        self.pending: list[bytes] = []
        self._awaits_tls = self._is_open = self._is_ended = False
        self._wants_tls = self._is_refused = False
        self._reason: Exception | None = None
        # What pauses it for an interval is each reading: see `data_received`.
        self._wakeups = Wakeups(ignore=lambda: None, read=self._let_read, watch=self._let_read)
        self.last_heard: float | None = None

    # --- opening

    async def open(self, server: ResolvedEndpoint, context: ssl.SSLContext | None, server_name: str | None) -> Info:
        """Connect, with TLS where it was asked for or the server wants it; return what the server says about itself.

        Args:
            server: Where it is.
            context: None where TLS was not asked for. A server that insists on it is then checked by the system's
                certificates.
            server_name: What the certificate must say; None for the server's host.

        Raises:
            OSError: The server cannot be reached.
            TimeoutError: A step took too long.
            NotConnectedError: It has no TLS where that was asked for, or TLS fails.
            AuthError: It refuses the client certificate.
        """
        self._wants_tls = context is not None
        async with self._clock.timeout(STEP):
            await self._loop.create_connection(lambda: self, server.host, server.port)
        async with self._clock.timeout(STEP):
            await self._greeted.wait()
        info = self._info
        if info is None and server.tls and self._reason is None and not self._is_refused:
            raise NotConnectedError(f"no TLS with {server.name}: {_NO_GREETING}")
        if info is None or self._socket is None or self._socket.is_closing():
            raise ConnectionResetError(_ENDED)
        if self._uses_tls(info):
            await self._start_tls(server, self._socket, context or ssl.create_default_context(), server_name)
        elif context is not None:
            words = f"no TLS with {server.name}: the server has none, and nothing was sent to it"
            raise NotConnectedError(f"{words}; {server.plaintext_hint}", permanent=True)
        else:
            self._socket.resume_reading()
        return info

    def _uses_tls(self, info: Info) -> bool:
        """Return whether TLS follows the greeting: the server insists, or we do and it can (its `allow_non_tls`)."""
        return info.tls_required or (info.tls_available and self._wants_tls)

    async def _start_tls(
        self, server: ResolvedEndpoint, plain: asyncio.Transport, context: ssl.SSLContext, server_name: str | None
    ) -> None:
        self._awaits_tls = False  # from here on only decrypted bytes are read
        try:
            async with self._clock.timeout(STEP):
                encrypted = await self._loop.start_tls(plain, self, context, server_hostname=server_name or server.host)
        except TimeoutError:
            silent = ConnectionAbortedError(f"no answer to the TLS handshake within {STEP} s")
            raise opening_error(silent, server) from None
        except OSError as error:
            raise opening_error(error, server) from None
        if encrypted is None:
            raise opening_error(ConnectionResetError(_ENDED), server)
        self._socket = encrypted

    def begin(self, connect_line: bytes) -> None:
        """Write CONNECT, and what is written from now on, or waits, behind it."""
        self.pending.insert(0, connect_line)
        self._is_open = True
        self.flush()

    # --- when it is read

    def hurry(self) -> None:
        """Read the next bytes at once: somebody waits for what comes in this reading, and may wait for more."""
        self._wakeups.hurry()

    def expect(self) -> None:
        """Read at once from now on: somebody waits for an answer to what was written."""
        if self._wakeups.in_intervals:
            self._wakeups.hurry()
            self._wakeups.has_read(0)

    def _let_read(self) -> None:
        if self._socket is not None and not self._socket.is_closing():
            self._socket.resume_reading()

    # --- writing

    def write(self, data: bytes) -> None:
        """Append to what leaves before the event loop's next turn."""
        if not self.pending:
            self._loop.call_soon(self.flush)
        self.pending.append(data)

    def flush(self) -> None:
        """Write everything now. What is written after the end goes nowhere."""
        pending = self.pending
        if not self._is_open or not pending:
            return
        data = b"".join(pending)
        pending.clear()
        if self._socket is not None and not self._socket.is_closing():
            self._socket.write(data)

    def abort(self) -> None:
        """End at once, without waiting for what was not written; idempotent. `on_end` is not told any more."""
        self._is_ended = True
        self._wakeups.close()
        self._greeted.set()
        if self._socket is not None:
            self._socket.abort()

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the socket."""
        self._socket = cast("asyncio.Transport", transport)  # uvloop's is none of asyncio's classes

    def data_received(self, data: bytes) -> None:
        """Read what has come."""
        if self._is_ended:
            return
        self.last_heard = self._clock.monotonic()
        if data == PONG and self._is_open and self._parser.is_empty:  # most answers to what is published come like this
            self._on_operation(Signal.PONG)
            return
        messages = 0
        try:
            for operation in self._parser.feed(data):
                if self._info is None:
                    self._greet(operation)
                elif self._awaits_tls and not isinstance(operation, ServerError):
                    self._end(MalformedError(_PLAINTEXT))
                else:
                    messages += 1
                    self._on_operation(operation)
                if self._is_ended:
                    return
        except MalformedError as error:
            self._end(error)
        if self._awaits_tls and not self._parser.is_empty:
            self._end(MalformedError(_PLAINTEXT))
        if self._is_open:
            self._wakeups.has_read(messages)
            many = messages > MANY
            if (many or self._wakeups.in_intervals) and self._socket is not None and not self._socket.is_closing():
                self._socket.pause_reading()
                if many:
                    # libuv would read 32 times in a row, which is seconds in a flood, before anything else has a turn.
                    self._loop.call_soon(self._let_read)

    def _greet(self, operation: Operation) -> None:
        if isinstance(operation, ServerError):
            self._is_refused = True
            self._on_operation(operation)
            self._end(None)
        elif isinstance(operation, Info) and self._socket is not None:
            self._info, self._awaits_tls = operation, self._uses_tls(operation)
            # Whatever follows is read when it is known whether TLS comes first.
            self._socket.pause_reading()
            self._greeted.set()
        else:
            raise MalformedError("a greeting that is not INFO")

    def eof_received(self) -> bool:
        """The server has hung up."""
        self._end(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._end(exc)

    def _end(self, error: Exception | None) -> None:
        if not self._is_ended:
            self._is_ended = True
            self._wakeups.close()
            self._reason = error
            self._greeted.set()
            self._on_end(error)
