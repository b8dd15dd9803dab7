"""Listen on loopback for the stand-ins of `nemo-bridge mock`, in threads beside the one that talks to the person.

Python's own HTTP server is enough here: a person tries a configuration, and nothing is measured. Clients may be slow,
send anything, or leave at any moment; none of them disturbs another.
"""

import asyncio
import logging
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from itertools import count
from typing import Any, Final, Protocol

import msgspec
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from bridge.cli.mock_remote import PERIOD, MockRemote, Received

#: Connections at a time to one address; more are closed at once.
_MOST_CONNECTIONS: Final = 512
#: The largest request body, and the largest message of a WebSocket, in bytes.
_LARGEST: Final = 16 << 20
#: Seconds for which a client may say nothing.
_PATIENCE: Final = 60.0
#: Characters of a path that a line shows.
_SHOWN: Final = 100
#: Calls of one WebSocket that wait for their answer at a time; it is read no further meanwhile.
_MOST_WAITING: Final = 256
#: The code of RFC 6455's registry by which a server says "try again later".
_TRY_AGAIN_LATER: Final = 1013
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

Show = Callable[[str, str], None]
"""Shows a line to the person: the integration's label, and what happened."""


class Listener(Protocol):
    """Listens at one address, from its creation until `stop`."""

    @property
    def port(self) -> int:
        """The port at which it listens."""
        ...

    def start(self) -> None:
        """Answer from now on, in other threads."""
        ...

    def stop(self) -> None:
        """Close the address. Connections may go on until the process ends."""
        ...


def remote_for(path: str, remotes: Iterable[MockRemote]) -> MockRemote | None:
    """Return the remote to which a path belongs, of several at one address; the longest endpoint decides."""
    return max((one for one in remotes if one.serves(path)), key=lambda one: len(one.path), default=None)


# --- HTTP


class HttpListener(socketserver.ThreadingTCPServer):
    """Serves the stand-ins of one address over HTTP/1.1."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, remotes: Sequence[MockRemote], show: Show) -> None:
        """Listen. Raises OSError where that is not possible."""
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.remotes = remotes
        self.show = show
        self._slots = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        super().__init__((host, port), _Handler)

    @property
    def port(self) -> int:
        """The port at which it listens."""
        return int(self.server_address[1])

    def start(self) -> None:
        """See `Listener.start`."""
        threading.Thread(target=self.serve_forever, args=(0.1,), name=f"mock:{self.port}", daemon=True).start()

    def stop(self) -> None:
        """See `Listener.stop`."""
        self.shutdown()
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own, if there are not too many."""
        if self._slots.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection, and count it no longer."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - as socketserver calls it
        """End this connection only. Say why, unless its client has broken it."""
        error = sys.exception()
        if not isinstance(error, OSError):
            self.show(self.remotes[0].name, self.remotes[0].shown(f"a connection failed: {error!r}"))


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: HttpListener
    protocol_version = "HTTP/1.1"
    server_version = "nemo-bridge-mock"
    sys_version = ""
    timeout = _PATIENCE
    disable_nagle_algorithm = True

    def respond(self) -> None:
        """Answer the request whose head was read."""
        remote = remote_for(self.path.partition("?")[0], self.server.remotes)
        body = self._read_body()
        if body is None:
            return
        if remote is None:
            known = [one.path or "/" for one in self.server.remotes]
            self._show(
                self.server.remotes[0], f"{self.command} {self.path[:_SHOWN]} → 404; there is {', '.join(known)}"
            )
            self._send(404, {"error": "no integration has this path", "paths": known})
            return
        headers = self.headers
        received = Received(self.command, self.path, body, headers.get("Accept", ""), headers.get("Authorization"))
        answer = remote.respond(received)
        for line in answer.lines:
            self.server.show(remote.name, line)
        if answer.delay:
            time.sleep(answer.delay)
        if answer.stream:
            self._send_events(remote)
        else:
            self._send(answer.status, answer.body)

    def _read_body(self) -> bytes | None:
        """Return the body; None where the request cannot be answered any further."""
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers:
            self._refuse(411, "a body needs a Content-Length")
        elif not (length.isascii() and length.isdigit()):
            self._refuse(400, "Content-Length is not a number")
        elif int(length[:20]) > _LARGEST:
            self._refuse(413, f"the body is over the limit of {_LARGEST} bytes")
        else:
            body = self.rfile.read(int(length))
            if len(body) == int(length):
                return body
            self.close_connection = True  # the client has left
        return None

    def _refuse(self, status: int, why: str) -> None:
        self.close_connection = True
        self._show(self.server.remotes[0], f"{self.command} {self.path[:_SHOWN]} → {status}: {why}")
        self._send(status, {"error": why})

    def _send(self, status: int, value: Any) -> None:
        body = b"" if value is msgspec.UNSET else msgspec.json.encode(value)
        self.send_response(status)
        if body:
            self.send_header("Content-Type", "application/json")
        if status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_events(self, remote: MockRemote) -> None:
        """Send server-sent events until the client leaves, which raises OSError."""
        self.close_connection = True
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for number in count(1):
            data = msgspec.json.encode(remote.result(None))
            self.wfile.write(b"event: mock\nid: %d\ndata: %b\n\n" % (number, data))
            time.sleep(PERIOD)

    def _show(self, remote: MockRemote, line: str) -> None:
        self.server.show(remote.name, remote.shown(line))

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log nothing: `respond` shows what was asked and answered."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Show what is wrong with a request that could not be read. A client that says nothing is no fault."""
        if args and isinstance(args[0], TimeoutError):
            return
        self._show(self.server.remotes[0], f"not understood: {format % args}")


for _method in _METHODS:
    setattr(_Handler, f"do_{_method}", _Handler.respond)


# --- WebSocket


class WebSocketListener:
    """Serves the stand-ins of one address over WebSocket, on an event loop of its own."""

    def __init__(self, host: str, port: int, remotes: Sequence[MockRemote], show: Show) -> None:
        """Listen. Raises OSError where that is not possible."""
        self._socket = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self._remotes = remotes
        self._show = show
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name=f"mock:{self.port}", daemon=True)

    @property
    def port(self) -> int:
        """The port at which it listens."""
        return int(self._socket.getsockname()[1])

    def start(self) -> None:
        """See `Listener.start`."""
        self._thread.start()

    def stop(self) -> None:
        """See `Listener.stop`."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(2.0)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        silent = logging.getLogger(__name__)
        silent.disabled = True  # the library logs a traceback for each request that is not valid
        server = serve(
            self._talk,
            sock=self._socket,
            process_request=self._check,
            max_size=_LARGEST,
            close_timeout=1.0,
            logger=silent,
        )
        async with server:
            await self._end.wait()

    def _check(self, connection: ServerConnection, request: Request) -> Response | None:
        if remote_for(request.path.partition("?")[0], self._remotes) is not None:
            return None
        known = ", ".join(one.path or "/" for one in self._remotes)
        first = self._remotes[0]
        self._show(first.name, first.shown(f"{request.path} → 404; there is {known}"))
        return connection.respond(HTTPStatus.NOT_FOUND, f"there is {known}\n")

    async def _talk(self, connection: ServerConnection) -> None:
        request = connection.request
        remote = None if request is None else remote_for(request.path.partition("?")[0], self._remotes)
        if request is None or remote is None:
            return
        proof = remote.credentials(request.headers.get("Authorization"))
        self._show(remote.name, f"connected  ({proof})" if proof else "connected")
        room = asyncio.Semaphore(_MOST_WAITING)
        try:
            async with asyncio.TaskGroup() as group:
                telling = group.create_task(self._notify(connection, remote))
                async for message in connection:
                    await room.acquire()
                    answering = group.create_task(self._answer(connection, remote, message))
                    answering.add_done_callback(lambda _: room.release())
                telling.cancel()
        except* ConnectionClosed:
            pass
        self._show(remote.name, "disconnected")

    async def _answer(self, connection: ServerConnection, remote: MockRemote, message: str | bytes) -> None:
        answer = remote.call(message.encode() if isinstance(message, str) else message)
        for line in answer.lines:
            self._show(remote.name, line)
        if answer.delay:
            await asyncio.sleep(answer.delay)
        if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
            await connection.close(_TRY_AGAIN_LATER, "told to fail")
        elif answer.body is not msgspec.UNSET:
            await connection.send(msgspec.json.encode(answer.body).decode())

    async def _notify(self, connection: ServerConnection, remote: MockRemote) -> None:
        while remote.notifications:
            for method in remote.notifications:
                note = {"jsonrpc": "2.0", "method": method, "params": remote.result({})}
                await connection.send(msgspec.json.encode(note).decode())
            await asyncio.sleep(PERIOD)
