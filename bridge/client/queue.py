"""Pattern Queue for programs on the bus."""

import uuid
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Final, Self

from bridge.client.bus import BusClient
from bridge.client.command import command
from bridge.client.errors import CallFailedError

#: Seconds that one `dequeue` command waits at most; it must be less than an attempt may take (`resilience.timeout`).
_PIECE: Final = 1.0
#: Seconds between two tries of `messages` where the bridge could not do it.
_PAUSE: Final = 1.0


class QueueMessage:
    """One message, held until it is settled: by hand, or by `async with`, which gives it back after an exception.

    Attributes:
        queue: Where it was taken from.
        message_id: The remote's name for it.
        message: Its content.
        attempts: How often it was delivered.
        headers: The outside protocol's headers.
    """

    def __init__(self, client: "QueueClient", queue: str, taken: Mapping[str, Any]) -> None:
        self._client = client
        self.queue = queue
        self.message_id: str = taken["message_id"]
        self.message: Any = taken["message"]
        self.attempts: int = taken["attempts"]
        self.headers: dict[str, str] = dict(taken.get("headers") or {})

    def __repr__(self) -> str:
        return f"QueueMessage({self.queue!r}, {self.message_id!r}, attempts={self.attempts})"

    async def ack(self) -> None:
        """See `QueueClient.ack`."""
        await self._client.ack(self.message_id)

    async def nack(self, delay: float | None = None) -> None:
        """See `QueueClient.nack`."""
        await self._client.nack(self.message_id, delay=delay)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Acknowledge it; after an exception give it back at once. A cancelled holder leaves it to its time."""
        if kind is None:
            await self.ack()
        elif issubclass(kind, Exception):
            await self.nack()


class QueueClient:
    """Works with the queues of one integration through the bridge.

    Each command has an idempotency key and is said again until it is answered; the bridge runs it once. What was
    acknowledged by `enqueue` is stored. A bridge that is killed in between forgets its keys: a message may then be
    stored twice, with the same key at the remote, and one that was just taken comes again after its time.
    """

    def __init__(self, bus: BusClient, integration: str) -> None:
        """Take the program's place on the bus, and the integration's label."""
        self._bus = bus
        self._integration = integration

    async def enqueue(
        self,
        queue: str,
        message: Any,
        *,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
        timeout: float = 30.0,
    ) -> str:
        """Store a message; returns its id, when the remote has it.

        Args:
            queue: Where to.
            message: What.
            headers: For the outside, where the protocol has them.
            key: The idempotency key; a fresh one by default. The answer to a key is final for ten minutes, a failure
                as well: what is to be tried again after a `CallFailedError` needs another one.
            timeout: Total time in seconds.

        Raises:
            CallFailedError: The bridge answered with an error.
            TimeoutError: The bridge did not answer; the message may have been stored.
            InvalidError: The bus cannot carry the message.
            ClosedError: The bus client is not connected.
        """
        payload: dict[str, Any] = {"queue": queue, "message": message}
        if headers is not None:
            payload["headers"] = dict(headers)
        result = await self._command("enqueue", payload, timeout, key)
        message_id: str = result["message_id"]
        return message_id

    async def dequeue(
        self, queue: str, *, wait: float = 0.0, visibility: float | None = None, timeout: float = 30.0
    ) -> QueueMessage | None:
        """Take one message, and hold it until it is settled.

        Args:
            queue: Where from.
            wait: Seconds to wait for one.
            visibility: Seconds after which it comes again if it is not settled, where the protocol can.
            timeout: Seconds, beyond those of `wait`, within which the bridge must answer.

        Returns:
            The message, or None where there was none.

        Raises:
            CallFailedError: The bridge answered with an error.
            TimeoutError: The bridge did not answer; a message that it has taken comes again after its time.
            ClosedError: The bus client is not connected.
        """
        until = self._bus.clock.monotonic() + wait
        payload: dict[str, Any] = {"queue": queue}
        if visibility is not None:
            payload["visibility_ms"] = max(1, round(visibility * 1000))
        while True:
            piece = min(_PIECE, max(0.0, until - self._bus.clock.monotonic()))
            # A key for each: said again, it gives the same message and takes no second one.
            taken = await self._command("dequeue", {**payload, "wait_ms": round(piece * 1000)}, timeout + piece)
            if taken is not None:
                return QueueMessage(self, queue, taken)
            if self._bus.clock.monotonic() >= until:
                return None

    async def messages(
        self, queue: str, *, visibility: float | None = None, timeout: float = 30.0
    ) -> AsyncIterator[QueueMessage]:
        """Message after message, for ever; settle each, most simply by `async with message`.

        It outlasts what may pass by itself: a bridge that does not answer, a remote that is away.

        Args:
            queue: Where from.
            visibility: See `dequeue`.
            timeout: See `dequeue`.

        Raises:
            CallFailedError: An error that will not pass by itself.
            ClosedError: The bus client is not connected.
        """
        while True:
            try:
                message = await self.dequeue(queue, wait=_PIECE, visibility=visibility, timeout=timeout)
            except TimeoutError:
                continue
            except CallFailedError as failed:
                if not failed.error["retryable"]:
                    raise
                await self._bus.clock.sleep(_PAUSE)
                continue
            if message is not None:
                yield message

    async def ack(self, message_id: str, *, timeout: float = 30.0) -> None:
        """Done with it.

        Raises:
            CallFailedError: The bridge answered with an error; the message may come again.
            TimeoutError: The bridge did not answer; the message may come again.
        """
        await self._command("ack", {"message_id": message_id}, timeout)

    async def nack(self, message_id: str, *, delay: float | None = None, timeout: float = 30.0) -> None:
        """Give it back, to come again after `delay` seconds.

        Raises:
            CallFailedError: The bridge answered with an error; the message comes again after its time.
            TimeoutError: The bridge did not answer; the message comes again after its time.
        """
        payload: dict[str, Any] = {"message_id": message_id}
        if delay is not None:
            payload["delay_ms"] = round(delay * 1000)
        await self._command("nack", payload, timeout)

    async def _command(self, operation: str, payload: dict[str, Any], timeout: float, key: str | None = None) -> Any:
        key = key or str(uuid.uuid4())
        return await command(self._bus, self._integration, operation, payload, timeout=timeout, key=key)
