"""One subscription's messages in order, taken in the reader's own turn as long as nothing has to be waited for."""

import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import structlog
from nats.aio.msg import Msg

from bridge.core.errors import BridgeError

#: Messages of one subscription, and their bytes, that wait at most; what comes on top is dropped (NATS' own limit for a
#: slow consumer is of the same size).
_MOST: Final = 65_536
_MOST_BYTES: Final = 64 << 20

log = structlog.get_logger(__name__)

Take = Callable[[Msg], Awaitable[object] | None]
"""Takes a message; returns None where that is done, else what is to be awaited before the next one."""


class Lane:
    """nats-py would queue each message for a task of its own, which costs more than to take it."""

    def __init__(self, take: Take, start: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        """`start` runs what waits, for as long as the connection lives."""
        self._take = take
        self._start = start
        self._waiting: deque[Msg] = deque()
        self._bytes = 0
        self._busy = False
        self._dropping = False

    def put(self, message: Msg) -> None:
        """Take a message now, or after those that wait."""
        if not self._busy:
            pending = self._take(message)
            if pending is not None:
                self._busy = True
                self._start(self._go_on(pending))
            return
        if len(self._waiting) >= _MOST or self._bytes >= _MOST_BYTES:
            if not self._dropping:
                self._dropping = True
                log.warning("messages dropped: more came than could be taken", subject=message.subject)
            return
        self._waiting.append(message)
        self._bytes += len(message.data)

    async def _go_on(self, pending: Awaitable[object] | None) -> None:
        with contextlib.suppress(BridgeError):  # the connection is gone, and with it all that waits
            while True:
                if pending is not None:
                    await pending
                if not self._waiting:
                    break
                message = self._waiting.popleft()
                self._bytes -= len(message.data)
                pending = self._take(message)
        self._busy = self._dropping = False
