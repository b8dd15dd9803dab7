"""The messages of one subscription, delivered in order.

Each is taken while it is read from the socket, as long as nothing has to be waited for: a queue and a task for each
subscription would cost more.
"""

import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import structlog

from bridge.adapters.nats.protocol import NatsMessage
from bridge.core.errors import BridgeError

#: Messages of one subscription, and their bytes, that wait at most; what comes on top is dropped (NATS' own limit for a
#: slow consumer is of the same size).
_MOST: Final = 65_536
_MOST_BYTES: Final = 64 << 20

log = structlog.get_logger(__name__)

OnMessage = Callable[[NatsMessage], Awaitable[object] | None]
"""Handles a message; returns None where that is done, else what is to be awaited before the next message."""


class NatsSubscription:
    """One subscription, and its messages that wait.

    Attributes:
        sid: The number by which the server knows it.
    """

    def __init__(self, sid: int, on_message: OnMessage, start: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        """Nothing has come yet.

        Args:
            sid: The number by which the server knows it.
            on_message: Gets each message, one after another.
            start: Runs what is to be awaited, for as long as the connection lives.
        """
        self.sid = sid
        self._on_message = on_message
        self._start = start
        self._waiting: deque[NatsMessage] = deque()
        self._bytes = 0
        self._busy = False
        self._dropping = False
        self._flawed = False

    def put(self, message: NatsMessage) -> None:
        """Deliver a message now, or after those that wait. Raises what `on_message` raises."""
        if message.flaw and not self._flawed:
            self._flawed = True  # logged once: whoever may publish can send any number of them
            log.warning("a message cannot be read in full", subject=message.subject, flaw=message.flaw)
        if not self._busy:
            pending = self._on_message(message)
            if pending is not None:
                self._busy = True
                self._start(self._deliver_waiting(pending))
            return
        if len(self._waiting) >= _MOST or self._bytes >= _MOST_BYTES:
            if not self._dropping:
                self._dropping = True
                log.warning("messages dropped: more came than could be taken", subject=message.subject)
            return
        self._waiting.append(message)
        self._bytes += len(message.data)

    async def _deliver_waiting(self, pending: Awaitable[object] | None) -> None:
        with contextlib.suppress(BridgeError):  # the connection is gone, and with it all that waits
            while True:
                if pending is not None:
                    await pending
                if not self._waiting:
                    break
                message = self._waiting.popleft()
                self._bytes -= len(message.data)
                pending = self._on_message(message)
        self._busy = self._dropping = False
