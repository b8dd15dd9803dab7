"""The messages of one subscription, delivered in order.

Each is taken while it is read from the socket, as long as nothing has to be waited for: a queue and a task for each
subscription would cost more.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from bridge.adapters.nats.protocol import NatsMessage
from bridge.core.errors import BridgeError, ConnectionLostError, OverloadedError
from bridge.core.log import structlog

#: Messages of one subscription, and their bytes, that wait at most; what comes on top is dropped (NATS' own limit for a
#: slow consumer is of the same size).
_MOST: Final = 65_536
_MOST_BYTES: Final = 64 << 20
#: Bytes that Python needs for a header beside its characters.
_HEADER_BYTES: Final = 200

log = structlog.get_logger(__name__)

OnMessage = Callable[[NatsMessage], Awaitable[object] | None]
"""Handles a message; returns None where that is done, else what is to be awaited before the next message."""


class NatsSubscription:
    """One subscription, and its messages that wait.

    Attributes:
        sid: The number by which the server knows it.
        subject: What it subscribes to.
        group: Its queue group; empty for none.
        can_wait: Whether its messages may be read together, some milliseconds later: nobody waits for them.
        is_confirmed: Whether the server has confirmed it.
        error: Why the server has ended it; None while it goes on.
    """

    def __init__(
        self,
        sid: int,
        subject: str,
        group: str,
        on_message: OnMessage,
        *,
        start: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        on_ended: Callable[[BridgeError], None],
        on_dropped: Callable[[BridgeError, str], None],
        can_wait: bool = False,
    ) -> None:
        """Nothing has come yet.

        Args:
            sid: The number by which the server knows it.
            subject: What it subscribes to.
            group: Its queue group; empty for none.
            on_message: Gets each message, one after another.
            start: Runs what is to be awaited, for as long as the connection lives.
            on_ended: Called when the server ends it after it was confirmed.
            on_dropped: Called for each message that is dropped, with the reason and the message's subject.
            can_wait: Whether its messages may be read together.
        """
        self.sid = sid
        self.subject = subject
        self.group = group
        self.can_wait = can_wait
        self.is_confirmed = False
        self.error: BridgeError | None = None
        self._on_message = on_message
        self._start = start
        self._on_ended = on_ended
        self._on_dropped = on_dropped
        self._waiting: deque[tuple[NatsMessage, int]] = deque()
        self._bytes = 0
        self._delivered: NatsMessage | None = None
        self._delivering: asyncio.Task[None] | None = None
        self._flawed = False

    def put(self, message: NatsMessage) -> None:
        """Deliver a message now, or after those that wait. Raises what `on_message` raises."""
        if message.flaw and not self._flawed:
            self._flawed = True  # logged once: whoever may publish can send any number of them
            log.warning("a message cannot be read in full", subject=message.subject, flaw=message.flaw)
        if self._delivered is None:
            pending = self._on_message(message)
            if pending is not None:
                self._delivered = message
                self._delivering = self._start(self._deliver_waiting(pending))
            return
        size = _size(message)
        if len(self._waiting) >= _MOST or self._bytes >= _MOST_BYTES:
            self._on_dropped(OverloadedError("dropped: more messages came than could be taken"), message.subject)
            return
        self._waiting.append((message, size))
        self._bytes += size

    def discard(self) -> None:
        """Deliver nothing more, and report the messages that are not delivered yet as dropped."""
        if self._delivered is None:
            return
        assert self._delivering is not None  # noqa: S101 - as long as one is being delivered
        self._delivering.cancel()
        waiting = [self._delivered, *(message for message, _ in self._waiting)]
        self._delivered = None
        self._waiting.clear()
        for message in waiting:
            self._on_dropped(ConnectionLostError("dropped: it waited when its subscription ended"), message.subject)

    def end(self, error: BridgeError) -> None:
        """Note that the server has ended it. Only the first error counts."""
        if self.error is None:
            self.error = error
            if self.is_confirmed:
                self._on_ended(error)

    def check(self) -> None:
        """Raise the error with which the server has ended it, if it has."""
        if self.error is not None:
            raise self.error

    async def _deliver_waiting(self, pending: Awaitable[object] | None) -> None:
        with contextlib.suppress(BridgeError):  # the connection is gone, and with it all that waits
            while True:
                if pending is not None:
                    await pending
                if not self._waiting:
                    break
                self._delivered, size = self._waiting.popleft()
                self._bytes -= size
                pending = self._on_message(self._delivered)
        self._delivered = None


def _size(message: NatsMessage) -> int:
    """Return about how many bytes of memory the content of a message takes."""
    headers = message.headers
    if not headers:
        return len(message.data)
    return len(message.data) + sum(len(name) + len(value) + _HEADER_BYTES for name, value in headers.items())
