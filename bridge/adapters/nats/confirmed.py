"""What was written to a NATS server and what of it the server has: each PONG confirms all that came before its PING.

All that is published before the event loop's next turn leaves in one write, with one PING behind it.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from bridge.adapters.nats.transport import Transport
from bridge.core.errors import BridgeError
from bridge.core.ports import Promise


class Confirmed:
    """Promises of what was published; each is settled by the PONG that follows, or fails."""

    def __init__(self, transport: Transport) -> None:
        """Nothing was published yet. `transport` writes; who reads calls `pong`."""
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._written: list[tuple[Promise, str]] = []
        self._asked: deque[list[tuple[Promise, str]]] = deque()

    def publish(self, data: bytes, promise: Promise, subject: str) -> None:
        """Write `data`; nothing where it is empty, to hear of what was written before by others."""
        if not self._written:
            self._loop.call_soon(self._ask)
        self._written.append((promise, subject))
        if data:
            self._transport.write(data)

    def _ask(self) -> None:
        if self._written:
            self._asked.append(self._written)
            self._written = []
            self._transport.ping()

    def pong(self) -> None:
        """The server has answered the oldest PING. A PONG that nobody asked for changes nothing."""
        for promise, _ in self._asked.popleft() if self._asked else ():
            if not promise.done():
                promise.set_result({})

    def fail(self, error: Callable[[], BridgeError]) -> None:
        """Fail all that is not confirmed; `error` makes the error of each. For where the connection is gone."""
        asked, self._asked = self._asked, deque()
        written, self._written = self._written, []
        for group in (*asked, written):
            for promise, _ in group:
                if not promise.done():
                    promise.set_exception(error())

    def forbid(self, complaint: str, error: BridgeError) -> None:
        """Fail what was published to the subject of a permissions violation, which comes before the PONG.

        Args:
            complaint: What the server says, in small letters.
            error: What the promises get.
        """
        for group in (*self._asked, self._written):
            for promise, subject in group:
                if subject and not promise.done() and f'publish to "{subject.lower()}"' in complaint:
                    promise.set_exception(error)
