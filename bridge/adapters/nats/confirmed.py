"""What was written to a NATS server and what of it the server has: each PONG confirms all that came before its PING.

All that one turn of the event loop publishes leaves in one write, with one PING behind it.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from bridge.core.errors import BridgeError
from bridge.core.ports import Promise


class Writer(Protocol):
    """The connection, as far as it is needed here."""

    def write(self, data: bytes) -> None:
        """Append to what is to be written."""
        ...

    def ping(self, pong: asyncio.Future[Any]) -> None:
        """Write everything, and PING behind it. Raises RuntimeError or OSError where the connection is gone."""
        ...


class Confirmed:
    """Promises of what was published; each is settled by the PONG that follows, or fails."""

    def __init__(self, writer: Writer, on_broken: Callable[[], None]) -> None:
        """`on_broken` is told where nothing can be written any more."""
        self._writer = writer
        self._on_broken = on_broken
        self._loop = asyncio.get_running_loop()
        self._written: list[tuple[Promise, str]] = []
        self._asked: deque[list[tuple[Promise, str]]] = deque()

    def publish(self, data: bytes, promise: Promise, subject: str) -> None:
        """Write `data`; nothing where it is empty, to hear of what was written before by others."""
        if not self._written:
            self._loop.call_soon(self._ask)
        self._written.append((promise, subject))
        if data:
            self._writer.write(data)

    def _ask(self) -> None:
        if not self._written:
            return
        self._asked.append(self._written)
        self._written = []
        pong: asyncio.Future[Any] = self._loop.create_future()
        pong.add_done_callback(self._heard)
        try:
            self._writer.ping(pong)
        except (RuntimeError, OSError):
            self._on_broken()

    def _heard(self, pong: asyncio.Future[Any]) -> None:
        if pong.cancelled() or not self._asked:
            return
        for promise, _ in self._asked.popleft():
            if not promise.done():
                promise.set_result({})

    def fail(self, error: Callable[[], BridgeError]) -> None:
        """The connection is gone: nobody will hear any more."""
        asked, self._asked = self._asked, deque()
        written, self._written = self._written, []
        for group in (*asked, written):
            for promise, _ in group:
                if not promise.done():
                    promise.set_exception(error())

    def forbid(self, complaint: str, error: BridgeError) -> None:
        """The server forbids a subject; its complaint, in small letters, came before the PONG."""
        for group in (*self._asked, self._written):
            for promise, subject in group:
                if subject and not promise.done() and f'publish to "{subject.lower()}"' in complaint:
                    promise.set_exception(error)
