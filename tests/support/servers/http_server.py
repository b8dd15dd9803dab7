"""A scripted HTTP server in the test's own loop: it sends exactly the bytes that the test gives, right or wrong."""

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from tests.support.wait import until

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


@dataclass
class Received:
    """One request, and the connection on which it came."""

    head: bytes
    body: bytes
    connection: int
    transport: asyncio.Transport

    @property
    def call(self) -> Any:
        """Return the decoded JSON body."""
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """Return the value of a header."""
        found = re.search(rf"^{re.escape(name)}: *(.*)\r$".encode(), self.head, re.IGNORECASE | re.MULTILINE)
        return None if found is None else found[1].decode()

    def send(self, data: bytes) -> None:
        """Send exactly these bytes."""
        self.transport.write(data)

    def close(self) -> None:
        """Close the connection."""
        self.transport.close()

    def result(self, value: Any = "ok") -> None:
        """Send a correct response."""
        self.send(http(json.dumps({"jsonrpc": "2.0", "result": value, "id": self.call["id"]})))


def http(body: bytes | str = b"", status: int = 200, *headers: str) -> bytes:
    """Make a response with its length."""
    data = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(data)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + data


Respond = Callable[[Received], None]


@dataclass
class ScriptedServer:
    """The requests and connections of the server, for the test."""

    port: int = 0
    connections: int = 0
    ended: int = 0
    requests: list[Received] = field(default_factory=list)
    live: set[asyncio.Transport] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Return its address, in plain http."""
        return f"http://127.0.0.1:{self.port}/rpc"


class _Connection(asyncio.Protocol):
    def __init__(self, server: ScriptedServer, respond: Respond) -> None:
        self._server = server
        self._respond = respond
        self._buffer = b""
        server.connections += 1
        self._number = server.connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._server.live.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.ended += 1
        self._server.live.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, _, rest = self._buffer.partition(b"\r\n\r\n")
            found = _LENGTH.search(head)
            length = int(found[1]) if found else 0
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            received = Received(head + b"\r\n", rest[:length], self._number, self._transport)
            self._server.requests.append(received)
            self._respond(received)


@asynccontextmanager
async def scripted_server(respond: Respond, tls: ssl.SSLContext | None = None) -> AsyncIterator[ScriptedServer]:
    """Serve on a free port of loopback; `respond` is called with each whole request."""
    state = ScriptedServer()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(state, respond), "127.0.0.1", 0, ssl=tls)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        server.close()
        for transport in tuple(state.live):
            transport.abort()
        await until(lambda: not state.live, "the end of all connections")
        await server.wait_closed()
