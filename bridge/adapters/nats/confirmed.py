"""Confirms each publish to NATS: a PING follows what was written, and its PONG proves that the server has all of it.

Everything that is published in one turn of the event loop leaves in one write, with one PING behind it.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from bridge.adapters.nats.protocol import PING
from bridge.adapters.nats.transport import Transport
from bridge.core.errors import BridgeError
from bridge.core.ports import Promise


class Confirmed:
    """Keeps the promise of each publish until the PONG that settles it, or until the connection ends."""

    def __init__(self, transport: Transport) -> None:
        """Write to `transport`. Whoever reads from it calls `pong` for each PONG."""
        self._transport = transport
        self._pending = transport.pending
        self._loop = asyncio.get_running_loop()
        self._written: list[tuple[Promise, str]] = []
        self._asked: deque[list[tuple[Promise, str]]] = deque()

    def publish(self, data: bytes, promise: Promise, subject: str) -> None:
        """Write `data`; `promise` is settled once the server has it.

        With no data, `promise` is settled once the server has all that others have written before.
        """
        if not self._written:
            self._loop.call_soon(self._ask)
        self._written.append((promise, subject))
        if data:
            self._pending.append(data)

    def _ask(self) -> None:
        if self._written:
            self._asked.append(self._written)
            self._written = []
            self._pending.append(PING)
            self._transport.expect()
        self._transport.flush()

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

    def forbid(self, forbidden: str, error: Callable[[], BridgeError]) -> bool:
        """Fail what was published to the subject of a permissions violation, which comes before the PONG.

        All of it at once, although the server reports each by itself: to look through all for each would take long.

        Args:
            forbidden: The subject.
            error: Makes the error of each promise.

        Returns:
            Whether there was any, be it that nobody waits for it any more.
        """
        found = False
        for group in (*self._asked, self._written):
            refused = [promise for promise, subject in group if subject == forbidden]
            if refused:
                found = True
                group[:] = [one for one in group if one[1] != forbidden]
                for promise in refused:
                    if not promise.done():
                        promise.set_exception(error())
        return found
