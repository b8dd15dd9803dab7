"""Use the queues of an integration through the bridge."""

import uuid
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Final, Self

from bridge.client.bus import BusClient
from bridge.client.command import command
from bridge.client.errors import CallFailedError

#: Seconds that one `dequeue` command waits at most; less than the time limit of an attempt (`resilience.timeout`).
_LONGEST_WAIT: Final = 1.0
#: Seconds between two attempts of `messages` after an error of the bridge.
_PAUSE: Final = 1.0


class QueueMessage:
    """One message that is held until `ack` or `nack`.

    `async with` calls `ack` at the end of its block, and `nack` after an exception.

    Attributes:
        queue: The queue it was taken from.
        message_id: The remote's id of it.
        message: Its content.
        attempts: How often it was delivered.
        headers: The protocol's headers.
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
        """Acknowledge it; return it at once after an exception; do neither after a cancellation."""
        if kind is None:
            await self.ack()
        elif issubclass(kind, Exception):
            await self.nack()


class QueueClient:
    """Use the queues of one integration through the bridge.

    Each command has an idempotency key and is sent again until it is answered; the bridge runs it once. When `enqueue`
    returns, the message is stored. A bridge that is killed in between forgets its keys: a message may then be stored
    twice, with the same key at the remote, and one that was just taken is delivered again after its `visibility`.
    """

    def __init__(self, bus: BusClient, integration: str) -> None:
        """Take the program's connection to the bus, and the integration's label."""
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
        """Append a message and return its id, when the remote has stored it.

        Args:
            queue: The queue to append to.
            message: The message.
            headers: Headers of the message, where the protocol has them.
            key: The idempotency key; a new one by default. The answer to a key is final for ten minutes, also an
                error: to try again after a `CallFailedError`, use another one.
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
        """Take one message and hold it until `ack` or `nack`.

        Args:
            queue: The queue to take from.
            wait: Seconds to wait for a message.
            visibility: Seconds after which it is delivered again without `ack` or `nack`, where the protocol can.
            timeout: Seconds, beyond those of `wait`, within which the bridge must answer.

        Returns:
            The message, or None where there was none.

        Raises:
            CallFailedError: The bridge answered with an error.
            TimeoutError: The bridge did not answer; a message that it has taken is delivered again after `visibility`.
            ClosedError: The bus client is not connected.
        """
        until = self._bus.clock.monotonic() + wait
        payload: dict[str, Any] = {"queue": queue}
        if visibility is not None:
            payload["visibility_ms"] = max(1, round(visibility * 1000))
        while True:
            piece = min(_LONGEST_WAIT, max(0.0, until - self._bus.clock.monotonic()))
            # A key for each command: sent again, it returns the same message and takes no second one.
            taken = await self._command("dequeue", {**payload, "wait_ms": round(piece * 1000)}, timeout + piece)
            if taken is not None:
                return QueueMessage(self, queue, taken)
            if self._bus.clock.monotonic() >= until:
                return None

    async def messages(
        self, queue: str, *, visibility: float | None = None, timeout: float = 30.0
    ) -> AsyncIterator[QueueMessage]:
        """Return an endless iterator of messages; end each with `ack` or `nack`, most simply by `async with message`.

        It continues after errors that may pass by themselves: a bridge that does not answer, a remote that is down.

        Args:
            queue: The queue to take from.
            visibility: See `dequeue`.
            timeout: See `dequeue`.

        Raises:
            CallFailedError: An error that will not pass by itself.
            ClosedError: The bus client is not connected.
        """
        while True:
            try:
                message = await self.dequeue(queue, wait=_LONGEST_WAIT, visibility=visibility, timeout=timeout)
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
        """Acknowledge a message, so that it is not delivered again.

        Raises:
            CallFailedError: The bridge answered with an error; the message may be delivered again.
            TimeoutError: The bridge did not answer; the message may be delivered again.
        """
        await self._command("ack", {"message_id": message_id}, timeout)

    async def nack(self, message_id: str, *, delay: float | None = None, timeout: float = 30.0) -> None:
        """Return a message to the queue, to be delivered again after `delay` seconds.

        Raises:
            CallFailedError: The bridge answered with an error; the message is delivered again after `visibility`.
            TimeoutError: The bridge did not answer; the message is delivered again after `visibility`.
        """
        payload: dict[str, Any] = {"message_id": message_id}
        if delay is not None:
            payload["delay_ms"] = round(delay * 1000)
        await self._command("nack", payload, timeout)

    async def _command(self, operation: str, payload: dict[str, Any], timeout: float, key: str | None = None) -> Any:
        key = key or str(uuid.uuid4())
        return await command(self._bus, self._integration, operation, payload, timeout=timeout, key=key)
