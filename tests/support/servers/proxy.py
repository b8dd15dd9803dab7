"""A TCP proxy that misbehaves on demand: stalls, drips, cuts or resets what the server answers."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Literal

Mode = Literal["pass", "stall", "slow", "late", "drip", "cut", "reset", "refuse", "vanish", "deaf"]
_CHUNK = 65536


class FaultProxy:
    """Forwards to one server; set `mode` at any time, for live connections too.

    * `pass`: forward.
    * `stall`: hold the answers back until the mode changes.
    * `slow`: forward what has come of answers `delay` seconds late, in order.
    * `late`: forward what has come from the client `delay` seconds late, in order.
    * `drip`: forward answers byte by byte, `delay` seconds apart.
    * `cut`, `reset`: after `after` more bytes of answers end the connection, with FIN or RST.
    * `refuse`: end each new connection at once.
    * `vanish`: take everything and forward nothing, in both directions and without an end, as where a host has gone:
      a connection that has lost something so never comes back, whatever the mode is then.
    * `deaf`: forward answers, and throw away what the client says; such a connection does not come back either.

    Attributes:
        on_said: Called with what a client says, before it is forwarded.
    """

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self._mode: Mode = "pass"
        self._changed = asyncio.Event()
        self._live: set[_Link] = set()
        self.after = 0
        self.delay = 0.05
        self.accepted = 0
        self.port = 0
        self.on_said: Callable[[bytes], None] = lambda _: None

    @property
    def mode(self) -> Mode:
        """Return what it does with answers now."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._mode = mode
        self._changed.set()
        self._changed = asyncio.Event()

    def end_all(self, *, reset: bool = False) -> None:
        """Close every live connection now."""
        for link in tuple(self._live):
            link.end(reset=reset)

    async def _run(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            while True:
                client, _ = await loop.sock_accept(listener)
                self.accepted += 1
                # Closed here, too: a task that is cancelled before its first step closes nothing.
                group.create_task(self._serve(client)).add_done_callback(lambda _, client=client: client.close())

    async def _serve(self, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        link = _Link()
        with client, socket.socket() as server:
            if self._mode == "refuse":
                return
            server.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._live.add(link)
            try:
                await loop.sock_connect(server, self._upstream)
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._forward(client, server, None))
                    group.create_task(self._forward(server, client, link))
                    group.create_task(link.wait())
            except* (_Ended, OSError):
                pass
            finally:
                self._live.discard(link)
            if link.reset:
                # Closing with a linger time of zero sends RST in place of FIN (socket(7)).
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def _forward(self, source: socket.socket, sink: socket.socket, answers_of: "_Link | None") -> None:
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(source, _CHUNK):
            if self._mode == "vanish":
                await asyncio.Event().wait()
            if answers_of is None:
                self.on_said(data)
            if answers_of is not None:
                await self._answer(answers_of, sink, data)
            elif self._mode != "deaf":
                if self._mode == "late":
                    await asyncio.sleep(self.delay)
                await loop.sock_sendall(sink, data)
        raise _Ended

    async def _answer(self, link: "_Link", sink: socket.socket, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        while self._mode == "stall":
            await self._changed.wait()
        if self._mode == "drip":
            for position in range(len(data)):
                await loop.sock_sendall(sink, data[position : position + 1])
                await asyncio.sleep(self.delay)
        elif self._mode == "slow":
            await asyncio.sleep(self.delay)
            await loop.sock_sendall(sink, data)
        elif self._mode in {"cut", "reset"}:
            await loop.sock_sendall(sink, data[: self.after])
            self.after = max(0, self.after - len(data))
            if self.after == 0:
                link.end(reset=self._mode == "reset")
                raise _Ended
        else:
            await loop.sock_sendall(sink, data)


class _Ended(Exception):  # noqa: N818  # no error: it ends a connection's tasks together
    pass


class _Link:
    """One forwarded connection, and how to close it."""

    def __init__(self) -> None:
        self.reset = False
        self._told = asyncio.Event()

    def end(self, *, reset: bool) -> None:
        self.reset = reset
        self._told.set()

    async def wait(self) -> None:
        await self._told.wait()
        raise _Ended


@asynccontextmanager
async def fault_proxy(host: str, port: int) -> AsyncIterator[FaultProxy]:
    """Start a proxy on a free port of loopback; close it with all its connections at the end."""
    proxy = FaultProxy(host, port)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        proxy.port = listener.getsockname()[1]
        async with asyncio.TaskGroup() as group:
            running = group.create_task(proxy._run(listener))
            try:
                yield proxy
            finally:
                running.cancel()
